#include "../cpu/bag.h"

#include "operand.h"

namespace fec_bind {

void bind_bag(py::module_& m) {
    m.def(
        "embedding_bag",
        [](const Operand& table, const py::array_t<int64_t>& ids, const py::array_t<int64_t>& offsets, const py::object& weights,
           const std::string& mode, bool normalize, const std::string& precision, const py::object& ranges, py::array out,
           const py::object& scale, int threads) {
            float* scales = scale.is_none() ? nullptr : static_cast<float*>(py::cast<py::array>(scale).mutable_data());
            const fec::Bagging call = {table.rows,
                                       ids.data(),
                                       offsets.data(),
                                       offsets.shape(0) - 1,
                                       floats(weights),
                                       named<fec::BagMode>("mode", mode, {"sum", "mean", "max"}),
                                       normalize,
                                       {static_cast<char*>(out.mutable_data()), out.strides(0), table.rows.dim, precision_of(precision),
                                        scales, floats(ranges), false},
                                       0};
            released([&](fec::Poll poll) { return fec::embedding_bag(call, threads, poll); });
        },
        "One row for each bag of ids into out, scales into scale; ranges are minimum and step.");
}

}  // namespace fec_bind

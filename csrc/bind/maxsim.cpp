#include "../cpu/maxsim.h"

#include "operand.h"

namespace fec_bind {
namespace {

using Numbers = py::array_t<int64_t>;

fec::MaxSim call_of(const Operand& q, const Numbers& offsets, const Operand& x, const Numbers& starts, const Numbers& stops,
                    const py::object& ids, const std::string& metric, const std::string& form) {
    const int64_t* listed = ids.is_none() ? nullptr : static_cast<const int64_t*>(py::cast<py::array>(ids).data());
    return {pair_of(q, x, metric, form), offsets.shape(0) - 1, offsets.data(), {starts.shape(0), starts.data(), stops.data(), listed}};
}

}  // namespace

void bind_maxsim(py::module_& m) {
    m.def(
        "maxsim",
        [](const Operand& q, const Numbers& offsets, const Operand& x, const Numbers& starts, const Numbers& stops, const py::object& ids,
           const std::string& metric, const std::string& form, int threads, py::array scores) {
            const fec::MaxSim call = call_of(q, offsets, x, starts, stops, ids, metric, form);
            void* to = scores.mutable_data();
            released([&](fec::Poll poll) { return fec::maxsim(call, threads, poll, to); });
        },
        "The score of every query with every document.");
    m.def(
        "maxsim_topk",
        [](const Operand& q, const Numbers& offsets, const Operand& x, const Numbers& starts, const Numbers& stops, const py::object& ids,
           int64_t k, const std::string& metric, const std::string& form, const py::object& mask, bool packed, int threads,
           py::array scores, Numbers indices) {
            const fec::MaxSim call = call_of(q, offsets, x, starts, stops, ids, metric, form);
            const fec::Allowed allowed = allowed_of(mask, packed, py::none());
            void* to = scores.mutable_data();
            int64_t* rows = indices.mutable_data();
            released([&](fec::Poll poll) { return fec::maxsim_topk(call, k, allowed, threads, poll, to, rows); });
        },
        "The k best documents for each query.");
}

}  // namespace fec_bind

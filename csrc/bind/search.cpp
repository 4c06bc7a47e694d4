#include "../cpu/search.h"

#include "bind.h"

namespace fec_bind {
namespace {

// An operand as Python holds it: keeps its arrays alive while kernels read them.
struct Operand {
    Operand(py::array data, const std::string& kind, int64_t dim, py::object scale, py::object ranges, int flip)
        : data_(std::move(data)),
          scale_(std::move(scale)),
          ranges_(std::move(ranges)),
          rows(rows_of(data_, kind, dim, scale_, ranges_, flip)) {}

private:
    py::array data_;
    py::object scale_, ranges_;

public:
    fec::Rows rows;
};

fec::Pair pair_of(const Operand& q, const Operand& x, const std::string& metric, const std::string& form) {
    return {q.rows, x.rows, named<fec::Metric>("metric", metric, {"cosine", "ip", "l2", "sqeuclidean", "hamming", "jaccard"}),
            named<fec::Form>("form", form, {"float", "int", "row", "bits"})};
}

fec::Allowed allowed_of(const py::object& mask, bool packed, const py::object& exclude) {
    fec::Allowed allowed{};
    if (!mask.is_none()) {
        const py::array m(mask);
        allowed.mask = static_cast<const uint8_t*>(m.data());
        allowed.stride = m.ndim() == 2 ? m.strides(0) : 0;
        allowed.packed = packed;
    }
    if (!exclude.is_none()) {
        const py::array e(exclude);
        allowed.exclude = static_cast<const int64_t*>(e.data());
        allowed.excludes = e.shape(1);
    }
    return allowed;
}

}  // namespace

void bind_search(py::module_& m) {
    py::class_<Operand>(m, "Rows", "An operand of a search: arrays and how to read them.")
        .def(py::init<py::array, const std::string&, int64_t, py::object, py::object, int>(), py::arg("data"), py::arg("kind"),
             py::arg("dim"), py::arg("scale") = py::none(), py::arg("ranges") = py::none(), py::arg("flip") = 0);

    m.def(
        "topk",
        [](const Operand& q, const Operand& x, int64_t k, const std::string& metric, const std::string& form, const py::object& mask,
           bool packed, const py::object& exclude, int threads, py::array scores, py::array_t<int64_t> indices) {
            const fec::Pair pair = pair_of(q, x, metric, form);
            const fec::Allowed allowed = allowed_of(mask, packed, exclude);
            void* to = scores.mutable_data();
            int64_t* rows = indices.mutable_data();
            released([&](fec::Poll poll) { return fec::topk(pair, k, allowed, threads, poll, to, rows); });
        },
        "The k best rows for each query.");
    m.def(
        "rescore",
        [](const Operand& q, const Operand& x, const py::array_t<int64_t>& ids, int64_t k, const std::string& metric,
           const std::string& form, int threads, py::array scores, py::array_t<int64_t> indices) {
            const fec::Pair pair = pair_of(q, x, metric, form);
            const int64_t* candidates = ids.data();
            const int64_t width = ids.shape(1);
            void* to = scores.mutable_data();
            int64_t* rows = indices.mutable_data();
            released([&](fec::Poll poll) { return fec::rescore(pair, candidates, width, k, threads, poll, to, rows); });
        },
        "The k best of given rows for each query.");
    m.def(
        "similarity",
        [](const Operand& q, const Operand& x, const std::string& metric, const std::string& form, int threads, py::array scores) {
            const fec::Pair pair = pair_of(q, x, metric, form);
            void* to = scores.mutable_data();
            released([&](fec::Poll poll) { return fec::similarity(pair, threads, poll, to); });
        },
        "The score of every pair.");
    m.def(
        "similarity_paired",
        [](const Operand& q, const Operand& x, const std::string& metric, const std::string& form, int threads, py::array scores) {
            const fec::Pair pair = pair_of(q, x, metric, form);
            void* to = scores.mutable_data();
            released([&](fec::Poll poll) { return fec::similarity_paired(pair, threads, poll, to); });
        },
        "The score of the pairs (i, i).");
}

}  // namespace fec_bind

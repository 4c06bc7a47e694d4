// The operands of a search as Python hands them over.
#pragma once
#include "../cpu/search.h"
#include "bind.h"

namespace fec_bind {

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

inline fec::Metric metric_of(const std::string& metric) {
    return named<fec::Metric>("metric", metric, {"cosine", "ip", "l2", "sqeuclidean", "hamming", "jaccard"});
}

inline fec::Pair pair_of(const Operand& q, const Operand& x, const std::string& metric, const std::string& form) {
    return {q.rows, x.rows, metric_of(metric), named<fec::Form>("form", form, {"float", "int", "row", "bits"})};
}

inline fec::Allowed allowed_of(const py::object& mask, bool packed, const py::object& exclude) {
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

}  // namespace fec_bind

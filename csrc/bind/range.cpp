#include "../cpu/range.h"

#include "operand.h"

namespace fec_bind {
namespace {

// What grew in C++ as a numpy array over the same memory.
template <class T>
py::array owned(fec::Growing<T>& data, const py::dtype& dtype) {
    const int64_t n = data.size();
    T* memory = data.release();
    return py::array(dtype, {n}, {static_cast<int64_t>(sizeof(T))}, memory, py::capsule(memory, std::free));
}

}  // namespace

void bind_range(py::module_& m) {
    m.def(
        "range_search",
        [](const Operand& q, const Operand& x, const py::array_t<float>& thresholds, const std::string& metric, const std::string& form,
           const py::object& mask, bool packed, const py::object& exclude, int threads, py::array_t<int64_t> indptr) {
            const fec::Pair pair = pair_of(q, x, metric, form);
            const fec::Allowed allowed = allowed_of(mask, packed, exclude);
            const float* limits = thresholds.data();
            int64_t* ends = indptr.mutable_data();
            fec::RangeResults results;
            released([&](fec::Poll poll) { return fec::range_search(pair, limits, allowed, threads, poll, ends, results); });
            const py::dtype scores(pair.integer_scores() ? "int32" : "float32");
            return py::make_tuple(owned(results.scores, scores), owned(results.indices, py::dtype::of<int64_t>()));
        },
        "Every row that reaches each query's threshold; fills indptr and returns scores and row numbers.");
}

}  // namespace fec_bind

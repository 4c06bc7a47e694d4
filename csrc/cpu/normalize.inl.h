// A row is read from memory once: its length is taken, then it is scaled out of the cache.
#include "normalize.h"

namespace {
namespace unit {

// A half type is rounded from the float32 result; out may be x.
template <class T, class Half>
inline void scale(const T* x, int64_t d, const rows::Factor& inverse, Half* out) {
    constexpr int64_t block = 256;  // by blocks, so that no vector is read back right after its halves were written
    float part[block];
    for (int64_t i = 0; i < d; i += block) {
        const int64_t n = d - i < block ? d - i : block;
        rows::scale(x + i, n, inverse, part);
        rows::each(n, [&](int64_t j) { rows::put(out + i, j, n, rows::part(part, j, n)); });
    }
}

// As rows::scale, to the bit, for fewer elements than a vector has, stored plainly: a masked store to a line that others bypass the
// cache for waits for memory.
template <class T>
inline void edge(const T* x, int64_t d, const rows::Factor& inverse, float* out) {
    float part[simd::W > 8 ? simd::W : 8];  // in float64 eight elements go at a time
    rows::scale(x, d, inverse, part);
    __builtin_memcpy(out, part, d * sizeof(float));
}

// Past the cache: aligned vectors, and the few elements before and behind them.
template <class T>
inline void stream(const T* x, int64_t d, const rows::Factor& inverse, float* out) {
    using simd::W;
    const bool split = sizeof(T) <= sizeof(float) && inverse.split;  // as rows::scale has it: float64 is multiplied in float64
    const int64_t apart = -reinterpret_cast<int64_t>(out) & (4 * W - 1);
    int64_t i = apart / 4;
    if (apart % 4 || i > d) return rows::scale(x, d, inverse, out);
    edge(x, i, inverse, out);
    if constexpr (sizeof(T) <= sizeof(float)) {
        for (; split && i + W <= d; i += W) simd::stream(out + i, inverse.times(simd::widen(x + i)));
    }
    for (; !split && i + 8 <= d; i += 8) simd::dstream(out + i, simd::dmul(simd::dwiden(x + i), simd::dset1(inverse.whole)));
    edge(x + i, d - i, inverse, out + i);
}

template <class T, class Out>
inline void normalize(const fec::Rows& x, double eps, const fec::UnitRows& out, bool past_cache, int64_t lo, int64_t hi) {
    const int64_t ahead = rows::ahead(x.dim * sizeof(T), x.stride);
    for (int64_t r = lo; r < hi; ++r) {
        const T* row = reinterpret_cast<const T*>(x.row(r));
        Out* unit = reinterpret_cast<Out*>(out.data + r * out.stride);
        const rows::Factor inverse = rows::inverse_length(row, x.dim, eps, ahead);
        if constexpr (sizeof(Out) < sizeof(float))
            scale(row, x.dim, inverse, unit);
        else if (past_cache)
            stream(row, x.dim, inverse, unit);
        else
            rows::scale(row, x.dim, inverse, unit);
    }
    if (past_cache) simd::fence();
}

inline void normalize_rows(const fec::Rows& x, double eps, const fec::UnitRows& out, bool past_cache, int64_t lo, int64_t hi) {
    switch (x.kind) {
        case fec::Kind::f16:
            return normalize<simd::f16, simd::f16>(x, eps, out, past_cache, lo, hi);
        case fec::Kind::bf16:
            return normalize<simd::bf16, simd::bf16>(x, eps, out, past_cache, lo, hi);
        case fec::Kind::f64:
            return normalize<double, float>(x, eps, out, past_cache, lo, hi);
        default:
            return normalize<float, float>(x, eps, out, past_cache, lo, hi);
    }
}

}  // namespace unit

const fec::NormalizeKernels normalize_kernels = {unit::normalize_rows};
}  // namespace

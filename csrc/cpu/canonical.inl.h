// The canonical sums: eight float64 lanes, lane j adding elements j, j + 8, ... in order, combined by a fixed tree. A product
// of stored values is exact in float64, so a fused multiply-add rounds exactly as a product and a sum do.
#pragma once
#include "rowwise.inl.h"
#include "search.h"

namespace {

using fec::Sums;

inline double combine(simd::D lanes) {
    double l[8];
    simd::dstore(l, lanes);
    return ((l[0] + l[4]) + (l[2] + l[6])) + ((l[1] + l[5]) + (l[3] + l[7]));
}

// Readers of eight elements of a row as float64.
template <class T>
struct Plain {
    static inline simd::D read(const Rows&, const char* row, int64_t k) { return simd::dwiden(reinterpret_cast<const T*>(row) + k); }
    static inline simd::D read_n(const Rows&, const char* row, int64_t k, int64_t n) {
        return simd::dwiden_n(reinterpret_cast<const T*>(row) + k, n);
    }
};
struct Packed {
    static inline simd::D read(const Rows& x, const char* row, int64_t k) { return read_n(x, row, k, 8); }
    static inline simd::D read_n(const Rows& x, const char* row, int64_t k, int64_t n) {
        int8_t bytes[8] = {};
        unpack(x, row, k, n, bytes);
        return simd::dwiden(bytes);
    }
};
template <class T>
struct Dequantized {
    static inline simd::D read(const Rows& x, const char* row, int64_t k) { return read_n(x, row, k, 8); }
    static inline simd::D read_n(const Rows& x, const char* row, int64_t k, int64_t n) {
        float values[8] = {};
        const float* low = x.ranges + k;
        const float* step = low + x.dim;
        const T* p = reinterpret_cast<const T*>(row) + k;
        const int offset = static_cast<T>(-1) < 0 ? 128 : 0;
        for (int64_t i = 0; i < n; ++i) values[i] = static_cast<float>(static_cast<double>(step[i]) * (p[i] + offset) + low[i]);
        return simd::dwiden(values);
    }
};

template <Sums what>
inline __attribute__((always_inline)) void add_terms(simd::D q, simd::D x, double scale, simd::D& sum, simd::D& norm) {
    using namespace simd;
    if (what == Sums::squared) {
        const D d = dsub(q, dmul(dset1(scale), x));
        sum = dadd(sum, dmul(d, d));
    } else {
        sum = dfma(q, x, sum);
        if (what == Sums::dot_and_norm) norm = dfma(x, x, norm);
    }
}

// G rows at once: their chains are independent, which hides the latency of the additions.
template <Sums what, class Reader, int G>
inline void canonical_group(const double* q, const Rows& x, const int64_t* ids, double* out, double* norms) {
    using namespace simd;
    D sum[G], norm[G];
    const char* row[G];
    double scale[G];
    for (int g = 0; g < G; ++g) {
        sum[g] = norm[g] = dzero();
        row[g] = x.row(ids[g]);
        scale[g] = x.scale ? static_cast<double>(x.scale[ids[g]]) : 1.0;
    }
    int64_t k = 0;
    for (; k + 8 <= x.dim; k += 8) {
        const D a = dload(q + k);
        for (int g = 0; g < G; ++g) add_terms<what>(a, Reader::read(x, row[g], k), scale[g], sum[g], norm[g]);
    }
    if (k < x.dim) {
        double tail[8] = {};
        __builtin_memcpy(tail, q + k, (x.dim - k) * sizeof(double));
        const D a = dload(tail);
        for (int g = 0; g < G; ++g) add_terms<what>(a, Reader::read_n(x, row[g], k, x.dim - k), scale[g], sum[g], norm[g]);
    }
    for (int g = 0; g < G; ++g) {
        out[g] = combine(sum[g]);
        if (what == Sums::dot_and_norm) norms[g] = combine(norm[g]);
    }
}

template <Sums what, class Reader>
void canonical_rows(const double* q, const Rows& x, const int64_t* ids, int64_t n, double* out, double* norms) {
    int64_t i = 0;
    for (; i + 4 <= n; i += 4) canonical_group<what, Reader, 4>(q, x, ids + i, out + i, norms + i);
    for (; i < n; ++i) canonical_group<what, Reader, 1>(q, x, ids + i, out + i, norms + i);
}

template <Sums what>
inline void canonical_kind(const double* q, const Rows& x, const int64_t* ids, int64_t n, double* out, double* norms) {
    if (x.ranges && x.kind == Kind::i8) return canonical_rows<what, Dequantized<int8_t>>(q, x, ids, n, out, norms);
    if (x.ranges) return canonical_rows<what, Dequantized<uint8_t>>(q, x, ids, n, out, norms);
    if (is_packed(x.kind)) return canonical_rows<what, Packed>(q, x, ids, n, out, norms);
    with_type(x.kind, [&](auto* tag) { canonical_rows<what, Plain<typename Unqualified<decltype(tag)>::type>>(q, x, ids, n, out, norms); });
}

void canonical(const double* q, const Rows& x, const int64_t* ids, int64_t n, Sums what, double* out, double* norms) {
    switch (what) {
        case Sums::dot:
            return canonical_kind<Sums::dot>(q, x, ids, n, out, norms);
        case Sums::dot_and_norm:
            return canonical_kind<Sums::dot_and_norm>(q, x, ids, n, out, norms);
        case Sums::squared:
            return canonical_kind<Sums::squared>(q, x, ids, n, out, norms);
    }
}

}  // namespace

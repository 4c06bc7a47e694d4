// Tiles of a search: R corpus rows, broadcast from where they lie, times a panel of V vectors of queries held in registers.
// The corpus is the broadcast side so that it is read in place, never packed; queries are packed once and reused.
#pragma once
#include "search.h"

namespace {

// Partial sums this deep are added up apart: it bounds the rounding error, and keeps a panel's chunk near the core.
constexpr int64_t kDepth = 512;

inline float load_float(const char* p) {
    float v;
    __builtin_memcpy(&v, p, 4);
    return v;
}

template <int R, int V, bool Squared>
inline __attribute__((always_inline)) void float_tile(const float* panel, int64_t from, int64_t to, const char* rows, int64_t stride,
                                                      fec::Ahead ahead, float* out) {
    using namespace simd;
    F acc[R][V];
    for (int r = 0; r < R; ++r)
        for (int v = 0; v < V; ++v) acc[r][v] = zero();
    const float* p = panel + from * V * W;
    const char* row[R];
    for (int r = 0; r < R; ++r) row[r] = rows + r * stride;
    const int64_t line = ahead.line();
    for (int64_t k = from * 4; k < to * 4; k += 4, p += V * W) {
        F b[V];
        for (int v = 0; v < V; ++v) b[v] = load(p + v * W);
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r) {
            const F a = set1(load_float(row[r] + k));
            for (int v = 0; v < V; ++v) {
                if (Squared) {
                    const F d = sub(a, b[v]);
                    acc[r][v] = fma(d, d, acc[r][v]);
                } else {
                    acc[r][v] = fma(a, b[v], acc[r][v]);
                }
            }
        }
        if (ahead.rows && (k & line) == 0) ahead.fetch<R>(k);
    }
    for (int r = 0; r < R; ++r)
        for (int v = 0; v < V; ++v) {
            float* o = out + (r * V + v) * W;
            store(o, from ? add(load(o), acc[r][v]) : acc[r][v]);
        }
}

template <int V, bool Squared>
inline void float_sweep(const float* panel, int64_t dim, const char* rows, int64_t stride, int64_t n, fec::Ahead ahead, float* out) {
    constexpr int R = simd::tile_rows;
    int64_t from = 0;
    do {  // once for dim = 0: sums of nothing are 0
        const int64_t to = from + kDepth < dim ? from + kDepth : dim;
        int64_t i = 0;
        for (; i + R <= n; i += R)
            float_tile<R, V, Squared>(panel, from, to, rows + i * stride, stride, ahead.from(i), out + i * V * simd::W);
        for (; i + 2 <= n; i += 2)
            float_tile<2, V, Squared>(panel, from, to, rows + i * stride, stride, ahead.from(i), out + i * V * simd::W);
        for (; i < n; ++i) float_tile<1, V, Squared>(panel, from, to, rows + i * stride, stride, ahead.from(i), out + i * V * simd::W);
        from = to;
    } while (from < dim);
}

template <bool Squared>
void float_tiles(const float* panel, int vectors, int64_t dim, const char* rows, int64_t stride, int64_t n, fec::Ahead ahead, float* out) {
    if (vectors == 1)
        float_sweep<1, Squared>(panel, dim, rows, stride, n, ahead, out);
    else
        float_sweep<simd::tile_vectors, Squared>(panel, dim, rows, stride, n, ahead, out);
}

// G * W rows in the lanes of vectors, four elements of them transposed at a time: few queries would leave a panel's lanes empty.
// Largest: each row's largest magnitude, too.
template <int Q, int G, bool Squared, bool Largest>
inline void few_tile(const float* q, int64_t ldq, int64_t dim, const char* const* rows, simd::F* sums, simd::I* largest) {
    using namespace simd;
    for (int g = 0; g < G; ++g) largest[g] = izero();
    for (int64_t from = 0; from == 0 || from < dim; from += kDepth) {
        const int64_t to = from + kDepth < dim ? from + kDepth : dim;
        F acc[Q][G];
        for (int j = 0; j < Q; ++j)
            for (int g = 0; g < G; ++g) acc[j][g] = zero();
        const auto step = [&](int g, int64_t k, F v) __attribute__((always_inline)) {
            if (Largest) largest[g] = imax(largest[g], magnitude(v));
            for (int j = 0; j < Q; ++j) {
                const F b = set1(q[j * ldq + k]), term = Squared ? sub(v, b) : v;
                acc[j][g] = fma(term, Squared ? term : b, acc[j][g]);
            }
        };
        int64_t k = from;
        for (; k + 4 <= to; k += 4)
#pragma GCC unroll 4
            for (int g = 0; g < G; ++g) {
                F v[4];
                turn4(rows + g * W, 4 * k, v);
#pragma GCC unroll 4
                for (int e = 0; e < 4; ++e) step(g, k + e, v[e]);
            }
        for (; k < to; ++k)
            for (int g = 0; g < G; ++g) {
                float lanes[W];
                for (int i = 0; i < W; ++i) lanes[i] = load_float(rows[g * W + i] + 4 * k);
                step(g, k, load(lanes));
            }
        for (int j = 0; j < Q; ++j)
            for (int g = 0; g < G; ++g) sums[j * G + g] = from ? add(sums[j * G + g], acc[j][g]) : acc[j][g];
    }
}

// G vectors of rows from row r on; of the last one there may be fewer than W.
template <int Q, int G, bool Squared, bool Largest>
inline void few_step(const float* q, int64_t ldq, int64_t dim, const char* rows, int64_t stride, int64_t r, int64_t n, float* out,
                     float* largest) {
    using namespace simd;
    const char* row[G * W];
    for (int i = 0; i < G * W; ++i) row[i] = rows + (r + i < n ? r + i : n - 1) * stride;
    F sums[Q * G];
    I most[G];
    few_tile<Q, G, Squared, Largest>(q, ldq, dim, row, sums, most);
    for (int g = 0; g < G; ++g) {
        const int64_t at = r + g * W;
        const int lanes = n - at < W ? static_cast<int>(n - at) : W;
        for (int j = 0; j < Q; ++j) narrow_first(out + j * n + at, sums[j * G + g], lanes);
        if (Largest) {
            int32_t bits[W];
            istore(bits, most[g]);
            __builtin_memcpy(largest + at, bits, lanes * sizeof(float));
        }
    }
}

// Chains of fma enough to hide their latency, to the last row: what is left comes with it.
template <int Q, bool Squared, bool Largest>
inline void few_rows(const float* q, int64_t ldq, int64_t dim, const char* rows, int64_t stride, int64_t n, float* out, float* largest) {
    using simd::W;
    constexpr int G = Q > 2 ? 1 : Q == 2 || W > 8 ? 2 : 4;
    int64_t r = 0;
    for (; n - r > (G + 1) * W; r += G * W) few_step<Q, G, Squared, Largest>(q, ldq, dim, rows, stride, r, n, out, largest);
    if (n - r > G * W) return few_step<Q, G + 1, Squared, Largest>(q, ldq, dim, rows, stride, r, n, out, largest);
    if (G > 1 && n - r > (G - 1) * W) return few_step<Q, G, Squared, Largest>(q, ldq, dim, rows, stride, r, n, out, largest);
    for (; r < n; r += W) few_step<Q, 1, Squared, Largest>(q, ldq, dim, rows, stride, r, n, out, largest);
}

template <bool Squared>
void float_few(const float* q, int nq, int64_t ldq, int64_t dim, const char* rows, int64_t stride, int64_t n, float* out) {
    switch (nq) {
        case 1:
            return few_rows<1, Squared, false>(q, ldq, dim, rows, stride, n, out, nullptr);
        case 2:
            return few_rows<2, Squared, false>(q, ldq, dim, rows, stride, n, out, nullptr);
        case 3:
            return few_rows<3, Squared, false>(q, ldq, dim, rows, stride, n, out, nullptr);
        default:
            return few_rows<4, Squared, false>(q, ldq, dim, rows, stride, n, out, nullptr);
    }
}

void float_one(const float* q, int64_t dim, const char* rows, int64_t stride, int64_t n, float* out, float* largest) {
    few_rows<1, false, true>(q, dim, dim, rows, stride, n, out, largest);
}

// Codes and bits are both 32-bit words a lane: 4 signed bytes or 2 int16 of codes, or 32 bits.
struct CodeWords {
    static inline simd::I step(simd::I acc, simd::I panel, simd::I row) { return simd::dot(acc, panel, row); }
};
struct BitWords {
    static inline simd::I step(simd::I acc, simd::I panel, simd::I row) { return simd::hamming(acc, panel, row); }
};

// The last word of a row whose bytes do not fill it, without reading past them.
inline uint32_t tail_word(const char* p, int64_t bytes, uint32_t valid) {
    uint32_t word = 0;
    __builtin_memcpy(&word, p, bytes);
    return word & valid;
}

template <class Words, int R, int V>
inline __attribute__((always_inline)) void word_tile(const char* panel, int64_t words, int64_t tail, uint32_t valid, const char* rows,
                                                     int64_t stride, fec::Ahead ahead, const int32_t* row_start, const int32_t* lane_start,
                                                     int32_t* out) {
    using namespace simd;
    // Every loop over the accumulators is unrolled: one that is not makes gcc keep them all in memory.
    I acc[R][V];
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r)
        for (int v = 0; v < V; ++v)
            acc[r][v] = iadd(row_start ? iset1(row_start[r]) : izero(), lane_start ? iload(lane_start + v * W) : izero());
    const char* row[R];
    for (int r = 0; r < R; ++r) row[r] = rows + r * stride;
    const int64_t line = ahead.line();
    const char* p = panel;
    for (int64_t k = 0; k < words * 4; k += 4, p += V * W * 4) {
        I b[V];
        for (int v = 0; v < V; ++v) b[v] = iload(reinterpret_cast<const int32_t*>(p) + v * W);
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r) {
            const I a = broadcast32(row[r] + k);
            for (int v = 0; v < V; ++v) {
                acc[r][v] = Words::step(acc[r][v], b[v], a);
                keep(acc[r][v]);
            }
        }
        if (ahead.rows && (k & line) == 0) ahead.fetch<R>(k);
    }
    if (tail) {
        uint32_t last[R];
        for (int r = 0; r < R; ++r) last[r] = tail_word(row[r] + words * 4, tail, valid);
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r)
            for (int v = 0; v < V; ++v)
                acc[r][v] = Words::step(acc[r][v], iload(reinterpret_cast<const int32_t*>(p) + v * W), broadcast32(last + r));
    }
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r)
        for (int v = 0; v < V; ++v) istore(out + (r * V + v) * W, acc[r][v]);
}

template <class Words, int V>
inline void word_sweep(const void* panel, int64_t words, int64_t tail, uint32_t valid, const char* rows, int64_t stride, int64_t n,
                       fec::Ahead ahead, const int32_t* row_start, const int32_t* lane_start, int32_t* out) {
    constexpr int R = simd::tile_rows;
    const char* p = static_cast<const char*>(panel);
    int64_t i = 0;
    const auto start = [&] { return row_start ? row_start + i : nullptr; };
    for (; i + R <= n; i += R)
        word_tile<Words, R, V>(p, words, tail, valid, rows + i * stride, stride, ahead.from(i), start(), lane_start, out + i * V * simd::W);
    for (; i + 2 <= n; i += 2)
        word_tile<Words, 2, V>(p, words, tail, valid, rows + i * stride, stride, ahead.from(i), start(), lane_start, out + i * V * simd::W);
    for (; i < n; ++i)
        word_tile<Words, 1, V>(p, words, tail, valid, rows + i * stride, stride, ahead.from(i), start(), lane_start, out + i * V * simd::W);
}

void code_tiles(const void* panel, int vectors, int64_t dim, const char* rows, int64_t stride, int64_t n, fec::Ahead ahead,
                const int32_t* row_start, const int32_t* lane_start, int32_t* out) {
    const int64_t bytes = simd::dot_group == 4 ? dim : 2 * dim, words = bytes / 4, tail = bytes % 4;
    if (vectors == 1)
        word_sweep<CodeWords, 1>(panel, words, tail, ~0u, rows, stride, n, ahead, row_start, lane_start, out);
    else
        word_sweep<CodeWords, simd::tile_vectors>(panel, words, tail, ~0u, rows, stride, n, ahead, row_start, lane_start, out);
}

// The valid bits of the last, partial word of a row of bits, most significant bit of each byte first.
inline uint32_t tail_bits(int64_t bits) {
    uint8_t keep[4] = {};
    for (int64_t i = 0; i < bits; ++i) keep[i >> 3] = static_cast<uint8_t>(keep[i >> 3] | 0x80 >> (i & 7));
    uint32_t word;
    __builtin_memcpy(&word, keep, 4);
    return word;
}

void bit_tiles(const uint32_t* panel, int vectors, int64_t dim, const char* rows, int64_t stride, int64_t n, fec::Ahead ahead,
               int32_t* out) {
    const int64_t words = dim / 32, bits = dim % 32, tail = (bits + 7) / 8;
    if (vectors == 1)
        word_sweep<BitWords, 1>(panel, words, tail, tail_bits(bits), rows, stride, n, ahead, nullptr, nullptr, out);
    else
        word_sweep<BitWords, simd::tile_vectors>(panel, words, tail, tail_bits(bits), rows, stride, n, ahead, nullptr, nullptr, out);
}

template <class Raw>
inline simd::F as_float(const Raw* p);
template <>
inline simd::F as_float(const float* p) {
    return simd::load(p);
}
template <>
inline simd::F as_float(const int32_t* p) {
    return simd::to_float(simd::iload(p));
}

inline simd::F as_float_n(const float* p, int64_t n) { return simd::widen_n(p, n); }
inline simd::F as_float_n(const int32_t* p, int64_t n) { return simd::to_float(simd::iload_n(p, 4 * n)); }

// Hits of a tile. The common case, no lane of a row at its threshold, costs a comparison a vector and one branch a row.
template <class Raw, int V>
inline int64_t filter_panel(const Raw* raw, int64_t n, const float* scale, const float* bias, const float* per_bias, const float* threshold,
                            fec::Hit* hits) {
    using namespace simd;
    F limit[V], factor[V];
    for (int v = 0; v < V; ++v) limit[v] = load(threshold + v * W), factor[v] = load(per_bias + v * W);
    int64_t count = 0;
    for (int64_t r = 0; r < n; ++r, raw += V * W) {
        const F a = set1(scale[r]), b = set1(bias[r]);
        F estimate[V];
        Bits passed[V], any = 0;
        for (int v = 0; v < V; ++v) {
            estimate[v] = fma(b, factor[v], mul(as_float(raw + v * W), a));
            any |= passed[v] = not_less(estimate[v], limit[v]);
        }
        if (__builtin_expect(any == 0, 1)) continue;
        for (int v = 0; v < V; ++v) {
            float lanes[W];
            store(lanes, estimate[v]);
            for (; passed[v]; passed[v] &= passed[v] - 1) {
                const int lane = __builtin_ctz(passed[v]);
                hits[count++] = {lanes[lane], static_cast<int32_t>(r), v * W + lane};
            }
        }
    }
    return count;
}

template <class Raw>
int64_t filter_tile(const Raw* raw, int vectors, int64_t n, const float* scale, const float* bias, const float* per_bias,
                    const float* threshold, fec::Hit* hits) {
    if (vectors == 1) return filter_panel<Raw, 1>(raw, n, scale, bias, per_bias, threshold, hits);
    return filter_panel<Raw, simd::tile_vectors>(raw, n, scale, bias, per_bias, threshold, hits);
}

// For each lane, the least of the largest estimates of `groups` groups of rows.
template <class Raw, int V>
inline void least_of_largest(const Raw* raw, int64_t n, int64_t groups, const float* scale, const float* bias, const float* per_bias,
                             float* out) {
    using namespace simd;
    F factor[V], least[V];
    for (int v = 0; v < V; ++v) factor[v] = load(per_bias + v * W), least[v] = set1(__builtin_inff());
    for (int64_t g = 0, r = 0; g < groups; ++g) {
        F most[V];
        for (int v = 0; v < V; ++v) most[v] = set1(-__builtin_inff());
        for (; r < (g + 1) * n / groups; ++r, raw += V * W) {
            const F a = set1(scale[r]), b = set1(bias[r]);
            for (int v = 0; v < V; ++v) most[v] = max(fma(b, factor[v], mul(as_float(raw + v * W), a)), most[v]);  // not NaN
        }
        for (int v = 0; v < V; ++v) least[v] = min(most[v], least[v]);
    }
    for (int v = 0; v < V; ++v) store(out + v * W, least[v]);
}

template <class Raw>
void least_largest(const Raw* raw, int vectors, int64_t n, int64_t groups, const float* scale, const float* bias, const float* per_bias,
                   float* out) {
    if (vectors == 1) return least_of_largest<Raw, 1>(raw, n, groups, scale, bias, per_bias, out);
    return least_of_largest<Raw, simd::tile_vectors>(raw, n, groups, scale, bias, per_bias, out);
}

template <class Raw>
int64_t filter_row_list(const Raw* raw, int64_t n, const float* scale, const float* bias, float per_bias, float threshold, fec::Hit* hits) {
    using namespace simd;
    const F limit = set1(threshold), factor = set1(per_bias);
    int64_t count = 0;
    for (int64_t r = 0; r < n; r += W) {
        const bool whole = n - r >= W;
        const int64_t here = whole ? W : n - r;
        const F sums = whole ? as_float(raw + r) : as_float_n(raw + r, here);
        const F a = whole ? load(scale + r) : widen_n(scale + r, here), b = whole ? load(bias + r) : widen_n(bias + r, here);
        const F estimate = fma(b, factor, mul(sums, a));
        Bits passed = not_less(estimate, limit);
        if (!whole) passed &= (Bits{1} << here) - 1;
        if (passed == 0) continue;
        float lanes[W];
        store(lanes, estimate);
        for (; passed; passed &= passed - 1) {
            const int lane = __builtin_ctz(passed);
            hits[count++] = {lanes[lane], static_cast<int32_t>(r + lane), 0};
        }
    }
    return count;
}

}  // namespace

#include "limits.h"

namespace {

using fec::Recipe;
using fec::Resource;

// `chains` independent accumulators hide the instruction's latency. Without `keep` the compiler sees the same product
// in every chain and every step and computes it once.
template <int chains, class V, class Step>
inline void repeat(V a, V b, V start, int64_t steps, Step step) {
    V acc[chains];
#pragma GCC unroll 32
    for (V& one : acc) one = start;
    for (; steps > 0; --steps) {
#pragma GCC unroll 32
        for (V& one : acc) {
            simd::keep(b);
            one = step(one, a, b);
        }
    }
#pragma GCC unroll 32
    for (V& one : acc) simd::keep(one);
}

// Chains for instructions of a latency of several cycles: what a tile of the search keeps.
constexpr int latency_chains = simd::tile_rows * simd::tile_vectors;
constexpr int add_chains = 4;  // where only a one-cycle add carries over
constexpr int word_bits = simd::W * 32;

inline void fma_limit(const char*, char*, int64_t n) {
    repeat<latency_chains>(simd::set1(0.5f), simd::set1(0.25f), simd::zero(), n,
                           [](simd::F acc, simd::F a, simd::F b) { return simd::fma(a, b, acc); });
}
inline void dot_limit(const char*, char*, int64_t n) {
    repeat<latency_chains>(simd::iset1(0x01020304), simd::iset1(0x04030201), simd::izero(), n,
                           [](simd::I acc, simd::I a, simd::I b) { return simd::dot(acc, a, b); });
}
inline void dot_u7_limit(const char*, char*, int64_t n) {
    repeat<latency_chains>(simd::iset1(0x01020304), simd::iset1(0x04030201), simd::izero(), n,
                           [](simd::I acc, simd::I a, simd::I b) { return simd::dot_u7(acc, a, b); });
}
inline void hamming_limit(const char*, char*, int64_t n) {
    repeat<add_chains>(simd::iset1(0x01020304), simd::iset1(0x04030201), simd::izero(), n,
                       [](simd::I acc, simd::I a, simd::I b) { return simd::hamming(acc, a, b); });
}

// The same where `inner` steps gather in narrow lanes before `widen` adds those to the accumulators.
template <int inner, class Step, class Widen>
inline void repeat_narrow(int64_t steps, Step step, Widen widen) {
    const simd::I a = simd::iset1(0x01020304);
    simd::I b = simd::iset1(0x04030201), acc[add_chains], narrow[add_chains];
#pragma GCC unroll 32
    for (simd::I& one : acc) one = simd::izero();
    for (; steps > 0; --steps) {
#pragma GCC unroll 32
        for (simd::I& one : narrow) one = simd::izero();
        for (int i = 0; i < inner; ++i) {
#pragma GCC unroll 32
            for (simd::I& one : narrow) {
                simd::keep(b);
                one = step(one, a, b);
            }
        }
#pragma GCC unroll 32
        for (int i = 0; i < add_chains; ++i) acc[i] = widen(acc[i], narrow[i]);
    }
#pragma GCC unroll 32
    for (simd::I& one : acc) simd::keep(one);
}

constexpr int u4_steps = 8;  // 8 pairs of products of at most 15 * 128 fit int16
inline void dot_u4_limit(const char*, char*, int64_t n) {
    repeat_narrow<u4_steps>(n, [](simd::I pairs, simd::I a, simd::I b) { return simd::dot_u4(pairs, a, b); }, simd::add_pairs);
}
constexpr int nibble_steps = 32;  // of at most 4 differences each, which fit a byte
inline void nibble_limit(const char*, char*, int64_t n) {
    repeat_narrow<nibble_steps>(n, [](simd::I bytes, simd::I a, simd::I b) { return simd::nibble_hamming(bytes, a, b); }, simd::add_bytes);
}

// Reads in `streams` places at once, with a prefetch `ahead` bytes before each load: which is fastest differs by machine.
template <int streams, int ahead>
inline void read_limit(const char* from, char*, int64_t n) {
    constexpr int each = 8 / streams, vector = simd::W * 4;
    simd::I acc[8];
#pragma GCC unroll 8
    for (simd::I& one : acc) one = simd::izero();
    for (int64_t i = 0, part = n / streams; i < part; i += each * vector) {
#pragma GCC unroll 8
        for (int j = 0; j < 8; ++j) {
            const char* p = from + j / each * part + i + j % each * vector;
            if (ahead) simd::prefetch(p + ahead);
            acc[j] = simd::ior(acc[j], simd::iload(reinterpret_cast<const int32_t*>(p)));
        }
    }
#pragma GCC unroll 32
    for (simd::I& one : acc) simd::keep(one);
}

template <bool streaming>
inline void copy_limit(const char* from, char* to, int64_t n) {
    constexpr int vector = simd::W * 4;
    for (int64_t i = 0; i < n; i += 8 * vector) {
#pragma GCC unroll 8
        for (int j = 0; j < 8; ++j) {
            const simd::F v = simd::load(reinterpret_cast<const float*>(from + i + j * vector));
            float* p = reinterpret_cast<float*>(to + i + j * vector);
            streaming ? simd::stream(p, v) : simd::store(p, v);
        }
    }
    simd::fence();
}

constexpr Recipe recipes[] = {
    {Resource::fma, "fma", 2.0 * simd::W * latency_chains, fma_limit},
    {Resource::int8, "dot", 1.0 * simd::W * simd::dot_group * latency_chains, dot_limit},
    {Resource::int8, "dot_u7", 4.0 * simd::W * latency_chains, dot_u7_limit},
    {Resource::int4, "dot_u7", 4.0 * simd::W * latency_chains, dot_u7_limit},
    {Resource::int4, "dot_u4", 4.0 * simd::W * add_chains * u4_steps, dot_u4_limit},
    {Resource::popcount, "hamming", 1.0 * word_bits * add_chains, hamming_limit},
    {Resource::popcount, "nibbles split", 0.5 * word_bits * add_chains * nibble_steps, nibble_limit},  // a nibble lies in each byte
    {Resource::read, "1 stream", 1, read_limit<1, 0>},
    {Resource::read, "1 stream, prefetch 1 KiB ahead", 1, read_limit<1, 1024>},
    {Resource::read, "1 stream, prefetch 4 KiB ahead", 1, read_limit<1, 4096>},
    {Resource::read, "2 streams", 1, read_limit<2, 0>},
    {Resource::read, "4 streams", 1, read_limit<4, 0>},
    {Resource::copy, "store", 1, copy_limit<false>},
    {Resource::copy, "non-temporal store", 1, copy_limit<true>},
};

constexpr fec::LimitKernels limit_kernels = {recipes, sizeof recipes / sizeof *recipes};

}  // namespace

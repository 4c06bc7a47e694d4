// AVX-512 with VNNI, VPOPCNTDQ and products of bfloat16 (Zen 4, Sapphire Rapids and later).
#pragma once
#define FEC_BF16 1
#include "avx512icl.h"

namespace {
namespace simd {

// Products of 2 W floats with as many of a query's, both as bfloat16: elements 2 l and 2 l + 1 in lane l.
using Halves = __m512bh;
inline Halves halve(F first, F second) { return _mm512_cvtne2ps_pbh(second, first); }
inline F dot_halves(F acc, Halves v, I words) { return _mm512_dpbf16_ps(acc, v, reinterpret_cast<__m512bh>(words)); }

constexpr bool halves_floats = true;  // rounded to nearest, subnormal numbers and products to zero

// The words of 2 W floats, and the floats they stand for.
inline void to_halves(const float* v, uint32_t* words, float* taken) {
    const I both = reinterpret_cast<I>(halve(load(v), load(v + W)));
    _mm512_storeu_si512(words, both);
    float low[W], high[W];
    store(low, lower(both));
    store(high, _mm512_castsi512_ps(_mm512_and_si512(both, _mm512_set1_epi32(static_cast<int>(0xFFFF0000)))));
    for (int l = 0; l < W; ++l) taken[2 * l] = low[l], taken[2 * l + 1] = high[l];
}

}  // namespace simd
}  // namespace

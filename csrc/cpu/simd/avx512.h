// The vector vocabulary of AVX-512 F/BW/DQ/VL. avx512icl adds VNNI and VPOPCNTDQ by defining FEC_ICL before inclusion.
#pragma once
#include <immintrin.h>

#include "../../core/types.h"

namespace {
namespace simd {

using fec::bf16;
using fec::f16;

constexpr int W = 16;  // float lanes
constexpr bool fuses = true;  // whether fma rounds once
constexpr int tile_rows = 12, tile_vectors = 2;  // 24 accumulators + 2 panel vectors + 1 broadcast of 32 registers
using F = __m512;
using I = __m512i;   // int32 lanes
using Bits = unsigned;  // one bit a lane

inline F zero() { return _mm512_setzero_ps(); }
inline F set1(float v) { return _mm512_set1_ps(v); }
inline F load(const float* p) { return _mm512_loadu_ps(p); }
inline void store(float* p, F v) { _mm512_storeu_ps(p, v); }
inline void stream(float* p, F v) { _mm512_stream_ps(p, v); }  // p aligned to the vector
inline F add(F a, F b) { return _mm512_add_ps(a, b); }
inline F sub(F a, F b) { return _mm512_sub_ps(a, b); }
inline F mul(F a, F b) { return _mm512_mul_ps(a, b); }
inline F div(F a, F b) { return _mm512_div_ps(a, b); }
inline F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
inline F min(F a, F b) { return _mm512_min_ps(a, b); }  // b where either is NaN, as minps
inline F max(F a, F b) { return _mm512_max_ps(a, b); }  // b where either is NaN, as maxps
inline F max_or_nan(F a, F b) {  // NaN where either is
    return _mm512_mask_mov_ps(_mm512_max_ps(a, b), _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q), a);
}
inline F abs(F a) { return _mm512_abs_ps(a); }
inline F round_even(F a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
inline F floor(F a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC); }
inline Bits greater(F a, F b) { return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ); }
inline Bits not_less(F a, F b) { return _mm512_cmp_ps_mask(a, b, _CMP_NLT_UQ); }  // true where either is NaN
inline Bits is_nan(F a) { return _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q); }
inline F select(Bits m, F yes, F no) { return _mm512_mask_blend_ps(static_cast<__mmask16>(m), no, yes); }
inline float sum(F v) { return _mm512_reduce_add_ps(v); }
inline float max_of(F v) { return _mm512_reduce_max_ps(v); }  // no NaN among the lanes

// W elements of any float or integer type, widened.
inline F widen(const float* p) { return load(p); }
inline F widen(const f16* p) { return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))); }
inline F widen(const bf16* p) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))), 16));
}
inline F widen(const double* p) {
    return _mm512_insertf32x8(_mm512_castps256_ps512(_mm512_cvtpd_ps(_mm512_loadu_pd(p))), _mm512_cvtpd_ps(_mm512_loadu_pd(p + 8)), 1);
}
inline F widen(const int8_t* p) { return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))); }
inline F widen(const uint8_t* p) { return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))); }

inline I join_lanes(const float* x) {
    const I each = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    return _mm512_add_epi32(each, _mm512_set1_epi32(reinterpret_cast<uintptr_t>(x) / 4 % 16));
}
inline F join_start(const float* x) {
    const int64_t before = reinterpret_cast<uintptr_t>(x) / 4 % 16;
    return _mm512_maskz_load_ps(static_cast<__mmask16>(0xFFFF << before), x - before);
}
inline F join_next(const float* x, F& held, I lanes) {
    const F line = _mm512_load_ps(reinterpret_cast<const float*>((reinterpret_cast<uintptr_t>(x) | 63) + 1));
    const F v = _mm512_permutex2var_ps(held, lanes, line);
    held = line;
    return v;
}

// Narrowing stores. Integers are exact: the lanes hold whole numbers in range.
inline void narrow(float* p, F v) { store(p, v); }
inline void narrow(f16* p, F v) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
inline void narrow(bf16* p, F v) {  // round to nearest even; NaN stays NaN
    const I u = _mm512_castps_si512(v);
    const I even = _mm512_and_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(1));
    I r = _mm512_srli_epi32(_mm512_add_epi32(_mm512_add_epi32(u, even), _mm512_set1_epi32(0x7FFF)), 16);
    r = _mm512_mask_blend_epi32(static_cast<__mmask16>(is_nan(v)), r, _mm512_set1_epi32(0x7FC0));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(r));
}
inline void narrow(int8_t* p, F v) { _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(v))); }
inline void narrow(uint8_t* p, F v) { _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(v))); }

// The low bytes of the whole parts of W elements, each xor'ed with flip; stream_whole past the cache, p aligned to W bytes.
inline __m128i whole_bytes(F v, uint8_t flip) {
    return _mm_xor_si128(_mm512_cvtepi32_epi8(_mm512_cvttps_epi32(v)), _mm_set1_epi8(static_cast<char>(flip)));
}
inline void narrow_whole(uint8_t* p, F v, uint8_t flip) { _mm_storeu_si128(reinterpret_cast<__m128i*>(p), whole_bytes(v, flip)); }
inline void stream_whole(uint8_t* p, F v, uint8_t flip) { _mm_stream_si128(reinterpret_cast<__m128i*>(p), whole_bytes(v, flip)); }
inline void stream_codes(uint8_t* p, const F* u, uint8_t flip) {
    // Both saturate, and work within quarters. min's order keeps NaN, which converts to the lowest integer; beyond int32 would as well.
    const auto whole = [&](int i) { return _mm512_cvttps_epi32(_mm512_min_ps(_mm512_set1_ps(255.0f), u[i])); };
    const I bytes = _mm512_packus_epi16(_mm512_packs_epi32(whole(0), whole(1)), _mm512_packs_epi32(whole(2), whole(3)));
    const I order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    const I flips = _mm512_set1_epi8(static_cast<char>(flip));
    _mm512_stream_si512(reinterpret_cast<__m512i*>(p), _mm512_xor_si512(_mm512_permutexvar_epi32(order, bytes), flips));
}
// W elements of 0 to 15 to nibbles, W / 2 bytes: element 2i the low one of byte i.
inline void narrow_nibbles(uint8_t* p, F v) {
    const I u = _mm512_cvtps_epi32(v);
    _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm512_cvtepi64_epi8(_mm512_or_si512(u, _mm512_srli_epi64(u, 28))));
}

// Eight float64 lanes, the shape of the canonical sum.
struct D {
    __m512d v;
};
inline D dzero() { return {_mm512_setzero_pd()}; }
inline D dset1(double x) { return {_mm512_set1_pd(x)}; }
inline D dload(const double* p) { return {_mm512_loadu_pd(p)}; }
inline void dstore(double* p, D a) { _mm512_storeu_pd(p, a.v); }
inline D dadd(D a, D b) { return {_mm512_add_pd(a.v, b.v)}; }
inline D dsub(D a, D b) { return {_mm512_sub_pd(a.v, b.v)}; }
inline D dmul(D a, D b) { return {_mm512_mul_pd(a.v, b.v)}; }
inline D dfma(D a, D b, D c) { return {_mm512_fmadd_pd(a.v, b.v, c.v)}; }  // only where a * b is exact
inline void dnarrow(float* p, D a) { _mm256_storeu_ps(p, _mm512_cvtpd_ps(a.v)); }
inline void dstream(float* p, D a) { _mm256_stream_ps(p, _mm512_cvtpd_ps(a.v)); }  // p aligned to 32 bytes
inline D dround(D a) { return {_mm512_cvtps_pd(_mm512_cvtpd_ps(a.v))}; }   // to float32 and back
inline D dwiden(const float* p) { return {_mm512_cvtps_pd(_mm256_loadu_ps(p))}; }
inline D dwiden(const f16* p) { return {_mm512_cvtps_pd(_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))))}; }
inline D dwiden(const bf16* p) {
    return {_mm512_cvtps_pd(
        _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))), 16)))};
}
inline D dwiden(const double* p) { return dround(dload(p)); }
inline D dwiden(const int8_t* p) {
    return {_mm512_cvtepi32_pd(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))))};
}
inline D dwiden(const uint8_t* p) {
    return {_mm512_cvtepi32_pd(_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))))};
}

// Tails, by masks: what is masked out is neither read nor written.
inline unsigned first(int64_t n) { return (1u << n) - 1; }  // n at most 16
inline __m256i half_n(const void* p, int64_t n) { return _mm256_maskz_loadu_epi16(static_cast<__mmask16>(first(n)), p); }
inline F half_to_floats(__m256i v, f16) { return _mm512_cvtph_ps(v); }
inline F half_to_floats(__m256i v, bf16) { return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(v), 16)); }
inline F widen_n(const float* p, int64_t n) { return _mm512_maskz_loadu_ps(static_cast<__mmask16>(first(n)), p); }
inline F widen_n(const f16* p, int64_t n) { return half_to_floats(half_n(p, n), f16{}); }
inline F widen_n(const bf16* p, int64_t n) { return half_to_floats(half_n(p, n), bf16{}); }
inline void narrow_n(float* p, F v, int64_t n) { _mm512_mask_storeu_ps(p, static_cast<__mmask16>(first(n)), v); }
inline void narrow_whole_n(uint8_t* p, F v, uint8_t flip, int64_t n) {
    _mm_mask_storeu_epi8(p, static_cast<__mmask16>(first(n)), whole_bytes(v, flip));
}
inline D dwiden_n(const float* p, int64_t n) { return {_mm512_cvtps_pd(_mm256_maskz_loadu_ps(static_cast<__mmask8>(first(n)), p))}; }
inline D dwiden_n(const f16* p, int64_t n) { return {_mm512_cvtps_pd(_mm512_castps512_ps256(widen_n(p, n)))}; }
inline D dwiden_n(const bf16* p, int64_t n) { return {_mm512_cvtps_pd(_mm512_castps512_ps256(widen_n(p, n)))}; }
inline D dwiden_n(const double* p, int64_t n) { return dround({_mm512_maskz_loadu_pd(static_cast<__mmask8>(first(n)), p)}); }

// int32 lanes.
inline I izero() { return _mm512_setzero_si512(); }
inline I iadd(I a, I b) { return _mm512_add_epi32(a, b); }
inline I iload(const int32_t* p) { return _mm512_loadu_si512(p); }
inline I iset1(int32_t v) { return _mm512_set1_epi32(v); }
inline F to_float(I v) { return _mm512_cvtepi32_ps(v); }
// Two bfloat16 a lane: the one in its upper half, as a float whose last bits are the other's; and that other.
inline F upper(I v) { return _mm512_castsi512_ps(v); }
inline F lower(I v) { return _mm512_castsi512_ps(_mm512_slli_epi32(v, 16)); }
inline I magnitude(F v) { return _mm512_castps_si512(abs(v)); }  // orders as |v| does, NaN above infinity
inline I imax(I a, I b) { return _mm512_max_epi32(a, b); }
inline int imax_of(I v) { return _mm512_reduce_max_epi32(v); }
inline int isum(I v) { return _mm512_reduce_add_epi32(v); }
// Lane i: the sum of v[i]'s lanes. Halves of two vectors are added side by side, then quarters, then neighbours of four.
template <class Add>
inline I sum_lanes(const I* v, Add add) {
    const auto fold = [&](I a, I b) { return add(_mm512_shuffle_i64x2(a, b, 0x44), _mm512_shuffle_i64x2(a, b, 0xEE)); };
    I quarters[4];
    for (int i = 0; i < 4; ++i) {  // quarter j of quarters[i]: what is left of v[4 j + i]
        const I a = fold(v[i], v[4 + i]), b = fold(v[8 + i], v[12 + i]);
        quarters[i] = add(_mm512_shuffle_i64x2(a, b, 0x88), _mm512_shuffle_i64x2(a, b, 0xDD));
    }
    const auto pair = [&](I a, I b) { return add(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b)); };
    const I low = pair(quarters[0], quarters[1]), high = pair(quarters[2], quarters[3]);
    return add(_mm512_unpacklo_epi64(low, high), _mm512_unpackhi_epi64(low, high));
}
inline I isum_each(const I* v) { return sum_lanes(v, iadd); }
inline F sum_each(const F* v) {
    const auto add_floats = [](I a, I b) { return _mm512_castps_si512(add(_mm512_castsi512_ps(a), _mm512_castsi512_ps(b))); };
    return _mm512_castsi512_ps(sum_lanes(reinterpret_cast<const I*>(v), add_floats));
}
inline I iand(I a, I b) { return _mm512_and_si512(a, b); }
// Byte i: yes where bit i of the word is set, else no.
inline I choose(uint64_t bits, int8_t yes, int8_t no) { return _mm512_mask_blend_epi8(bits, _mm512_set1_epi8(no), _mm512_set1_epi8(yes)); }
// The first 1 to 64 bytes. Of char, as its callers have it: for a void* overload resolution would prefer the template of common.h.
inline I iload_n(const char* p, int64_t bytes) { return _mm512_maskz_loadu_epi8(~uint64_t{0} >> (64 - bytes), p); }

// 2W bytes widened to 16 bits, and the sum of products of neighbours: exact for any 8-bit inputs.
inline I widen16(const int8_t* p) { return _mm512_cvtepi8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))); }
inline I widen16(const uint8_t* p) { return _mm512_cvtepu8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))); }
inline I madd16(I acc, I a, I b) { return _mm512_add_epi32(acc, _mm512_madd_epi16(a, b)); }
// The low and high nibbles of each byte; and 2W bytes in 16 bits each, as widen16 gives them, to their nibbles in order, less 8.
inline I low_nibbles(I v) { return _mm512_and_si512(v, _mm512_set1_epi8(15)); }
inline I high_nibbles(I v) { return _mm512_and_si512(_mm512_srli_epi16(v, 4), _mm512_set1_epi8(15)); }
inline I signed_nibbles(I v) {
    const I both =
        _mm512_or_si512(_mm512_and_si512(v, _mm512_set1_epi16(0x0F)), _mm512_and_si512(_mm512_slli_epi16(v, 4), _mm512_set1_epi16(0x0F00)));
    return _mm512_sub_epi8(both, _mm512_set1_epi8(8));
}
inline void istore(void* p, I v) { _mm512_storeu_si512(p, v); }
// Set bits of each nibble value, in every 16 bytes.
inline I nibble_counts() { return _mm512_set4_epi32(0x04030302, 0x03020201, 0x03020201, 0x02010100); }

#if defined(FEC_ICL)
// Integer dot product: 4 bytes a lane, unsigned panel x signed row (VNNI).
constexpr bool dot_unsigned_panel = true;
constexpr int dot_group = 4;
inline I dot(I acc, I panel, I row) { return _mm512_dpbusd_epi32(acc, panel, row); }
// Differing bits of 32-bit words.
inline I hamming(I acc, I a, I b) { return _mm512_add_epi32(acc, _mm512_popcnt_epi32(_mm512_xor_si512(a, b))); }
// The same, the unsigned bytes at most 127.
inline I dot_u7(I acc, I u, I s) { return _mm512_dpbusd_epi32(acc, u, s); }
#else
// Integer dot product: 2 int16 a lane (exact for any 8-bit inputs).
constexpr bool dot_unsigned_panel = false;
constexpr int dot_group = 2;
inline I dot(I acc, I panel, I row) { return _mm512_add_epi32(acc, _mm512_madd_epi16(panel, row)); }
inline I hamming(I acc, I a, I b) {
    const I nibble = _mm512_set1_epi8(15), ones = _mm512_set1_epi8(1), ones16 = _mm512_set1_epi16(1);
    const I table = nibble_counts();
    const I x = _mm512_xor_si512(a, b);
    const I counts = _mm512_add_epi8(_mm512_shuffle_epi8(table, _mm512_and_si512(x, nibble)),
                                     _mm512_shuffle_epi8(table, _mm512_and_si512(_mm512_srli_epi16(x, 4), nibble)));
    return _mm512_add_epi32(acc, _mm512_madd_epi16(_mm512_maddubs_epi16(counts, ones), ones16));
}
// 4 bytes a lane, the unsigned ones at most 127: no pair exceeds int16.
inline I dot_u7(I acc, I u, I s) { return _mm512_add_epi32(acc, _mm512_madd_epi16(_mm512_maddubs_epi16(u, s), _mm512_set1_epi16(1))); }
#endif

// 2 pairs of bytes a lane added to int16 sums, the unsigned ones at most 15: 8 steps stay inside int16.
inline I dot_u4(I pairs, I u, I s) { return _mm512_add_epi16(pairs, _mm512_maddubs_epi16(u, s)); }
inline I add_pairs(I acc, I pairs) { return _mm512_add_epi32(acc, _mm512_madd_epi16(pairs, _mm512_set1_epi16(1))); }

// Differing bits of nibbles that lie in bytes of their own, added to the counts in `bytes`.
inline I nibble_hamming(I bytes, I a, I b) {
    const I table = nibble_counts();
    return _mm512_add_epi8(bytes, _mm512_shuffle_epi8(table, _mm512_xor_si512(a, b)));
}
inline I add_bytes(I acc, I bytes) {  // the 4 unsigned bytes of each lane, each at most 128
    return _mm512_add_epi32(acc, _mm512_madd_epi16(_mm512_maddubs_epi16(bytes, _mm512_set1_epi8(1)), _mm512_set1_epi16(1)));
}
inline I ior(I a, I b) { return _mm512_or_si512(a, b); }

// Four floats of W rows, transposed; of char, as iload_n's. Quarter l of a vector is first of rows i + 4 l, then of rows 4 l to 4 l + 3.
inline __attribute__((always_inline)) void turn4(const char* const* rows, int64_t at, F* out) {
    const auto four = [&](int i) { return _mm_loadu_ps(reinterpret_cast<const float*>(rows[i] + at)); };
    const auto half = [&](int i) { return _mm256_insertf128_ps(_mm256_castps128_ps256(four(i)), four(i + 4), 1); };
    const auto whole = [&](int i) { return _mm512_insertf32x8(_mm512_castps256_ps512(half(i)), half(i + 8), 1); };
    const F a = whole(0), b = whole(1), c = whole(2), d = whole(3);
    const auto pairs = [](F v) { return _mm512_castps_pd(v); };
    const __m512d ab = pairs(_mm512_unpacklo_ps(a, b)), cd = pairs(_mm512_unpacklo_ps(c, d));
    const __m512d ab_high = pairs(_mm512_unpackhi_ps(a, b)), cd_high = pairs(_mm512_unpackhi_ps(c, d));
    out[0] = _mm512_castpd_ps(_mm512_unpacklo_pd(ab, cd)), out[1] = _mm512_castpd_ps(_mm512_unpackhi_pd(ab, cd));
    out[2] = _mm512_castpd_ps(_mm512_unpacklo_pd(ab_high, cd_high)), out[3] = _mm512_castpd_ps(_mm512_unpackhi_pd(ab_high, cd_high));
}

// The compiler must take v as changed: what is computed from it is neither hoisted nor shared.
inline void keep(F& v) { asm volatile("" : "+v"(v)); }
inline void keep(I& v) { asm volatile("" : "+v"(v)); }
inline void fence() { _mm_sfence(); }  // streamed stores are done

// 32 bits of a row in every lane.
inline I broadcast32(const void* p) {
    int32_t v;
    __builtin_memcpy(&v, p, 4);
    return _mm512_set1_epi32(v);
}

inline __attribute__((always_inline)) void prefetch(const void* p) { _mm_prefetch(reinterpret_cast<const char*>(p), _MM_HINT_T0); }
// Into the second-level cache, whose misses a machine keeps more of in flight.
inline __attribute__((always_inline)) void prefetch_second(const void* p) { _mm_prefetch(reinterpret_cast<const char*>(p), _MM_HINT_T1); }

}  // namespace simd
}  // namespace

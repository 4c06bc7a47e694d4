// The vector vocabulary of AVX2 with FMA and F16C. Same names as every other level; see avx512.h for their meaning.
#pragma once
#include <immintrin.h>

#include "../../core/types.h"

namespace {
namespace simd {

using fec::bf16;
using fec::f16;

constexpr int W = 8;
constexpr bool fuses = true;  // whether fma rounds once
constexpr int tile_rows = 6, tile_vectors = 2;  // 12 accumulators + 2 panel vectors + 1 broadcast of 16 registers
using F = __m256;
using I = __m256i;
using Bits = unsigned;

inline F zero() { return _mm256_setzero_ps(); }
inline F set1(float v) { return _mm256_set1_ps(v); }
inline F load(const float* p) { return _mm256_loadu_ps(p); }
inline void store(float* p, F v) { _mm256_storeu_ps(p, v); }
inline void stream(float* p, F v) { _mm256_stream_ps(p, v); }
inline F add(F a, F b) { return _mm256_add_ps(a, b); }
inline F sub(F a, F b) { return _mm256_sub_ps(a, b); }
inline F mul(F a, F b) { return _mm256_mul_ps(a, b); }
inline F div(F a, F b) { return _mm256_div_ps(a, b); }
inline F fma(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }
inline F min(F a, F b) { return _mm256_min_ps(a, b); }
inline F max(F a, F b) { return _mm256_max_ps(a, b); }
inline F max_or_nan(F a, F b) { return _mm256_blendv_ps(_mm256_max_ps(a, b), a, _mm256_cmp_ps(a, a, _CMP_UNORD_Q)); }
inline F abs(F a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a); }
inline F round_even(F a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
inline F floor(F a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC); }
inline Bits greater(F a, F b) { return static_cast<Bits>(_mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_GT_OQ))); }
inline Bits not_less(F a, F b) { return static_cast<Bits>(_mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_NLT_UQ))); }
inline Bits is_nan(F a) { return static_cast<Bits>(_mm256_movemask_ps(_mm256_cmp_ps(a, a, _CMP_UNORD_Q))); }
inline F select(Bits m, F yes, F no) {
    const I lane = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    const I hit = _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32(static_cast<int>(m)), lane), lane);
    return _mm256_blendv_ps(no, yes, _mm256_castsi256_ps(hit));
}
inline float sum(F v) {
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}
inline float max_of(F v) {
    __m128 s = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    s = _mm_max_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
}

// The memory form of each conversion: the register form costs twice as much.
inline F widen(const float* p) { return load(p); }
inline F widen(const f16* p) { return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }
inline F widen(const bf16* p) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))), 16));
}
inline F widen(const double* p) { return _mm256_set_m128(_mm256_cvtpd_ps(_mm256_loadu_pd(p + 4)), _mm256_cvtpd_ps(_mm256_loadu_pd(p))); }
inline F widen(const int8_t* p) { return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)))); }
inline F widen(const uint8_t* p) { return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)))); }

inline void narrow(float* p, F v) { store(p, v); }
inline void narrow(f16* p, F v) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
inline __m128i pack16(I v) {  // 8 int32 below 65536 to 16 bits
    return _mm_packus_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
}
inline void narrow(bf16* p, F v) {
    const I u = _mm256_castps_si256(v);
    const I even = _mm256_and_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(1));
    I r = _mm256_srli_epi32(_mm256_add_epi32(_mm256_add_epi32(u, even), _mm256_set1_epi32(0x7FFF)), 16);
    r = _mm256_blendv_epi8(r, _mm256_set1_epi32(0x7FC0), _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q)));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), pack16(r));
}
inline void narrow(int8_t* p, F v) {
    const I u = _mm256_cvtps_epi32(v);
    const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(u), _mm256_extracti128_si256(u, 1));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_packs_epi16(words, words));
}
inline void narrow(uint8_t* p, F v) {
    const __m128i words = pack16(_mm256_cvtps_epi32(v));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_packus_epi16(words, words));
}

inline __m128i whole_bytes(F v, uint8_t flip) {
    const __m128i words = pack16(_mm256_and_si256(_mm256_cvttps_epi32(v), _mm256_set1_epi32(255)));
    return _mm_xor_si128(_mm_packus_epi16(words, words), _mm_set1_epi8(static_cast<char>(flip)));
}
inline void narrow_whole(uint8_t* p, F v, uint8_t flip) { _mm_storel_epi64(reinterpret_cast<__m128i*>(p), whole_bytes(v, flip)); }
inline void stream_whole(uint8_t* p, F v, uint8_t flip) {
    _mm_stream_si64(reinterpret_cast<long long*>(p), _mm_cvtsi128_si64(whole_bytes(v, flip)));
}
inline void narrow_nibbles(uint8_t* p, F v) {
    const I u = _mm256_cvtps_epi32(v);
    const I pairs = _mm256_or_si256(u, _mm256_srli_epi64(u, 28));  // its low byte in each 64 bits
    const I low = _mm256_shuffle_epi8(pairs, _mm256_set1_epi64x(0x0800));
    const int bytes = (_mm256_extract_epi16(low, 0) & 0xFFFF) | _mm256_extract_epi16(low, 8) << 16;
    __builtin_memcpy(p, &bytes, 4);
}

struct D {
    __m256d lo, hi;
};
inline D dzero() { return {_mm256_setzero_pd(), _mm256_setzero_pd()}; }
inline D dset1(double x) { return {_mm256_set1_pd(x), _mm256_set1_pd(x)}; }
inline D dload(const double* p) { return {_mm256_loadu_pd(p), _mm256_loadu_pd(p + 4)}; }
inline void dstore(double* p, D a) { _mm256_storeu_pd(p, a.lo), _mm256_storeu_pd(p + 4, a.hi); }
inline D dadd(D a, D b) { return {_mm256_add_pd(a.lo, b.lo), _mm256_add_pd(a.hi, b.hi)}; }
inline D dsub(D a, D b) { return {_mm256_sub_pd(a.lo, b.lo), _mm256_sub_pd(a.hi, b.hi)}; }
inline D dmul(D a, D b) { return {_mm256_mul_pd(a.lo, b.lo), _mm256_mul_pd(a.hi, b.hi)}; }
inline D dfma(D a, D b, D c) { return {_mm256_fmadd_pd(a.lo, b.lo, c.lo), _mm256_fmadd_pd(a.hi, b.hi, c.hi)}; }
inline void dnarrow(float* p, D a) { _mm_storeu_ps(p, _mm256_cvtpd_ps(a.lo)), _mm_storeu_ps(p + 4, _mm256_cvtpd_ps(a.hi)); }
inline void dstream(float* p, D a) { _mm256_stream_ps(p, _mm256_set_m128(_mm256_cvtpd_ps(a.hi), _mm256_cvtpd_ps(a.lo))); }
inline D dround(D a) { return {_mm256_cvtps_pd(_mm256_cvtpd_ps(a.lo)), _mm256_cvtps_pd(_mm256_cvtpd_ps(a.hi))}; }
inline D dwiden_f(F v) { return {_mm256_cvtps_pd(_mm256_castps256_ps128(v)), _mm256_cvtps_pd(_mm256_extractf128_ps(v, 1))}; }
inline D dwiden(const float* p) { return {_mm256_cvtps_pd(_mm_loadu_ps(p)), _mm256_cvtps_pd(_mm_loadu_ps(p + 4))}; }
inline D dwiden(const f16* p) { return dwiden_f(widen(p)); }
inline D dwiden(const bf16* p) { return dwiden_f(widen(p)); }
inline D dwiden(const double* p) { return dround(dload(p)); }
inline D dwiden(const int8_t* p) { return dwiden_f(widen(p)); }
inline D dwiden(const uint8_t* p) { return dwiden_f(widen(p)); }

// Tails of float32 by masked loads; masked stores are slow on too many machines.
inline I first(int64_t n) {  // all ones in the first n of 8 lanes
    static const int32_t lanes[16] = {-1, -1, -1, -1, -1, -1, -1, -1};
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(lanes + 8 - n));
}
inline F widen_n(const float* p, int64_t n) { return _mm256_maskload_ps(p, first(n)); }
inline D dwiden_n(const float* p, int64_t n) { return dwiden_f(widen_n(p, n)); }

inline I izero() { return _mm256_setzero_si256(); }
inline I iadd(I a, I b) { return _mm256_add_epi32(a, b); }
inline I iload(const int32_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
inline I iset1(int32_t v) { return _mm256_set1_epi32(v); }
inline F to_float(I v) { return _mm256_cvtepi32_ps(v); }
// Two bfloat16 a lane: the one in its upper half, as a float whose last bits are the other's; and that other.
inline F upper(I v) { return _mm256_castsi256_ps(v); }
inline F lower(I v) { return _mm256_castsi256_ps(_mm256_slli_epi32(v, 16)); }
inline I magnitude(F v) { return _mm256_castps_si256(abs(v)); }
inline I imax(I a, I b) { return _mm256_max_epi32(a, b); }
inline int imax_of(I v) {
    __m128i s = _mm_max_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    s = _mm_max_epi32(s, _mm_shuffle_epi32(s, 0x4E));
    return _mm_cvtsi128_si32(_mm_max_epi32(s, _mm_shuffle_epi32(s, 0xB1)));
}
inline int isum(I v) {
    __m128i s = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4E));
    return _mm_cvtsi128_si32(_mm_add_epi32(s, _mm_shuffle_epi32(s, 0xB1)));
}
// Lane i: the sum of v[i]'s lanes.
inline I isum_each(const I* v) {
    const I a = _mm256_hadd_epi32(_mm256_hadd_epi32(v[0], v[1]), _mm256_hadd_epi32(v[2], v[3]));
    const I b = _mm256_hadd_epi32(_mm256_hadd_epi32(v[4], v[5]), _mm256_hadd_epi32(v[6], v[7]));
    return _mm256_add_epi32(_mm256_permute2x128_si256(a, b, 0x20), _mm256_permute2x128_si256(a, b, 0x31));
}
inline F sum_each(const F* v) {
    const F a = _mm256_hadd_ps(_mm256_hadd_ps(v[0], v[1]), _mm256_hadd_ps(v[2], v[3]));
    const F b = _mm256_hadd_ps(_mm256_hadd_ps(v[4], v[5]), _mm256_hadd_ps(v[6], v[7]));
    return _mm256_add_ps(_mm256_permute2f128_ps(a, b, 0x20), _mm256_permute2f128_ps(a, b, 0x31));
}
inline I iand(I a, I b) { return _mm256_and_si256(a, b); }
// Byte i: yes where bit i of the word is set, else no.
inline I choose(uint64_t bits, int8_t yes, int8_t no) {
    const I each = _mm256_set_epi64x(0x0303030303030303, 0x0202020202020202, 0x0101010101010101, 0),
            bit = _mm256_set1_epi64x(0x8040201008040201);
    const I own = _mm256_and_si256(_mm256_shuffle_epi8(_mm256_set1_epi32(static_cast<int>(bits)), each), bit);
    return _mm256_blendv_epi8(_mm256_set1_epi8(no), _mm256_set1_epi8(yes), _mm256_cmpeq_epi8(own, bit));
}
inline I widen16(const int8_t* p) { return _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }
inline I widen16(const uint8_t* p) { return _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }
inline I madd16(I acc, I a, I b) { return _mm256_add_epi32(acc, _mm256_madd_epi16(a, b)); }
// The low and high nibbles of each byte; and 2W bytes in 16 bits each, as widen16 gives them, to their nibbles in order, less 8.
inline I low_nibbles(I v) { return _mm256_and_si256(v, _mm256_set1_epi8(15)); }
inline I high_nibbles(I v) { return _mm256_and_si256(_mm256_srli_epi16(v, 4), _mm256_set1_epi8(15)); }
inline I signed_nibbles(I v) {
    const I both =
        _mm256_or_si256(_mm256_and_si256(v, _mm256_set1_epi16(0x0F)), _mm256_and_si256(_mm256_slli_epi16(v, 4), _mm256_set1_epi16(0x0F00)));
    return _mm256_sub_epi8(both, _mm256_set1_epi8(8));
}
inline void istore(void* p, I v) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), v); }

constexpr bool dot_unsigned_panel = false;
constexpr int dot_group = 2;
inline I dot(I acc, I panel, I row) { return _mm256_add_epi32(acc, _mm256_madd_epi16(panel, row)); }
inline I nibble_counts() {
    return _mm256_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4, 0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4);
}
inline I hamming(I acc, I a, I b) {
    const I nibble = _mm256_set1_epi8(15), ones = _mm256_set1_epi8(1), ones16 = _mm256_set1_epi16(1);
    const I table = nibble_counts();
    const I x = _mm256_xor_si256(a, b);
    const I counts = _mm256_add_epi8(_mm256_shuffle_epi8(table, _mm256_and_si256(x, nibble)),
                                     _mm256_shuffle_epi8(table, _mm256_and_si256(_mm256_srli_epi16(x, 4), nibble)));
    return _mm256_add_epi32(acc, _mm256_madd_epi16(_mm256_maddubs_epi16(counts, ones), ones16));
}
// 4 bytes a lane, the unsigned ones at most 127: no pair exceeds int16.
inline I dot_u7(I acc, I u, I s) { return _mm256_add_epi32(acc, _mm256_madd_epi16(_mm256_maddubs_epi16(u, s), _mm256_set1_epi16(1))); }
inline I dot_u4(I pairs, I u, I s) { return _mm256_add_epi16(pairs, _mm256_maddubs_epi16(u, s)); }
inline I add_pairs(I acc, I pairs) { return _mm256_add_epi32(acc, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1))); }
inline I nibble_hamming(I bytes, I a, I b) {
    const I table = nibble_counts();
    return _mm256_add_epi8(bytes, _mm256_shuffle_epi8(table, _mm256_xor_si256(a, b)));
}
inline I add_bytes(I acc, I bytes) {
    return _mm256_add_epi32(acc, _mm256_madd_epi16(_mm256_maddubs_epi16(bytes, _mm256_set1_epi8(1)), _mm256_set1_epi16(1)));
}
inline I ior(I a, I b) { return _mm256_or_si256(a, b); }
inline __attribute__((always_inline)) void turn4(const char* const* rows, int64_t at, F* out) {
    const auto four = [&](int i) { return _mm_loadu_ps(reinterpret_cast<const float*>(rows[i] + at)); };
    const auto both = [&](int i) { return _mm256_insertf128_ps(_mm256_castps128_ps256(four(i)), four(i + 4), 1); };
    const F a = both(0), b = both(1), c = both(2), d = both(3);
    const auto pairs = [](F v) { return _mm256_castps_pd(v); };
    const __m256d ab = pairs(_mm256_unpacklo_ps(a, b)), cd = pairs(_mm256_unpacklo_ps(c, d));
    const __m256d ab_high = pairs(_mm256_unpackhi_ps(a, b)), cd_high = pairs(_mm256_unpackhi_ps(c, d));
    out[0] = _mm256_castpd_ps(_mm256_unpacklo_pd(ab, cd)), out[1] = _mm256_castpd_ps(_mm256_unpackhi_pd(ab, cd));
    out[2] = _mm256_castpd_ps(_mm256_unpacklo_pd(ab_high, cd_high)), out[3] = _mm256_castpd_ps(_mm256_unpackhi_pd(ab_high, cd_high));
}
inline void keep(F& v) { asm volatile("" : "+x"(v)); }
inline void keep(I& v) { asm volatile("" : "+x"(v)); }
inline void fence() { _mm_sfence(); }
inline I broadcast32(const void* p) {
    int32_t v;
    __builtin_memcpy(&v, p, 4);
    return _mm256_set1_epi32(v);
}
inline __attribute__((always_inline)) void prefetch(const void* p) { _mm_prefetch(reinterpret_cast<const char*>(p), _MM_HINT_T0); }
// Into the second-level cache, whose misses a machine keeps more of in flight.
inline __attribute__((always_inline)) void prefetch_second(const void* p) { _mm_prefetch(reinterpret_cast<const char*>(p), _MM_HINT_T1); }

}  // namespace simd
}  // namespace

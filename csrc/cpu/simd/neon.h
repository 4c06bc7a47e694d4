// The vector vocabulary of aarch64 Advanced SIMD, as every aarch64 machine has it. neoni8mm adds products of mixed sign by
// defining FEC_I8MM before inclusion. Same names as every other level; see avx512.h for their meaning.
#pragma once
#include <arm_neon.h>

#include "../../core/types.h"

namespace {
namespace simd {

using fec::bf16;
using fec::f16;

constexpr int W = 4;
constexpr bool fuses = true;  // whether fma rounds once
constexpr int tile_rows = 6, tile_vectors = 4;  // 24 accumulators + 4 panel vectors + 1 broadcast of 32 registers
using F = float32x4_t;
using I = int32x4_t;
using Bits = unsigned;

// memcpy, not vld1q: the pointer may lie at any byte, which a float* promises it does not.
template <class V>
inline V at(const void* p) {
    V v;
    __builtin_memcpy(&v, p, sizeof v);
    return v;
}
template <class V>
inline void put(void* p, V v) {
    __builtin_memcpy(p, &v, sizeof v);
}

inline F zero() { return vdupq_n_f32(0); }
inline F set1(float v) { return vdupq_n_f32(v); }
inline F load(const float* p) { return at<F>(p); }
inline void store(float* p, F v) { put(p, v); }
inline void stream(float* p, F v) { put(p, v); }
inline F add(F a, F b) { return vaddq_f32(a, b); }
inline F sub(F a, F b) { return vsubq_f32(a, b); }
inline F mul(F a, F b) { return vmulq_f32(a, b); }
inline F div(F a, F b) { return vdivq_f32(a, b); }
inline F fma(F a, F b, F c) { return vfmaq_f32(c, a, b); }
inline F min(F a, F b) { return vbslq_f32(vcltq_f32(a, b), a, b); }  // fmin would keep the number where one is NaN
inline F max(F a, F b) { return vbslq_f32(vcgtq_f32(a, b), a, b); }
inline F max_or_nan(F a, F b) {  // fmax would order the zeros
    return vbslq_f32(vorrq_u32(vcgtq_f32(a, b), vmvnq_u32(vceqq_f32(a, a))), a, b);
}
inline F abs(F a) { return vabsq_f32(a); }
inline F round_even(F a) { return vrndnq_f32(a); }
inline F floor(F a) { return vrndmq_f32(a); }
inline uint32x4_t lane_bits() {
    const uint32_t lanes[4] = {1, 2, 4, 8};
    return at<uint32x4_t>(lanes);
}
inline Bits bits_of(uint32x4_t mask) { return vaddvq_u32(vandq_u32(mask, lane_bits())); }
inline Bits greater(F a, F b) { return bits_of(vcgtq_f32(a, b)); }
inline Bits not_less(F a, F b) { return bits_of(vmvnq_u32(vcltq_f32(a, b))); }
inline Bits is_nan(F a) { return bits_of(vmvnq_u32(vceqq_f32(a, a))); }
inline F select(Bits m, F yes, F no) { return vbslq_f32(vtstq_u32(vdupq_n_u32(m), lane_bits()), yes, no); }
inline float sum(F v) { return vaddvq_f32(v); }
inline float max_of(F v) { return vmaxvq_f32(v); }

inline int16x4_t words_of(int8x8_t v) { return vget_low_s16(vmovl_s8(v)); }
inline uint16x4_t words_of(uint8x8_t v) { return vget_low_u16(vmovl_u8(v)); }
inline F widen(const float* p) { return load(p); }
inline F widen(const f16* p) { return vcvt_f32_f16(at<float16x4_t>(p)); }
inline F widen(const bf16* p) { return vreinterpretq_f32_u32(vshll_n_u16(at<uint16x4_t>(p), 16)); }
inline F widen(const double* p) { return vcvt_high_f32_f64(vcvt_f32_f64(at<float64x2_t>(p)), at<float64x2_t>(p + 2)); }
inline F widen(const int8_t* p) { return vcvtq_f32_s32(vmovl_s16(words_of(vcreate_s8(at<uint32_t>(p))))); }
inline F widen(const uint8_t* p) { return vcvtq_f32_u32(vmovl_u16(words_of(vcreate_u8(at<uint32_t>(p))))); }

inline void narrow(float* p, F v) { store(p, v); }
inline void narrow(f16* p, F v) { put(p, vcvt_f16_f32(v)); }
inline void narrow(bf16* p, F v) {
    const uint32x4_t u = vreinterpretq_u32_f32(v);
    const uint32x4_t even = vandq_u32(vshrq_n_u32(u, 16), vdupq_n_u32(1));
    const uint32x4_t r = vaddq_u32(vaddq_u32(u, even), vdupq_n_u32(0x7FFF));
    put(p, vshrn_n_u32(vbslq_u32(vceqq_f32(v, v), r, vdupq_n_u32(0x7FC00000)), 16));
}
inline void narrow(int8_t* p, F v) {
    const int16x4_t words = vqmovn_s32(vcvtnq_s32_f32(v));
    put(p, vget_lane_u32(vreinterpret_u32_s8(vqmovn_s16(vcombine_s16(words, words))), 0));
}
inline void narrow(uint8_t* p, F v) {
    const uint16x4_t words = vqmovun_s32(vcvtnq_s32_f32(v));
    put(p, vget_lane_u32(vreinterpret_u32_u8(vqmovn_u16(vcombine_u16(words, words))), 0));
}

inline void narrow_whole(uint8_t* p, F v, uint8_t flip) {
    const uint16x4_t words = vmovn_u32(vreinterpretq_u32_s32(vcvtq_s32_f32(v)));
    put(p, vget_lane_u32(vreinterpret_u32_u8(vmovn_u16(vcombine_u16(words, words))), 0) ^ flip * 0x01010101u);
}
inline void stream_whole(uint8_t* p, F v, uint8_t flip) { narrow_whole(p, v, flip); }
inline void narrow_nibbles(uint8_t* p, F v) {
    const uint64x2_t u = vreinterpretq_u64_u32(vcvtq_u32_f32(v));
    const uint64x2_t pairs = vorrq_u64(u, vshrq_n_u64(u, 28));  // their low byte in each 64 bits
    p[0] = static_cast<uint8_t>(vgetq_lane_u64(pairs, 0));
    p[1] = static_cast<uint8_t>(vgetq_lane_u64(pairs, 1));
}

struct D {
    float64x2_t v[4];
};
template <class Each>
inline D each(Each part) {
    return {{part(0), part(1), part(2), part(3)}};
}
inline D dset1(double x) {
    return each([&](int) { return vdupq_n_f64(x); });
}
inline D dzero() { return dset1(0); }
inline D dload(const double* p) {
    return each([&](int i) { return at<float64x2_t>(p + 2 * i); });
}
inline void dstore(double* p, D a) { put(p, a); }
inline D dadd(D a, D b) {
    return each([&](int i) { return vaddq_f64(a.v[i], b.v[i]); });
}
inline D dsub(D a, D b) {
    return each([&](int i) { return vsubq_f64(a.v[i], b.v[i]); });
}
inline D dmul(D a, D b) {
    return each([&](int i) { return vmulq_f64(a.v[i], b.v[i]); });
}
inline D dfma(D a, D b, D c) {
    return each([&](int i) { return vfmaq_f64(c.v[i], a.v[i], b.v[i]); });
}
inline void dnarrow(float* p, D a) {
    for (int i = 0; i < 4; ++i) put(p + 2 * i, vcvt_f32_f64(a.v[i]));
}
inline void dstream(float* p, D a) { dnarrow(p, a); }
inline D dround(D a) {
    return each([&](int i) { return vcvt_f64_f32(vcvt_f32_f64(a.v[i])); });
}
template <class T>
inline D dwiden(const T* p) {
    const F lo = widen(p), hi = widen(p + 4);
    return {{vcvt_f64_f32(vget_low_f32(lo)), vcvt_high_f64_f32(lo), vcvt_f64_f32(vget_low_f32(hi)), vcvt_high_f64_f32(hi)}};
}

inline I izero() { return vdupq_n_s32(0); }
inline I iadd(I a, I b) { return vaddq_s32(a, b); }
inline I iload(const int32_t* p) { return at<I>(p); }
inline I iset1(int32_t v) { return vdupq_n_s32(v); }
inline F to_float(I v) { return vcvtq_f32_s32(v); }
// Two bfloat16 a lane: the one in its upper half, as a float whose last bits are the other's; and that other.
inline F upper(I v) { return vreinterpretq_f32_s32(v); }
inline F lower(I v) { return vreinterpretq_f32_s32(vshlq_n_s32(v, 16)); }
inline I magnitude(F v) { return vreinterpretq_s32_f32(abs(v)); }
inline I imax(I a, I b) { return vmaxq_s32(a, b); }
inline int imax_of(I v) { return vmaxvq_s32(v); }
inline int isum(I v) { return vaddvq_s32(v); }
inline I isum_each(const I* v) { return vpaddq_s32(vpaddq_s32(v[0], v[1]), vpaddq_s32(v[2], v[3])); }  // lane i: the sum of v[i]'s
inline F sum_each(const F* v) { return vpaddq_f32(vpaddq_f32(v[0], v[1]), vpaddq_f32(v[2], v[3])); }
inline I iand(I a, I b) { return vandq_s32(a, b); }
// Byte i: yes where bit i of the word is set, else no.
inline I choose(uint64_t bits, int8_t yes, int8_t no) {
    const uint8x16_t bit = vreinterpretq_u8_u64(vdupq_n_u64(0x8040201008040201));
    const uint8x16_t own = vcombine_u8(vdup_n_u8(static_cast<uint8_t>(bits)), vdup_n_u8(static_cast<uint8_t>(bits >> 8)));
    return vreinterpretq_s32_s8(vbslq_s8(vtstq_u8(own, bit), vdupq_n_s8(yes), vdupq_n_s8(no)));
}

inline I widen16(const int8_t* p) { return vreinterpretq_s32_s16(vmovl_s8(at<int8x8_t>(p))); }
inline I widen16(const uint8_t* p) { return vreinterpretq_s32_u16(vmovl_u8(at<uint8x8_t>(p))); }
inline I madd16(I acc, I a, I b) {
    const int16x8_t x = vreinterpretq_s16_s32(a), y = vreinterpretq_s16_s32(b);
    return vaddq_s32(acc, vpaddq_s32(vmull_s16(vget_low_s16(x), vget_low_s16(y)), vmull_high_s16(x, y)));
}
// The low and high nibbles of each byte; and 2W bytes in 16 bits each, as widen16 gives them, to their nibbles in order, less 8.
inline I low_nibbles(I v) { return vandq_s32(v, vdupq_n_s32(0x0F0F0F0F)); }
inline I high_nibbles(I v) { return vreinterpretq_s32_u8(vshrq_n_u8(vreinterpretq_u8_s32(v), 4)); }
inline I signed_nibbles(I v) {
    const I both = vorrq_s32(vandq_s32(v, vdupq_n_s32(0x000F000F)), vandq_s32(vshlq_n_s32(v, 4), vdupq_n_s32(0x0F000F00)));
    return vreinterpretq_s32_s8(vsubq_s8(vreinterpretq_s8_s32(both), vdupq_n_s8(8)));
}
inline void istore(void* p, I v) { put(p, v); }

#if defined(FEC_I8MM)
constexpr bool dot_unsigned_panel = true;
constexpr int dot_group = 4;
inline I dot(I acc, I panel, I row) { return vusdotq_s32(acc, vreinterpretq_u8_s32(panel), vreinterpretq_s8_s32(row)); }
#else
constexpr bool dot_unsigned_panel = false;
constexpr int dot_group = 2;
inline I dot(I acc, I panel, I row) { return madd16(acc, panel, row); }
#endif
inline I add_bytes(I acc, I bytes) {
    return vreinterpretq_s32_u32(vpadalq_u16(vreinterpretq_u32_s32(acc), vpaddlq_u8(vreinterpretq_u8_s32(bytes))));
}
inline I nibble_hamming(I bytes, I a, I b) {
    return vreinterpretq_s32_u8(vaddq_u8(vreinterpretq_u8_s32(bytes), vcntq_u8(vreinterpretq_u8_s32(veorq_s32(a, b)))));
}
inline I hamming(I acc, I a, I b) { return add_bytes(acc, nibble_hamming(izero(), a, b)); }  // vcnt counts whole bytes
inline I dot_u4(I pairs, I u, I s) {
    const int8x16_t x = vreinterpretq_s8_s32(u), y = vreinterpretq_s8_s32(s);
    const int16x8_t sums = vpaddq_s16(vmull_s8(vget_low_s8(x), vget_low_s8(y)), vmull_high_s8(x, y));
    return vreinterpretq_s32_s16(vaddq_s16(vreinterpretq_s16_s32(pairs), sums));
}
inline I add_pairs(I acc, I pairs) { return vpadalq_s16(acc, vreinterpretq_s16_s32(pairs)); }
#if defined(FEC_I8MM)
inline I dot_u7(I acc, I u, I s) { return dot(acc, u, s); }
#else
inline I dot_u7(I acc, I u, I s) { return add_pairs(acc, dot_u4(izero(), u, s)); }  // two products of 127 * 128 fit int16
#endif
inline I ior(I a, I b) { return vorrq_s32(a, b); }
inline void keep(F& v) { asm volatile("" : "+w"(v)); }
inline void keep(I& v) { asm volatile("" : "+w"(v)); }
inline void fence() {}  // stream() stores as any other store does
inline I broadcast32(const void* p) { return vdupq_n_s32(at<int32_t>(p)); }
inline __attribute__((always_inline)) void prefetch(const void* p) { __builtin_prefetch(p); }
inline __attribute__((always_inline)) void prefetch_second(const void* p) { __builtin_prefetch(p, 0, 2); }  // into the second-level cache

}  // namespace simd
}  // namespace

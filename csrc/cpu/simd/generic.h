// The vector vocabulary in GCC / clang vector extensions, 64 bytes wide: AVX-512-shaped code that runs anywhere.
// It is the scalar level, and what any new instruction set is checked against. See avx512.h for the names' meaning.
#pragma once
#include "../../core/types.h"

namespace {
namespace simd {

using fec::bf16;
using fec::f16;

constexpr int W = 16;
constexpr bool fuses = false;  // whether fma rounds once
constexpr int tile_rows = 4, tile_vectors = 1;
typedef float F __attribute__((vector_size(64)));
typedef int32_t I __attribute__((vector_size(64)));
typedef uint32_t U __attribute__((vector_size(64)));
using Bits = unsigned;

inline F zero() { return F{}; }
inline F set1(float v) { return F{} + v; }
inline F load(const float* p) {
    F v;
    __builtin_memcpy(&v, p, sizeof v);
    return v;
}
inline void store(float* p, F v) { __builtin_memcpy(p, &v, sizeof v); }
inline void stream(float* p, F v) { store(p, v); }
inline F add(F a, F b) { return a + b; }
inline F sub(F a, F b) { return a - b; }
inline F mul(F a, F b) { return a * b; }
inline F div(F a, F b) { return a / b; }
inline F fma(F a, F b, F c) { return a * b + c; }  // rounded twice; the bounds allow for it
inline F min(F a, F b) { return a < b ? a : b; }
inline F max(F a, F b) { return a > b ? a : b; }
inline F max_or_nan(F a, F b) { return (a > b) | (a != a) ? a : b; }
inline F abs(F a) { return reinterpret_cast<F>(reinterpret_cast<U>(a) & 0x7FFFFFFFu); }
template <class Each>
inline F lanewise(F a, Each each) {
    for (int i = 0; i < W; ++i) a[i] = each(a[i]);
    return a;
}
inline F round_even(F a) {
    return lanewise(a, [](float v) { return __builtin_rintf(v); });
}
inline F floor(F a) {
    return lanewise(a, [](float v) { return __builtin_floorf(v); });
}
inline Bits bits_of(I m) {
    Bits out = 0;
    for (int i = 0; i < W; ++i) out |= static_cast<Bits>(m[i] & 1) << i;
    return out;
}
inline Bits greater(F a, F b) { return bits_of(a > b); }
inline Bits not_less(F a, F b) { return bits_of(~(a < b)); }
inline Bits is_nan(F a) { return bits_of(a != a); }
inline F select(Bits m, F yes, F no) {
    for (int i = 0; i < W; ++i) no[i] = (m >> i & 1) ? yes[i] : no[i];
    return no;
}
inline float sum(F v) {
    float out = 0;
    for (int i = 0; i < W; ++i) out += v[i];
    return out;
}
inline float max_of(F v) {
    float out = v[0];
    for (int i = 1; i < W; ++i) out = v[i] > out ? v[i] : out;
    return out;
}

inline float float_of(float v) { return v; }
inline float float_of(double v) { return static_cast<float>(v); }
inline float float_of(int8_t v) { return v; }
inline float float_of(uint8_t v) { return v; }
inline float float_of(bf16 v) {
    const uint32_t u = static_cast<uint32_t>(v.bits) << 16;
    float f;
    __builtin_memcpy(&f, &u, 4);
    return f;
}
inline float float_of(f16 v) {
    const uint32_t sign = static_cast<uint32_t>(v.bits & 0x8000u) << 16, exponent = v.bits >> 10 & 31, fraction = v.bits & 0x3FFu;
    uint32_t u;
    if (exponent == 31) {
        u = 0x7F800000u | fraction << 13;
    } else if (exponent) {
        u = (exponent + 112) << 23 | fraction << 13;
    } else {  // subnormal: fraction * 2^-24 is exact
        const float f = static_cast<float>(fraction) * 5.9604644775390625e-8f;
        __builtin_memcpy(&u, &f, 4);
    }
    u |= sign;
    float f;
    __builtin_memcpy(&f, &u, 4);
    return f;
}
template <class T>
inline F widen(const T* p) {
    F v;
    for (int i = 0; i < W; ++i) {
        T e;
        __builtin_memcpy(&e, p + i, sizeof e);
        v[i] = float_of(e);
    }
    return v;
}

inline void narrow_to(float* p, float v) { *p = v; }
inline void narrow_to(int8_t* p, float v) { *p = static_cast<int8_t>(v); }
inline void narrow_to(uint8_t* p, float v) { *p = static_cast<uint8_t>(v); }
inline void narrow_to(bf16* p, float v) {
    uint32_t u;
    __builtin_memcpy(&u, &v, 4);
    p->bits = static_cast<uint16_t>(v != v ? 0x7FC0 : (u + (u >> 16 & 1) + 0x7FFF) >> 16);
}
inline void narrow_to(f16* p, float v) {
    uint32_t u;
    __builtin_memcpy(&u, &v, 4);
    const uint16_t sign = static_cast<uint16_t>(u >> 16 & 0x8000u);
    u &= 0x7FFFFFFFu;
    uint32_t h;
    if (u > 0x7F800000u) {
        h = 0x7E00u | (u >> 13 & 0x3FFu);
    } else if (u >= 0x477FF000u) {  // 65520 and above round to infinity
        h = 0x7C00u;
    } else if (u < 0x38800000u) {  // below 2^-14: round to multiples of 2^-24
        float f;
        __builtin_memcpy(&f, &u, 4);
        h = static_cast<uint32_t>(__builtin_rintf(f * 16777216.0f));
    } else {
        h = (u - 0x38000000u + 0xFFFu + (u >> 13 & 1)) >> 13;
    }
    p->bits = static_cast<uint16_t>(sign | h);
}
template <class T>
inline void narrow(T* p, F v) {
    for (int i = 0; i < W; ++i) {
        T e;
        narrow_to(&e, v[i]);
        __builtin_memcpy(p + i, &e, sizeof e);
    }
}

inline void narrow_whole(uint8_t* p, F v, uint8_t flip) {
    for (int i = 0; i < W; ++i) p[i] = static_cast<uint8_t>(static_cast<int>(v[i]) ^ flip);
}
inline void stream_whole(uint8_t* p, F v, uint8_t flip) { narrow_whole(p, v, flip); }
inline void narrow_nibbles(uint8_t* p, F v) {
    for (int i = 0; i < W / 2; ++i) p[i] = static_cast<uint8_t>(static_cast<int>(v[2 * i]) | static_cast<int>(v[2 * i + 1]) << 4);
}

typedef double D __attribute__((vector_size(64)));
inline D dzero() { return D{}; }
inline D dset1(double x) { return D{} + x; }
inline D dload(const double* p) {
    D v;
    __builtin_memcpy(&v, p, sizeof v);
    return v;
}
inline void dstore(double* p, D a) { __builtin_memcpy(p, &a, sizeof a); }
inline D dadd(D a, D b) { return a + b; }
inline D dsub(D a, D b) { return a - b; }
inline D dmul(D a, D b) { return a * b; }
inline D dfma(D a, D b, D c) { return a * b + c; }
inline D dround(D a) {
    for (int i = 0; i < 8; ++i) a[i] = static_cast<float>(a[i]);
    return a;
}
inline void dnarrow(float* p, D a) {
    for (int i = 0; i < 8; ++i) {
        const float v = static_cast<float>(a[i]);
        __builtin_memcpy(p + i, &v, sizeof v);  // p may lie at any byte
    }
}
inline void dstream(float* p, D a) { dnarrow(p, a); }
template <class T>
inline D dwiden(const T* p) {
    D v;
    for (int i = 0; i < 8; ++i) {
        T e;
        __builtin_memcpy(&e, p + i, sizeof e);
        v[i] = static_cast<double>(float_of(e));
    }
    return v;
}

inline I izero() { return I{}; }
inline I iadd(I a, I b) { return a + b; }
inline I iload(const int32_t* p) {
    I v;
    __builtin_memcpy(&v, p, sizeof v);
    return v;
}
inline I iset1(int32_t v) { return I{} + v; }
inline F to_float(I v) { return __builtin_convertvector(v, F); }
// Two bfloat16 a lane: the one in its upper half, as a float whose last bits are the other's; and that other.
inline F upper(I v) {
    F out;
    __builtin_memcpy(&out, &v, sizeof out);
    return out;
}
inline F lower(I v) { return upper(v << 16); }
inline I magnitude(F v) { return reinterpret_cast<I>(abs(v)); }
inline I imax(I a, I b) { return a > b ? a : b; }
inline int imax_of(I v) {
    int out = v[0];
    for (int i = 1; i < W; ++i) out = v[i] > out ? v[i] : out;
    return out;
}
inline int isum(I v) {
    int out = 0;
    for (int i = 0; i < W; ++i) out += v[i];
    return out;
}
inline I isum_each(const I* v) {
    I out;
    for (int i = 0; i < W; ++i) out[i] = isum(v[i]);
    return out;
}
inline F sum_each(const F* v) {
    F out;
    for (int i = 0; i < W; ++i) out[i] = sum(v[i]);
    return out;
}
inline I iand(I a, I b) { return a & b; }
// Byte i: yes where bit i of the word is set, else no.
inline I choose(uint64_t bits, int8_t yes, int8_t no) {
    int8_t bytes[4 * W];
    for (int i = 0; i < 4 * W; ++i) bytes[i] = bits >> i & 1 ? yes : no;
    I v;
    __builtin_memcpy(&v, bytes, sizeof v);
    return v;
}
template <class T>
inline I widen16(const T* p) {
    int16_t words[2 * W];
    for (int i = 0; i < 2 * W; ++i) words[i] = static_cast<int16_t>(p[i]);
    I v;
    __builtin_memcpy(&v, words, sizeof v);
    return v;
}
inline I madd16(I acc, I a, I b) { return acc + (a << 16 >> 16) * (b << 16 >> 16) + (a >> 16) * (b >> 16); }
// The low and high nibbles of each byte; and 2W bytes in 16 bits each, as widen16 gives them, to their nibbles in order, less 8.
inline I low_nibbles(I v) { return v & 0x0F0F0F0F; }
inline I high_nibbles(I v) { return v >> 4 & 0x0F0F0F0F; }
inline I signed_nibbles(I v) {
    const U bytes = reinterpret_cast<U>((v & 0x000F000F) | (v << 4 & 0x0F000F00));
    return reinterpret_cast<I>(((bytes | 0x80808080u) - 0x08080808u) ^ 0x80808080u);  // no borrow crosses a byte
}
inline void istore(void* p, I v) { __builtin_memcpy(p, &v, sizeof v); }

constexpr bool dot_unsigned_panel = false;
constexpr int dot_group = 2;
inline I dot(I acc, I panel, I row) { return madd16(acc, panel, row); }
inline I hamming(I acc, I a, I b) {
    U x = reinterpret_cast<U>(a ^ b);
    x = x - (x >> 1 & 0x55555555u);
    x = (x & 0x33333333u) + (x >> 2 & 0x33333333u);
    x = (x + (x >> 4)) & 0x0F0F0F0Fu;
    return acc + reinterpret_cast<I>((x * 0x01010101u) >> 24);
}
inline I dot_u7(I acc, I u, I s) {
    for (int i = 0; i < 4; ++i) acc += (u << (24 - 8 * i) >> 24) * (s << (24 - 8 * i) >> 24);
    return acc;
}
inline I dot_u4(I pairs, I u, I s) {
    I low = izero(), high = izero();
    for (int i = 0; i < 2; ++i) low += (u << (24 - 8 * i) >> 24) * (s << (24 - 8 * i) >> 24);
    for (int i = 2; i < 4; ++i) high += (u << (24 - 8 * i) >> 24) * (s << (24 - 8 * i) >> 24);
    const U sums = reinterpret_cast<U>(pairs);
    return reinterpret_cast<I>(((sums + reinterpret_cast<U>(low)) & 0xFFFFu) | ((sums >> 16) + reinterpret_cast<U>(high)) << 16);
}
inline I add_pairs(I acc, I pairs) { return acc + (pairs << 16 >> 16) + (pairs >> 16); }
inline I nibble_hamming(I bytes, I a, I b) {
    U x = reinterpret_cast<U>(a ^ b);
    x = x - (x >> 1 & 0x55555555u);
    return reinterpret_cast<I>(reinterpret_cast<U>(bytes) + (x & 0x33333333u) + (x >> 2 & 0x33333333u));
}
inline I add_bytes(I acc, I bytes) {
    const U x = reinterpret_cast<U>(bytes);
    return acc + reinterpret_cast<I>((x & 0xFFu) + (x >> 8 & 0xFFu) + (x >> 16 & 0xFFu) + (x >> 24));
}
inline I ior(I a, I b) { return a | b; }
inline void keep(F& v) { asm volatile("" : "+m"(v)); }  // no register is this wide
inline void keep(I& v) { asm volatile("" : "+m"(v)); }
inline void fence() {}
inline I broadcast32(const void* p) {
    int32_t v;
    __builtin_memcpy(&v, p, 4);
    return iset1(v);
}
inline __attribute__((always_inline)) void prefetch(const void* p) { __builtin_prefetch(p); }
inline __attribute__((always_inline)) void prefetch_second(const void* p) { __builtin_prefetch(p, 0, 2); }  // into the second-level cache

}  // namespace simd
}  // namespace

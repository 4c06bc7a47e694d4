// Built on any instruction set's vocabulary: tails without over-reads. Where an instruction set has masked loads and stores,
// its own overloads are taken instead.
#pragma once

namespace {
namespace simd {

// The first n of W elements, the rest zero; never reads past p + n.
template <class T>
inline F widen_n(const T* p, int64_t n) {
    T buffer[W] = {};
    __builtin_memcpy(buffer, p, n * sizeof(T));
    return widen(buffer);
}

template <class T>
inline void narrow_n(T* p, F v, int64_t n) {
    T buffer[W];
    narrow(buffer, v);
    __builtin_memcpy(p, buffer, n * sizeof(T));
}

// narrow_whole of the first n of W elements.
template <class Byte>
inline void narrow_whole_n(Byte* p, F v, uint8_t flip, int64_t n) {
    Byte buffer[W];
    narrow_whole(buffer, v, flip);
    __builtin_memcpy(p, buffer, n);
}

// The whole parts of clip(u, 0, 255) for 64 lanes, NaN as 0, as bytes past the cache, each xor'ed with flip; p aligned to 64.
template <class Byte>
inline void stream_codes(Byte* p, const F* u, uint8_t flip) {
    for (int i = 0; i * W < 64; ++i) stream_whole(p + i * W, min(max(u[i], zero()), set1(255.0f)), flip);
}

// A row that begins inside a cache line, vector after vector: where vectors are lines, each is loaded once and whole, and held until
// the next vector took its rest. `lanes` is join_lanes of the row, `held` join_start of it at first; the line behind x + W is the row's.
template <class T>
inline I join_lanes(const T*) {
    return izero();
}
template <class T>
inline F join_start(const T*) {
    return zero();
}
template <class T>
inline F join_next(const T* x, F&, I) {
    return widen(x);
}

#ifndef FEC_BF16
// Products of 2 W floats with as many of a query's that are bfloat16, two to a word: elements l and W + l in lane l.
struct Halves {
    F first, second;
};
inline Halves halve(F first, F second) { return {first, second}; }
inline F dot_halves(F acc, Halves v, I words) { return fma(v.second, upper(words), fma(v.first, lower(words), acc)); }

constexpr bool halves_floats = false;  // whether halve() rounds, because an instruction multiplies bfloat16

// The words of 2 W floats, and the floats they stand for: an upper half is chosen so that its whole word comes nearest.
inline void to_halves(const float* v, uint32_t* words, float* taken) {
    const auto nearest = [](float x, uint32_t low) {
        uint32_t bits;
        __builtin_memcpy(&bits, &x, 4);
        const uint32_t size = bits & 0x7FFFFFFF, rest = size > low ? size - low : 0;
        return (bits & 0x80000000) | ((rest + 0x8000) & 0xFFFF0000) | low;
    };
    for (int l = 0; l < W; ++l) {
        const uint32_t low = nearest(v[l], 0);
        words[l] = nearest(v[W + l], low >> 16);
        __builtin_memcpy(taken + l, &low, 4);
        __builtin_memcpy(taken + W + l, words + l, 4);
    }
}
#endif

// The first n of 8 elements as float64, the rest zero.
template <class T>
inline D dwiden_n(const T* p, int64_t n) {
    T buffer[8] = {};
    __builtin_memcpy(buffer, p, n * sizeof(T));
    return dwiden(buffer);
}

// The first 1 to 4 W bytes of a vector, the rest zero.
template <class T>
inline I iload_n(const T* p, int64_t bytes) {
    int32_t buffer[W] = {};
    __builtin_memcpy(buffer, p, bytes);
    return iload(buffer);
}

// Four floats, and four of the eight in two such.
typedef float F4 __attribute__((vector_size(16)));
template <int A, int B, int C, int E>
inline __attribute__((always_inline)) F4 pick4(F4 a, F4 b) {
#if defined(__clang__)
    return __builtin_shufflevector(a, b, A, B, C, E);
#else
    typedef int I4 __attribute__((vector_size(16)));
    return __builtin_shuffle(a, b, I4{A, B, C, E});
#endif
}

// out[j * step + i] = rows[i][j] for four rows of four floats, `at` bytes into them.
inline __attribute__((always_inline)) void transpose4(const char* const* rows, int64_t at, float* out, int64_t step) {
    F4 v[4];
    for (int i = 0; i < 4; ++i) __builtin_memcpy(&v[i], rows[i] + at, 16);
    const F4 a = pick4<0, 4, 1, 5>(v[0], v[2]), b = pick4<2, 6, 3, 7>(v[0], v[2]);
    const F4 c = pick4<0, 4, 1, 5>(v[1], v[3]), d = pick4<2, 6, 3, 7>(v[1], v[3]);
    v[0] = pick4<0, 4, 1, 5>(a, c), v[1] = pick4<2, 6, 3, 7>(a, c), v[2] = pick4<0, 4, 1, 5>(b, d), v[3] = pick4<2, 6, 3, 7>(b, d);
    for (int j = 0; j < 4; ++j) __builtin_memcpy(out + j * step, &v[j], 16);
}

// out[j], lane i: rows[i][j] for W rows of four floats, `at` bytes into them.
template <class T>
inline __attribute__((always_inline)) void turn4(const T* const* rows, int64_t at, F* out) {
    float turned[4 * W];
    for (int i = 0; i < W; i += 4) transpose4(rows + i, at, turned + i, W);
    for (int j = 0; j < 4; ++j) out[j] = load(turned + j * W);
}

}  // namespace simd
}  // namespace

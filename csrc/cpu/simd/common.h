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

}  // namespace simd
}  // namespace

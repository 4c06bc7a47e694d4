// The views every kernel works on: raw pointers, shapes and byte strides. Knows neither Python nor torch.
#pragma once
#include <stdint.h>

namespace fec {

// Storage kinds of an operand; the order is shared with the binding.
enum class Kind : int { f32, f16, bf16, f64, i8, u8, i4, bits };

// Bits an element takes. Always inlined, here and below: a copy compiled for one instruction set must not serve the whole program.
__attribute__((always_inline)) inline int bits_of(Kind kind) {
    constexpr int bits[] = {32, 16, 16, 64, 8, 8, 4, 1};
    return bits[static_cast<int>(kind)];
}

// Element types that have no C++ type of their own. Trivial, so that memcpy reads them at any alignment.
struct f16 {
    uint16_t bits;
};
struct bf16 {
    uint16_t bits;
};

// n rows of dim elements, stride bytes apart (any sign), elements of a row side by side at any alignment.
struct Rows {
    const char* data;
    int64_t n;
    int64_t dim;
    int64_t stride;
    Kind kind;
    const float* scale;   // n, or null: the value is scale * code
    const float* ranges;  // minimum[dim] then step[dim], or null: the value is float32(step * u + minimum)
    uint8_t flip;         // 0x80 where stored bytes of bits are xor'ed with it

    __attribute__((always_inline)) const char* row(int64_t i) const { return data + i * stride; }
    __attribute__((always_inline)) int64_t row_bytes() const { return (dim * bits_of(kind) + 7) / 8; }
};

// Asked by the calling thread after each of its tasks; true asks to stop (a pending signal).
using Poll = bool (*)();

}  // namespace fec

// From a float32 row to each precision, and its L2 normalization. Rows lie at any alignment and are never read past their
// end. A NaN anywhere follows the same rule on every instruction set, so that codes are the same bits everywhere.
#include "rows.h"

namespace {
namespace rows {

using fec::Precision;
using fec::RowSink;
using simd::F;
using simd::W;

// The W elements at x + i of a row of d, zeros behind its end.
template <class T>
inline F part(const T* x, int64_t i, int64_t d) {
    return i + W <= d ? simd::widen(x + i) : simd::widen_n(x + i, d - i);
}

template <class T>
inline void put(T* out, int64_t i, int64_t d, F v) {
    if (i + W <= d)
        simd::narrow(out + i, v);
    else
        simd::narrow_n(out + i, v, d - i);
}

// The sum of squares in float64, where products are exact and nothing over- or underflows.
inline double squared_norm(const float* x, int64_t d) {
    simd::D acc[4] = {simd::dzero(), simd::dzero(), simd::dzero(), simd::dzero()};
    int64_t i = 0;
    for (; i + 32 <= d; i += 32)
        for (int j = 0; j < 4; ++j) {
            const simd::D v = simd::dwiden(x + i + 8 * j);
            acc[j] = simd::dfma(v, v, acc[j]);
        }
    for (; i < d; i += 8) {
        const simd::D v = i + 8 <= d ? simd::dwiden(x + i) : simd::dwiden_n(x + i, d - i);
        acc[0] = simd::dfma(v, v, acc[0]);
    }
    double lanes[8];
    simd::dstore(lanes, simd::dadd(simd::dadd(acc[0], acc[2]), simd::dadd(acc[1], acc[3])));
    return ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
}

// out = x / max(|x|, eps) with one rounding to float32; out may be x. A row with NaN becomes NaN.
inline void normalize(const float* x, int64_t d, double eps, float* out) {
    const double norm = __builtin_sqrt(squared_norm(x, d));
    const simd::D inverse = simd::dset1(1.0 / (norm < eps ? eps : norm));
    int64_t i = 0;
    for (; i + 8 <= d; i += 8) simd::dnarrow(out + i, simd::dmul(simd::dwiden(x + i), inverse));
    if (i < d) {
        float tail[8];
        simd::dnarrow(tail, simd::dmul(simd::dwiden_n(x + i, d - i), inverse));
        __builtin_memcpy(out + i, tail, (d - i) * sizeof(float));
    }
}

// max|x| / levels in float32, the row's value of one code step; NaN where an element is NaN or infinite.
inline float row_scale(const float* x, int64_t d, float levels) {
    F top = simd::zero(), poison = simd::zero();
    for (int64_t i = 0; i < d; i += W) {
        const F v = part(x, i, d);
        top = simd::max(simd::abs(v), top);
        poison = simd::fma(v, simd::zero(), poison);  // 0 * inf and 0 * NaN are NaN, and stay
    }
    const float finite = simd::sum(poison);
    return finite != finite ? __builtin_nanf("") : simd::max_of(top) / levels;
}

// The code of each element: rint(x / scale), half to even, inside [-levels, levels]. Only a scale that lost bits as a
// subnormal can carry a quotient past the end.
inline F row_code(F v, F scale, F levels) {
    return simd::max(simd::min(simd::round_even(simd::div(v, scale)), levels), simd::sub(simd::zero(), levels));
}

inline bool codes_are_zero(float scale) { return !(scale > 0.0f); }  // a zero row, and a NaN scale

inline float int8_row(const float* x, int64_t d, int8_t* out) {
    const float scale = row_scale(x, d, 127.0f);
    if (codes_are_zero(scale)) {
        __builtin_memset(out, 0, d);
        return scale;
    }
    for (int64_t i = 0; i < d; i += W) put(out, i, d, row_code(part(x, i, d), simd::set1(scale), simd::set1(127.0f)));
    return scale;
}

// Element 2i is the low nibble of byte i; an odd dim leaves code 0 in the last high one.
inline float int4_row(const float* x, int64_t d, uint8_t* out) {
    const float scale = row_scale(x, d, 7.0f);
    if (codes_are_zero(scale)) {
        __builtin_memset(out, 0x88, (d + 1) / 2);
        return scale;
    }
    constexpr int block = 64;
    for (int64_t i = 0; i < d; i += block) {
        uint8_t codes[block], bytes[block / 2];
        const int64_t n = d - i < block ? d - i : block;
        if (n < block) __builtin_memset(codes, 8, block);
        for (int64_t j = 0; j < n; j += W)
            simd::narrow(codes + j, simd::add(row_code(part(x, i + j, d), simd::set1(scale), simd::set1(7.0f)), simd::set1(8.0f)));
        for (int j = 0; j < block / 2; ++j) bytes[j] = static_cast<uint8_t>(codes[2 * j] | codes[2 * j + 1] << 4);
        __builtin_memcpy(out + i / 2, bytes, (n + 1) / 2);
    }
    return scale;
}

// clip(floor((x - minimum) / step), 0, 255) - offset in float32; NaN takes the unsigned code 0.
template <class T>
inline void ranged(const float* x, const float* ranges, int64_t d, float offset, T* out) {
    const float *minimum = ranges, *step = ranges + d;
    for (int64_t i = 0; i < d; i += W) {
        // Zero steps behind the row's end divide to NaN or infinity in lanes nobody stores.
        const F u = simd::floor(simd::div(simd::sub(part(x, i, d), part(minimum, i, d)), part(step, i, d)));
        const F code = simd::min(simd::max(u, simd::zero()), simd::set1(255.0f));
        put(out, i, d, simd::sub(code, simd::set1(offset)));
    }
}

// Bits x > 0, most significant bit first, pad bits 0; every byte xor'ed with flip.
inline void bits(const float* x, int64_t d, uint8_t flip, uint8_t* out) {
    for (int64_t i = 0; i < d; i += 64) {
        const int64_t n = d - i < 64 ? d - i : 64;
        uint64_t word = 0;
        for (int64_t j = 0; j < n; j += W) word |= static_cast<uint64_t>(simd::greater(part(x, i + j, d), simd::zero())) << j;
        // Lane 0 came out lowest: turn the bits of each byte round.
        word = (word >> 1 & 0x5555555555555555u) | (word & 0x5555555555555555u) << 1;
        word = (word >> 2 & 0x3333333333333333u) | (word & 0x3333333333333333u) << 2;
        word = (word >> 4 & 0x0F0F0F0F0F0F0F0Fu) | (word & 0x0F0F0F0F0F0F0F0Fu) << 4;
        word ^= flip * 0x0101010101010101u;
        __builtin_memcpy(out + i / 8, &word, (n + 7) / 8);
    }
}

// Writes a float32 row as row `i` of the sink.
inline void emit(const float* x, const RowSink& sink, int64_t i) {
    char* out = sink.data + i * sink.stride;
    const int64_t d = sink.dim;
    switch (sink.precision) {
        case Precision::f32: __builtin_memcpy(out, x, d * sizeof(float)); break;
        case Precision::f16:
            for (int64_t j = 0; j < d; j += W) put(reinterpret_cast<simd::f16*>(out), j, d, part(x, j, d));
            break;
        case Precision::int8_row: sink.scale[i] = int8_row(x, d, reinterpret_cast<int8_t*>(out)); break;
        case Precision::int4_row: sink.scale[i] = int4_row(x, d, reinterpret_cast<uint8_t*>(out)); break;
        case Precision::int8: ranged(x, sink.ranges, d, 128.0f, reinterpret_cast<int8_t*>(out)); break;
        case Precision::uint8: ranged(x, sink.ranges, d, 0.0f, reinterpret_cast<uint8_t*>(out)); break;
        case Precision::binary: bits(x, d, 0x80, reinterpret_cast<uint8_t*>(out)); break;
        case Precision::ubinary: bits(x, d, 0, reinterpret_cast<uint8_t*>(out)); break;
    }
}

}  // namespace rows
}  // namespace

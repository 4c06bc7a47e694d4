// From a float32 row to each precision, and its L2 normalization. Rows lie at any alignment and are never read past their
// end. A NaN anywhere follows the same rule on every instruction set, so that codes are the same bits everywhere.
#include "../core/cpu_features.h"
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
inline simd::D dpart(const T* x, int64_t i, int64_t d) {
    return i + 8 <= d ? simd::dwiden(x + i) : simd::dwiden_n(x + i, i < d ? d - i : 0);
}

template <class T>
inline void put(T* out, int64_t i, int64_t d, F v) {
    if (i + W <= d)
        simd::narrow(out + i, v);
    else
        simd::narrow_n(out + i, v, d - i);
}

// body(i) for every W elements of a row of d. Compiled twice, so that the loop over whole vectors has no tail to test for.
template <class Body>
inline void each(int64_t d, const Body& body) {
    int64_t i = 0;
    for (; i + W <= d; i += W) body(i);
    if (i < d) body(i);
}

// The cache lines of W elements, `ahead` bytes on. Inlined whatever happens, as those of the vocabularies are: gcc takes a function
// that only prefetches for one without effect, and drops calls of it.
template <class T>
inline __attribute__((always_inline)) void prefetch(const T* x, int64_t ahead) {
    for (size_t line = 0; line < W * sizeof(T); line += 64) simd::prefetch(reinterpret_cast<const char*>(x) + ahead + line);
}

// The same for a row that comes from memory, while the lines `ahead` bytes on are on their way; see fetched_ahead.
template <class T, class Body>
inline void each_of(const T* x, int64_t d, int64_t ahead, const Body& body) {
    each(d, [&](int64_t i) {
        prefetch(x + i, ahead);
        body(i);
    });
}

// How far on in memory the row lies that is read next but about 8 KiB: the nearest distance that hides DRAM's latency.
inline int64_t ahead(int64_t row_bytes, int64_t stride) {
    const int64_t bytes = fec::fetched_ahead(8192);
    return bytes && row_bytes > 0 ? (bytes - 1 + row_bytes) / row_bytes * stride : 0;
}

inline int64_t size_of(fec::Kind kind) { return kind == fec::Kind::f64 ? 8 : kind == fec::Kind::f32 ? 4 : 2; }

// The sum of squares in float64, where products are exact and nothing over- or underflows.
template <class T>
inline double squared_norm(const T* x, int64_t d, int64_t ahead) {
    simd::D acc[4] = {simd::dzero(), simd::dzero(), simd::dzero(), simd::dzero()};
    int64_t i = 0;
    for (; i + 32 <= d; i += 32) {
        for (int j = 0; j < 32; j += W) prefetch(x + i + j, ahead);
        for (int j = 0; j < 4; ++j) {
            const simd::D v = simd::dwiden(x + i + 8 * j);
            acc[j] = simd::dfma(v, v, acc[j]);
        }
    }
    for (; i < d; i += 8) {
        const simd::D v = dpart(x, i, d);
        acc[0] = simd::dfma(v, v, acc[0]);
    }
    double lanes[8];
    simd::dstore(lanes, simd::dadd(simd::dadd(acc[0], acc[2]), simd::dadd(acc[1], acc[3])));
    return ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
}

// What a row is multiplied by with one rounding: in float64, or in float32 as high + low where an fma keeps x * high whole. The rounding
// of x * low is 2^-47 of the product, and low is never negative, so that -0 stays -0.
struct Factor {
    explicit Factor(double factor) : whole(factor), split(simd::fuses && factor >= 0x1p-60 && factor <= 0x1p60) {
        high = static_cast<float>(factor);
        if (static_cast<double>(high) > factor) high = __builtin_nextafterf(high, 0.0f);
        low = static_cast<float>(factor - static_cast<double>(high));
    }
    F times(F v) const { return simd::fma(v, simd::set1(high), simd::mul(v, simd::set1(low))); }

    double whole;
    float high, low;
    bool split;
};

// What a row is multiplied by to have length 1, or x / eps where it is shorter than eps. A row with NaN has NaN.
template <class T>
inline Factor inverse_length(const T* x, int64_t d, double eps, int64_t ahead = 0) {
    const double norm = __builtin_sqrt(squared_norm(x, d, ahead));
    return Factor(1.0 / (norm < eps ? eps : norm));
}

// out = x * by, each rounded once to float32; out may be x.
template <class T>
inline void scale(const T* x, int64_t d, const Factor& by, float* out) {
    if constexpr (sizeof(T) <= sizeof(float)) {
        if (by.split) return each(d, [&](int64_t i) { put(out, i, d, by.times(part(x, i, d))); });
    }
    const simd::D factor = simd::dset1(by.whole);
    int64_t i = 0;
    for (; i + 8 <= d; i += 8) simd::dnarrow(out + i, simd::dmul(simd::dwiden(x + i), factor));
    if (i < d) {
        float tail[8];
        simd::dnarrow(tail, simd::dmul(dpart(x, i, d), factor));
        __builtin_memcpy(out + i, tail, (d - i) * sizeof(float));
    }
}

// out = x / max(|x|, eps) with one rounding to float32; out may be x.
inline void normalize(const float* x, int64_t d, double eps, float* out) { scale(x, d, inverse_length(x, d, eps), out); }

// max|x| / levels in float32, the row's value of one code step; NaN where an element is NaN or infinite.
inline float row_scale(const float* x, int64_t d, int64_t ahead, float levels) {
    constexpr int infinity = 0x7F800000;
    simd::I top = simd::izero();
    each_of(x, d, ahead, [&](int64_t i) { top = simd::imax(top, simd::magnitude(part(x, i, d))); });
    const int bits = simd::imax_of(top);
    float most;
    __builtin_memcpy(&most, &bits, 4);
    return bits < infinity ? most / levels : __builtin_nanf("");
}

// Dividing takes several times as long as reading what is divided. The product with a rounded inverse lies within 3 * 2^-24 of the
// rounded quotient, relatively: for those up to 2^8 that matter, within this. Only where a vector has a lane so close to where
// rounding changes its mind, or an inverse that is NaN, is it divided.
constexpr float kAmbiguous = 0x1p-14f;

// The code of each element: rint(x / scale), half to even, inside [-levels, levels]. Only a scale that lost bits as a
// subnormal can carry a quotient past the end.
inline F row_code(F v, float scale, float inverse, float levels) {
    using namespace simd;
    F u = mul(v, set1(inverse));
    if (__builtin_expect(not_less(abs(sub(u, round_even(u))), set1(0.5f - kAmbiguous)), 0)) u = div(v, set1(scale));
    return max(min(round_even(u), set1(levels)), set1(-levels));
}

inline float inverse_of(float scale) { return scale >= 0x1p-100f && scale <= 0x1p100f ? 1 / scale : __builtin_nanf(""); }

inline bool codes_are_zero(float scale) { return !(scale > 0.0f); }  // a zero row, and a NaN scale

// The whole parts of v as bytes of a row, each xor'ed with flip.
template <bool past_cache>
inline void put_whole(uint8_t* out, int64_t i, int64_t d, F v, uint8_t flip) {
    if (i + W > d)
        simd::narrow_whole_n(out + i, v, flip, d - i);
    else if (past_cache)
        simd::stream_whole(out + i, v, flip);
    else
        simd::narrow_whole(out + i, v, flip);
}

template <bool past_cache>
inline float int8_row(const float* x, int64_t d, int64_t ahead, uint8_t* out) {
    const float scale = row_scale(x, d, ahead, 127.0f);
    if (codes_are_zero(scale)) {
        __builtin_memset(out, 0, d);
        return scale;
    }
    const float inverse = inverse_of(scale);
    each(d, [=](int64_t i) { put_whole<past_cache>(out, i, d, row_code(part(x, i, d), scale, inverse, 127.0f), 0); });
    return scale;
}

// Element 2i is the low nibble of byte i; an odd dim leaves code 0 in the last high one.
inline float int4_row(const float* x, int64_t d, int64_t ahead, uint8_t* out) {
    const float scale = row_scale(x, d, ahead, 7.0f);
    if (codes_are_zero(scale)) {
        __builtin_memset(out, 0x88, (d + 1) / 2);
        return scale;
    }
    const float inverse = inverse_of(scale);
    each(d, [=](int64_t i) {
        const F nibbles = simd::add(row_code(part(x, i, d), scale, inverse, 7.0f), simd::set1(8.0f));
        if (i + W <= d) return simd::narrow_nibbles(out + i / 2, nibbles);
        uint8_t bytes[W / 2];
        simd::narrow_nibbles(bytes, nibbles);
        __builtin_memcpy(out + i / 2, bytes, (d - i + 1) / 2);
    });
    return scale;
}

// Whether a product is so close to a whole number that the quotient might be below or above it.
inline simd::Bits in_doubt(F u) { return simd::not_less(simd::set1(kAmbiguous), simd::abs(simd::sub(u, simd::round_even(u)))); }

// clip(floor((x - minimum) / step), 0, 255) in float32, each byte xor'ed with flip; NaN is 0. Clipped first: then the floor
// is what a conversion to integers cuts off.
template <bool past_cache>
inline void ranged(const float* x, const float* ranges, int64_t d, int64_t ahead, uint8_t flip, uint8_t* out) {
    using namespace simd;
    constexpr int line = 64;
    const float *minimum = ranges, *step = ranges + d, *inverse = step + d;
    int64_t i = 0;
    const auto go_on = [&](int64_t end) {
        for (; i < end; i += W) {
            prefetch(x + i, ahead);
            const F above = sub(part(x, i, d), part(minimum, i, d));
            F u = mul(above, part(inverse, i, d));
            // Zero steps behind the row's end divide to NaN or infinity in lanes nobody stores.
            if (__builtin_expect(in_doubt(u), 0)) u = div(above, part(step, i, d));
            put_whole<past_cache>(out, i, d, min(max(u, zero()), set1(255.0f)), flip);
        }
    };
    const int64_t apart = -reinterpret_cast<uintptr_t>(out) % line;
    if (past_cache && apart % W == 0 && apart + line + W <= d && reinterpret_cast<uintptr_t>(x) % sizeof(float) == 0) {
        go_on(apart);  // then whole lines in, whole lines out
        const I lanes = join_lanes(x + i);
        F held = join_start(x + i);
        for (; i + line + W <= d; i += line) {
            F u[line / W];
            Bits doubt = 0;
            for (int j = 0; ahead && j < line; j += W) prefetch(x + i + j, ahead);
#pragma GCC unroll 16
            for (int j = 0; j < line / W; ++j) {
                const int64_t at = i + j * W;
                u[j] = mul(sub(join_next(x + at, held, lanes), load(minimum + at)), load(inverse + at));
                doubt |= in_doubt(u[j]);
            }
            if (__builtin_expect(doubt, 0))
                for (int j = 0; j < line / W; ++j) {
                    const int64_t at = i + j * W;
                    u[j] = div(sub(load(x + at), load(minimum + at)), load(step + at));
                }
            stream_codes(out + i, u, flip);
        }
    }
    go_on(d);
}

// The bits of each byte turned round.
inline uint64_t mirrored(uint64_t word) {
    word = (word >> 1 & 0x5555555555555555u) | (word & 0x5555555555555555u) << 1;
    word = (word >> 2 & 0x3333333333333333u) | (word & 0x3333333333333333u) << 2;
    return (word >> 4 & 0x0F0F0F0F0F0F0F0Fu) | (word & 0x0F0F0F0F0F0F0F0Fu) << 4;
}

// Bits x > 0 of at most 64 elements, most significant bit of each byte first.
inline uint64_t positive(const float* x, int64_t n, int64_t ahead) {
    uint64_t word = 0;
    each_of(x, n, ahead, [&](int64_t j) { word |= static_cast<uint64_t>(simd::greater(part(x, j, n), simd::zero())) << j; });
    return mirrored(word);  // element 0 came out lowest
}

// Bits x > 0, pad bits 0; every byte xor'ed with flip.
inline void bits(const float* x, int64_t d, int64_t ahead, uint8_t flip, uint8_t* out) {
    const uint64_t flips = flip * 0x0101010101010101u;
    int64_t i = 0;
    for (; i + 64 <= d; i += 64) {
        const uint64_t word = positive(x + i, 64, ahead) ^ flips;
        __builtin_memcpy(out + i / 8, &word, 8);
    }
    if (i < d) {
        const uint64_t word = positive(x + i, d - i, ahead) ^ flips;
        __builtin_memcpy(out + i / 8, &word, (d - i + 7) / 8);
    }
}

template <bool past_cache>
inline void emit_to(const float* x, const RowSink& sink, int64_t i, int64_t ahead) {
    char* out = sink.data + i * sink.stride;
    uint8_t* bytes = reinterpret_cast<uint8_t*>(out);
    const int64_t d = sink.dim;
    switch (sink.precision) {
        case Precision::f32:
            __builtin_memcpy(out, x, d * sizeof(float));
            break;
        case Precision::f16:
            each(d, [=](int64_t j) { put(reinterpret_cast<simd::f16*>(out), j, d, part(x, j, d)); });
            break;
        case Precision::int8_row:
            sink.scale[i] = int8_row<past_cache>(x, d, ahead, bytes);
            break;
        case Precision::int4_row:
            sink.scale[i] = int4_row(x, d, ahead, bytes);
            break;
        case Precision::int8:
            ranged<past_cache>(x, sink.ranges, d, ahead, 0x80, bytes);
            break;
        case Precision::uint8:
            ranged<past_cache>(x, sink.ranges, d, ahead, 0, bytes);
            break;
        case Precision::binary:
            bits(x, d, ahead, 0x80, bytes);
            break;
        case Precision::ubinary:
            bits(x, d, ahead, 0, bytes);
            break;
    }
}

// Writes a float32 row as row `i` of the sink. `ahead` is as in each_of, for an x that comes from memory.
inline void emit(const float* x, const RowSink& sink, int64_t i, int64_t ahead = 0) {
    return sink.past_cache ? emit_to<true>(x, sink, i, ahead) : emit_to<false>(x, sink, i, ahead);
}

}  // namespace rows
}  // namespace

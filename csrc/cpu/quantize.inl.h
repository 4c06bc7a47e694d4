// Codes from float rows are rows.inl.h's; here are the loops over rows, the way back, and the ranges.
#include "quantize.h"

namespace {
namespace quantizer {

using simd::F;
using simd::W;

template <class T>
inline void widened(const T* x, int64_t d, int64_t ahead, float* out) {
    rows::each_of(x, d, ahead, [=](int64_t i) { rows::put(out, i, d, rows::part(x, i, d)); });
}

inline void quantize(const fec::Rows& x, const fec::RowSink& sink, float* scratch, int64_t lo, int64_t hi) {
    const int64_t ahead = rows::ahead(x.dim * rows::size_of(x.kind), x.stride);
    for (int64_t r = lo; r < hi; ++r) {
        const char* row = x.row(r);
        const float* values = scratch;
        switch (x.kind) {
            case fec::Kind::f16:
                widened(reinterpret_cast<const simd::f16*>(row), x.dim, ahead, scratch);
                break;
            case fec::Kind::bf16:
                widened(reinterpret_cast<const simd::bf16*>(row), x.dim, ahead, scratch);
                break;
            case fec::Kind::f64:
                widened(reinterpret_cast<const double*>(row), x.dim, ahead, scratch);
                break;
            default:
                values = reinterpret_cast<const float*>(row);
        }
        rows::emit(values, sink, r, values == scratch ? 0 : ahead);
    }
    if (sink.past_cache) simd::fence();
}

// scale * code.
template <class T>
inline void scaled_codes(const T* codes, int64_t d, float scale, float* out) {
    rows::each(d, [=](int64_t i) { rows::put(out, i, d, simd::mul(rows::part(codes, i, d), simd::set1(scale))); });
}

inline void nibbles(const uint8_t* bytes, int64_t d, float scale, float* out) {
    constexpr int block = 64;
    for (int64_t i = 0; i < d; i += block) {
        int8_t codes[block];
        const int64_t n = d - i < block ? d - i : block;
        for (int64_t j = 0; j < (n + 1) / 2; ++j) {
            codes[2 * j] = static_cast<int8_t>((bytes[i / 2 + j] & 15) - 8);
            codes[2 * j + 1] = static_cast<int8_t>((bytes[i / 2 + j] >> 4) - 8);
        }
        scaled_codes(codes, n, scale, out + i);
    }
}

// minimum + step * (code + offset) in float64, where the product is exact, rounded to float32.
template <class T>
inline void from_ranges(const T* codes, const float* ranges, int64_t d, double offset, float* out) {
    const float *minimum = ranges, *step = ranges + d;
    const auto value = [=](int64_t i) {
        const simd::D u = simd::dadd(rows::dpart(codes, i, d), simd::dset1(offset));
        return simd::dfma(rows::dpart(step, i, d), u, rows::dpart(minimum, i, d));
    };
    int64_t i = 0;
    for (; i + 8 <= d; i += 8) simd::dnarrow(out + i, value(i));
    if (i < d) {
        float tail[8];
        simd::dnarrow(tail, value(i));
        __builtin_memcpy(out + i, tail, (d - i) * sizeof(float));
    }
}

inline void signs(const uint8_t* bytes, int64_t d, uint8_t flip, float* out) {
    const F one = simd::set1(1.0f), minus = simd::set1(-1.0f);
    for (int64_t i = 0; i < d; i += 64) {
        const int64_t n = d - i < 64 ? d - i : 64;
        uint64_t word = 0;
        __builtin_memcpy(&word, bytes + i / 8, (n + 7) / 8);
        word = rows::mirrored(word ^ flip * 0x0101010101010101u);
        for (int64_t j = 0; j < n; j += W) rows::put(out, i + j, d, simd::select(static_cast<simd::Bits>(word >> j), one, minus));
    }
}

inline void dequantize(const fec::Rows& x, char* data, int64_t stride, int64_t lo, int64_t hi) {
    for (int64_t r = lo; r < hi; ++r) {
        const int8_t* codes = reinterpret_cast<const int8_t*>(x.row(r));
        const uint8_t* bytes = reinterpret_cast<const uint8_t*>(codes);
        float* out = reinterpret_cast<float*>(data + r * stride);
        if (x.kind == fec::Kind::bits)
            signs(bytes, x.dim, x.flip, out);
        else if (x.kind == fec::Kind::i4)
            nibbles(bytes, x.dim, x.scale[r], out);
        else if (x.scale)
            scaled_codes(codes, x.dim, x.scale[r], out);
        else if (x.kind == fec::Kind::i8)
            from_ranges(codes, x.ranges, x.dim, 128.0, out);
        else
            from_ranges(bytes, x.ranges, x.dim, 0.0, out);
    }
}

// The bound comes second to min and max, which return it where x is NaN: NaN in x is passed over here, and a NaN that
// `note_nan` wrote stays.
template <class T>
inline void note_nan(const T* x, int64_t d, float* limits) {
    for (int64_t i = 0; i < d; ++i) {
        float v[W];
        simd::store(v, simd::widen_n(x + i, 1));
        if (v[0] != v[0]) limits[i] = limits[d + i] = __builtin_nanf("");
    }
}

template <class T>
inline void widen_limits(const fec::Rows& x, float* limits, int64_t lo, int64_t hi) {
    const int64_t d = x.dim;
    const int64_t ahead = rows::ahead(d * sizeof(T), x.stride);
    float *low = limits, *high = limits + d;
    for (int64_t r = lo; r < hi; ++r) {
        const T* row = reinterpret_cast<const T*>(x.row(r));
        simd::Bits nan = 0;
        rows::each_of(row, d, ahead, [&](int64_t i) {
            const F v = rows::part(row, i, d);
            rows::put(low, i, d, simd::min(v, rows::part(low, i, d)));
            rows::put(high, i, d, simd::max(v, rows::part(high, i, d)));
            nan |= simd::is_nan(v);
        });
        if (nan) note_nan(row, d, limits);
    }
}

inline void calibrate(const fec::Rows& x, float* limits, int64_t lo, int64_t hi) {
    switch (x.kind) {
        case fec::Kind::f16:
            return widen_limits<simd::f16>(x, limits, lo, hi);
        case fec::Kind::bf16:
            return widen_limits<simd::bf16>(x, limits, lo, hi);
        case fec::Kind::f64:
            return widen_limits<double>(x, limits, lo, hi);
        default:
            return widen_limits<float>(x, limits, lo, hi);
    }
}

}  // namespace quantizer

const fec::QuantizeKernels quantize_kernels = {quantizer::quantize, quantizer::dequantize, quantizer::calibrate};
}  // namespace

// Normalization, codes of every precision and back, and ranges, on the level in use, against their formulas.
#include <cmath>
#include <cstring>

#include "../cpu/dispatch.h"
#include "operand.h"

namespace fec {
namespace test {

void check_vectors();

namespace {

constexpr Kind float_kinds[] = {Kind::f32, Kind::f16, Kind::bf16, Kind::f64};
constexpr Precision precisions[] = {Precision::int8_row, Precision::int4_row, Precision::int8,
                                    Precision::uint8,    Precision::binary,   Precision::ubinary};

// Rows to write, `gap` bytes apart, the last one's end at a guard page; or aligned for stores past the cache.
struct Target {
    char* data;
    int64_t stride;

    Target(int64_t n, int64_t bytes, bool aligned) : stride(aligned ? (bytes + 63) / 64 * 64 : bytes + 3) {
        const auto size = static_cast<size_t>(stride * (n - 1) + (aligned ? stride : bytes));
        data = static_cast<char*>(guarded(3, size));
        std::memset(data, 0x5A, size);
    }
    const uint8_t* row(int64_t i) const { return reinterpret_cast<const uint8_t*>(data + i * stride); }
};

void check_normalize(const Operand& x) {
    const int64_t n = x.rows.n, dim = x.rows.dim, size = x.rows.kind == Kind::f32 || x.rows.kind == Kind::f64 ? 4 : 2;
    for (const bool past_cache : {false, true}) {
        const Target to(n, dim * size, past_cache);
        kernels().normalize.rows(x.rows, 1e-12, {to.data, to.stride}, past_cache, 0, n);
        for (int64_t i = 0; i < n; ++i) {
            double square = 0;
            for (int64_t d = 0; d < dim; ++d) square += x.value(i)[d] * x.value(i)[d];
            const double norm = std::fmax(std::sqrt(square), 1e-12);
            for (int64_t d = 0; d < dim; ++d) {
                const double quotient = x.value(i)[d] / norm;
                const float single = static_cast<float>(quotient);
                const double step = static_cast<double>(std::nextafterf(std::fabs(single), INFINITY) - std::fabs(single));
                float got;
                if (size == 4) {
                    std::memcpy(&got, to.row(i) + 4 * d, 4);
                    expect_near("normalize", dim, got, quotient, step * (0.5 + 0x1p-20));
                    continue;
                }
                uint16_t bits;
                std::memcpy(&bits, to.row(i) + 2 * d, 2);
                got = x.rows.kind == Kind::f16 ? value_of(f16{bits}) : value_of(bf16{bits});
                // The half of the float32 result, which is one of the floats around the quotient.
                const auto half = [&](float v) { return x.rows.kind == Kind::f16 ? value_of(nearest_f16(v)) : value_of(nearest_bf16(v)); };
                const float below = half(std::nextafterf(single, -INFINITY)), above = half(std::nextafterf(single, INFINITY));
                const float want = half(single);
                expect_same("normalize to half", dim, got, got == want ? want : got == below ? below : above);
            }
        }
    }
}

float row_step(const Operand& x, int64_t row, float levels) {
    float most = 0;
    for (int64_t d = 0; d < x.rows.dim; ++d) most = std::fmax(most, std::fabs(static_cast<float>(x.value(row)[d])));
    return most / levels;
}

// The code of element d as a precision stores it: a byte, a nibble, or a bit.
int plain_code(const Operand& x, const float* ranges, Precision precision, int64_t row, int64_t d, float scale) {
    const float v = static_cast<float>(x.value(row)[d]);
    switch (precision) {
        case Precision::int8_row:
            return scale > 0 ? static_cast<int>(std::rint(v / scale)) & 0xFF : 0;
        case Precision::int4_row:
            return scale > 0 ? static_cast<int>(std::rint(v / scale)) + 8 : 8;
        case Precision::binary:
        case Precision::ubinary:
            return v > 0;
        default: {
            const float u = std::floor((v - ranges[d]) / ranges[x.rows.dim + d]);
            return static_cast<int>(u < 0 ? 0 : u > 255 ? 255 : u) ^ (precision == Precision::int8 ? 0x80 : 0);
        }
    }
}

int stored_code(const uint8_t* row, Precision precision, int64_t d) {
    switch (precision) {
        case Precision::int4_row:
            return row[d / 2] >> 4 * (d % 2) & 15;
        case Precision::binary:
            return (row[d / 8] ^ 0x80) >> (7 - d % 8) & 1;
        case Precision::ubinary:
            return row[d / 8] >> (7 - d % 8) & 1;
        default:
            return row[d];
    }
}

void check_quantize(const Operand& x) {
    const int64_t n = x.rows.n, dim = x.rows.dim;
    std::vector<float> ranges(static_cast<size_t>(3 * dim)), scratch(static_cast<size_t>(dim)), scale(static_cast<size_t>(n));
    for (int64_t d = 0; d < dim; ++d) {
        ranges[static_cast<size_t>(d)] = -2.5f + static_cast<float>(d % 7) / 9;
        ranges[static_cast<size_t>(dim + d)] = static_cast<float>(1 + d % 5) / 211;
        ranges[static_cast<size_t>(2 * dim + d)] = d % 11 ? 1 / ranges[static_cast<size_t>(dim + d)] : NAN;  // NaN: it must divide
    }
    for (const Precision precision : precisions) {
        for (const bool past_cache : {false, true}) {
            RowSink sink = {nullptr, 0, dim, precision, scale.data(), ranges.data(), past_cache};
            const Target to(n, row_bytes(sink), past_cache);
            sink.data = to.data, sink.stride = to.stride;
            kernels().quantize.quantize(x.rows, sink, scratch.data(), 0, n);
            for (int64_t i = 0; i < n; ++i) {
                const float step = precision == Precision::int8_row ? row_step(x, i, 127) : row_step(x, i, 7);
                if (precision == Precision::int8_row || precision == Precision::int4_row)
                    expect_same("scale", dim, scale[static_cast<size_t>(i)], step);
                for (int64_t d = 0; d < dim; ++d)
                    expect("code", static_cast<int64_t>(precision), static_cast<uint64_t>(stored_code(to.row(i), precision, d)),
                           static_cast<uint64_t>(plain_code(x, ranges.data(), precision, i, d, step)));
                if (precision == Precision::ubinary && dim % 8) expect("pad bits", dim, to.row(i)[dim / 8] & (0xFF >> dim % 8), 0);
                if (precision == Precision::int4_row && dim % 2) expect("pad nibble", dim, to.row(i)[dim / 2] >> 4, 8);
            }
        }
    }
}

void check_calibrate(const Operand& x) {
    const int64_t n = x.rows.n, dim = x.rows.dim;
    std::vector<float> limits(static_cast<size_t>(2 * dim), INFINITY);
    for (int64_t d = 0; d < dim; ++d) limits[static_cast<size_t>(dim + d)] = -INFINITY;
    kernels().quantize.calibrate(x.rows, limits.data(), 0, n);
    for (int64_t d = 0; d < dim; ++d) {
        float low = INFINITY, high = -INFINITY;
        for (int64_t i = 0; i < n; ++i) {
            const float v = static_cast<float>(x.value(i)[d]);
            low = v < low ? v : low, high = v > high ? v : high;
        }
        expect("minimum", dim, limits[static_cast<size_t>(d)] == low, true);
        expect("maximum", dim, limits[static_cast<size_t>(dim + d)] == high, true);
    }
}

void check_dequantize(const Operand& codes) {
    const int64_t n = codes.rows.n, dim = codes.rows.dim;
    const Target to(n, dim * 4, false);
    kernels().quantize.dequantize(codes.rows, to.data, to.stride, 0, n);
    for (int64_t i = 0; i < n; ++i)
        for (int64_t d = 0; d < dim; ++d) {
            float got;
            std::memcpy(&got, to.row(i) + 4 * d, 4);
            expect_same("dequantize", dim, got, static_cast<float>(codes.scale_of(i) * codes.value(i)[d]));
        }
}

}  // namespace

void check_vectors() {
    for (int64_t dim = 1; dim <= 130; ++dim) {
        const int64_t n = 1 + dim % 5;
        for (const Kind kind : float_kinds) {
            const Operand x(kind, n, dim, 2);
            check_normalize(x);
            check_quantize(x);
            check_calibrate(x);
        }
        check_dequantize(Operand(Kind::i8, n, dim, 2, true));
        check_dequantize(Operand(Kind::i4, n, dim, 2, true));
        check_dequantize(Operand(Kind::i8, n, dim, 2, false, true));
        check_dequantize(Operand(Kind::u8, n, dim, 2, false, true));
        check_dequantize(Operand(Kind::bits, n, dim, 2, false, false, dim % 2 ? 0x80 : 0));
    }
}

}  // namespace test
}  // namespace fec

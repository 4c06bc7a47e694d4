#include "operand.h"

#include <cstring>

namespace fec {
namespace test {
namespace {

int64_t row_bytes(Kind kind, int64_t dim) {
    switch (kind) {
        case Kind::f32:
            return 4 * dim;
        case Kind::f64:
            return 8 * dim;
        case Kind::f16:
        case Kind::bf16:
            return 2 * dim;
        case Kind::i4:
            return (dim + 1) / 2;
        case Kind::bits:
            return (dim + 7) / 8;
        default:
            return dim;
    }
}

template <class T>
double stored(char* row, int64_t d, T element) {
    std::memcpy(row + d * static_cast<int64_t>(sizeof(T)), &element, sizeof(T));
    return static_cast<double>(value_of(element));
}

// A random element d of a row, written; returns what it stands for.
double place(Kind kind, uint8_t flip, char* row, int64_t d) {
    const float number = static_cast<float>(random_in(-2000, 2000)) / 700;
    auto* bytes = reinterpret_cast<uint8_t*>(row);
    switch (kind) {
        case Kind::f32:
            return stored(row, d, number);
        case Kind::f16:
            return stored(row, d, nearest_f16(number));
        case Kind::bf16:
            return stored(row, d, nearest_bf16(number));
        case Kind::f64:
            return stored(row, d, static_cast<double>(number) * 1.000000059604645);
        case Kind::i8:
            return stored(row, d, static_cast<int8_t>(random_in(-128, 127)));
        case Kind::u8:
            return stored(row, d, static_cast<uint8_t>(random_in(0, 255)));
        case Kind::i4: {
            const int code = random_in(-7, 7);
            bytes[d / 2] = static_cast<uint8_t>(d % 2 ? (bytes[d / 2] & 15) | (code + 8) << 4 : code + 8);
            return code;
        }
        case Kind::bits: {
            const int bit = random_in(0, 1);
            if (d % 8 == 0) bytes[d / 8] = static_cast<uint8_t>(random_bits());  // pad bits are whatever they are
            const uint8_t at = static_cast<uint8_t>(0x80 >> d % 8);
            bytes[d / 8] = static_cast<uint8_t>((bytes[d / 8] & ~at) | ((bit ? at : 0) ^ (flip ? at & 0x80 : 0)));
            return bit ? 1.0 : -1.0;
        }
    }
    return 0.0;
}

}  // namespace

Operand::Operand(Kind kind, int64_t n, int64_t dim, int slot, bool scaled, bool ranged, uint8_t flip) {
    const int64_t bytes = row_bytes(kind, dim), stride = bytes + 5 + (bytes & 1 ? 0 : 2);
    char* data = static_cast<char*>(guarded(slot, static_cast<size_t>(stride * (n - 1) + bytes)));
    for (int64_t i = 0; i < n; ++i)
        for (int64_t d = 0; d < dim; ++d) codes.push_back(place(kind, flip, data + i * stride, d));
    values = codes;
    for (int64_t i = 0; scaled && i < n; ++i) scale.push_back(static_cast<float>(random_in(1, 1000)) / 997);
    if (ranged) {
        for (int64_t d = 0; d < dim; ++d) ranges.push_back(static_cast<float>(random_in(-1000, 0)) / 301);
        for (int64_t d = 0; d < dim; ++d) ranges.push_back(static_cast<float>(random_in(1, 1000)) / 77777);
        for (size_t i = 0; i < values.size(); ++i) {
            const size_t d = i % static_cast<size_t>(dim);
            const double code = codes[i] + (kind == Kind::i8 ? 128 : 0);
            values[i] =
                static_cast<float>(static_cast<double>(ranges[d + static_cast<size_t>(dim)]) * code + static_cast<double>(ranges[d]));
        }
    }
    rows = {data, n, dim, stride, kind, scaled ? scale.data() : nullptr, ranged ? ranges.data() : nullptr, flip};
}

}  // namespace test
}  // namespace fec

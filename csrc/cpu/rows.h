// Where pooled or quantized rows go: one output format for every operation that ends in vectors.
#pragma once
#include "../core/types.h"

namespace fec {

// The order is shared with the binding.
enum class Precision : int { f32, f16, int8_row, int4_row, int8, uint8, binary, ubinary };

// Output rows of dim elements, stride bytes apart, in one precision.
struct RowSink {
    char* data;
    int64_t stride;
    int64_t dim;
    Precision precision;
    float* scale;         // n, for *_row
    const float* ranges;  // for int8 and uint8: minimum[dim], step[dim], then 1 / step, NaN where it would not be a normal number
    bool past_cache;      // stores of bytes bypass the cache; data and stride are then multiples of 16
};

// Bytes that one row of the sink takes.
inline int64_t row_bytes(const RowSink& sink) {
    switch (sink.precision) {
        case Precision::f32:
            return sink.dim * 4;
        case Precision::f16:
            return sink.dim * 2;
        case Precision::int4_row:
            return (sink.dim + 1) / 2;
        case Precision::binary:
        case Precision::ubinary:
            return (sink.dim + 7) / 8;
        default:
            return sink.dim;
    }
}

}  // namespace fec

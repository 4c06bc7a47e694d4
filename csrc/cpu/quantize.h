// Float rows to codes and back, and the ranges of their dimensions.
#pragma once
#include "../core/buffer.h"
#include "../core/types.h"
#include "rows.h"

namespace fec {

struct QuantizeKernels {
    // Rows lo to hi of a float operand; scratch holds x.dim floats where x is not float32.
    void (*quantize)(const Rows& x, const RowSink& sink, float* scratch, int64_t lo, int64_t hi);
    // Rows lo to hi of codes, as float32 rows stride bytes apart.
    void (*dequantize)(const Rows& x, char* out, int64_t stride, int64_t lo, int64_t hi);
    // Widens limits, minimum[dim] then maximum[dim], by rows lo to hi; a dimension with NaN becomes and stays NaN.
    void (*calibrate)(const Rows& x, float* limits, int64_t lo, int64_t hi);
};

// The ranges of a sink of int8 or uint8: minimum[dim] and step[dim] as given, and the inverse of each step.
Buffer<float> with_inverses(const float* ranges, int64_t dim);

// Each returns false where poll asked to stop. For int8 and uint8, limits are minimum[dim] then maximum[dim]: the sink's
// ranges are made of them here.
bool quantize(const Rows& x, const RowSink& out, const float* limits, int threads, Poll poll);
bool dequantize(const Rows& x, char* out, int64_t stride, int threads, Poll poll);
bool calibrate(const Rows& x, float* limits, int threads, Poll poll);

}  // namespace fec

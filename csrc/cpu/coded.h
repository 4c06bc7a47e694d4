// Codes of float rows for scans: int8 or nibbles of a row less a center, and norms of what they leave out. Stored beside the
// rows by encode(), or fresh: made of a block's rows when a scan comes to them.
#pragma once
#include "search.h"

namespace fec {

struct FitSums {
    float product, square;
};

struct CodeKernels {
    FitSums (*fit)(const float* t, int64_t dim, float inverse, float levels, int8_t* codes);
    double (*residual_square)(const double* t, const int8_t* codes, int64_t dim, double scale);
    // Fresh codes of n rows of floats `stride` bytes apart, to `ld` bytes apart: rint(x / scale), scale = max|x| / 127, and in
    // float32 the squares of |x| and |x - scale * codes|. The scale of a row of zeros is 0, of one
    // that is out of range NaN.
    void (*freshen)(const char* rows, int64_t stride, int64_t n, int64_t dim, int8_t* codes, int64_t ld, float* scale, float* square,
                    float* residual);
};

// Where the codes of n rows go; see Coded. `center` is read, the rest written.
struct CodedOut {
    char* codes;
    int64_t stride;
    bool nibbles;
    float *scale, *error, *norm, *bias;
    const float* center;
};

// The mean of a sample of rows, of their directions under cosine; rows whose norm is out of range are left out.
void code_center(const Rows& x, Metric metric, float* center);

bool encode(const Rows& x, Metric metric, int threads, Poll poll, const CodedOut& out);

}  // namespace fec

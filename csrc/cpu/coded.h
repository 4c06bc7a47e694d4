// Codes of float rows for scans: int8 or nibbles of a row less a center, and norms of what they leave out.
#pragma once
#include "search.h"

namespace fec {

struct FitSums {
    float product, square;
};

struct CodeKernels {
    FitSums (*fit)(const float* t, int64_t dim, float inverse, float levels, int8_t* codes);
    double (*residual_square)(const double* t, const int8_t* codes, int64_t dim, double scale);
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

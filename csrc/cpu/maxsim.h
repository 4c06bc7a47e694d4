// Late interaction: the sum over a query's tokens of the largest score each has with a document's tokens.
#pragma once
#include "search.h"

namespace fec {

// Set i is rows starts[i] to stops[i], or where ids is given the rows listed there, ascending.
struct RowSets {
    int64_t n;
    const int64_t* starts;
    const int64_t* stops;
    const int64_t* ids;
};

// One call. `pair` holds the tokens, under ip or cosine; of bits on both sides each is +1 or -1.
struct MaxSim {
    Pair pair;
    int64_t queries;
    const int64_t* offsets;  // query i is rows offsets[i] to offsets[i + 1] of pair.q
    RowSets documents;
};

struct MaxSimKernels {
    // top[lane] = max(top[lane], raw[row][lane] * scale[row]); a null scale is 1. No NaN among them.
    void (*largest)(const float* raw, int vectors, int64_t n, const float* scale, float* top);
    void (*largest_code)(const int32_t* raw, int vectors, int64_t n, const float* scale, float* top);
    void (*largest_integer)(const int32_t* raw, int vectors, int64_t n, int32_t* top);
    // No less than about the length of any of n float rows; infinite or NaN where an element is.
    float (*reach)(const char* rows, int64_t stride, int64_t n, int64_t dim);
    // Rows of `bytes` on their way into the cache, as reach brings them.
    void (*stream)(const char* rows, int64_t stride, int64_t n, int64_t bytes);
};

// Drivers; false where poll asked to stop. Scores are (queries, documents), or (queries, k) beside the documents' numbers:
// int32 for integers and for bits on both sides under ip, else float.
bool maxsim(const MaxSim& call, int threads, Poll poll, void* scores);
bool maxsim_topk(const MaxSim& call, int64_t k, const Allowed& allowed, int threads, Poll poll, void* scores, int64_t* indices);

}  // namespace fec

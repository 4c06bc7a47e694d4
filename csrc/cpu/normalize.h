// Each row divided by its Euclidean length.
#pragma once
#include "../core/types.h"

namespace fec {

// Where normalized rows go, in the operand's own kind (f64 rows as f32): stride bytes apart, at any alignment; the
// operand's own memory or memory apart from it.
struct UnitRows {
    char* data;
    int64_t stride;
};

struct NormalizeKernels {
    // Rows lo to hi; past_cache asks for stores that bypass the cache.
    void (*rows)(const Rows& x, double eps, const UnitRows& out, bool past_cache, int64_t lo, int64_t hi);
};

// x / max(|x|, eps) for every row; false where poll asked to stop.
bool normalize(const Rows& x, double eps, const UnitRows& out, int threads, Poll poll);

}  // namespace fec

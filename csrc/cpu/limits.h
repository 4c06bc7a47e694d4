// What this machine can do at most: recipes whose only work is the one resource they measure. A kernel is judged by the
// fraction of the best recipe it reaches.
#pragma once
#include <stdint.h>

#include "../core/types.h"

namespace fec {

// float32 multiply-adds, 8-bit and 4-bit x 8-bit multiply-adds, bits compared, bytes read, bytes copied.
enum class Resource : int { fma, int8, int4, popcount, read, copy };

struct Recipe {
    Resource resource;
    const char* name;
    double work;  // done by each unit of n: FLOP, multiply-adds or bits of a step; 1 where n counts bytes
    // Compute recipes take n steps and touch no memory. The others walk n bytes, a multiple of walk_bytes, of `from`,
    // and copies write as many to `to`, aligned to the vector.
    void (*run)(const char* from, char* to, int64_t n);
};

constexpr int64_t walk_bytes = 4096;

struct LimitKernels {
    const Recipe* recipes;
    int count;
};

// n units of a recipe (rounded down to whole pieces) shared out over `threads` threads, and the work they do. False where
// poll asked to stop.
bool run_recipe(const Recipe& recipe, const char* from, char* to, int64_t n, int threads, Poll poll, double* work);

// What needs no vector vocabulary: the library's and the processor's own copies.
LimitKernels plain_recipes();

}  // namespace fec

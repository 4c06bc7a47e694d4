#include "limits.h"

#include <cstring>

#include "../core/thread_pool.h"

namespace fec {
namespace {

void memcpy_limit(const char* from, char* to, int64_t n) { std::memcpy(to, from, static_cast<size_t>(n)); }
#if defined(__x86_64__)
void rep_movsb_limit(const char* from, char* to, int64_t n) { asm volatile("rep movsb" : "+S"(from), "+D"(to), "+c"(n) : : "memory"); }
#endif

const Recipe plain[] = {
    {Resource::copy, "memcpy", 1, memcpy_limit},
#if defined(__x86_64__)
    {Resource::copy, "rep movsb", 1, rep_movsb_limit},
#endif
};

}  // namespace

LimitKernels plain_recipes() { return {plain, sizeof plain / sizeof *plain}; }

bool run_recipe(const Recipe& recipe, const char* from, char* to, int64_t n, int threads, Poll poll, double* work) {
    const bool walks = recipe.resource == Resource::read || recipe.resource == Resource::copy;
    // Enough pieces that a thread which wakes late, or is interrupted, leaves its share to the others.
    const int64_t pieces = threads > 1 ? 16 * threads : 1, unit = walks ? walk_bytes : 1, piece = n / (pieces * unit) * unit;
    const auto task = [&](int64_t i, int) { recipe.run(from + (walks ? i * piece : 0), to + (walks ? i * piece : 0), piece); };
    *work = recipe.work * static_cast<double>(piece * pieces);
    return parallel_for(pieces, threads, task, poll);
}

}  // namespace fec

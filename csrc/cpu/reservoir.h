// The rows that may still be among a query's k best: a bounded list, compacted when full.
#pragma once
#include <algorithm>
#include <cstdint>

#include "estimate.h"
#include "scorer.h"

namespace fec {

// What a scan knows of a row: bounds of its canonical score in the estimate's units.
struct Candidate {
    float lower, upper;
    int64_t row;
};

struct Reservoir {
    Candidate* list;
    int64_t count;
    float threshold;  // rows provably below it are not among the k best; -inf until k rows are held
};

// Keeps what may be among the k best, in place: a row stays while its upper bound reaches the k-th best lower bound.
// Returns how many stay and sets `threshold`. `exact`: bounds are the scores themselves, so that ties go to the lowest row.
inline int64_t certify(Candidate* list, int64_t count, int64_t k, bool exact, float& threshold) {
    if (count < k) return count;
    if (exact) {
        std::nth_element(list, list + k - 1, list + count,
                         [](const Candidate& a, const Candidate& b) { return a.lower != b.lower ? a.lower > b.lower : a.row < b.row; });
        threshold = list[k - 1].lower;
        return k;
    }
    std::nth_element(list, list + k - 1, list + count, [](const Candidate& a, const Candidate& b) { return a.lower > b.lower; });
    threshold = list[k - 1].lower;
    const float limit = threshold;
    return std::partition(list, list + count, [limit](const Candidate& c) { return c.upper >= limit; }) - list;
}

// Keeps exactly the k best by canonical score: for lists that bounds alone cannot shorten (duplicates, overflowing rows).
inline int64_t resolve(Candidate* list, int64_t count, int64_t k, Scorer& scorer, Better better, Buffer<Ranked>& ranked, float& threshold) {
    if (count <= k) return count;
    ranked.resize(count);
    for (int64_t i = 0; i < count; ++i) ranked[i] = {0.0, list[i].row};
    scorer.score(ranked.get(), count);
    // The candidates follow their scores: both are permuted by one order of positions.
    std::sort(list, list + count, [](const Candidate& a, const Candidate& b) { return a.row < b.row; });
    std::nth_element(ranked.get(), ranked.get() + k, ranked.get() + count, better);
    std::sort(ranked.get(), ranked.get() + k, [](const Ranked& a, const Ranked& b) { return a.row < b.row; });
    int64_t kept = 0;
    float lowest = kUnbounded;
    for (int64_t i = 0, j = 0; j < k; ++i)
        if (list[i].row == ranked[j].row) {
            list[kept++] = list[i];
            lowest = std::min(lowest, list[kept - 1].lower);
            ++j;
        }
    threshold = lowest;
    return k;
}

}  // namespace fec

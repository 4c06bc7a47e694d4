// The rows that may still be among a query's k best: a bounded list, compacted when full.
#pragma once
#include <algorithm>
#include <cstdint>

#include "estimate.h"
#include "scorer.h"

namespace fec {

// What is known of a row: bounds of its canonical score, larger is better; where it is `known` they are the score itself.
struct Candidate {
    float lower, upper;
    int64_t row : 62;
    uint64_t known : 1, nan : 1;  // a NaN ranks below every number: its bounds are -inf

    static Candidate estimated(Bounds b, int64_t row) { return {b.lower, b.upper, row, 0, 0}; }
    void learn(double score, bool similarity) {
        known = 1, nan = std::isnan(score);
        lower = upper = nan ? -kUnbounded : static_cast<float>(similarity ? score : -score);
    }
    double score(bool similarity) const { return nan ? NAN : similarity ? lower : -static_cast<double>(lower) + 0.0; }
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

// Learns the canonical scores of candidates [0, count), in row order.
class Learner {
public:
    // Integer scores may not fit the float32 bounds: they are computed anew each time.
    Learner(const Pair& pair, Scorer& scorer) : similarity_(pair.similarity()), keeps_(!pair.integer_scores()), scorer_(scorer) {}

    // Scores what is not known yet; ranked[i] is then list[i]'s.
    void score(Candidate* list, int64_t count, Buffer<Ranked>& ranked) {
        std::sort(list, list + count, [](const Candidate& a, const Candidate& b) { return a.row < b.row; });
        ranked.resize(count);
        int64_t asked = 0;
        for (int64_t i = count - 1; i >= 0; --i)
            if (!list[i].known) ranked[count - ++asked] = {0.0, list[i].row};
        int64_t next = count - asked;  // never behind i: what is read below was not yet overwritten
        scorer_.score(ranked.get() + next, asked);
        for (int64_t i = 0; i < count; ++i) {
            ranked[i] = list[i].known ? Ranked{list[i].score(similarity_), list[i].row} : ranked[next++];
            if (keeps_) list[i].learn(ranked[i].score, similarity_);
        }
        scored_ += asked;
    }

    // Learns the k most promising scores, which raises the threshold that wide bounds left low; then certifies.
    int64_t tighten(Candidate* list, int64_t count, int64_t k, Buffer<Ranked>& ranked, float& threshold) {
        if (count > k) {
            std::nth_element(list, list + k, list + count, [](const Candidate& a, const Candidate& b) { return a.upper > b.upper; });
            score(list, k, ranked);
        }
        return certify(list, count, k, false, threshold);
    }

    // Keeps exactly the k best by canonical score: for lists that bounds alone cannot shorten (duplicates, overflowing rows).
    int64_t resolve(Candidate* list, int64_t count, int64_t k, Buffer<Ranked>& ranked, float& threshold) {
        if (count <= k) return count;
        score(list, count, ranked);
        std::nth_element(ranked.get(), ranked.get() + k, ranked.get() + count, Better{similarity_});
        std::sort(ranked.get(), ranked.get() + k, [](const Ranked& a, const Ranked& b) { return a.row < b.row; });
        int64_t kept = 0;
        threshold = kUnbounded;
        for (int64_t i = 0; kept < k; ++i)
            if (list[i].row == ranked[kept].row) {
                list[kept++] = list[i];
                threshold = std::min(threshold, list[kept - 1].lower);
            }
        return k;
    }

    int64_t scored() const { return scored_; }

private:
    const bool similarity_, keeps_;
    Scorer& scorer_;
    int64_t scored_ = 0;
};

}  // namespace fec

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

// A query's candidates, always in row order: rows are met in ascending order, and what is dropped leaves the others in place.
struct Reservoir {
    Candidate* list;
    int64_t count;
    float threshold;  // rows provably below it are not among the k best; -inf until k rows are held
};

// Shortens a query's candidates and learns their canonical scores. Order-keeping throughout: memory is read in order, and of equal
// scores the first belong.
class Selection {
public:
    // Integer scores may not fit the float32 bounds: they are computed anew each time.
    Selection(const Pair& pair, Scorer& scorer) : better_{pair.similarity()}, keeps_(!pair.integer_scores()), scorer_(scorer) {}

    // Keeps what may be among the k best: a row stays while its upper bound reaches the k-th best lower bound.
    // Returns how many stay and sets `threshold`. `exact`: bounds are the scores themselves, so that ties go to the lowest row.
    int64_t certify(Candidate* list, int64_t count, int64_t k, bool exact, float& threshold) {
        if (count < k) return count;
        const float limit = threshold = kth(list, count, k, [](const Candidate& c) { return c.lower; });
        int64_t kept = 0, ties = k;
        if (exact)
            for (int64_t i = 0; i < count; ++i) ties -= list[i].lower > limit;
        for (int64_t i = 0; i < count; ++i) {
            const Candidate each = list[i];
            list[kept] = each;
            kept += exact ? each.lower > limit || (each.lower == limit && ties-- > 0) : each.upper >= limit;
        }
        return kept;
    }

    // ranked[i] is list[i] with its canonical score, which is learned.
    void score(Candidate* list, int64_t count, Buffer<Ranked>& ranked) {
        ranked.resize(count);
        int64_t asked = 0;
        for (int64_t i = count - 1; i >= 0; --i)
            if (!list[i].known) ranked[count - ++asked] = {0.0, list[i].row};
        int64_t next = count - asked;  // never behind i: what is read below was not yet overwritten
        scorer_.score(ranked.get() + next, asked);
        for (int64_t i = 0; i < count; ++i) {
            ranked[i] = list[i].known ? Ranked{list[i].score(better_.similarity), list[i].row} : ranked[next++];
            if (keeps_) list[i].learn(ranked[i].score, better_.similarity);
        }
        scored_ += asked;
    }

    // Learns the k most promising scores, which raises the threshold that wide bounds left low; then certifies.
    int64_t tighten(Candidate* list, int64_t count, int64_t k, Buffer<Ranked>& ranked, float& threshold) {
        if (count > k) {
            const float limit = kth(list, count, k, [](const Candidate& c) { return c.upper; });
            chosen_.resize(count);
            ranked.resize(count);
            int64_t asked = 0, ties = k;
            for (int64_t i = 0; i < count; ++i) ties -= list[i].upper > limit;
            for (int64_t i = 0; i < count; ++i) {
                if (list[i].known || !(list[i].upper > limit || (list[i].upper == limit && ties-- > 0))) continue;
                chosen_[asked] = i;
                ranked[asked++] = {0.0, list[i].row};
            }
            scorer_.score(ranked.get(), asked);
            for (int64_t j = 0; j < asked; ++j) list[chosen_[j]].learn(ranked[j].score, better_.similarity);
            scored_ += asked;
        }
        return certify(list, count, k, false, threshold);
    }

    // Keeps exactly the k best by canonical score: for lists that bounds alone cannot shorten (duplicates, overflowing rows).
    int64_t resolve(Candidate* list, int64_t count, int64_t k, Buffer<Ranked>& ranked, float& threshold) {
        if (count <= k) return count;
        score(list, count, ranked);
        order_.resize(count);
        std::copy_n(ranked.get(), count, order_.get());
        std::nth_element(order_.get(), order_.get() + k - 1, order_.get() + count, better_);
        const Ranked last = order_[k - 1];
        int64_t kept = 0;
        threshold = kUnbounded;
        for (int64_t i = 0; i < count; ++i) {
            if (better_(last, ranked[i])) continue;
            list[kept++] = list[i];
            threshold = std::min(threshold, list[i].lower);
        }
        return kept;
    }

    int64_t scored() const { return scored_; }

private:
    // The k-th largest of a bound.
    template <class Bound>
    float kth(const Candidate* list, int64_t count, int64_t k, Bound bound) {
        bounds_.resize(count);
        for (int64_t i = 0; i < count; ++i) bounds_[i] = bound(list[i]);
        std::nth_element(bounds_.get(), bounds_.get() + k - 1, bounds_.get() + count, [](float a, float b) { return a > b; });
        return bounds_[k - 1];
    }

    const Better better_;
    const bool keeps_;
    Scorer& scorer_;
    Buffer<float> bounds_;
    Buffer<int64_t> chosen_;
    Buffer<Ranked> order_;
    int64_t scored_ = 0;
};

}  // namespace fec

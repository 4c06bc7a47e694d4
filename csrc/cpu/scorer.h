// Canonical scores and their ranking: what every search ends with, and all that rescore and similarity_paired do.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "../core/buffer.h"
#include "dispatch.h"
#include "search.h"

namespace fec {

// A row and its canonical score, float32 or int32 held exactly in a double.
struct Ranked {
    double score;
    int64_t row;
};

// Numbers best first, then NaN; inside each by the lowest row.
struct Better {
    bool similarity;
    bool operator()(const Ranked& a, const Ranked& b) const {
        if (a.score == b.score) return a.row < b.row;
        const bool a_nan = std::isnan(a.score), b_nan = std::isnan(b.score);
        if (a_nan || b_nan) return a_nan == b_nan ? a.row < b.row : b_nan;
        return similarity ? a.score > b.score : a.score < b.score;
    }
};

// Whether a row, not the first, is the one before it over again, byte for byte.
inline bool repeated(const Rows& x, int64_t row) {
    return std::memcmp(x.row(row), x.row(row - 1), static_cast<size_t>(x.row_bytes())) == 0 &&
           (!x.scale || std::memcmp(x.scale + row, x.scale + row - 1, sizeof(float)) == 0);
}

// Scores rows with one query at a time. Each thread has its own.
class Scorer {
public:
    explicit Scorer(const Pair& pair);

    // Take query i; cheap next to scoring a handful of rows.
    void select(int64_t i);

    // The canonical scores of n rows, in place: ranked[j].score from ranked[j].row.
    void score(Ranked* ranked, int64_t n);

private:
    double query_root() const;
    double finish(double sum, double norm, int64_t row) const;
    bool repeats(int64_t row);
    void score_bits(Ranked* ranked, int64_t n);

    const Pair& pair_;
    const SearchKernels& kernels_;
    Sums sums_;
    Buffer<float> floats_;
    Buffer<double> query_;
    Buffer<uint8_t> bytes_;
    std::vector<int64_t> repeats_;  // what `repeats` found last in each place: 2 * row + its answer
    double scale_ = 1.0, root_ = 0.0;
    int64_t set_bits_ = 0;
};

// Query i's bits as hamming kernels take them: both operands' flips folded in, pad bits 0, room for `bytes` zero-padded.
void fold_bits(const Pair& pair, int64_t i, uint8_t* out, int64_t bytes);

// Sorts the best k of n to the front and writes them out, then unfilled places up to k.
class Output {
public:
    Output(const Pair& pair, int64_t k, void* scores, int64_t* indices)
        : better_{pair.similarity()}, integers_(pair.integer_scores()), k_(k), scores_(scores), indices_(indices) {}
    void write(int64_t query, Ranked* ranked, int64_t n) const;
    Better better() const { return better_; }

private:
    Better better_;
    bool integers_;
    int64_t k_;
    void* scores_;
    int64_t* indices_;
};

// float32 of a canonical sum: rounded once, -0 as +0, every NaN as 0x7FC00000.
inline float canonical_float(double sum) {
    const float rounded = static_cast<float>(sum) + 0.0f;
    return rounded == rounded ? rounded : __builtin_nanf("");
}

}  // namespace fec

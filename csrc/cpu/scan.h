// One worker's walk over blocks of a corpus with a tile of queries: raw sums from the kernels, estimates, hits.
#pragma once
#include <memory>
#include <vector>

#include "query_tile.h"

namespace fec {

// The longest vectors whose codes' products, of 127 x 128 each, sum to an int32.
constexpr int64_t kMostCoded = 1 << 17;

// Whether float queries are worth coding against a corpus of codes: bytes multiply several times as fast as floats.
bool scans_codes(const Pair& pair);

// Whether float rows are worth coding afresh for these queries: that costs what some six queries' products with floats do, and the
// products with bytes a quarter. Only where an instruction multiplies four bytes a lane.
bool scans_fresh(const Pair& pair);
Coded fresh_codes(const Pair& pair);

// Whether this few queries walk the corpus row by row.
bool walks_by_rows(const Pair& pair, const Coded* coded);

// One way to scan the corpus: codes, or the rows themselves.
struct Way {
    Way(const Pair& pair, const Coded* coded)
        : coded(coded),
          fresh(coded && coded->fresh),
          estimate(pair, coded),
          closer(pair, fresh ? nullptr : coded),
          by_rows(walks_by_rows(pair, coded)),
          tile(pair, coded, by_rows) {}
    bool wide() const { return coded && !fresh; }  // whether bounds are so wide that it pays to score the best rows early
    const Coded* coded;
    const bool fresh;
    const Estimate estimate, closer;  // of sums, and of the hits among them
    const bool by_rows;
    QueryTile tile;
    bool packed = false;
};

// Rows that lie far from the origin, next to how far they lie from each other, are scanned less their mean: the error of a distance grows
// with its operands' norms.
class Centered {
public:
    explicit Centered(const Pair& pair);
    const Pair& pair() const { return pair_; }

private:
    Pair pair_;
    Buffer<float> center_;
};

// Rows of a corpus: first, first + 1, ..., or the ids listed.
struct Block {
    const int64_t* ids;
    int64_t first;
    int64_t n;

    int64_t row(int64_t i) const { return ids ? ids[i] : first + i; }
};

// visit(block, whether the rows behind it come next) for rows from `from` to `to`, `step` at a time. Where one mask serves all queries,
// the rows it forbids are never touched.
template <class Visit>
void each_block(const Allowed* one_mask, int64_t from, int64_t to, int64_t step, int64_t rows, std::vector<int64_t>& ids, Visit visit) {
    if (!one_mask) {
        for (int64_t row = from; row < to; row += step) visit(Block{nullptr, row, std::min(step, to - row)}, row + 2 * step <= rows);
        return;
    }
    ids.clear();
    for (int64_t row = from; row < to; ++row)
        if (!one_mask->masked_out(0, row)) ids.push_back(row);
    const auto listed = static_cast<int64_t>(ids.size());
    for (int64_t i = 0; i < listed; i += step) {
        const int64_t n = std::min(step, listed - i), *some = ids.data() + i;
        visit(Block{some[n - 1] - some[0] == n - 1 ? nullptr : some, some[0], n}, false);
    }
}

// A block's raw sums and what turns them into estimates: estimate = raw * scale + bias; reach bounds the error.
// A row that cannot be estimated has a NaN scale, and so NaN estimates.
class Scan {
public:
    // With `coded`, its codes are scanned in place of the rows. `differences`: distances are summed from differences, for those
    // that want more of them than a bound.
    Scan(const Pair& pair, const Coded* coded, const Estimate& estimate, bool by_rows, bool differences = false);

    int64_t block_rows() const { return block_rows_; }

    // Makes the block's rows ready and describes them; `more` says whether the rows behind it come next.
    void load(const Block& block, bool more);

    // Leaves out rows that repeat the `most` rows right before them byte for byte, which win every tie: no query has such a row among its
    // `most` best. Their estimates are -inf. After load(), or row_sums(), of a block whose rows are all allowed.
    void leave_out_repeats(int64_t most);
    // Whether it left out a row of the block: what overflows has an estimate of -inf, too.
    bool left_out(int64_t row) const { return scales_[row] == 0 && biases_[row] == -kUnbounded; }

    // The raw sums of panel p with the block, [row * vectors * W + lane] float or int32.
    const uint32_t* panel_sums(const QueryTile& tile, int64_t p);
    // Those of a tile of kFew float queries or fewer, packed by rows: the same bits, but [query * n + row].
    const uint32_t* few_sums(const QueryTile& tile);
    // The least of so many groups' largest estimates among those sums, a lane each: that many rows reach it.
    void panel_seeds(const QueryTile& tile, int64_t p, int64_t groups, float* seeds);
    // The hits among those sums: thresholds hold one lowest estimate a lane.
    int64_t panel_hits(const QueryTile& tile, int64_t p, const float* thresholds);

    // Row by row: the sums of all the tile's queries first, then each one's hits.
    void row_sums(const QueryTile& tile);
    int64_t row_hits(const QueryTile& tile, int64_t query, float threshold);

    const Hit* hits() const { return hits_.get(); }

    // Keeps the hits that `wanted(hit)`. Those of fresh codes are estimated anew, by float32 sums, while their rows are near.
    template <class Wanted>
    int64_t approach(const QueryTile& tile, int64_t first, int64_t hits, Wanted wanted) {
        int64_t kept = 0;
        for (int64_t h = 0; h < hits; ++h) {
            hits_[kept] = hits_[h];
            kept += wanted(hits_[h]);
        }
        if (fresh()) sum_pairs(tile, first, kept);
        return kept;
    }
    // What multiplies a row's sum: its scale, or under cosine the inverse of its norm; NaN where it cannot be estimated.
    double factor(int64_t row) const {
        const bool inverse = pair_.metric == Metric::cosine && scale_[row] > 0;
        return inverse ? 1 / std::sqrt(static_cast<double>(squares_[row])) : static_cast<double>(scale_[row]);
    }
    // What a hit's row brings to its bounds.
    RowNorms norms(int64_t row) const {
        if (fresh()) return {closer_[row], 0.0};
        if (!coded_ || !coded_->error) return {reach_[row], coded_ ? squares_[row] : 0.0f};
        return {coded_->error[block_.row(row)], coded_->norm[block_.row(row)]};
    }
    RowNorms largest() const { return largest_; }
    int32_t code_square(int64_t row) const { return code_squares_[row]; }

private:
    bool fresh() const { return coded_ && coded_->fresh; }
    void sum_pairs(const QueryTile& tile, int64_t first, int64_t hits);
    void tile_sums(const QueryTile& tile, int64_t p, int64_t from, int64_t n, const Ahead& ahead);
    void place_floats();
    void place_codes();
    void place_fresh();
    void sum_codes();
    void square_codes();
    void describe();
    void describe_coded();
    void describe_fresh();
    void describe_whole();
    bool describe_ordinary();
    void describe_row(int64_t row, double square);

    const Pair& pair_;
    const Coded* coded_;
    Rows x_;  // what is scanned
    const SearchKernels& kernels_;
    const Estimate& estimate_;
    const Family family_;
    const bool by_rows_, differences_, shifted_;
    int64_t block_rows_ = 0;
    Block block_{};
    const char* rows_ = nullptr;
    int64_t stride_ = 0;
    Ahead ahead_;  // the rows behind the block, where they lie
    RowNorms largest_{};
    int64_t next_ = 0, repeats_ = 0;  // the row behind the last block, and how many in a row repeated the one before them
    const float *scales_ = nullptr, *biases_ = nullptr;  // of the block's rows: the buffers below, or where codes have theirs
    Buffer<char> scratch_;
    Buffer<uint32_t> raw_;
    Buffer<float> scale_, bias_, reach_, squares_, left_scale_, left_bias_;
    Buffer<float> wide_, unit_, closer_;  // of fresh codes: rows to be coded; what float32 sums are multiplied by, and their reach
    Buffer<int32_t> code_sums_, code_squares_;
    Buffer<Hit> hits_;
    std::vector<uint8_t> no_bits_;
};

}  // namespace fec

// One thread's walk over the tokens of documents: blocks of rows, in place where they lie side by side, whatever documents
// they belong to, so that short documents and odd lengths fill the tiles.
#pragma once
#include <vector>

#include "maxsim.h"
#include "query_tile.h"

namespace fec {

constexpr int64_t kMostTokens = 240;  // of a block

// Rows of one block that belong to one document.
struct Segment {
    int64_t document;
    int64_t from, to;
    bool last;  // the document ends here
};

class TokenBlocks {
public:
    TokenBlocks(const Pair& pair, int64_t most_segments);

    void clear() { n_ = 0, segments_.clear(), ids_.clear(), listed_ = false; }
    // Takes as many of rows [from, to) of a document as fit, and returns how many; `ids` names them where it is given.
    int64_t take(int64_t document, const int64_t* ids, int64_t from, int64_t to);

    int64_t size() const { return n_; }
    const std::vector<Segment>& segments() const { return segments_; }
    int64_t row(int64_t i) const { return listed_ ? ids_[static_cast<size_t>(i)] : first_ + i; }
    int64_t most() const { return most_; }

    // Makes the rows ready for the tile kernels, and their scales where scores have any.
    void load();
    // Raw sums of rows [from, from + n) with panel p.
    void sums(const QueryTile& tile, int64_t p, int64_t from, int64_t n, uint32_t* raw) const;
    // null: 1. NaN for a row that cannot be estimated.
    const float* scale() const { return scaled_ ? scale_.get() : nullptr; }
    // No less than the length of any of rows [from, from + n), scale included; infinite where it cannot be estimated.
    double reach(int64_t from, int64_t n) const;

private:
    void place();
    void describe();
    float cosine_scale(int64_t i, double square) const;

    const Pair& pair_;
    const SearchKernels& kernels_;
    const Family family_;
    const bool shifted_, scaled_;
    int64_t most_, most_segments_, n_ = 0, first_ = 0;
    bool listed_ = false;
    std::vector<int64_t> ids_;
    std::vector<Segment> segments_;
    const char* rows_ = nullptr;
    int64_t stride_ = 0;
    Ahead ahead_;  // the tokens behind the block, where they lie
    Buffer<char> scratch_;
    Buffer<float> scale_, squares_;
    Buffer<int32_t> row_start_, code_squares_;
};

}  // namespace fec

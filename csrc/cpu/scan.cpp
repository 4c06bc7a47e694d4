#include "scan.h"

namespace fec {
namespace {

constexpr int64_t kBlockBytes = 256 << 10;  // a block's rows stay in the second-level cache while every panel meets them
constexpr int64_t kMostRows = 240, kMostRowsOne = 1024;

// Whether all elements of a row of Words are zeros of either sign.
template <class Word>
bool zeros(const char* row, int64_t dim) {
    Word any = 0;
    for (int64_t d = 0; d < dim; ++d) {
        Word bits;
        std::memcpy(&bits, row + d * static_cast<int64_t>(sizeof bits), sizeof bits);
        any = static_cast<Word>(any | bits << 1);
    }
    return any == 0;
}

bool all_zero(const Rows& x, int64_t row) {
    const int bits = bits_of(x.kind);
    return bits == 16   ? zeros<uint16_t>(x.row(row), x.dim)
           : bits == 32 ? zeros<uint32_t>(x.row(row), x.dim)
                        : zeros<uint64_t>(x.row(row), x.dim);
}

}  // namespace

bool scans_codes(const Pair& pair) {
    const bool codes = pair.x.kind == Kind::bits || ((pair.x.kind == Kind::i8 || pair.x.kind == Kind::i4) && !pair.x.ranges);
    return pair.form == Form::floats && pair.q.dim <= kMostCoded && codes && (pair.metric == Metric::ip || pair.metric == Metric::cosine);
}

bool scans_fresh(const Pair& pair) {
    constexpr int64_t kLeastQueries = 6, kLeastDim = 64;
    return family_of(pair) == Family::floats && !walks_by_rows(pair, nullptr) && kernels().search.code_group == 4 &&
           pair.x.kind <= Kind::f64 && !pair.x.scale && !pair.x.ranges && pair.q.n >= kLeastQueries && pair.q.dim >= kLeastDim &&
           pair.q.dim <= kMostCoded;
}

Coded fresh_codes(const Pair& pair) {
    return {{nullptr, pair.x.n, pair.x.dim, 0, Kind::i8, nullptr, nullptr, 0}, nullptr, nullptr, nullptr, pair.center, true};
}

bool walks_by_rows(const Pair& pair, const Coded* coded) {
    if (coded || family_of(pair) != Family::floats) return pair.q.n <= 2;
    constexpr int64_t kHalfPanel = 8, kNear = 24 << 10;  // bytes of queries that the first-level cache holds while rows pass through
    const bool near = pair.q.n <= kHalfPanel || padded_queries(pair.q.n) * pair.q.dim * 2 <= kNear;
    const bool as_stored = !pair.center && !(pair.distance() && (pair.x.scale || pair.form == Form::rows));
    return pair.q.n <= kernels().search.most_by_rows && near && as_stored && !pair.x.ranges && pair.x.kind <= Kind::u8;
}

Centered::Centered(const Pair& pair) : pair_(pair) {
    const Rows& x = pair.x;
    if (!pair.distance() || family_of(pair) != Family::floats || x.scale) return;
    constexpr int64_t kMost = 128, kShare = 64;  // looked at: no more rows than this, and one of so many
    const int64_t taken = std::min(kMost, x.n / kShare), dim = x.dim;
    if (taken < 2) return;
    Buffer<float> row(dim);
    Buffer<double> sum(dim);
    std::fill_n(sum.get(), dim, 0.0);
    double squares = 0, mean = 0, known = 0;
    for (int64_t i = 0; i < taken; ++i) {
        kernels().search.widen_rows(x, nullptr, i * (x.n / taken), 1, false, row.get(), dim);
        double square = 0;
        for (int64_t d = 0; d < dim; ++d) square += static_cast<double>(row[d]) * row[d];
        if (!(square <= 0x1p100)) continue;
        squares += square, ++known;
        for (int64_t d = 0; d < dim; ++d) sum[d] += row[d];
    }
    for (int64_t d = 0; d < dim; ++d) mean += sum[d] * sum[d];
    constexpr double kFar = 16;  // |mean|^2 next to the mean of |x - mean|^2; nearer, the error is no matter and a copy of the rows is
    if (!(mean * (1 + 1 / kFar) > squares * known)) return;
    center_.resize(dim);
    for (int64_t d = 0; d < dim; ++d) center_[d] = static_cast<float>(sum[d] / known);
    pair_.center = center_.get();
}

Scan::Scan(const Pair& pair, const Coded* coded, const Estimate& estimate, bool by_rows, bool differences)
    : pair_(pair),
      coded_(coded),
      x_(coded && !coded->fresh ? coded->codes : pair.x),
      kernels_(kernels().search),
      estimate_(estimate),
      family_(coded ? Family::codes : family_of(pair)),
      by_rows_(by_rows),
      differences_(differences),
      shifted_(kernels_.code_unsigned_panel && pair.q.kind != Kind::u8) {
    if (coded_ && x_.kind == Kind::bits) x_.dim = rounded_up(x_.dim, 8);  // the query has zeros there
    const int64_t element = family_ == Family::floats || fresh() ? 4 : family_ == Family::codes ? 4 / kernels_.code_group : 1;
    const int64_t row_bytes = std::max<int64_t>(1, family_ == Family::bits ? (x_.dim + 7) / 8 : x_.dim * element);
    const int64_t most = by_rows ? kMostRowsOne : kMostRows / kernels_.tile_rows * kernels_.tile_rows;
    block_rows_ = std::min({most, rounded_up(pair.x.n, kernels_.tile_rows),
                            std::max<int64_t>(kernels_.tile_rows, (by_rows && family_ == Family::floats ? 2 : 1) * kBlockBytes / row_bytes /
                                                                      kernels_.tile_rows * kernels_.tile_rows)});
    block_rows_ = std::max<int64_t>(block_rows_, 1);
    const int64_t lanes = by_rows ? kernels_.most_by_rows : static_cast<int64_t>(kernels_.width) * kernels_.tile_vectors;
    raw_.resize(block_rows_ * lanes);
    for (Buffer<float>* each : {&scale_, &bias_, &reach_, &squares_, &unit_, &closer_}) each->resize(block_rows_);
    std::fill_n(bias_.get(), block_rows_, 0.0f);
    scales_ = scale_.get(), biases_ = bias_.get();
    code_sums_.resize(block_rows_);
    code_squares_.resize(block_rows_);
    if (pair.metric == Metric::jaccard) {  // the distance from no bits at all is a row's own count
        const int64_t bytes = (x_.dim + 7) / 8;
        no_bits_.assign(static_cast<size_t>(bytes) + 256, 0);
        std::fill_n(no_bits_.begin(), bytes, pair.x.flip);
        if (x_.dim % 8) no_bits_[static_cast<size_t>(bytes) - 1] &= static_cast<uint8_t>(0xFF00 >> (x_.dim % 8));
    }
}

void Scan::load(const Block& block, bool more) {
    block_ = block;
    rows_ = x_.row(block.first);
    stride_ = x_.stride;
    ahead_ = more && !block.ids ? Ahead{rows_ + stride_ * block.n, stride_, 0} : Ahead{};
    if (by_rows_) return;  // sums come with the walk; describe() follows it
    if (family_ == Family::floats) place_floats();
    if (fresh())
        place_fresh();
    else if (family_ == Family::codes)
        place_codes();
    if (family_ == Family::bits && block.ids) {
        const int64_t bytes = (x_.dim + 7) / 8;
        scratch_.resize(block_rows_ * bytes);
        for (int64_t i = 0; i < block.n; ++i) std::memcpy(scratch_.get() + i * bytes, x_.row(block.ids[i]), static_cast<size_t>(bytes));
        rows_ = scratch_.get(), stride_ = bytes;
    }
    describe();
}

void Scan::place_floats() {
    if (x_.kind != Kind::f32 || block_.ids || pair_.center) {
        const int64_t ld = rounded_up(x_.dim, 16) + 16;  // a power of two apart, rows would share cache sets
        scratch_.resize(block_rows_ * ld * 4);
        auto* floats = reinterpret_cast<float*>(scratch_.get());
        kernels_.widen_rows(x_, block_.ids, block_.first, block_.n, pair_.distance(), floats, ld);
        if (pair_.center) kernels_.subtract(pair_.center, x_.dim, floats, ld, block_.n);
        rows_ = scratch_.get(), stride_ = ld * 4, ahead_.shift = shift_of(4, x_.kind);
    }
    kernels_.square_sums(rows_, stride_, block_.n, x_.dim, squares_.get());
}

void Scan::place_codes() {
    if (x_.kind != Kind::i8 || block_.ids || kernels_.code_group != 4) {
        const int64_t ld = rounded_up(x_.dim * (4 / kernels_.code_group), 64) + 64;
        scratch_.resize(block_rows_ * ld);
        kernels_.code_rows(x_, block_.ids, block_.first, block_.n, scratch_.get(), ld);
        rows_ = scratch_.get(), stride_ = ld, ahead_.shift = shift_of(4 / kernels_.code_group, x_.kind);
    }
    sum_codes();
    if (!coded_) square_codes();
}

// Some rows at a time: what is widened for coding stays near the core.
void Scan::place_fresh() {
    constexpr int64_t kSome = 8;
    const bool as_stored = x_.kind == Kind::f32 && !block_.ids && !pair_.center;
    const int64_t ld = rounded_up(x_.dim, 64) + 64, wide = rounded_up(x_.dim, 16) + 16;
    scratch_.resize(block_rows_ * ld);
    if (!as_stored) wide_.resize(kSome * wide);
    auto* codes = reinterpret_cast<int8_t*>(scratch_.get());
    for (int64_t from = 0; from < block_.n; from += kSome) {
        const int64_t n = std::min(kSome, block_.n - from);
        const char* rows = rows_ + from * stride_;
        if (!as_stored) {
            kernels_.widen_rows(x_, block_.ids ? block_.ids + from : nullptr, block_.first + from, n, false, wide_.get(), wide);
            if (pair_.center) kernels_.subtract(pair_.center, x_.dim, wide_.get(), wide, n);
            rows = reinterpret_cast<const char*>(wide_.get());
        }
        kernels().codes.freshen(rows, as_stored ? stride_ : wide * 4, n, x_.dim, codes + from * ld, ld, scale_.get() + from,
                                squares_.get() + from, reach_.get() + from);
    }
    rows_ = scratch_.get(), stride_ = ld, ahead_.shift = -shift_of(bits_of(x_.kind) / 8, Kind::i8);
    sum_codes();
}

// Signed queries enter an unsigned panel plus 128: q.x = (q + 128).x - 128 sum(x).
void Scan::sum_codes() {
    if (!shifted_) return;
    kernels_.code_sums(rows_, stride_, block_.n, x_.dim, code_sums_.get());
    for (int64_t i = 0; i < block_.n; ++i) code_sums_[i] *= -128;
}

// Inner products of codes need no norms: their bound makes do with the largest a row can have.
void Scan::square_codes() {
    if (pair_.metric != Metric::ip) {
        kernels_.code_squares(x_, block_.ids, block_.first, block_.n, code_squares_.get());
        for (int64_t i = 0; i < block_.n; ++i) squares_[i] = static_cast<float>(code_squares_[i]);
    } else {
        const double largest = x_.kind == Kind::u8 ? 255.0 : 128.0;
        std::fill_n(squares_.get(), block_.n, static_cast<float>(largest * largest * static_cast<double>(x_.dim)));
    }
}

// What a row's squared norm says of its estimates.
void Scan::describe_row(int64_t i, double square) {
    const float row_scale = x_.scale ? x_.scale[block_.row(i)] : 1.0f;
    float scale = 1, bias = 0, reach = 1;
    switch (estimate_.error) {
        case Estimate::Error::none:
        case Estimate::Error::squared:
            if (pair_.metric != Metric::ip) bias = static_cast<float>(-0.5 * square);
            reach = static_cast<float>(std::sqrt(square) * (1 + 0x1p-10) + 0x1p-60);
            if (!(square <= 0x1p100)) scale = NAN;
            break;
        default:
            if (pair_.metric == Metric::cosine) {
                scale = static_cast<float>(1 / std::sqrt(square));
                if (!(square >= 0x1p-100 && square <= 0x1p100)) scale = square < 0x1p-100 && family_ == Family::codes ? 0.0f : NAN;
                if (square < 0x1p-100 && family_ == Family::floats && x_.kind <= Kind::f64 && all_zero(x_, block_.row(i))) scale = 0;
                if (std::isnan(row_scale)) scale = NAN;
            } else {
                scale = row_scale;
                reach = static_cast<float>((std::sqrt(square) * (1 + 0x1p-10) + 0x1p-60) * std::fabs(row_scale) + 0x1p-100);
                if (!(square <= 0x1p100) || !(std::fabs(row_scale) <= 0x1p60f)) scale = NAN;
            }
    }
    scale_[i] = scale, bias_[i] = bias, reach_[i] = scale == scale ? reach : 0;
    largest_.reach = std::max(largest_.reach, static_cast<double>(reach_[i]));
}

// Codes that are the rows themselves: nothing is left out of them.
void Scan::describe_whole() {
    const bool cosine = pair_.metric == Metric::cosine;
    const double bits = static_cast<double>(pair_.x.dim);
    if (x_.kind != Kind::bits) kernels_.code_squares(x_, block_.ids, block_.first, block_.n, code_squares_.get());
    for (int64_t i = 0; i < block_.n; ++i) {
        const float scale = x_.scale ? x_.scale[block_.row(i)] : 1.0f;
        const double norm = std::sqrt(x_.kind == Kind::bits ? bits : static_cast<double>(code_squares_[i]));
        const bool known = std::fabs(scale) <= 0x1p60f;
        scale_[i] = !known ? NAN : !cosine ? scale : norm > 0 ? static_cast<float>(1 / norm) : 0.0f;
        reach_[i] = 0;
        squares_[i] = !known ? 0.0f : cosine ? 1.0f + 0x1p-20f : static_cast<float>(norm) * std::fabs(scale) * (1 + 0x1p-20f);
    }
    largest_ = {0.0, kernels_.largest(squares_.get(), block_.n)};
}

// From the squares that coding left: norms and residuals of rows, of their directions under cosine. The residual's own rounding,
// and what underflows in it, is far below 2^-16 of the row.
void Scan::describe_fresh() {
    const bool cosine = pair_.metric == Metric::cosine, distance = pair_.distance();
    constexpr float up = 1 + 0x1p-10f;
    const float least = distance ? 0.0f : 0x1p-100f;
    for (int64_t i = 0; i < block_.n; ++i) {
        const float square = squares_[i], norm = __builtin_sqrtf(square), unit = cosine && square > 0 ? 1 / norm : 1.0f;
        const bool zero = square == 0 && scale_[i] == 0;
        unit_[i] = zero || (square >= least && square <= 0x1p100f) ? unit : NAN;
        closer_[i] = cosine ? 1.0f : norm * up + 0x1p-60f;
        const float residual = __builtin_sqrtf(reach_[i]) * up + 0x1p-20f * norm;
        const bool known = square >= 0x1p-60f ? square <= 0x1p100f : zero;
        bias_[i] = distance ? -0.5f * square : 0.0f;
        scale_[i] = known ? scale_[i] * unit : NAN;
        reach_[i] = known ? residual * unit * up : 0.0f;
        squares_[i] = known ? (norm * up + residual) * unit * up : 0.0f;
    }
    largest_ = {kernels_.largest(reach_.get(), block_.n), kernels_.largest(squares_.get(), block_.n)};
}

void Scan::describe_coded() {
    const Coded& coded = *coded_;
    if (fresh()) return describe_fresh();
    if (!coded.error) return describe_whole();
    if (!block_.ids) {
        scales_ = x_.scale + block_.first, biases_ = coded.bias ? coded.bias + block_.first : bias_.get();
        largest_ = {kernels_.largest(coded.error + block_.first, block_.n), kernels_.largest(coded.norm + block_.first, block_.n)};
        return;
    }
    for (int64_t i = 0; i < block_.n; ++i) {
        const int64_t row = block_.row(i);
        scale_[i] = x_.scale[row];
        if (coded.bias) bias_[i] = coded.bias[row];
        reach_[i] = coded.error[row], squares_[i] = coded.norm[row];
    }
    largest_ = {kernels_.largest(reach_.get(), block_.n), kernels_.largest(squares_.get(), block_.n)};
}

// Rows of plain floats whose norms are all in range, in loops the compiler makes vectors of; false where some are not.
bool Scan::describe_ordinary() {
    const float least = pair_.distance() ? 0.0f : 0x1p-100f;
    int odd = 0;
    for (int64_t i = 0; i < block_.n; ++i) odd |= !(squares_[i] >= least && squares_[i] <= 0x1p100f);
    if (odd) return false;
    if (pair_.metric == Metric::cosine) {
        for (int64_t i = 0; i < block_.n; ++i) scale_[i] = 1 / __builtin_sqrtf(squares_[i]);
        std::fill_n(reach_.get(), block_.n, 1.0f);
        largest_.reach = 1;
    } else {
        std::fill_n(scale_.get(), block_.n, 1.0f);
        for (int64_t i = 0; i < block_.n; ++i) reach_[i] = __builtin_sqrtf(squares_[i]) * (1 + 0x1p-10f) + 0x1p-60f;
        largest_.reach = static_cast<double>(kernels_.largest(reach_.get(), block_.n));
    }
    const float half = pair_.distance() ? -0.5f : 0.0f;
    for (int64_t i = 0; i < block_.n; ++i) bias_[i] = half * squares_[i];
    return true;
}

void Scan::describe() {
    largest_ = {};
    scales_ = scale_.get(), biases_ = bias_.get();  // the block before may have had its own
    if (coded_) return describe_coded();
    if (family_ == Family::bits) {
        if (pair_.metric == Metric::jaccard)
            kernels_.hamming_rows(no_bits_.data(), x_, block_.ids, block_.first, block_.n, code_sums_.get());
        for (int64_t i = 0; i < block_.n; ++i) {
            scale_[i] = -1, bias_[i] = 0;
            reach_[i] = pair_.metric == Metric::jaccard ? static_cast<float>(code_sums_[i]) : 0;
            largest_.reach = std::max(largest_.reach, static_cast<double>(reach_[i]));
        }
        return;
    }
    if (family_ == Family::floats && (pair_.distance() || !x_.scale) && describe_ordinary()) return;
    for (int64_t i = 0; i < block_.n; ++i) describe_row(i, static_cast<double>(squares_[i]));
}

void Scan::leave_out_repeats(int64_t most) {
    if (block_.first != next_) repeats_ = 0;
    next_ = block_.first + block_.n;
    bool copied = false;
    for (int64_t i = 0; i < block_.n; ++i) {
        const int64_t row = block_.first + i;
        // What was scanned is near; codes leave something out.
        const bool same = row > 0 && repeated(x_, row) && (x_.data == pair_.x.data || repeated(pair_.x, row));
        repeats_ = same ? repeats_ + 1 : 0;
        if (repeats_ < most) continue;
        if (!copied) {
            left_scale_.resize(block_rows_), left_bias_.resize(block_rows_);
            std::copy_n(scales_, block_.n, left_scale_.get());
            std::copy_n(biases_, block_.n, left_bias_.get());
            scales_ = left_scale_.get(), biases_ = left_bias_.get(), copied = true;
        }
        left_scale_[i] = 0, left_bias_[i] = -kUnbounded;
    }
}

void Scan::tile_sums(const QueryTile& tile, int64_t p, int64_t from, int64_t n, const Ahead& ahead) {
    const int vectors = tile.vectors(p);
    const uint32_t* panel = tile.panel(p);
    const char* rows = rows_ + from * stride_;
    uint32_t* out = raw_.get() + from * vectors * kernels_.width;
    auto* integers = reinterpret_cast<int32_t*>(out);
    if (family_ == Family::floats) {
        const auto kernel = differences_ ? kernels_.square_tile : kernels_.dot_tile;
        kernel(reinterpret_cast<const float*>(panel), vectors, x_.dim, rows, stride_, n, ahead, reinterpret_cast<float*>(out));
    } else if (family_ == Family::codes) {
        kernels_.code_tile(panel, vectors, x_.dim, rows, stride_, n, ahead, shifted_ ? code_sums_.get() + from : nullptr,
                           tile.lane_start(p), integers);
    } else {
        kernels_.bit_tile(panel, vectors, x_.dim, rows, stride_, n, ahead, integers);
    }
}

// Each panel brings its share of the next block into the cache: all of it at once would wait for the core's few open misses. A single
// vector of bytes is done too soon for that: the coding of the next block reads it faster by itself.
const uint32_t* Scan::panel_sums(const QueryTile& tile, int64_t p) {
    if (fresh() && tile.vectors(0) == 1) ahead_ = {};
    const int64_t n = block_.n, step = kernels_.tile_rows, tiles = (n + step - 1) / step;
    const int64_t from = ahead_.rows ? tiles * p / tile.panels() * step : n,
                  to = ahead_.rows ? std::min(n, tiles * (p + 1) / tile.panels() * step) : n;
    if (from > 0) tile_sums(tile, p, 0, from, {});
    if (to > from) tile_sums(tile, p, from, to - from, ahead_.from(from));
    if (n > to) tile_sums(tile, p, to, n - to, {});
    return raw_.get();
}

const uint32_t* Scan::few_sums(const QueryTile& tile) {
    const auto kernel = differences_ ? kernels_.square_few : kernels_.dot_few;
    kernel(reinterpret_cast<const float*>(tile.row(0)), static_cast<int>(tile.size()), tile.row_words(), x_.dim, rows_, stride_, block_.n,
           reinterpret_cast<float*>(raw_.get()));
    return raw_.get();
}

void Scan::panel_seeds(const QueryTile& tile, int64_t p, int64_t groups, float* seeds) {
    const uint32_t* raw = raw_.get();
    if (family_ == Family::floats)
        kernels_.least_largest(reinterpret_cast<const float*>(raw), tile.vectors(p), block_.n, groups, scales_, biases_, tile.per_bias(p),
                               seeds);
    else
        kernels_.least_largest_codes(reinterpret_cast<const int32_t*>(raw), tile.vectors(p), block_.n, groups, scales_, biases_,
                                     tile.per_bias(p), seeds);
}

int64_t Scan::panel_hits(const QueryTile& tile, int64_t p, const float* thresholds) {
    const uint32_t* raw = raw_.get();
    const int vectors = tile.vectors(p);
    hits_.resize(block_rows_ * vectors * kernels_.width);
    if (family_ == Family::floats)
        return kernels_.filter(reinterpret_cast<const float*>(raw), vectors, block_.n, scales_, biases_, tile.per_bias(p), thresholds,
                               hits_.get());
    return kernels_.filter_codes(reinterpret_cast<const int32_t*>(raw), vectors, block_.n, scales_, biases_, tile.per_bias(p), thresholds,
                                 hits_.get());
}

void Scan::row_sums(const QueryTile& tile) {
    auto* integers = reinterpret_cast<int32_t*>(raw_.get());
    const int64_t n = block_.n;
    if (family_ == Family::floats) {
        kernels_.dot_rows(reinterpret_cast<const float*>(tile.row(0)), static_cast<int>(tile.size()), tile.row_words(), x_, block_.ids,
                          block_.first, n, reinterpret_cast<float*>(raw_.get()), squares_.get());
    } else {
        for (int64_t i = 0; i < tile.size(); ++i) {
            if (family_ == Family::bits)
                kernels_.hamming_rows(reinterpret_cast<const uint8_t*>(tile.row(i)), x_, block_.ids, block_.first, n, integers + i * n);
            else if (x_.kind == Kind::bits)
                kernels_.sign_dot_rows(reinterpret_cast<const int8_t*>(tile.row(i)), x_, block_.ids, block_.first, n, integers + i * n);
            else if (x_.kind == Kind::i4)
                kernels_.nibble_dot_rows(reinterpret_cast<const int8_t*>(tile.row(i)), reinterpret_cast<const int8_t*>(tile.odd_row(i)), x_,
                                         block_.ids, block_.first, n, integers + i * n);
            else
                kernels_.code_dot_rows(reinterpret_cast<const int16_t*>(tile.row(i)), x_, block_.ids, block_.first, n, integers + i * n);
        }
        if (family_ == Family::codes && !coded_) square_codes();
    }
    describe();
}

void Scan::sum_pairs(const QueryTile& tile, int64_t first, int64_t hits) {
    constexpr int64_t kSome = 64;
    for (int64_t from = 0; from < hits; from += kSome) {
        const int64_t n = std::min(kSome, hits - from);
        Hit* some = hits_.get() + from;
        const float* q[kSome];
        int64_t ids[kSome];
        float sums[kSome];
        for (int64_t h = 0; h < n; ++h) q[h] = tile.floats(first + some[h].lane), ids[h] = block_.row(some[h].row);
        kernels_.dot_pairs(q, x_, ids, n, pair_.center, sums);
        for (int64_t h = 0; h < n; ++h) some[h].estimate = sums[h] * unit_[some[h].row] + bias_[some[h].row];
    }
}

int64_t Scan::row_hits(const QueryTile& tile, int64_t query, float threshold) {
    const float per_bias = tile.per_bias(0)[query];
    const uint32_t* raw = raw_.get() + query * block_.n;
    hits_.resize(block_rows_);
    if (family_ == Family::floats)
        return kernels_.filter_rows(reinterpret_cast<const float*>(raw), block_.n, scales_, biases_, per_bias, threshold, hits_.get());
    return kernels_.filter_code_rows(reinterpret_cast<const int32_t*>(raw), block_.n, scales_, biases_, per_bias, threshold, hits_.get());
}

}  // namespace fec

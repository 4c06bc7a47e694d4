#include "scan.h"

namespace fec {
namespace {

constexpr int64_t kBlockBytes = 256 << 10;  // a block's rows stay in the second-level cache while every panel meets them
constexpr int64_t kMostRows = 240, kMostRowsOne = 1024;

bool all_zero(const Rows& x, int64_t row) {
    const auto* bytes = reinterpret_cast<const uint8_t*>(x.row(row));
    const int64_t size = x.kind == Kind::f64 ? 8 : x.kind == Kind::f32 ? 4 : x.kind == Kind::f16 || x.kind == Kind::bf16 ? 2 : 1;
    for (int64_t d = 0; d < x.dim; ++d) {
        int any = 0;
        for (int64_t b = 0; b < size - 1; ++b) any |= bytes[d * size + b];
        any |= bytes[d * size + size - 1] & (size > 1 ? 0x7F : 0xFF);  // the sign of a zero does not count
        if (any) return false;
    }
    return true;
}

}  // namespace

Scan::Scan(const Pair& pair, const Estimate& estimate, bool by_rows)
    : pair_(pair),
      kernels_(kernels().search),
      estimate_(estimate),
      family_(family_of(pair)),
      by_rows_(by_rows),
      shifted_(kernels_.code_unsigned_panel && pair.q.kind != Kind::u8) {
    const int64_t element = family_ == Family::floats ? 4 : family_ == Family::codes ? 4 / kernels_.code_group : 1;
    const int64_t row_bytes = std::max<int64_t>(1, family_ == Family::bits ? (pair.x.dim + 7) / 8 : pair.x.dim * element);
    const int64_t most = by_rows ? kMostRowsOne : kMostRows / kernels_.tile_rows * kernels_.tile_rows;
    block_rows_ = std::min(most, std::max<int64_t>(kernels_.tile_rows, kBlockBytes / row_bytes / kernels_.tile_rows * kernels_.tile_rows));
    const int64_t lanes = by_rows ? kMostByRows : static_cast<int64_t>(kernels_.width) * kernels_.tile_vectors;
    raw_.resize(block_rows_ * lanes);
    hits_.resize(block_rows_ * lanes);
    for (Buffer<float>* each : {&scale_, &bias_, &reach_, &squares_}) each->resize(block_rows_);
    code_sums_.resize(block_rows_);
    code_squares_.resize(block_rows_);
    if (pair.metric == Metric::jaccard) {  // the distance from no bits at all is a row's own count
        const int64_t bytes = (pair.x.dim + 7) / 8;
        no_bits_.assign(static_cast<size_t>(bytes) + 256, 0);
        std::fill_n(no_bits_.begin(), bytes, pair.x.flip);
        if (pair.x.dim % 8) no_bits_[static_cast<size_t>(bytes) - 1] &= static_cast<uint8_t>(0xFF00 >> (pair.x.dim % 8));
    }
}

void Scan::load(const Block& block, bool more) {
    block_ = block;
    rows_ = pair_.x.row(block.first);
    stride_ = pair_.x.stride;
    ahead_ = more && !block.ids ? stride_ * block.n : 0;
    if (by_rows_) return;  // sums come with the walk; describe() follows it
    if (family_ == Family::floats) place_floats();
    if (family_ == Family::codes) place_codes();
    if (family_ == Family::bits && block.ids) {
        const int64_t bytes = (pair_.x.dim + 7) / 8;
        scratch_.resize(block_rows_ * bytes);
        for (int64_t i = 0; i < block.n; ++i)
            std::memcpy(scratch_.get() + i * bytes, pair_.x.row(block.ids[i]), static_cast<size_t>(bytes));
        rows_ = scratch_.get(), stride_ = bytes;
    }
    describe();
}

void Scan::place_floats() {
    const bool squared = estimate_.error == Estimate::Error::squared;
    if (pair_.x.kind != Kind::f32 || block_.ids) {
        const int64_t ld = rounded_up(pair_.x.dim, 16) + 16;  // a power of two apart, rows would share cache sets
        scratch_.resize(block_rows_ * ld * 4);
        kernels_.widen_rows(pair_.x, block_.ids, block_.first, block_.n, squared, reinterpret_cast<float*>(scratch_.get()), ld);
        rows_ = scratch_.get(), stride_ = ld * 4, ahead_ = 0;
    }
    if (!squared || pair_.x.scale || pair_.form == Form::rows) kernels_.square_sums(rows_, stride_, block_.n, pair_.x.dim, squares_.get());
}

void Scan::place_codes() {
    if (pair_.x.kind != Kind::i8 || block_.ids || kernels_.code_group != 4) {
        const int64_t ld = rounded_up(pair_.x.dim * (4 / kernels_.code_group), 64) + 64;
        scratch_.resize(block_rows_ * ld);
        kernels_.code_rows(pair_.x, block_.ids, block_.first, block_.n, scratch_.get(), ld);
        rows_ = scratch_.get(), stride_ = ld, ahead_ = 0;
    }
    // Signed queries enter an unsigned panel plus 128: q.x = (q + 128).x - 128 sum(x).
    if (shifted_) {
        kernels_.code_sums(rows_, stride_, block_.n, pair_.x.dim, code_sums_.get());
        for (int64_t i = 0; i < block_.n; ++i) code_sums_[i] *= -128;
    }
    square_codes();
}

// Inner products of codes need no norms: their bound makes do with the largest a row can have.
void Scan::square_codes() {
    if (pair_.metric != Metric::ip) {
        kernels_.code_squares(pair_.x, block_.ids, block_.first, block_.n, code_squares_.get());
        for (int64_t i = 0; i < block_.n; ++i) squares_[i] = static_cast<float>(code_squares_[i]);
    } else {
        const double largest = pair_.x.kind == Kind::u8 ? 255.0 : 128.0;
        std::fill_n(squares_.get(), block_.n, static_cast<float>(largest * largest * static_cast<double>(pair_.x.dim)));
    }
}

// What a row's squared norm says of its estimates.
void Scan::describe_row(int64_t i, double square) {
    const float row_scale = pair_.x.scale ? pair_.x.scale[block_.row(i)] : 1.0f;
    float scale = 1, bias = 0, reach = 1;
    switch (estimate_.error) {
        case Estimate::Error::squared:
            scale = -1, reach = static_cast<float>(std::sqrt(square) * (1 + 0x1p-10));
            if (pair_.x.scale && !(square <= 0x1p100)) scale = NAN;
            break;
        case Estimate::Error::none:
        case Estimate::Error::integer_squared:
            if (pair_.metric != Metric::ip) bias = static_cast<float>(-0.5 * square);
            reach = static_cast<float>(std::sqrt(square) * (1 + 0x1p-10));
            break;
        default:
            if (pair_.metric == Metric::cosine) {
                scale = static_cast<float>(1 / std::sqrt(square));
                if (!(square >= 0x1p-100 && square <= 0x1p100)) scale = square < 0x1p-100 && family_ == Family::codes ? 0.0f : NAN;
                if (square < 0x1p-100 && family_ == Family::floats && pair_.x.kind <= Kind::f64 && all_zero(pair_.x, block_.row(i)))
                    scale = 0;
                if (std::isnan(row_scale)) scale = NAN;
            } else {
                scale = row_scale;
                reach = static_cast<float>((std::sqrt(square) * (1 + 0x1p-10) + 0x1p-60) * std::fabs(row_scale) + 0x1p-100);
                if (!(square <= 0x1p100) || !(std::fabs(row_scale) <= 0x1p60f)) scale = NAN;
            }
    }
    scale_[i] = scale, bias_[i] = bias, reach_[i] = scale == scale ? reach : 0;
    largest_reach_ = std::max(largest_reach_, reach_[i]);
}

void Scan::describe() {
    largest_reach_ = 0;
    if (family_ == Family::bits) {
        if (pair_.metric == Metric::jaccard)
            kernels_.hamming_rows(no_bits_.data(), pair_.x, block_.ids, block_.first, block_.n, code_sums_.get());
        for (int64_t i = 0; i < block_.n; ++i) {
            scale_[i] = -1, bias_[i] = 0;
            reach_[i] = pair_.metric == Metric::jaccard ? static_cast<float>(code_sums_[i]) : 0;
            largest_reach_ = std::max(largest_reach_, reach_[i]);
        }
        return;
    }
    const bool unused = estimate_.error == Estimate::Error::squared && !pair_.x.scale && pair_.form != Form::rows;
    for (int64_t i = 0; i < block_.n; ++i) describe_row(i, unused ? 0.0 : static_cast<double>(squares_[i]));
}

const uint32_t* Scan::panel_sums(const QueryTile& tile, int64_t p) {
    const int vectors = tile.vectors(p);
    const uint32_t* panel = tile.panel(p);
    auto* integers = reinterpret_cast<int32_t*>(raw_.get());
    const int64_t ahead = p == 0 ? ahead_ : 0;
    if (family_ == Family::floats) {
        const auto kernel = estimate_.error == Estimate::Error::squared ? kernels_.square_tile : kernels_.dot_tile;
        kernel(reinterpret_cast<const float*>(panel), vectors, pair_.x.dim, rows_, stride_, block_.n, ahead,
               reinterpret_cast<float*>(raw_.get()));
    } else if (family_ == Family::codes) {
        kernels_.code_tile(panel, vectors, pair_.x.dim, rows_, stride_, block_.n, ahead, shifted_ ? code_sums_.get() : nullptr,
                           tile.lane_start(p), integers);
    } else {
        kernels_.bit_tile(panel, vectors, pair_.x.dim, rows_, stride_, block_.n, ahead, integers);
    }
    return raw_.get();
}

int64_t Scan::panel_hits(const QueryTile& tile, int64_t p, const float* thresholds) {
    const uint32_t* raw = panel_sums(tile, p);
    const int vectors = tile.vectors(p);
    if (family_ == Family::floats)
        return kernels_.filter(reinterpret_cast<const float*>(raw), vectors, block_.n, scale_.get(), bias_.get(), thresholds, hits_.get());
    return kernels_.filter_codes(reinterpret_cast<const int32_t*>(raw), vectors, block_.n, scale_.get(), bias_.get(), thresholds,
                                 hits_.get());
}

void Scan::row_sums(const QueryTile& tile) {
    auto* integers = reinterpret_cast<int32_t*>(raw_.get());
    const int64_t n = block_.n;
    if (family_ == Family::floats) {
        kernels_.dot_rows(reinterpret_cast<const float*>(tile.row(0)), static_cast<int>(tile.size()), tile.row_words(), pair_.x, block_.ids,
                          block_.first, n, reinterpret_cast<float*>(raw_.get()), squares_.get());
    } else {
        for (int64_t i = 0; i < tile.size(); ++i) {
            if (family_ == Family::bits)
                kernels_.hamming_rows(reinterpret_cast<const uint8_t*>(tile.row(i)), pair_.x, block_.ids, block_.first, n,
                                      integers + i * n);
            else
                kernels_.code_dot_rows(reinterpret_cast<const int16_t*>(tile.row(i)), pair_.x, block_.ids, block_.first, n,
                                       integers + i * n);
        }
        if (family_ == Family::codes) square_codes();
    }
    describe();
}

int64_t Scan::row_hits(int64_t query, float threshold) {
    const uint32_t* raw = raw_.get() + query * block_.n;
    if (family_ == Family::floats)
        return kernels_.filter_rows(reinterpret_cast<const float*>(raw), block_.n, scale_.get(), bias_.get(), threshold, hits_.get());
    return kernels_.filter_code_rows(reinterpret_cast<const int32_t*>(raw), block_.n, scale_.get(), bias_.get(), threshold, hits_.get());
}

}  // namespace fec

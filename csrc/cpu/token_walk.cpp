#include "token_walk.h"

namespace fec {
namespace {

constexpr int64_t kBlockBytes = 128 << 10;  // stays in the second-level cache while every panel meets it
constexpr int64_t kWorthAlone = 96;  // so many rows in place are better than more that are gathered

bool all_zero(const Rows& x, int64_t row) {
    Buffer<float> values(x.dim);
    kernels().search.widen_rows(x, &row, 0, 1, false, values.get(), x.dim);
    for (int64_t d = 0; d < x.dim; ++d)
        if (values[d] != 0) return false;
    return true;
}

}  // namespace

TokenBlocks::TokenBlocks(const Pair& pair, int64_t most_segments)
    : pair_(pair),
      kernels_(kernels().search),
      family_(family_of(pair)),
      shifted_(kernels_.code_unsigned_panel && pair.q.kind != Kind::u8),
      scaled_(pair.metric == Metric::cosine || pair.form == Form::bits || pair.x.scale),
      most_segments_(most_segments) {
    const int64_t row = std::max<int64_t>(1, pair.x.dim * (family_ == Family::floats ? 4 : 1));
    const int64_t tile = kernels_.tile_rows;
    most_ = std::max(tile, std::min(kMostTokens, kBlockBytes / row) / tile * tile);
    for (Buffer<float>* each : {&scale_, &squares_}) each->resize(most_);
    for (Buffer<int32_t>* each : {&row_start_, &code_squares_}) each->resize(most_);
}

int64_t TokenBlocks::take(int64_t document, const int64_t* ids, int64_t from, int64_t to) {
    const int64_t n = std::min(to - from, most_ - n_);
    if (n <= 0 || static_cast<int64_t>(segments_.size()) == most_segments_) return 0;
    const int64_t start = ids ? ids[from] : from;
    const bool run = !ids || ids[from + n - 1] - start == n - 1;
    if (n_ == 0) first_ = start;
    if (!listed_ && !(run && start == first_ + n_)) {
        if (n_ >= kWorthAlone) return 0;
        for (int64_t i = 0; i < n_; ++i) ids_.push_back(first_ + i);
        listed_ = true;
    }
    if (listed_)
        for (int64_t i = 0; i < n; ++i) ids_.push_back(ids ? ids[from + i] : from + i);
    segments_.push_back({document, n_, n_ + n, from + n == to});
    n_ += n;
    return n;
}

void TokenBlocks::place() {
    const Rows& x = pair_.x;
    const int64_t* ids = listed_ ? ids_.data() : nullptr;
    rows_ = x.row(first_), stride_ = x.stride, ahead_ = listed_ ? Ahead{} : Ahead{rows_ + n_ * stride_, stride_, 0};
    int64_t ld = 0, element = 1;
    if (family_ == Family::floats && (x.kind != Kind::f32 || listed_)) {
        element = 4, ld = (rounded_up(x.dim, 16) + 16) * element;  // a power of two apart, rows would share cache sets
        scratch_.resize(most_ * ld);
        kernels_.widen_rows(x, ids, first_, n_, false, reinterpret_cast<float*>(scratch_.get()), ld / 4);
    } else if (family_ == Family::codes && (x.kind != Kind::i8 || listed_ || kernels_.code_group != 4)) {
        element = 4 / kernels_.code_group, ld = rounded_up(x.dim * element, 64) + 64;
        scratch_.resize(most_ * ld);
        kernels_.code_rows(x, ids, first_, n_, scratch_.get(), ld);
    } else if (family_ == Family::bits && listed_) {
        ld = (x.dim + 7) / 8;
        scratch_.resize(most_ * ld);
        for (int64_t i = 0; i < n_; ++i) std::memcpy(scratch_.get() + i * ld, x.row(ids_[static_cast<size_t>(i)]), static_cast<size_t>(ld));
    }
    if (ld) rows_ = scratch_.get(), stride_ = ld, ahead_.shift = shift_of(element, x.kind);
    if (!ld && family_ != Family::floats) kernels().maxsim.stream(rows_, stride_, n_, x.row_bytes());
    if (family_ == Family::codes && shifted_) {  // signed queries enter an unsigned panel plus 128: q.x = (q + 128).x - 128 sum(x)
        kernels_.code_sums(rows_, stride_, n_, x.dim, row_start_.get());
        for (int64_t i = 0; i < n_; ++i) row_start_[i] *= -128;
    }
}

void TokenBlocks::load() {
    place();
    if (scaled_) describe();
}

// One over the row's length: 0 for a row of zeros, NaN where a float32 sum of squares is too rough.
float TokenBlocks::cosine_scale(int64_t i, double square) const {
    if (pair_.x.scale && std::isnan(pair_.x.scale[row(i)])) return NAN;
    if (square >= 0x1p-100 && square <= 0x1p100) return static_cast<float>(1 / std::sqrt(square));
    return square < 0x1p-100 && all_zero(pair_.x, row(i)) ? 0.0f : NAN;
}

void TokenBlocks::describe() {
    if (pair_.form == Form::bits) {
        std::fill_n(scale_.get(), n_, -2.0f);  // dim - 2 hamming
        return;
    }
    if (pair_.metric != Metric::cosine) {
        for (int64_t i = 0; i < n_; ++i) scale_[i] = pair_.x.scale[row(i)];
        return;
    }
    if (family_ == Family::codes) {
        kernels_.code_squares(pair_.x, listed_ ? ids_.data() : nullptr, first_, n_, code_squares_.get());
        for (int64_t i = 0; i < n_; ++i) squares_[i] = static_cast<float>(code_squares_[i]);
    } else {
        kernels_.square_sums(rows_, stride_, n_, pair_.x.dim, squares_.get());
    }
    for (int64_t i = 0; i < n_; ++i) scale_[i] = cosine_scale(i, static_cast<double>(squares_[i]));
}

double TokenBlocks::reach(int64_t from, int64_t n) const {
    double scale = scaled_ ? 0.0 : 1.0;
    if (scaled_)
        for (int64_t i = from; i < from + n; ++i) {
            const double magnitude = std::fabs(static_cast<double>(scale_[i]));
            if (!(magnitude <= 0x1p60)) return INFINITY;
            scale = std::max(scale, magnitude);
        }
    if (pair_.metric == Metric::cosine) return 1.0;
    if (family_ == Family::codes) return 256.0 * std::sqrt(static_cast<double>(pair_.x.dim)) * scale;
    const float length = kernels().maxsim.reach(rows_ + from * stride_, stride_, n, pair_.x.dim);
    if (!(length <= 0x1p60f)) return INFINITY;
    return (static_cast<double>(length) * (1 + 0x1p-10) + 0x1p-60) * scale;  // squares below 2^-150 were lost
}

void TokenBlocks::sums(const QueryTile& tile, int64_t p, int64_t from, int64_t n, uint32_t* raw) const {
    const uint32_t* panel = tile.panel(p);
    const char* rows = rows_ + from * stride_;
    const int vectors = tile.vectors(p);
    const int64_t dim = pair_.x.dim;
    const Ahead ahead = p == 0 ? ahead_.from(from) : Ahead{};
    if (family_ == Family::floats)
        kernels_.dot_tile(reinterpret_cast<const float*>(panel), vectors, dim, rows, stride_, n, ahead, reinterpret_cast<float*>(raw));
    else if (family_ == Family::codes)
        kernels_.code_tile(panel, vectors, dim, rows, stride_, n, ahead, shifted_ ? row_start_.get() + from : nullptr, tile.lane_start(p),
                           reinterpret_cast<int32_t*>(raw));
    else
        kernels_.bit_tile(panel, vectors, dim, rows, stride_, n, ahead, reinterpret_cast<int32_t*>(raw));
}

}  // namespace fec

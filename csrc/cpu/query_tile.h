// A tile of queries, packed once for the kernels that scan a corpus with it.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstring>

#include "estimate.h"
#include "scorer.h"

namespace fec {

// Which kernels scan a pair: by float32 products, by integer codes, by bits.
enum class Family { floats, codes, bits };

inline Family family_of(const Pair& pair) {
    if (pair.form == Form::bits) return Family::bits;
    return pair.form == Form::ints || (pair.form == Form::rows && !pair.distance()) ? Family::codes : Family::floats;
}

inline int64_t rounded_up(int64_t n, int64_t step) { return (n + step - 1) / step * step; }

// How many times, as a power of two, rows are smaller where they lie than with `element` bytes an element.
inline int shift_of(int64_t element, Kind kind) {
    int shift = 0;
    while (8 * element >> (shift + 1) >= bits_of(kind)) ++shift;
    return shift;
}

// Panels hold `width()` queries each, the last one a single vector where that is enough. Rows holds the same queries one
// after the other, zero-padded, for the kernels that walk a corpus row by row.
class QueryTile {
public:
    // apart: how many float queries stay floats where they are packed by rows; more are packed as bfloat16.
    QueryTile(const Pair& pair, const Coded* coded, bool by_rows, int64_t apart = kernels().search.most_apart)
        : pair_(pair),
          kernels_(kernels().search),
          coded_(coded),
          family_(coded ? Family::codes : family_of(pair)),
          by_rows_(by_rows),
          apart_(apart),
          split_(by_rows && (coded ? coded->codes.kind : pair.x.kind) == Kind::i4),
          signs_(coded && coded->codes.kind == Kind::bits) {}

    // Packs queries [first, first + n).
    void pack(int64_t first, int64_t n) {
        first_ = first, n_ = n;
        norms_.resize(n);
        per_bias_.resize(rounded_up(n, panel_width()));
        std::fill_n(per_bias_.get(), rounded_up(n, panel_width()), 1.0f);
        blind_.resize(n);
        nan_.resize(n);
        if (family_ == Family::floats) pack_floats();
        if (coded_ && coded_->fresh)
            pack_fresh();
        else if (coded_)
            pack_coded();
        else if (family_ == Family::codes)
            pack_codes();
        if (family_ == Family::bits) pack_bits();
    }

    int64_t first() const { return first_; }
    int64_t size() const { return n_; }
    int64_t panel_width() const { return static_cast<int64_t>(kernels_.width) * kernels_.tile_vectors; }
    int64_t panels() const { return (n_ + panel_width() - 1) / panel_width(); }
    int vectors(int64_t panel) const { return n_ - panel * panel_width() <= kernels_.width ? 1 : kernels_.tile_vectors; }
    // Where a panel starts, in 32-bit words; all panels before it are of full width.
    const uint32_t* panel(int64_t p) const { return words_.get() + p * panel_width() * depth_; }
    const int32_t* lane_start(int64_t p) const { return starts_.get() + p * panel_width(); }
    const uint32_t* row(int64_t i) const { return words_.get() + i * row_words_; }
    int64_t row_words() const { return row_words_; }
    // Query i's odd elements, where the rows are nibbles and walked one by one.
    const uint32_t* odd_row(int64_t i) const { return row(i) + half_words_; }
    // What multiplies a row's bias, for each lane from panel p on.
    const float* per_bias(int64_t p) const { return per_bias_.get() + p * panel_width(); }

    const QueryNorms& norms(int64_t i) const { return norms_[i]; }
    // Of fresh codes: query i itself, less the center, zero-padded to whole vectors; and what it brings to bounds of float32 sums.
    const float* floats(int64_t i) const { return floats_.get() + i * row_floats(); }
    const QueryNorms& closer(int64_t i) const { return coded_ && coded_->fresh ? closer_[i] : norms_[i]; }
    // Whether nothing can be estimated for a query: its norm would overflow or underflow a bound.
    bool blind(int64_t i) const { return blind_[i]; }
    // Whether every score of a query is NaN: it holds one.
    bool nan(int64_t i) const { return nan_[i]; }

private:
    // Where query i's words go: the first one, and the distance between one and the next.
    struct Slot {
        uint32_t* first;
        int64_t step;
        uint32_t& operator[](int64_t w) const { return first[w * step]; }
    };
    Slot slot(int64_t i) {
        if (by_rows_) return {words_.get() + i * row_words_, 1};
        const int64_t p = i / panel_width();
        return {words_.get() + p * panel_width() * depth_ + i % panel_width(), static_cast<int64_t>(vectors(p)) * kernels_.width};
    }
    void shape(int64_t words) {
        depth_ = words;
        half_words_ = rounded_up((words + 3) / 4, kernels_.width);
        row_words_ = rounded_up(std::max(words, 2 * half_words_), 2 * kernels_.width) + 2 * kernels_.width;
        const int64_t total = by_rows_ ? n_ * row_words_ : rounded_up(n_, panel_width()) * std::max<int64_t>(words, 1);
        words_.resize(total);
        std::fill_n(words_.get(), total, 0u);
    }
    void set_norm(int64_t i, double square, double scale) {
        const bool scaled = pair_.form == Form::rows && family_ == Family::codes;
        norms_[i] = {std::sqrt(square) * (1 + 0x1p-20), std::sqrt(square), 0.0, scaled && pair_.metric == Metric::ip ? scale : 1.0, 0.0};
        blind_[i] = !(square >= 0x1p-100 && square <= 0x1p100) || (scaled && !(scale >= 0x1p-60 && scale <= 0x1p60));
        nan_[i] = std::isnan(square) || std::isnan(scale);
    }

    void pack_floats() {
        const int64_t dim = pair_.q.dim;
        shape(dim);
        const int64_t group = by_rows_ ? 1 : kernels_.width;  // queries side by side: their words of an element share cache lines
        const int64_t halved = by_rows_ && n_ > apart_ ? kernels_.width : 0;
        Buffer<float> q(group * dim);
        for (int64_t from = 0; from < n_; from += group) {
            const int64_t here = std::min(group, n_ - from);
            kernels_.widen_rows(pair_.q, nullptr, first_ + from, here, pair_.distance(), q.get(), dim);
            if (pair_.center) kernels_.subtract(pair_.center, dim, q.get(), dim, here);
            for (int64_t i = from; i < from + here; ++i) {
                float* own = q.get() + (i - from) * dim;
                const double square = kernels_.squared_norm(own, dim);
                set_norm(i, square, 1.0);
                if (pair_.distance()) blind_[i] = !(square <= 0x1p100), norms_[i].unit = 2, norms_[i].shift = -square;
                if (blind_[i]) std::fill_n(own, dim, 0.0f);
            }
            if (halved) {
                double& off = norms_[from].residual;
                off = kernels_.halve_query(q.get(), dim, padded_queries(n_) * halved, words_.get() + from * halved) * (1 + 0x1p-20);
                // A rounded row is within 2^-8 of itself. Subnormal numbers and sums count as zero, up to 2^-126 each: rows reach 2^-60.
                const double least = static_cast<double>(dim) * 0x1p-64;
                if (kernels_.halves_rows) off += (norms_[from].norm + off) * (0x1p-8 * (1 + 0x1p-20)) + least;
                continue;
            }
            const Slot words = slot(from);
            for (int64_t d = 0; d < dim; ++d)
                for (int64_t i = 0; i < here; ++i) std::memcpy(&words[d] + i, q.get() + i * dim + d, 4);
        }
    }

    void shape_codes() {
        const int64_t group = !by_rows_ ? kernels_.code_group : signs_ ? 4 : 2;
        shape(((signs_ ? rounded_up(pair_.q.dim, 8) : pair_.q.dim) + group - 1) / group);
        starts_.resize(rounded_up(n_, panel_width()));
        std::fill_n(starts_.get(), rounded_up(n_, panel_width()), 0);
    }

    // code_group elements a word; the query's side is unsigned where the panel is.
    void put_code(const Slot& words, int64_t d, int code, bool shifted) {
        const auto element = static_cast<uint32_t>(code + (shifted ? 128 : 0));
        if (signs_) d = scan_position(d);
        if (split_)
            words[d % 2 * half_words_ + d / 8] |= (element & 0xFF) << 8 * (d / 2 % 4);
        else if (by_rows_ ? signs_ : kernels_.code_group == 4)
            words[d / 4] |= (element & 0xFF) << 8 * (d % 4);
        else
            words[d / 2] |= (element & 0xFFFF) << 16 * (d % 2);
    }

    void pack_codes() {
        const int64_t dim = pair_.q.dim;
        const bool shifted = !by_rows_ && kernels_.code_unsigned_panel && pair_.q.kind != Kind::u8;
        shape_codes();
        Buffer<float> q(dim);
        for (int64_t i = 0; i < n_; ++i) {
            kernels_.widen_rows(pair_.q, nullptr, first_ + i, 1, false, q.get(), dim);
            const Slot words = slot(i);
            double square = 0;
            int64_t sum = 0;
            for (int64_t d = 0; d < dim; ++d) {
                const int code = static_cast<int>(q[d]);
                square += static_cast<double>(code) * code, sum += code;
                put_code(words, d, code, shifted);
            }
            // u8 rows come less 128 where the panel is unsigned: q.x = q.(x - 128) + 128 sum(q).
            if (!by_rows_ && kernels_.code_unsigned_panel && pair_.q.kind == Kind::u8) starts_[i] = static_cast<int32_t>(128 * sum);
            set_norm(i, square, pair_.q.scale ? static_cast<double>(pair_.q.scale[first_ + i]) : 1.0);
            if (!pair_.q.scale && pair_.metric != Metric::cosine) blind_[i] = false;  // integers need no range
            if (pair_.distance()) norms_[i].unit = 2, norms_[i].shift = -square;
        }
    }

    // Float queries as codes of 8 bits, coded as the rows are: a vector of queries at a time.
    void pack_fresh() {
        const int64_t dim = pair_.q.dim, group = kernels_.width, ld = rounded_up(dim, 4);
        const bool squared = pair_.distance();
        const uint32_t flip = kernels_.code_unsigned_panel ? 0x80808080 : 0;
        shape_codes();
        const int64_t wide = row_floats();
        Buffer<float> scale(group), square(group), residual(group);
        Buffer<int8_t> codes(group * ld);
        std::fill_n(codes.get(), group * ld, int8_t{0});
        floats_.resize(n_ * wide);
        std::fill_n(floats_.get(), n_ * wide, 0.0f);
        closer_.resize(n_);
        for (int64_t from = 0; from < n_; from += group) {
            const int64_t here = std::min(group, n_ - from);
            float* q = floats_.get() + from * wide;
            kernels_.widen_rows(pair_.q, nullptr, first_ + from, here, false, q, wide);
            if (coded_->center) kernels_.subtract(coded_->center, dim, q, wide, here);
            kernels().codes.freshen(reinterpret_cast<const char*>(q), wide * 4, here, dim, codes.get(), ld, scale.get(), square.get(),
                                    residual.get());
            for (int64_t j = 0; j < here; ++j) {
                const int64_t i = from + j;
                const double own = kernels_.squared_norm(q + j * wide, dim), norm = std::sqrt(own) * (1 + 0x1p-20),
                             unit = scale[j] > 0 ? scale[j] : 1.0, shift = squared ? -own : 0.0;
                nan_[i] = std::isnan(own);
                blind_[i] = !(own >= 0x1p-60 ? own <= 0x1p100 : squared && own == 0);
                if (blind_[i]) std::fill_n(codes.get() + j * ld, dim, int8_t{0});
                norms_[i] = {norm, std::sqrt(own), std::sqrt(residual[j]) * (1 + 0x1p-10) + norm * 0x1p-20, squared ? 2 * unit : unit,
                             shift};
                closer_[i] = {norm, std::sqrt(own), 0.0, squared ? 2.0 : 1.0, shift};
                per_bias_[i] = static_cast<float>(1 / unit);
            }
            const Slot words = slot(from);
            for (int64_t w = 0; w < ld / 4; ++w)
                for (int64_t j = 0; j < here; ++j) {
                    uint32_t word;
                    std::memcpy(&word, codes.get() + j * ld + 4 * w, 4);
                    (&words[w])[j] = word ^ flip;
                }
        }
    }

    // A float query as codes of 8 bits; against bytes row by row there is room for 15, as long as sums stay inside int32.
    void pack_coded() {
        const int64_t dim = pair_.q.dim;
        const bool squared = pair_.distance(), shifted = !by_rows_ && kernels_.code_unsigned_panel;
        shape_codes();
        Buffer<float> q(dim);
        Buffer<double> p(dim);
        for (int64_t i = 0; i < n_; ++i) {
            kernels_.widen_rows(pair_.q, nullptr, first_ + i, 1, false, q.get(), dim);
            double own = 0, square = 0, shift = 0, sum = 0, most = 0, residual = 0;
            for (int64_t d = 0; d < dim; ++d) {
                const double value = q[d], center = coded_->center ? coded_->center[d] : 0.0f;
                p[d] = squared ? value - center : value;
                own += value * value, square += p[d] * p[d], shift += p[d] * center;
                sum += std::fabs(p[d]), most = std::max(most, std::fabs(p[d]));
            }
            double unit = by_rows_ && !split_ && !signs_ ? std::max(most / 16383, sum / 0x1p23) : most / 127;  // 127 * 2^23 < 2^30
            if (!(unit > 0)) unit = 1;
            nan_[i] = std::isnan(own);
            blind_[i] = !((squared || own >= 0x1p-100) && own <= 0x1p100 && unit >= 0x1p-100);
            if (blind_[i]) continue;
            const Slot words = slot(i);
            for (int64_t d = 0; d < dim; ++d) {
                const int code = static_cast<int>(std::rint(p[d] / unit));
                const double off = p[d] - unit * code;
                residual += off * off;
                put_code(words, d, code, shifted);
            }
            // Pad bits are scanned with the others: a code of 0 is 128 in an unsigned panel.
            for (int64_t d = dim; signs_ && d % 8; ++d) put_code(words, d, 0, shifted);
            const double up = 1 + 0x1p-20;
            norms_[i] = {std::sqrt(square) * up, std::sqrt(own), std::sqrt(residual) * up, squared ? 2 * unit : unit,
                         squared ? -square : shift};
            per_bias_[i] = static_cast<float>(1 / unit);
        }
    }

    int64_t row_floats() const { return rounded_up(pair_.q.dim, kernels_.width); }

    void pack_bits() {
        const int64_t bytes = (pair_.q.dim + 7) / 8, words = (bytes + 3) / 4;
        shape(words);
        Buffer<uint8_t> q(words * 4);
        for (int64_t i = 0; i < n_; ++i) {
            fold_bits(pair_, first_ + i, q.get(), words * 4);
            int64_t own = 0;
            for (int64_t b = 0; b < bytes; ++b) {
                const int keep = b == bytes - 1 && pair_.q.dim % 8 ? 0xFF00 >> (pair_.q.dim % 8) & 0xFF : 0xFF;
                own += __builtin_popcount((q[b] ^ pair_.x.flip) & keep);
            }
            norms_[i] = {static_cast<double>(own), 1.0, 0.0, 1.0, 0.0};
            blind_[i] = nan_[i] = false;
            const Slot to = slot(i);
            for (int64_t w = 0; w < words; ++w) std::memcpy(&to[w], q.get() + w * 4, 4);
        }
    }

    const Pair& pair_;
    const SearchKernels& kernels_;
    const Coded* coded_;
    const Family family_;
    const bool by_rows_;
    const int64_t apart_;
    const bool split_, signs_;
    int64_t first_ = 0, n_ = 0, depth_ = 0, row_words_ = 0, half_words_ = 0;
    Buffer<uint32_t> words_;
    Buffer<int32_t> starts_;
    Buffer<QueryNorms> norms_, closer_;
    Buffer<float> per_bias_, floats_;
    Buffer<uint8_t> blind_, nan_;
};

}  // namespace fec

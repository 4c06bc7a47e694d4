#include "scorer.h"

#include <algorithm>
#include <cstring>

#include "../core/fp_state.h"
#include "../core/thread_pool.h"

namespace fec {
namespace {

constexpr int64_t kBatch = 64;  // rows scored per kernel call
constexpr size_t kRemembered = 1 << 11;

Sums sums_for(const Pair& pair) {
    if (pair.metric == Metric::cosine) return Sums::dot_and_norm;
    return pair.metric == Metric::ip ? Sums::dot : Sums::squared;
}

}  // namespace

Scorer::Scorer(const Pair& pair) : pair_(pair), kernels_(kernels().search), sums_(sums_for(pair)) {
    if (pair.form == Form::bits) {
        bytes_.resize((pair.q.dim + 7) / 8 + 64);
        return;
    }
    floats_.resize(pair.q.dim);
    query_.resize(pair.q.dim);
}

void Scorer::select(int64_t i) {
    const Rows& q = pair_.q;
    if (pair_.form == Form::bits) {
        const int64_t bytes = (q.dim + 7) / 8;
        fold_bits(pair_, i, bytes_.get(), bytes + 64);
        if (pair_.metric == Metric::jaccard) {
            set_bits_ = 0;  // of the query itself: the corpus' flip folded out again, pad bits 0
            for (int64_t b = 0; b < bytes; ++b) {
                const int keep = b == bytes - 1 && q.dim % 8 ? 0xFF00 >> (q.dim % 8) & 0xFF : 0xFF;
                set_bits_ += __builtin_popcount((bytes_[b] ^ pair_.x.flip) & keep);
            }
        }
        return;
    }
    scale_ = q.scale ? static_cast<double>(q.scale[i]) : 1.0;
    kernels_.widen_rows(q, nullptr, i, 1, false, floats_.get(), q.dim);
    for (int64_t d = 0; d < q.dim; ++d) query_[d] = floats_[d];
    if (sums_ == Sums::dot_and_norm) root_ = query_root();
    if (sums_ == Sums::squared && pair_.form == Form::rows)
        for (int64_t d = 0; d < q.dim; ++d) query_[d] *= scale_;
}

double Scorer::query_root() const {
    const Rows self = {reinterpret_cast<const char*>(floats_.get()), 1, pair_.q.dim, 0, Kind::f32, nullptr, nullptr, 0};
    const int64_t zero = 0;
    double square, unused;
    kernels_.canonical(query_.get(), self, &zero, 1, Sums::dot, &square, &unused);
    return std::sqrt(square);
}

double Scorer::finish(double sum, double norm, int64_t row) const {
    if (pair_.integer_scores()) return sum;
    switch (pair_.metric) {
        case Metric::ip:
            return canonical_float(sum * (scale_ * (pair_.x.scale ? static_cast<double>(pair_.x.scale[row]) : 1.0)));
        case Metric::cosine: {
            if (std::isnan(scale_) || (pair_.x.scale && std::isnan(pair_.x.scale[row]))) return canonical_float(NAN);
            const double norms = root_ * std::sqrt(norm);
            return canonical_float(norms == 0 ? sum : sum / norms);
        }
        case Metric::l2:
            return canonical_float(std::sqrt(sum));
        default:
            return canonical_float(sum);
    }
}

// Many queries ask it of the same rows, so the answer is kept for a while.
bool Scorer::repeats(int64_t row) {
    if (repeats_.empty()) repeats_.assign(kRemembered, -1);
    int64_t& found = repeats_[static_cast<size_t>(row) % kRemembered];
    if (found >> 1 == row) return found & 1;
    const bool same = repeated(pair_.x, row);
    found = 2 * row + same;
    return same;
}

void Scorer::score(Ranked* ranked, int64_t n) {
    if (pair_.form == Form::bits) return score_bits(ranked, n);
    for (int64_t i = 0; i < n; i += kBatch) {
        const int64_t here = std::min(kBatch, n - i);
        int64_t ids[kBatch], asked = 0;
        bool again[kBatch];
        double sums[kBatch], norms[kBatch];
        for (int64_t j = 0; j < here; ++j) {
            const int64_t row = ranked[i + j].row;
            again[j] = i + j > 0 && ranked[i + j - 1].row == row - 1 && repeats(row);
            ids[asked] = row;
            asked += !again[j];
        }
        kernels_.canonical(query_.get(), pair_.x, ids, asked, sums_, sums, norms);
        asked = 0;
        for (int64_t j = 0; j < here; ++j) {
            ranked[i + j].score = again[j] ? ranked[i + j - 1].score : finish(sums[asked], norms[asked], ranked[i + j].row);
            asked += !again[j];
        }
    }
}

void Scorer::score_bits(Ranked* ranked, int64_t n) {
    uint8_t* query = bytes_.get();
    const int64_t bytes = (pair_.q.dim + 7) / 8;
    std::vector<uint8_t> none(pair_.metric == Metric::jaccard ? static_cast<size_t>(bytes) + 64 : 0);
    if (!none.empty()) {  // the distance from no bits at all is a row's own count
        std::memset(none.data(), pair_.x.flip, static_cast<size_t>(bytes));
        if (pair_.q.dim % 8) none[static_cast<size_t>(bytes) - 1] &= static_cast<uint8_t>(0xFF00 >> (pair_.q.dim % 8));
    }
    for (int64_t i = 0; i < n; i += kBatch) {
        const int64_t here = std::min(kBatch, n - i);
        int64_t ids[kBatch];
        int32_t distance[kBatch], own[kBatch];
        for (int64_t j = 0; j < here; ++j) ids[j] = ranked[i + j].row;
        kernels_.hamming_rows(query, pair_.x, ids, 0, here, distance);
        if (!none.empty()) kernels_.hamming_rows(none.data(), pair_.x, ids, 0, here, own);
        for (int64_t j = 0; j < here; ++j) {
            if (none.empty()) {
                ranked[i + j].score = distance[j];
                continue;
            }
            const int64_t either = (set_bits_ + own[j] + distance[j]) / 2;
            ranked[i + j].score = either == 0 ? 0.0 : canonical_float(static_cast<double>(distance[j]) / static_cast<double>(either));
        }
    }
}

void fold_bits(const Pair& pair, int64_t i, uint8_t* out, int64_t bytes) {
    const int64_t used = (pair.q.dim + 7) / 8;
    const auto flip = static_cast<uint8_t>(pair.q.flip ^ pair.x.flip);
    const char* row = pair.q.row(i);
    for (int64_t b = 0; b < used; ++b) out[b] = static_cast<uint8_t>(row[b]) ^ flip;
    if (pair.q.dim % 8) out[used - 1] &= static_cast<uint8_t>(0xFF00 >> (pair.q.dim % 8));
    std::memset(out + used, 0, static_cast<size_t>(bytes - used));
}

void Output::write(int64_t query, Ranked* ranked, int64_t n) const {
    const int64_t filled = std::min(n, k_);
    if (filled < n) std::nth_element(ranked, ranked + filled, ranked + n, better_);
    std::sort(ranked, ranked + filled, better_);
    auto* floats = static_cast<float*>(scores_) + query * k_;
    auto* integers = static_cast<int32_t*>(scores_) + query * k_;
    int64_t* indices = indices_ + query * k_;
    for (int64_t j = 0; j < k_; ++j) {
        indices[j] = j < filled ? ranked[j].row : -1;
        if (integers_)
            integers[j] = j < filled ? static_cast<int32_t>(ranked[j].score) : (better_.similarity ? INT32_MIN : INT32_MAX);
        else
            floats[j] = j < filled ? static_cast<float>(ranked[j].score) : (better_.similarity ? -INFINITY : INFINITY);
    }
}

bool rescore(const Pair& pair, const int64_t* ids, int64_t candidates, int64_t k, int threads, Poll poll, void* scores, int64_t* indices) {
    FpState ieee;
    const Output output(pair, k, scores, indices);
    const int64_t work = pair.q.n * candidates * pair.q.dim;
    threads = work < 1 << 18 ? 1 : threads;
    std::vector<Scorer> scorers;
    scorers.reserve(static_cast<size_t>(threads));
    for (int t = 0; t < threads; ++t) scorers.emplace_back(pair);
    std::vector<std::vector<Ranked>> ranked(static_cast<size_t>(threads));
    return parallel_for(
        pair.q.n, threads,
        [&](int64_t i, int worker) {
            Scorer& scorer = scorers[static_cast<size_t>(worker)];
            std::vector<Ranked>& rows = ranked[static_cast<size_t>(worker)];
            rows.clear();
            for (int64_t j = 0; j < candidates; ++j)
                if (ids[i * candidates + j] >= 0) rows.push_back({0.0, ids[i * candidates + j]});
            std::sort(rows.begin(), rows.end(), [](const Ranked& a, const Ranked& b) { return a.row < b.row; });  // memory order
            scorer.select(i);
            scorer.score(rows.data(), static_cast<int64_t>(rows.size()));
            output.write(i, rows.data(), static_cast<int64_t>(rows.size()));
        },
        poll);
}

bool similarity_paired(const Pair& pair, int threads, Poll poll, void* scores) {
    FpState ieee;
    constexpr int64_t kBlock = 256;
    const int64_t blocks = (pair.q.n + kBlock - 1) / kBlock;
    return parallel_for(
        blocks, pair.q.n * pair.q.dim < 1 << 18 ? 1 : threads,
        [&](int64_t block, int) {
            Scorer scorer(pair);
            for (int64_t i = block * kBlock; i < std::min(pair.q.n, (block + 1) * kBlock); ++i) {
                Ranked one = {0.0, i};
                scorer.select(i);
                scorer.score(&one, 1);
                if (pair.integer_scores())
                    static_cast<int32_t*>(scores)[i] = static_cast<int32_t>(one.score);
                else
                    static_cast<float*>(scores)[i] = static_cast<float>(one.score);
            }
        },
        poll);
}

}  // namespace fec

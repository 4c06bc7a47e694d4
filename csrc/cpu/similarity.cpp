// The score of every pair: the scan's own sums, finished. Integer and bit scores are exact; float ones that the scan cannot
// vouch for (norms outside [2^-100, 2^100], sums of squares that over- or underflow) are computed canonically.
#include <algorithm>
#include <memory>

#include "../core/fp_state.h"
#include "../core/thread_pool.h"
#include "scan.h"

namespace fec {
namespace {

constexpr int64_t kPanelBytes = 8 << 20;

struct Worker {
    Worker(const Pair& pair, const Estimate& estimate) : scan(pair, nullptr, estimate, false, pair.distance()), scorer(pair) {}
    Scan scan;
    Scorer scorer;
    Buffer<double> factors;  // of a block's rows: what turns a sum into a score, in float64 so that x with itself has cosine 1
    int64_t selected = -1;  // the query the scorer holds
};

class Matrix {
public:
    Matrix(const Pair& pair, int threads, Poll poll, void* scores)
        : pair_(pair),
          poll_(poll),
          scores_(scores),
          estimate_(pair, nullptr),
          few_(pair.q.n <= kFew && family_of(pair) == Family::floats),
          tile_(pair, nullptr, few_, kFew) {
        threads_ = pair.q.n * pair.x.n * std::max<int64_t>(pair.q.dim, 1) < 2'000'000 ? 1 : threads;
        for (int i = 0; i < threads_; ++i) workers_.emplace_back(new Worker(pair, estimate_));
    }

    bool run() {
        int64_t step = kPanelBytes / (4 * std::max<int64_t>(pair_.q.dim, 1));
        step = std::max(tile_.panel_width(), step - step % tile_.panel_width());
        for (int64_t first = 0; first < pair_.q.n; first += step)
            if (!run_tile(first, std::min(step, pair_.q.n - first))) return false;
        return true;
    }

private:
    bool run_tile(int64_t first, int64_t queries) {
        tile_.pack(first, queries);
        if (family_of(pair_) == Family::codes) {
            squares_.resize(queries);
            kernels().search.code_squares(pair_.q, nullptr, first, queries, squares_.get());
        }
        const int64_t block = workers_[0]->scan.block_rows(), n = pair_.x.n;
        return parallel_for((n + block - 1) / block, threads_,
                            [&](int64_t b, int t) {
                                Worker& worker = *workers_[static_cast<size_t>(t)];
                                const Block rows = {nullptr, b * block, std::min(block, n - b * block)};
                                worker.scan.load(rows, false);
                                worker.factors.resize(block);
                                for (int64_t r = 0; r < rows.n; ++r) worker.factors[r] = worker.scan.factor(r);
                                if (few_) {
                                    const uint32_t* raw = worker.scan.few_sums(tile_);
                                    for (int64_t i = 0; i < tile_.size(); ++i) finish(worker, rows, i, raw + i * rows.n, 1);
                                    return;
                                }
                                for (int64_t p = 0; p < tile_.panels(); ++p) {
                                    const uint32_t* raw = worker.scan.panel_sums(tile_, p);
                                    const int64_t start = p * tile_.panel_width(),
                                                  width = tile_.vectors(p) * static_cast<int64_t>(kernels().search.width);
                                    for (int64_t lane = 0; lane < std::min(width, tile_.size() - start); ++lane)
                                        finish(worker, rows, start + lane, raw + lane, width);
                                }
                            },
                            poll_);
    }

    // One query's scores with the rows of a block; raw sums lie `width` apart.
    void finish(Worker& worker, const Block& rows, int64_t i, const uint32_t* raw, int64_t width) {
        const int64_t query = tile_.first() + i, at = query * pair_.x.n + rows.first;
        auto* floats = static_cast<float*>(scores_) + at;
        auto* integers = static_cast<int32_t*>(scores_) + at;
        const auto* sums = reinterpret_cast<const float*>(raw);
        const auto* counts = reinterpret_cast<const int32_t*>(raw);
        switch (family_of(pair_)) {
            case Family::floats:
                return finish_floats(worker, rows, i, sums, width, floats);
            case Family::codes:
                for (int64_t r = 0; r < rows.n; ++r)
                    finish_code(rows.first + r, worker.scan.code_square(r), i, counts[r * width], integers + r, floats + r);
                return;
            case Family::bits:
                for (int64_t r = 0; r < rows.n; ++r) {
                    const int32_t distance = counts[r * width];
                    if (pair_.metric == Metric::hamming) {
                        integers[r] = distance;
                        continue;
                    }
                    const double either = (tile_.norms(i).norm + worker.scan.norms(r).reach + distance) / 2;
                    floats[r] = either == 0 ? 0.0f : canonical_float(distance / either);
                }
        }
    }

    void finish_floats(Worker& worker, const Block& rows, int64_t i, const float* sums, int64_t width, float* out) {
        const bool squared = pair_.distance(), cosine = pair_.metric == Metric::cosine;
        const double own = cosine ? 1 / tile_.norms(i).length : 1.0;
        for (int64_t r = 0; r < rows.n; ++r) {
            const float sum = sums[r * width];
            float score =
                squared ? (pair_.metric == Metric::l2 ? __builtin_sqrtf(sum) : sum) : static_cast<float>(sum * worker.factors[r] * own);
            if (tile_.blind(i) || std::isnan(worker.factors[r]) || (squared && !(sum > 0x1p-100f && sum < 0x1p120f)))
                score = canonical(worker, i, rows.first + r);
            out[r] = score + 0.0f;
        }
    }

    void finish_code(int64_t row, int32_t square, int64_t i, int32_t dot, int32_t* integer, float* real) {
        const double a = squares_[i], b = square;
        const double distance = a + b - 2.0 * dot, norms = std::sqrt(a) * std::sqrt(b);
        if (pair_.form == Form::ints) {
            if (pair_.metric == Metric::ip) *integer = dot;
            if (pair_.metric == Metric::sqeuclidean) *integer = static_cast<int32_t>(distance);
            if (pair_.metric == Metric::l2) *real = canonical_float(std::sqrt(distance));
            if (pair_.metric == Metric::cosine) *real = canonical_float(norms == 0 ? 0.0 : dot / norms);
            return;
        }
        const double scale = static_cast<double>(pair_.q.scale[tile_.first() + i]) * static_cast<double>(pair_.x.scale[row]);
        *real = pair_.metric == Metric::ip ? canonical_float(dot * scale)
                                           : canonical_float(std::isnan(scale) ? NAN
                                                             : norms == 0      ? 0.0
                                                                               : dot / norms);
    }

    float canonical(Worker& worker, int64_t i, int64_t row) {
        const int64_t query = tile_.first() + i;
        if (worker.selected != query) worker.scorer.select(query), worker.selected = query;
        Ranked one = {0.0, row};
        worker.scorer.score(&one, 1);
        return static_cast<float>(one.score);
    }

    const Pair& pair_;
    const Poll poll_;
    void* scores_;
    const Estimate estimate_;
    const bool few_;  // queries, which a panel's lanes would wait for in vain
    QueryTile tile_;
    int threads_;
    std::vector<std::unique_ptr<Worker>> workers_;
    Buffer<int32_t> squares_;
};

}  // namespace

bool similarity(const Pair& pair, int threads, Poll poll, void* scores) {
    FpState ieee;
    if (pair.q.n == 0 || pair.x.n == 0) return true;
    return Matrix(pair, threads, poll, scores).run();
}

}  // namespace fec

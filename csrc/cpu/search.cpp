// topk: scan, certify, rescore, on the threads of one pool.
#include "search.h"

#include <atomic>
#include <cstring>
#include <memory>

#include "../core/fp_state.h"
#include "../core/thread_pool.h"
#include "reservoir.h"
#include "scan.h"

namespace fec {
namespace {

constexpr int64_t kPanelBytes = 8 << 20;       // packed queries of a tile
constexpr int64_t kReservoirBytes = 32 << 20;  // candidates of a tile, all workers together

bool walks_by_rows(const Pair& pair, int64_t queries) {
    const bool squared = pair.metric == Metric::l2 || pair.metric == Metric::sqeuclidean;
    switch (family_of(pair)) {
        case Family::bits:
            return queries <= 2;
        case Family::codes:
            return queries <= 2;
        default:
            return queries <= kMostByRows && !squared && !pair.x.ranges && pair.x.kind != Kind::i4 && pair.x.kind != Kind::bits;
    }
}

// Everything one thread needs, kept between the blocks it is given.
struct Worker {
    Worker(const Pair& pair, const Estimate& estimate, bool by_rows, int64_t lanes)
        : scan(pair, estimate, by_rows), scorer(pair), thresholds(lanes) {}
    Scan scan;
    Scorer scorer;
    Buffer<float> thresholds;
    Buffer<Candidate> candidates;
    Buffer<Ranked> ranked;
    std::vector<Reservoir> reservoirs;
    std::vector<int64_t> ids;
};

class TopK {
public:
    TopK(const Pair& pair, int64_t k, const Allowed& allowed, int threads, Poll poll, void* scores, int64_t* indices)
        : pair_(pair),
          k_(k),
          allowed_(allowed),
          poll_(poll),
          output_(pair, k, scores, indices),
          estimate_(pair, std::min<int64_t>(pair.q.dim, 512) + pair.q.dim / 512),
          by_rows_(walks_by_rows(pair, pair.q.n)),
          tile_(pair, by_rows_) {
        plan(threads);
    }

    bool run() {
        const int64_t q = pair_.q.n, n = pair_.x.n;
        if (n <= 2 * k_ || q * n * pair_.q.dim <= 1 << 17) return rank_everything();
        for (int i = 0; i < threads_; ++i) workers_.emplace_back(new Worker(pair_, estimate_, by_rows_, tile_.panel_width()));
        for (int64_t first = 0; first < q; first += tile_queries_)
            if (!run_tile(first, std::min(tile_queries_, q - first))) return false;
        return true;
    }

private:
    // The tile shrinks before the workspace grows; a huge k leaves room for fewer workers' lists.
    void plan(int threads) {
        const int64_t q = pair_.q.n, n = pair_.x.n, work = q * n * std::max<int64_t>(pair_.q.dim, 1);
        threads_ = work < 2'000'000 ? 1 : threads;
        capacity_ = std::min(n, std::max<int64_t>(k_ + k_ / 2 + 32, std::min<int64_t>(4 * k_, 4096)));
        capacity_ = std::max(capacity_, std::min<int64_t>(n, 128));
        const int64_t list = capacity_ * static_cast<int64_t>(sizeof(Candidate));
        threads_ = static_cast<int>(std::max<int64_t>(1, std::min<int64_t>(threads_, kReservoirBytes / list)));
        tile_queries_ = std::min(kReservoirBytes / (list * threads_), kPanelBytes / (4 * std::max<int64_t>(pair_.q.dim, 1)));
        if (tile_queries_ > tile_.panel_width()) tile_queries_ -= tile_queries_ % tile_.panel_width();
        tile_queries_ = std::max<int64_t>(1, std::min(tile_queries_, q));
    }

    bool run_tile(int64_t first, int64_t queries) {
        tile_.pack(first, queries);
        shared_.reset(new std::atomic<float>[static_cast<size_t>(queries)]);
        for (int64_t i = 0; i < queries; ++i) shared_[i] = -kUnbounded;
        for (auto& worker : workers_) {
            worker->candidates.resize(queries * capacity_);
            worker->reservoirs.clear();
            for (int64_t i = 0; i < queries; ++i) worker->reservoirs.push_back({worker->candidates.get() + i * capacity_, 0, -kUnbounded});
        }
        // Chunks small enough that every thread gets several and a signal is seen within some ten milliseconds.
        const int64_t n = pair_.x.n, block = workers_[0]->scan.block_rows(), cost = queries * std::max<int64_t>(pair_.q.dim, 1);
        int64_t chunk = std::min(n / (threads_ * 8) + 1, 200'000'000 / cost + 1);
        chunk = rounded_up(std::max(chunk, block), block);
        const bool finished = parallel_for(
            (n + chunk - 1) / chunk, threads_,
            [&](int64_t i, int worker) { scan(*workers_[static_cast<size_t>(worker)], i * chunk, std::min(n, (i + 1) * chunk)); }, poll_);
        if (!finished) return false;
        return parallel_for(
            queries, queries * k_ * pair_.q.dim < 1 << 18 ? 1 : threads_,
            [&](int64_t i, int worker) { finish(*workers_[static_cast<size_t>(worker)], i); }, poll_);
    }

    void scan(Worker& worker, int64_t from, int64_t to) {
        const int64_t step = worker.scan.block_rows();
        if (allowed_.mask && (allowed_.stride == 0 || pair_.q.n == 1)) {  // one mask for all: rows it forbids are never touched
            worker.ids.clear();
            for (int64_t row = from; row < to; ++row)
                if (!allowed_.masked_out(0, row)) worker.ids.push_back(row);
            const auto listed = static_cast<int64_t>(worker.ids.size());
            for (int64_t i = 0; i < listed; i += step) {
                const int64_t n = std::min(step, listed - i);
                const int64_t* ids = worker.ids.data() + i;
                if (ids[n - 1] - ids[0] == n - 1)
                    visit(worker, {nullptr, ids[0], n}, false);
                else
                    visit(worker, {ids, ids[0], n}, false);
            }
            return;
        }
        for (int64_t row = from; row < to; row += step)
            visit(worker, {nullptr, row, std::min(step, to - row)}, row + 2 * step <= pair_.x.n);
    }

    void visit(Worker& worker, const Block& block, bool more) {
        Scan& scan = worker.scan;
        scan.load(block, more);
        if (by_rows_) {
            scan.row_sums(tile_);
            for (int64_t i = 0; i < tile_.size(); ++i) accept(worker, block, i, scan.row_hits(i, lowest(worker, i)));
            return;
        }
        for (int64_t p = 0; p < tile_.panels(); ++p) {
            const int64_t first = p * tile_.panel_width(), lanes = std::min(tile_.panel_width(), tile_.size() - first);
            for (int64_t lane = 0; lane < tile_.panel_width(); ++lane)
                worker.thresholds[lane] = lane < lanes ? lowest(worker, first + lane) : kUnbounded;
            accept(worker, block, first, scan.panel_hits(tile_, p, worker.thresholds.get()));
        }
    }

    // The lowest estimate in the block that could still belong to query i's answer.
    float lowest(const Worker& worker, int64_t i) const {
        if (tile_.nan(i)) return kUnbounded;
        if (tile_.blind(i)) return -kUnbounded;
        float own = worker.reservoirs[static_cast<size_t>(i)].threshold;
        // Blocks come in ascending order, so a tie with a held row loses to it; rows other workers hold may be later ones.
        if (estimate_.exact() && own > -kUnbounded) own = std::nextafter(own, kUnbounded);
        return estimate_.lowest(std::max(own, shared_[i].load(std::memory_order_relaxed)), tile_.norm(i), worker.scan.largest_reach());
    }

    void accept(Worker& worker, const Block& block, int64_t first, int64_t hits) {
        const bool per_query_mask = allowed_.mask && allowed_.stride != 0 && pair_.q.n != 1;
        for (int64_t h = 0; h < hits; ++h) {
            const Hit& hit = worker.scan.hits()[h];
            const int64_t i = first + hit.lane, row = block.row(hit.row), query = tile_.first() + i;
            if (i >= tile_.size() || tile_.nan(i)) continue;  // no threshold stops a NaN estimate
            Reservoir& reservoir = worker.reservoirs[static_cast<size_t>(i)];
            const float estimate = tile_.blind(i) ? NAN : hit.estimate;
            const Bounds bounds = estimate_.bounds(estimate, tile_.norm(i), worker.scan.reach(hit.row));
            // The threshold may have risen since the block's was taken.
            if (bounds.upper < reservoir.threshold) continue;
            if (per_query_mask && allowed_.masked_out(query, row)) continue;
            if (allowed_.excludes && allowed_.excluded(query, row)) continue;
            reservoir.list[reservoir.count++] = {bounds.lower, bounds.upper, row};
            if (reservoir.count == capacity_) compact(worker, i);
        }
    }

    void compact(Worker& worker, int64_t i) {
        Reservoir& reservoir = worker.reservoirs[static_cast<size_t>(i)];
        float threshold = reservoir.threshold;
        reservoir.count = certify(reservoir.list, reservoir.count, k_, estimate_.exact() && !tile_.blind(i), threshold);
        if (reservoir.count > k_ + (capacity_ - k_) * 3 / 4) {
            worker.scorer.select(tile_.first() + i);
            reservoir.count = resolve(reservoir.list, reservoir.count, k_, worker.scorer, output_.better(), worker.ranked, threshold);
        }
        reservoir.threshold = std::max(reservoir.threshold, threshold);
        float seen = shared_[i].load(std::memory_order_relaxed);
        while (seen < reservoir.threshold && !shared_[i].compare_exchange_weak(seen, reservoir.threshold, std::memory_order_relaxed)) {
        }
    }

    // All workers' candidates of query i, certified together, rescored and written out.
    void finish(Worker& worker, int64_t i) {
        if (tile_.nan(i)) return first_allowed(worker, tile_.first() + i);
        Buffer<Candidate> all;
        int64_t count = 0;
        for (const auto& each : workers_) count += each->reservoirs[static_cast<size_t>(i)].count;
        Candidate* list = workers_[0]->reservoirs[static_cast<size_t>(i)].list;
        if (workers_.size() > 1) {
            all.resize(count);
            Candidate* to = all.get();
            for (const auto& each : workers_) {
                const Reservoir& reservoir = each->reservoirs[static_cast<size_t>(i)];
                to = std::copy(reservoir.list, reservoir.list + reservoir.count, to);
            }
            list = all.get();
        }
        float threshold = -kUnbounded;
        count = certify(list, count, k_, estimate_.exact() && !tile_.blind(i), threshold);
        worker.ranked.resize(count);
        for (int64_t c = 0; c < count; ++c) worker.ranked[c] = {0.0, list[c].row};
        rank(worker.scorer, worker.ranked, tile_.first() + i, count);
    }

    // A NaN query's answer: its first allowed rows, scored NaN.
    void first_allowed(Worker& worker, int64_t query) {
        worker.ranked.resize(k_);
        int64_t count = 0;
        for (int64_t row = 0; row < pair_.x.n && count < k_; ++row)
            if (!allowed_.masked_out(query, row) && !allowed_.excluded(query, row)) worker.ranked[count++] = {NAN, row};
        output_.write(query, worker.ranked.get(), count);
    }

    void rank(Scorer& scorer, Buffer<Ranked>& ranked, int64_t query, int64_t count) {
        std::sort(ranked.get(), ranked.get() + count, [](const Ranked& a, const Ranked& b) { return a.row < b.row; });  // memory order
        scorer.select(query);
        scorer.score(ranked.get(), count);
        output_.write(query, ranked.get(), count);
    }

    // Small corpora, and k so large that nothing could be dropped: every allowed row is scored canonically.
    bool rank_everything() {
        const int64_t n = pair_.x.n, q = pair_.q.n;
        const int threads = q * n * pair_.q.dim < 1 << 18 || n > 1 << 20 ? 1 : threads_;
        std::vector<Scorer> scorers;
        for (int t = 0; t < threads; ++t) scorers.emplace_back(pair_);
        std::vector<Buffer<Ranked>> ranked(static_cast<size_t>(threads));
        return parallel_for(
            q, threads,
            [&](int64_t query, int t) {
                Buffer<Ranked>& list = ranked[static_cast<size_t>(t)];
                list.resize(n);
                int64_t count = 0;
                for (int64_t row = 0; row < n; ++row)
                    if (!allowed_.masked_out(query, row) && !allowed_.excluded(query, row)) list[count++] = {0.0, row};
                rank(scorers[static_cast<size_t>(t)], list, query, count);
            },
            poll_);
    }

    const Pair& pair_;
    const int64_t k_;
    const Allowed& allowed_;
    const Poll poll_;
    const Output output_;
    const Estimate estimate_;
    const bool by_rows_;
    QueryTile tile_;
    int threads_ = 1;
    int64_t capacity_ = 0, tile_queries_ = 0;
    std::vector<std::unique_ptr<Worker>> workers_;
    std::unique_ptr<std::atomic<float>[]> shared_;
};

}  // namespace

bool topk(const Pair& pair, int64_t k, const Allowed& allowed, int threads, Poll poll, void* scores, int64_t* indices) {
    FpState ieee;
    if (k == 0 || pair.q.n == 0) return true;
    return TopK(pair, k, allowed, threads, poll, scores, indices).run();
}

}  // namespace fec

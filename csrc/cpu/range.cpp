// range_search: scan, rule out what provably misses the threshold, score the others canonically and keep those that reach it.
#include "range.h"

#include <cstring>
#include <memory>

#include "../core/fp_state.h"
#include "../core/thread_pool.h"
#include "scan.h"

namespace fec {
namespace {

constexpr int64_t kPanelBytes = 8 << 20;  // packed queries of a tile
constexpr int64_t kPending = 1 << 16;     // rows that wait to be scored, of one worker

struct Pending {
    int64_t row;
    int64_t query;  // of the tile
};

// Everything one thread needs, kept between the blocks it is given.
struct Worker {
    Worker(const Pair& pair, int64_t lanes) : scorer(pair), limits(lanes) {}
    std::unique_ptr<Scan> scan;
    Scorer scorer;
    Buffer<float> limits;
    int64_t scanned = 0, kept = 0;  // pairs, and those whose estimates did not miss a threshold
    std::vector<Pending> pending;
    std::vector<int64_t> ids, starts;
    std::vector<Ranked> ranked;
    std::vector<std::vector<Ranked>> found;  // a list for each query of the tile
};

class Range {
public:
    Range(const Pair& pair, const float* thresholds, const Allowed& allowed, int threads, Poll poll, int64_t* indptr, RangeResults& results)
        : pair_(pair),
          thresholds_(thresholds),
          allowed_(allowed),
          poll_(poll),
          indptr_(indptr),
          results_(results),
          whole_{pair.x, nullptr, nullptr, nullptr, nullptr},
          fresh_(fresh_codes(pair)),
          one_mask_(allowed.mask && (allowed.stride == 0 || pair.q.n == 1)),
          scans_(pair.q.n * pair.x.n * pair.q.dim > 1 << 17) {
        if (scans_fresh(pair)) ways_.emplace_back(new Way(pair, &fresh_));
        ways_.emplace_back(new Way(pair, scans_codes(pair) ? &whole_ : nullptr));
        threads_ = pair.q.n * pair.x.n * std::max<int64_t>(pair.q.dim, 1) < 2'000'000 ? 1 : threads;
        for (int i = 0; i < threads_; ++i) workers_.emplace_back(new Worker(pair_, ways_[0]->tile.panel_width()));
    }

    bool run() {
        const int64_t width = ways_[0]->tile.panel_width();
        int64_t step = kPanelBytes / (4 * std::max<int64_t>(pair_.q.dim, 1));
        if (step > width) step -= step % width;
        for (int64_t first = 0; first < pair_.q.n; first += std::max<int64_t>(step, 1))
            if (!run_tile(first, std::min(std::max<int64_t>(step, 1), pair_.q.n - first))) return false;
        return true;
    }

private:
    bool run_tile(int64_t first, int64_t queries) {
        for (auto& worker : workers_) worker->found.assign(static_cast<size_t>(queries), {});
        // Fresh codes that leave too many rows cost more than they save: some rows show it.
        const int64_t n = pair_.x.n;
        size_t way = 0;
        for (int64_t from = 0; from < n;) {
            const bool last = way + 1 == ways_.size();
            const int64_t to = last || from >= n / 4 ? n : std::min(n, std::max({2 * from, n / 64, int64_t{512}}));
            take(way, first, queries);
            if (!scan_range(from, to)) return false;
            int64_t scanned = 0, kept = 0;
            for (auto& worker : workers_) scanned += worker->scanned, kept += worker->kept, worker->scanned = worker->kept = 0;
            if (!last && kept > scanned / 4) ++way;
            from = to;
        }
        for (int64_t i = 0; i < queries; ++i) {
            int64_t count = 0;
            for (const auto& worker : workers_) count += static_cast<int64_t>(worker->found[static_cast<size_t>(i)].size());
            indptr_[first + i + 1] = indptr_[first + i] + count;
        }
        results_.scores.resize(indptr_[first + queries]);
        results_.indices.resize(indptr_[first + queries]);
        return parallel_for(queries, threads_, [&](int64_t i, int w) { finish(*workers_[static_cast<size_t>(w)], i); }, poll_);
    }

    // Scan this way from here on.
    void take(size_t way, int64_t first, int64_t queries) {
        if (way_ == ways_[way].get() && tile().first() == first && tile().size() == queries) return;
        way_ = ways_[way].get();
        way_->tile.pack(first, queries);
        floors_.resize(queries);
        for (int64_t i = 0; i < queries; ++i) floors_[i] = floor_of(i);
        for (auto& worker : workers_) worker->scan.reset(new Scan(pair_, way_->coded, way_->estimate, way_->by_rows));
    }

    bool scan_range(int64_t begin, int64_t end) {
        // Chunks small enough that every thread gets several and a signal is seen within some ten milliseconds.
        const int64_t n = end - begin, block = workers_[0]->scan->block_rows(), cost = tile().size() * std::max<int64_t>(pair_.q.dim, 1);
        int64_t chunk = std::min(n / (threads_ * 8) + 1, 100'000'000 / cost + 1);
        chunk = rounded_up(std::max(chunk, block), block);
        const auto visit_chunk = [&](int64_t i, int w) {
            Worker& worker = *workers_[static_cast<size_t>(w)];
            scan(worker, begin + i * chunk, std::min(end, begin + (i + 1) * chunk));
            settle(worker);
        };
        return parallel_for((n + chunk - 1) / chunk, threads_, visit_chunk, poll_);
    }

    const QueryTile& tile() const { return way_->tile; }

    // Query i's threshold as bounds are: larger is better. Unbounded where nothing reaches it, or where nothing can be ruled out.
    float floor_of(int64_t i) const {
        const float t = thresholds_[tile().first() + i];
        if (tile().nan(i) || (!pair_.similarity() && t < 0)) return kUnbounded;
        if (tile().blind(i) || std::isinf(t)) return -kUnbounded;
        return pair_.similarity() ? t : -t;
    }

    void scan(Worker& worker, int64_t from, int64_t to) {
        if (!scans_) return offer_all(worker, from, to);
        each_block(one_mask_ ? &allowed_ : nullptr, from, to, worker.scan->block_rows(), pair_.x.n, worker.ids,
                   [&](const Block& block, bool more) { visit(worker, block, more); });
    }

    // What is too little work for an estimate to save any.
    void offer_all(Worker& worker, int64_t from, int64_t to) {
        for (int64_t i = 0; i < tile().size(); ++i)
            for (int64_t row = from; row < to; ++row)
                if (may_return(i, row)) add(worker, i, row);
    }

    void visit(Worker& worker, const Block& block, bool more) {
        Scan& scan = *worker.scan;
        scan.load(block, more);
        worker.scanned += block.n * tile().size();
        if (way_->by_rows) {
            scan.row_sums(tile());
            for (int64_t i = 0; i < tile().size(); ++i) accept(worker, block, i, scan.row_hits(tile(), i, lowest(worker, i)));
            return;
        }
        for (int64_t p = 0; p < tile().panels(); ++p) {
            const int64_t width = tile().panel_width(), first = p * width, lanes = std::min(width, tile().size() - first);
            for (int64_t lane = 0; lane < width; ++lane) worker.limits[lane] = lane < lanes ? lowest(worker, first + lane) : kUnbounded;
            scan.panel_sums(tile(), p);
            accept(worker, block, first, scan.panel_hits(tile(), p, worker.limits.get()));
        }
    }

    // The lowest estimate that a row of the block may have and still reach query i's threshold.
    float lowest(const Worker& worker, int64_t i) const {
        if (floors_[i] == kUnbounded) return kUnbounded;
        return way_->estimate.lowest(floors_[i], tile().norms(i), worker.scan->largest());
    }

    void accept(Worker& worker, const Block& block, int64_t first, int64_t hits) {
        hits = worker.scan->approach(tile(), first, hits, [&](const Hit& hit) { return may_return(first + hit.lane, block.row(hit.row)); });
        worker.kept += hits;
        for (int64_t h = 0; h < hits; ++h) {
            const Hit& hit = worker.scan->hits()[h];
            const int64_t i = first + hit.lane;
            const float estimate = tile().blind(i) ? NAN : hit.estimate;
            if (way_->fresh && way_->closer.bounds(estimate, tile().closer(i), worker.scan->norms(hit.row)).upper < floors_[i]) continue;
            add(worker, i, block.row(hit.row));
        }
    }

    bool may_return(int64_t i, int64_t row) const {
        const int64_t query = tile().first() + i;
        return i < tile().size() && floors_[i] < kUnbounded && !allowed_.masked_out(query, row) && !allowed_.excluded(query, row);
    }

    void add(Worker& worker, int64_t i, int64_t row) {
        worker.pending.push_back({row, i});
        if (static_cast<int64_t>(worker.pending.size()) == kPending) settle(worker);
    }

    // Scores what waits, query by query (a counting sort keeps the order of rows), and keeps what reaches its threshold.
    void settle(Worker& worker) {
        const auto queries = static_cast<size_t>(tile().size());
        worker.starts.assign(queries + 1, 0);
        for (const Pending& each : worker.pending) ++worker.starts[static_cast<size_t>(each.query) + 1];
        for (size_t i = 0; i < queries; ++i) worker.starts[i + 1] += worker.starts[i];
        worker.ranked.resize(worker.pending.size());
        for (const Pending& each : worker.pending)
            worker.ranked[static_cast<size_t>(worker.starts[static_cast<size_t>(each.query)]++)] = {0.0, each.row};
        worker.pending.clear();
        int64_t from = 0;
        for (size_t i = 0; i < queries; ++i) {  // starts[i] is now where query i ends
            const int64_t to = worker.starts[i];
            if (from == to) continue;
            worker.scorer.select(tile().first() + static_cast<int64_t>(i));
            worker.scorer.score(worker.ranked.data() + from, to - from);
            const double t = thresholds_[tile().first() + static_cast<int64_t>(i)];
            for (int64_t j = from; j < to; ++j) {
                const Ranked& each = worker.ranked[static_cast<size_t>(j)];
                if (pair_.similarity() ? each.score >= t : each.score <= t) worker.found[i].push_back(each);
            }
            from = to;
        }
    }

    // What all workers found for query i, sorted and written out.
    void finish(Worker& worker, int64_t i) {
        worker.ranked.clear();
        for (const auto& each : workers_) {
            auto& found = each->found[static_cast<size_t>(i)];
            worker.ranked.insert(worker.ranked.end(), found.begin(), found.end());
            std::vector<Ranked>().swap(found);
        }
        std::sort(worker.ranked.begin(), worker.ranked.end(), Better{pair_.similarity()});
        int64_t at = indptr_[tile().first() + i];
        for (const Ranked& each : worker.ranked) {
            const auto single = static_cast<float>(each.score);
            const auto integer = static_cast<int32_t>(pair_.integer_scores() ? each.score : 0.0);
            std::memcpy(results_.scores.get() + at, pair_.integer_scores() ? static_cast<const void*>(&integer) : &single, 4);
            results_.indices.get()[at++] = each.row;
        }
    }

    const Pair& pair_;
    const float* thresholds_;
    const Allowed& allowed_;
    const Poll poll_;
    int64_t* indptr_;
    RangeResults& results_;
    const Coded whole_;  // the corpus, where it is codes itself
    const Coded fresh_;  // its rows' codes, made as they come
    const bool one_mask_, scans_;
    std::vector<std::unique_ptr<Way>> ways_;  // the cheapest first, the rows themselves last
    Way* way_ = nullptr;
    int threads_ = 1;
    Buffer<float> floors_;
    std::vector<std::unique_ptr<Worker>> workers_;
};

}  // namespace

bool range_search(const Pair& pair, const float* thresholds, const Allowed& allowed, int threads, Poll poll, int64_t* indptr,
                  RangeResults& results) {
    FpState ieee;
    indptr[0] = 0;
    results.scores.resize(0);
    results.indices.resize(0);
    if (pair.q.n == 0 || pair.x.n == 0) {
        for (int64_t i = 0; i < pair.q.n; ++i) indptr[i + 1] = 0;
        return true;
    }
    const Centered centered(pair);
    return Range(centered.pair(), thresholds, allowed, threads, poll, indptr, results).run();
}

}  // namespace fec

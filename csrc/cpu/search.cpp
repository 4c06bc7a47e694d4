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

constexpr int64_t kPanelBytes = 2 << 20;       // packed queries of a tile
constexpr int64_t kReservoirBytes = 32 << 20;  // candidates of a tile, all workers together

// Everything one thread needs, kept between the blocks it is given.
struct Worker {
    Worker(const Pair& pair, int64_t lanes) : scorer(pair), selection(pair, scorer), thresholds(lanes), seeds(lanes) {}
    std::unique_ptr<Scan> scan;
    Scorer scorer;
    Selection selection;
    Buffer<float> thresholds, seeds;
    Buffer<Candidate> candidates;
    Buffer<Ranked> ranked;
    std::vector<Reservoir> reservoirs;
    std::vector<int64_t> ids;
    int64_t seeded = 0;             // blocks of a tile that were asked where its thresholds begin
    int64_t blocks = 0;             // of a tile
    int64_t crowded = 0;            // blocks to come whose rows may repeat, so much of one passed
    int64_t scanned = 0, kept = 0;  // pairs, and those that a threshold did not stop
};

class TopK {
public:
    TopK(const Pair& pair, const Coded* coded, int scans, int64_t k, const Allowed& allowed, int threads, Poll poll, void* scores,
         int64_t* indices, SearchStats& stats)
        : pair_(pair),
          k_(k),
          allowed_(allowed),
          poll_(poll),
          stats_(stats),
          output_(pair, k, scores, indices),
          whole_{pair.x, nullptr, nullptr, nullptr, nullptr},
          fresh_(fresh_codes(pair)),
          stored_(scans) {
        if (pair.q.dim > kMostCoded) scans = 0;
        unused_ = stored_ - scans;
        for (int i = 0; i < scans; ++i) ways_.emplace_back(new Way(pair, coded + i));
        if (!scans && scans_fresh(pair)) ways_.emplace_back(new Way(pair, &fresh_));
        ways_.emplace_back(new Way(pair, scans_codes(pair) ? &whole_ : nullptr));
        // Where many queries share the rows, arithmetic is the limit, and bytes multiply as fast as nibbles without unpacking.
        if (scans > 1 && !ways_[0]->by_rows) first_way_ = 1;
        plan(threads);
    }

    bool run() {
        const int64_t q = pair_.q.n, n = pair_.x.n;
        if (n <= 2 * k_ || q * n * pair_.q.dim <= 1 << 17) return rank_everything();
        for (int i = 0; i < threads_; ++i) workers_.emplace_back(new Worker(pair_, ways_[0]->tile.panel_width()));
        bool finished = true;
        for (int64_t first = 0; finished && first < q; first += tile_queries_)
            finished = run_tile(first, std::min(tile_queries_, q - first));
        for (const auto& worker : workers_) stats_.rescored += worker->selection.scored(), stats_.scanned += worker->scanned;
        return finished;
    }

private:
    // The tile shrinks before the workspace grows; a huge k leaves room for fewer workers' lists.
    void plan(int threads) {
        const int64_t q = pair_.q.n, n = pair_.x.n, work = q * n * std::max<int64_t>(pair_.q.dim, 1);
        threads_ = work < 2'000'000 ? 1 : threads;
        capacity_ = std::min(n, k_ + k_ / 2 + 32);
        // Bounds of codes are wide: more rows wait for the threshold to rise.
        capacity_ = std::max(capacity_, std::min<int64_t>(n, ways_[first_way_]->wide() ? 512 : 48));
        const int64_t list = capacity_ * static_cast<int64_t>(sizeof(Candidate));
        threads_ = static_cast<int>(std::max<int64_t>(1, std::min<int64_t>(threads_, kReservoirBytes / list)));
        tile_queries_ = std::min(kReservoirBytes / (list * threads_), kPanelBytes / (4 * std::max<int64_t>(pair_.q.dim, 1)));
        const int64_t width = ways_[0]->tile.panel_width();
        if (tile_queries_ > width) tile_queries_ -= tile_queries_ % width;
        tile_queries_ = std::max<int64_t>(1, std::min(tile_queries_, q));
    }

    bool run_tile(int64_t first, int64_t queries) {
        first_ = first;
        for (auto& way : ways_) way->packed = false;
        shared_.reset(new std::atomic<float>[static_cast<size_t>(queries)]);
        for (int64_t i = 0; i < queries; ++i) shared_[i] = -kUnbounded;
        for (auto& worker : workers_) {
            worker->candidates.resize(queries * capacity_);
            worker->reservoirs.clear();
            worker->seeded = worker->blocks = worker->crowded = 0;
            for (int64_t i = 0; i < queries; ++i) worker->reservoirs.push_back({worker->candidates.get() + i * capacity_, 0, -kUnbounded});
        }
        // Codes that leave too many rows cost more than they save. The first rows are all among the best so far, later ones
        // less and less, so each look at how many stay is twice as strict as the one before.
        const int64_t n = pair_.x.n;
        size_t way = first_way_;
        for (int64_t from = 0, looks = 0; from < n; ++looks) {
            const bool last = way + 1 == ways_.size();
            const int64_t strictest = ways_[way]->fresh ? 2 : 4;  // one row in 2^strictest may pass a scan of codes, in the end
            const int64_t to = last || from >= n / 4 ? n : std::min(n, std::max({2 * from, n / 256, 4 * capacity_}));
            take(way, first, queries);
            int64_t scanned = 0, kept = 0;
            for (auto& worker : workers_) scanned -= worker->scanned, kept -= worker->kept;
            if (!scan_range(from, to, queries)) return false;
            for (auto& worker : workers_) scanned += worker->scanned, kept += worker->kept;
            if (!last && kept << std::min(looks, strictest) > scanned) ++way, looks = 0;
            from = to;
        }
        stats_.scan = std::max(stats_.scan, std::min(stored_, unused_ + static_cast<int>(way_ - ways_.data())));
        return parallel_for(
            queries, queries * k_ * pair_.q.dim < 1 << 18 ? 1 : threads_,
            [&](int64_t i, int worker) { finish(*workers_[static_cast<size_t>(worker)], i); }, poll_);
    }

    // Scan this way from here on.
    void take(size_t way, int64_t first, int64_t queries) {
        way_ = &ways_[way];
        Way& w = **way_;
        if (w.packed) return;
        w.tile.pack(first, queries);
        w.packed = true;
        for (auto& worker : workers_) worker->scan.reset(new Scan(pair_, w.coded, w.estimate, w.by_rows));
    }

    bool scan_range(int64_t begin, int64_t end, int64_t queries) {
        // Chunks small enough that every thread gets several and a signal is seen within some ten milliseconds.
        const int64_t n = end - begin, block = workers_[0]->scan->block_rows(), cost = queries * std::max<int64_t>(pair_.q.dim, 1);
        int64_t chunk = std::min(n / (threads_ * 8) + 1, 200'000'000 / cost + 1);
        chunk = rounded_up(std::max(chunk, block), block);
        return parallel_for((n + chunk - 1) / chunk, threads_,
                            [&](int64_t i, int worker) {
                                const int64_t from = begin + i * chunk;
                                scan(*workers_[static_cast<size_t>(worker)], from, std::min(end, from + chunk));
                            },
                            poll_);
    }

    void scan(Worker& worker, int64_t from, int64_t to) {
        const bool one_mask = allowed_.mask && (allowed_.stride == 0 || pair_.q.n == 1);
        each_block(one_mask ? &allowed_ : nullptr, from, to, worker.scan->block_rows(), pair_.x.n, worker.ids,
                   [&](const Block& block, bool more) {
                       const int64_t kept = worker.kept;
                       visit(worker, block, more);
                       // The first blocks pass before there are thresholds.
                       const bool many = worker.kept - kept > block.n * (*way_)->tile.size() / 4;
                       const bool repeats = ++worker.blocks > 2 && many && !allowed_.excludes && !allowed_.mask;
                       worker.crowded = repeats ? kCrowded : std::max<int64_t>(0, worker.crowded - 1);
                   });
    }

    void visit(Worker& worker, const Block& block, bool more) {
        Scan& scan = *worker.scan;
        const Way& way = **way_;
        const QueryTile& tile = way.tile;
        scan.load(block, more);
        worker.scanned += block.n * tile.size();
        if (way.by_rows) {
            scan.row_sums(tile);
            if (worker.crowded) scan.leave_out_repeats(k_);
            for (int64_t i = 0; i < tile.size(); ++i) accept(worker, block, i, scan.row_hits(tile, i, lowest(worker, i)));
            return;
        }
        if (worker.crowded) scan.leave_out_repeats(k_);
        const bool seed_block = worker.seeded < kSeeded && seeds(block);
        worker.seeded += seed_block;
        for (int64_t p = 0; p < tile.panels(); ++p) {
            const int64_t first = p * tile.panel_width(), lanes = std::min(tile.panel_width(), tile.size() - first);
            for (int64_t lane = 0; lane < tile.panel_width(); ++lane)
                worker.thresholds[lane] = lane < lanes ? lowest(worker, first + lane) : kUnbounded;
            scan.panel_sums(tile, p);
            if (seed_block) seed(worker, p, lanes);
            accept(worker, block, first, scan.panel_hits(tile, p, worker.thresholds.get()));
        }
    }

    bool per_query_mask() const { return allowed_.mask && allowed_.stride != 0 && pair_.q.n != 1; }

    // Whether a block's best rows, one from each of k groups, say what a threshold is at least: any k rows of it must be k candidates.
    bool seeds(const Block& block) const {
        return !allowed_.excludes && !per_query_mask() && 4 * k_ <= block.n && (*way_)->estimate.error != Estimate::Error::jaccard;
    }

    void seed(Worker& worker, int64_t p, int64_t lanes) {
        const Way& way = **way_;
        worker.scan->panel_seeds(way.tile, p, k_, worker.seeds.get());
        for (int64_t lane = 0; lane < lanes; ++lane) {
            const int64_t i = p * way.tile.panel_width() + lane;
            if (way.tile.nan(i) || way.tile.blind(i)) continue;
            const QueryNorms& norms = way.tile.norms(i);
            const RowNorms largest = worker.scan->largest();
            raise(worker, i, way.estimate.bounds(worker.seeds[lane], norms, largest).lower);
            const float lowest = way.estimate.lowest(worker.reservoirs[static_cast<size_t>(i)].threshold, norms, largest);
            worker.thresholds[lane] = std::max(worker.thresholds[lane], lowest);
        }
    }

    // Query i's k-th best score is at least this.
    void raise(Worker& worker, int64_t i, float threshold) {
        Reservoir& reservoir = worker.reservoirs[static_cast<size_t>(i)];
        reservoir.threshold = std::max(reservoir.threshold, threshold);
        float seen = shared_[i].load(std::memory_order_relaxed);
        while (seen < reservoir.threshold && !shared_[i].compare_exchange_weak(seen, reservoir.threshold, std::memory_order_relaxed)) {
        }
    }

    // The lowest estimate in the block that could still belong to query i's answer.
    float lowest(const Worker& worker, int64_t i) const {
        const Way& way = **way_;
        if (way.tile.nan(i)) return kUnbounded;
        if (way.tile.blind(i)) return -kUnbounded;
        float own = worker.reservoirs[static_cast<size_t>(i)].threshold;
        // Blocks come in ascending order, so a tie with a held row loses to it; rows other workers hold may be later ones.
        if (way.estimate.exact() && own > -kUnbounded) own = std::nextafter(own, kUnbounded);
        const float threshold = std::max(own, shared_[i].load(std::memory_order_relaxed));
        return way.estimate.lowest(threshold, way.tile.norms(i), worker.scan->largest());
    }

    void accept(Worker& worker, const Block& block, int64_t first, int64_t hits) {
        const Way& way = **way_;
        const QueryTile& tile = way.tile;
        hits = worker.scan->approach(tile, first, hits, [&](const Hit& hit) {
            const int64_t i = first + hit.lane, row = block.row(hit.row), query = first_ + i;
            if (i >= tile.size() || tile.nan(i)) return false;  // no threshold stops a NaN estimate
            if (hit.estimate == -kUnbounded && worker.scan->left_out(hit.row)) return false;
            if (per_query_mask() && allowed_.masked_out(query, row)) return false;
            if (allowed_.excludes && allowed_.excluded(query, row)) return false;
            worker.kept += way.fresh && worker.reservoirs[static_cast<size_t>(i)].threshold > -kUnbounded;  // each costs a sum
            return true;
        });
        for (int64_t h = 0; h < hits; ++h) {
            const Hit& hit = worker.scan->hits()[h];
            const int64_t i = first + hit.lane, row = block.row(hit.row);
            Reservoir& reservoir = worker.reservoirs[static_cast<size_t>(i)];
            const float estimate = tile.blind(i) ? NAN : hit.estimate;
            const Bounds bounds = way.closer.bounds(estimate, tile.closer(i), worker.scan->norms(hit.row));
            // The threshold may have risen since the block's was taken.
            if (bounds.upper < reservoir.threshold) continue;
            worker.kept += !way.fresh && reservoir.threshold > -kUnbounded;
            reservoir.list[reservoir.count++] = Candidate::estimated(bounds, row);
            if (reservoir.count == capacity_) compact(worker, i);
        }
    }

    bool exact(int64_t i) const { return (*way_)->estimate.exact() && !(*way_)->tile.blind(i); }

    void compact(Worker& worker, int64_t i) {
        Reservoir& reservoir = worker.reservoirs[static_cast<size_t>(i)];
        Selection& selection = worker.selection;
        float threshold = reservoir.threshold;
        const int64_t room = capacity_ - k_;
        reservoir.count = selection.certify(reservoir.list, reservoir.count, k_, exact(i), threshold);
        if ((*way_)->wide() || reservoir.count > k_ + room * 3 / 4) worker.scorer.select(first_ + i);
        if ((*way_)->wide()) reservoir.count = selection.tighten(reservoir.list, reservoir.count, k_, worker.ranked, threshold);
        if (reservoir.count > k_ + room * 3 / 4)
            reservoir.count = selection.resolve(reservoir.list, reservoir.count, k_, worker.ranked, threshold);
        raise(worker, i, threshold);
    }

    // All workers' candidates of query i, certified together, rescored and written out.
    void finish(Worker& worker, int64_t i) {
        if ((*way_)->tile.nan(i)) return first_allowed(worker, first_ + i);
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
            std::sort(all.get(), to, [](const Candidate& a, const Candidate& b) { return a.row < b.row; });
            list = all.get();
        }
        float threshold = -kUnbounded;
        count = worker.selection.certify(list, count, k_, exact(i), threshold);
        worker.scorer.select(first_ + i);
        if (ways_[first_way_]->wide()) count = worker.selection.tighten(list, count, k_, worker.ranked, threshold);
        worker.selection.score(list, count, worker.ranked);
        output_.write(first_ + i, worker.ranked.get(), count);
    }

    // A NaN query's answer: its first allowed rows, scored NaN.
    void first_allowed(Worker& worker, int64_t query) {
        worker.ranked.resize(k_);
        int64_t count = 0;
        for (int64_t row = 0; row < pair_.x.n && count < k_; ++row)
            if (!allowed_.masked_out(query, row) && !allowed_.excluded(query, row)) worker.ranked[count++] = {NAN, row};
        output_.write(query, worker.ranked.get(), count);
    }

    // Small corpora, and k so large that nothing could be dropped: every allowed row is scored canonically.
    bool rank_everything() {
        const int64_t n = pair_.x.n, q = pair_.q.n;
        const int threads = q * n * pair_.q.dim < 1 << 18 || n > 1 << 20 ? 1 : threads_;
        stats_ = {q * n, q * n, stored_};
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
                Scorer& scorer = scorers[static_cast<size_t>(t)];
                scorer.select(query);
                scorer.score(list.get(), count);
                output_.write(query, list.get(), count);
            },
            poll_);
    }

    static constexpr int64_t kSeeded = 16, kCrowded = 16;

    const Pair& pair_;
    const int64_t k_;
    const Allowed& allowed_;
    const Poll poll_;
    SearchStats& stats_;
    const Output output_;
    const Coded whole_;                       // the corpus, where it is codes itself
    const Coded fresh_;                       // its rows' codes, made as they come
    const int stored_;                        // scans of stored codes
    std::vector<std::unique_ptr<Way>> ways_;  // the cheapest first, the rows themselves last
    int unused_ = 0;                          // of them, for vectors too long for codes
    size_t first_way_ = 0;
    const std::unique_ptr<Way>* way_ = nullptr;
    int threads_ = 1;
    int64_t capacity_ = 0, tile_queries_ = 0, first_ = 0;
    std::vector<std::unique_ptr<Worker>> workers_;
    std::unique_ptr<std::atomic<float>[]> shared_;
};

// Queries [first, first + n) of a pair, and what they may return.
Pair some_queries(Pair pair, int64_t first, int64_t n) {
    pair.q.data = pair.q.row(first), pair.q.n = n;
    if (pair.q.scale) pair.q.scale += first;
    return pair;
}
Allowed some_queries(Allowed allowed, int64_t first) {
    if (allowed.mask) allowed.mask += first * allowed.stride;
    if (allowed.exclude) allowed.exclude += first * allowed.excludes;
    return allowed;
}

// How many queries a thread takes at a time where rows are too few for threads to share, as centroids are; 0 where they share them: the
// lists of all threads together are no longer than one tile's.
int64_t queries_apart(const Pair& pair, int64_t k, int threads) {
    constexpr int64_t kSharedRows = 2048, kLeast = 64, kMost = 1024;
    if (threads < 2 || pair.x.n >= kSharedRows * threads) return 0;
    const int64_t list = 2 * (k + 32) * static_cast<int64_t>(sizeof(Candidate)), cost = pair.x.n * std::max<int64_t>(pair.q.dim, 1) + 1;
    const int64_t most = std::min({kMost, kReservoirBytes / threads / list, 2'000'000'000 / cost, pair.q.n / (4 * threads)});
    return most < kLeast ? 0 : most;
}

}  // namespace

bool topk(const Pair& pair, const Coded* coded, int scans, int64_t k, const Allowed& allowed, int threads, Poll poll, void* scores,
          int64_t* indices, SearchStats& stats) {
    FpState ieee;
    if (k == 0 || pair.q.n == 0) return true;
    const Centered centered(pair);
    const Pair& all = centered.pair();
    const int64_t piece = queries_apart(all, k, threads), q = all.q.n;
    if (!piece) return TopK(all, coded, scans, k, allowed, threads, poll, scores, indices, stats).run();
    std::vector<SearchStats> parts(static_cast<size_t>(threads));
    const bool finished = parallel_for((q + piece - 1) / piece, threads,
                                       [&](int64_t i, int worker) {
                                           const int64_t first = i * piece;
                                           const Pair some = some_queries(all, first, std::min(piece, q - first));
                                           const Allowed theirs = some_queries(allowed, first);
                                           SearchStats did;
                                           void* out = static_cast<char*>(scores) + 4 * first * k;  // float or int32
                                           TopK(some, coded, scans, k, theirs, 1, nullptr, out, indices + first * k, did).run();
                                           SearchStats& sum = parts[static_cast<size_t>(worker)];
                                           sum = {sum.scanned + did.scanned, sum.rescored + did.rescored, std::max(sum.scan, did.scan)};
                                       },
                                       poll);
    for (const SearchStats& part : parts)
        stats = {stats.scanned + part.scanned, stats.rescored + part.rescored, std::max(stats.scan, part.scan)};
    return finished;
}

}  // namespace fec

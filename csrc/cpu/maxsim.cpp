// MaxSim: float32 sums of every token pair, the largest of each query token taken while they are in the cache. The k best documents
// are found by the bound on those sums' error: only a document that may be among them is scored in the canonical order, and of its
// tokens only those that may be the largest.
#include "maxsim.h"

#include <memory>

#include "../core/fp_state.h"
#include "../core/thread_pool.h"
#include "token_walk.h"

namespace fec {
namespace {

constexpr int64_t kTileElements = 1 << 20, kTileLanes = 4096;  // of packed query tokens
constexpr int64_t kSlots = 32;              // documents that a block may touch
constexpr int64_t kPieceTiles = 4;          // tiles whose sums lie in the first-level cache together
constexpr int64_t kListBytes = 32 << 20;    // the best documents of a tile's queries, all workers together

// What one thread keeps between the documents it is given.
struct Worker {
    Worker(const Pair& pair, int64_t lanes, int64_t width)
        : blocks(pair, kSlots),
          again(pair, 1),
          tops(kSlots * lanes),
          raw(again.most() * width),
          floors(width),
          hits(again.most() * width) {}

    TokenBlocks blocks, again;
    Buffer<float> tops;  // by slot, then lane: floats, or int32 where scores are integers
    Buffer<uint32_t> raw;
    Buffer<float> floors;
    Buffer<Hit> hits;
    std::vector<double> exact;  // of one query's tokens
    double reach[kSlots];       // of each slot's document
    std::vector<std::vector<Ranked>> best;
    std::vector<double> kth;  // the k-th best score held, -inf before there are k
};

class Late {
public:
    // indices null: the matrix, of scores of all documents.
    Late(const MaxSim& call, int64_t k, const Allowed& allowed, int threads, Poll poll, void* scores, int64_t* indices)
        : call_(call),
          pair_(call.pair),
          family_(family_of(call.pair)),
          integers_(call.pair.form == Form::ints && call.pair.metric == Metric::ip),
          bits_(call.pair.form == Form::bits),
          k_(k),
          allowed_(allowed),
          poll_(poll),
          scores_(scores),
          indices_(indices),
          tile_(call.pair, nullptr, false) {
        const int64_t dim = pair_.q.dim, depth = std::min<int64_t>(dim, 512) + dim / 512;
        // Under cosine the row's own sum of squares is rounded as often.
        const double terms = static_cast<double>(pair_.metric == Metric::cosine ? 2 * depth : depth) + 32;
        gamma_ = family_ == Family::floats ? 1.02 * terms * 0x1p-24 : 0x1p-20;
        tiny_ = static_cast<double>(dim + 1) * 0x1p-140;
        double tokens = 0;  // of the documents; sets may share rows, so there can be more of them than rows
        for (int64_t i = 0; i < call.documents.n; ++i) tokens += static_cast<double>(call.documents.stops[i] - call.documents.starts[i]);
        work_ = static_cast<double>(pair_.q.n) * tokens * static_cast<double>(std::max<int64_t>(dim, 1));
        threads_ = work_ < 2e6 ? 1 : threads;
        if (indices) {
            const int64_t list = (k_ + slack()) * static_cast<int64_t>(sizeof(Ranked));
            threads_ = static_cast<int>(std::max<int64_t>(1, std::min<int64_t>(threads_, kListBytes / std::max<int64_t>(list, 1))));
            most_queries_ = std::max<int64_t>(1, kListBytes / std::max<int64_t>(list * threads_, 1));
        }
    }

    bool run() {
        for (int64_t first = 0; first < call_.queries;) {
            const int64_t queries = tile_queries(first);
            if (!run_tile(first, queries)) return false;
            first += queries;
        }
        return true;
    }

private:
    int64_t slack() const { return k_ / 8 + 1; }
    int64_t lane(int64_t query) const { return call_.offsets[query] - call_.offsets[first_]; }  // where a query's tokens begin

    // As many queries as share one pass over the documents, at least one.
    int64_t tile_queries(int64_t first) const {
        const int64_t lanes = std::max(tile_.panel_width(), std::min(kTileLanes, kTileElements / std::max<int64_t>(pair_.q.dim, 1)));
        int64_t n = 1;
        while (first + n < call_.queries && n < most_queries_ && call_.offsets[first + n + 1] - call_.offsets[first] <= lanes) ++n;
        return n;
    }

    bool run_tile(int64_t first, int64_t queries) {
        first_ = first, queries_ = queries;
        lanes_ = call_.offsets[first + queries] - call_.offsets[first];
        tile_.pack(call_.offsets[first], lanes_);
        read_tokens();
        padded_ = rounded_up(std::max<int64_t>(lanes_, 1), tile_.panel_width());
        workers_.clear();
        for (int i = 0; i < threads_; ++i) {
            workers_.emplace_back(new Worker(pair_, padded_, tile_.panel_width()));
            workers_.back()->best.resize(indices_ ? static_cast<size_t>(queries) : 0);
            workers_.back()->kth.assign(static_cast<size_t>(queries), -INFINITY);
        }
        const int64_t n = call_.documents.n;
        const double each =
            work_ / std::max<double>(1.0, static_cast<double>(n)) * static_cast<double>(queries) / static_cast<double>(call_.queries);
        const auto chunk = static_cast<int64_t>(std::min<double>(static_cast<double>(n) / (threads_ * 8) + 1, 2e8 / (each + 1) + 1));
        const bool finished = parallel_for(
            (n + chunk - 1) / chunk, threads_,
            [&](int64_t i, int worker) { walk(*workers_[static_cast<size_t>(worker)], i * chunk, std::min(n, (i + 1) * chunk)); }, poll_);
        if (!finished) return false;
        if (indices_) rank();
        return true;
    }

    // The tokens as the canonical sums take them, and what the bounds need of them.
    void read_tokens() {
        const Rows& q = pair_.q;
        bounds_.assign(static_cast<size_t>(queries_), 0.0);
        odd_.assign(static_cast<size_t>(queries_), 0);
        if (integers_ || bits_) return;
        const int64_t dim = q.dim;
        tokens_.resize(lanes_ * dim);
        factors_.resize(lanes_);
        roots_.resize(lanes_);
        odd_lanes_.assign(static_cast<size_t>(lanes_), 0);
        Buffer<float> row(dim);
        const Rows self = {reinterpret_cast<const char*>(row.get()), 1, dim, 0, Kind::f32, nullptr, nullptr, 0};
        const int64_t zero = 0;
        for (int64_t query = 0; query < queries_; ++query)
            for (int64_t l = lane(first_ + query); l < lane(first_ + query + 1); ++l) {
                kernels().search.widen_rows(q, nullptr, tile_.first() + l, 1, false, row.get(), dim);
                bool nothing = true;
                for (int64_t d = 0; d < dim; ++d) tokens_[l * dim + d] = row[d], nothing = nothing && row[d] == 0;
                double square, unused;
                kernels().search.canonical(tokens_.get() + l * dim, self, &zero, 1, Sums::dot, &square, &unused);
                roots_[l] = std::sqrt(square);
                const double scale = q.scale ? static_cast<double>(q.scale[tile_.first() + l]) : 1.0;
                factors_[l] = pair_.metric == Metric::cosine ? 1 / roots_[l] : scale;
                uint8_t& kind = odd_lanes_[static_cast<size_t>(l)];
                kind = !(std::fabs(scale) <= 0x1p60) ? kBlind : nothing ? kNothing : tile_.blind(l) ? kBlind : kPlain;
                if (kind == kBlind) odd_[static_cast<size_t>(query)] = 1;
                if (kind == kPlain) bounds_[static_cast<size_t>(query)] += gamma_ * roots_[l] * factors_[l];
            }
    }

    void walk(Worker& worker, int64_t from, int64_t to) {
        const RowSets& sets = call_.documents;
        worker.blocks.clear();
        int64_t carried = -1;  // the document that the block before this one began
        for (int64_t i = from; i < to; ++i) {
            if (shared_mask() && allowed_.masked_out(0, i)) continue;
            if (sets.starts[i] >= sets.stops[i]) {
                finish_empty(worker, i);
                continue;
            }
            for (int64_t at = sets.starts[i]; at < sets.stops[i];) {
                const int64_t taken = worker.blocks.take(i, sets.ids, at, sets.stops[i]);
                if (taken == 0) carried = flush(worker, carried);
                at += taken;
            }
        }
        if (worker.blocks.size()) flush(worker, carried);
    }

    bool shared_mask() const { return indices_ && allowed_.mask && allowed_.stride == 0; }

    // Scores the block's documents; returns the one that goes on in the next block, whose maxima are then in slot 0.
    int64_t flush(Worker& worker, int64_t carried) {
        TokenBlocks& blocks = worker.blocks;
        blocks.load();
        const std::vector<Segment>& segments = blocks.segments();
        const auto count = static_cast<int64_t>(segments.size());
        for (int64_t s = 0; s < count; ++s) {
            const Segment& segment = segments[static_cast<size_t>(s)];
            const bool goes_on = s == 0 && segment.document == carried;
            if (!goes_on) {
                reset(worker.tops.get() + s * padded_);
                worker.reach[s] = 0.0;
            }
            if (!integers_ && !bits_) worker.reach[s] = std::max(worker.reach[s], blocks.reach(segment.from, segment.to - segment.from));
        }
        for (int64_t p = 0; p < tile_.panels(); ++p) panel(worker, p);
        for (int64_t s = 0; s < count; ++s)
            if (segments[static_cast<size_t>(s)].last) finish(worker, segments[static_cast<size_t>(s)].document, s);
        const Segment open = segments.back();
        if (!open.last && count > 1) {
            std::memcpy(worker.tops.get(), worker.tops.get() + (count - 1) * padded_, static_cast<size_t>(padded_) * 4);
            worker.reach[0] = worker.reach[count - 1];
        }
        blocks.clear();
        return open.last ? -1 : open.document;
    }

    void reset(float* tops) const {
        if (integers_)
            std::fill_n(reinterpret_cast<int32_t*>(tops), padded_, INT32_MIN);
        else
            std::fill_n(tops, padded_, -INFINITY);
    }

    void panel(Worker& worker, int64_t p) {
        const MaxSimKernels& kernel = kernels().maxsim;
        const int64_t piece = kPieceTiles * kernels().search.tile_rows, n = worker.blocks.size();
        const int vectors = tile_.vectors(p);
        const int64_t width = static_cast<int64_t>(vectors) * kernels().search.width;
        const std::vector<Segment>& segments = worker.blocks.segments();
        size_t s = 0;
        for (int64_t from = 0; from < n; from += piece) {
            const int64_t to = std::min(n, from + piece);
            worker.blocks.sums(tile_, p, from, to - from, worker.raw.get());
            for (int64_t row = from; row < to;) {
                while (segments[s].to <= row) ++s;
                const int64_t here = std::min(to, segments[s].to) - row;
                const uint32_t* raw = worker.raw.get() + (row - from) * width;
                float* top = worker.tops.get() + static_cast<int64_t>(s) * padded_ + p * tile_.panel_width();
                const float* scale = worker.blocks.scale() ? worker.blocks.scale() + row : nullptr;
                if (family_ == Family::floats)
                    kernel.largest(reinterpret_cast<const float*>(raw), vectors, here, scale, top);
                else if (integers_)
                    kernel.largest_integer(reinterpret_cast<const int32_t*>(raw), vectors, here, reinterpret_cast<int32_t*>(top));
                else
                    kernel.largest_code(reinterpret_cast<const int32_t*>(raw), vectors, here, scale, top);
                row += here;
            }
        }
    }

    void finish_empty(Worker& worker, int64_t document) {
        for (int64_t i = 0; i < queries_; ++i) put(worker, i, document, integers_ || bits_ ? INT32_MIN : -INFINITY);
    }

    void finish(Worker& worker, int64_t document, int64_t slot) {
        const float* tops = worker.tops.get() + slot * padded_;
        const double reach = worker.reach[slot];
        const bool wild = !(reach <= 0x1p50);
        for (int64_t i = 0; i < queries_; ++i) {
            const int64_t from = lane(first_ + i), to = lane(first_ + i + 1);
            if (integers_ || bits_) {
                put(worker, i, document, static_cast<double>(integer_sum(tops, from, to)));
                continue;
            }
            const bool estimated = !wild && !odd_[static_cast<size_t>(i)];
            double sum = 0.0;
            if (estimated)
                for (int64_t l = from; l < to; ++l)
                    sum += odd_lanes_[static_cast<size_t>(l)] ? 0.0 : static_cast<double>(tops[l]) * factors_[l];
            if (!indices_) {
                put(worker, i, document, canonical_float(estimated ? sum : exact_sum(worker, i, document, tops, reach, false)));
                continue;
            }
            if (allowed_.masked_out(first_ + i, document)) continue;
            const double slack =
                bounds_[static_cast<size_t>(i)] * reach + static_cast<double>(to - from) * tiny_ + std::fabs(sum) * 0x1p-40;
            if (estimated && static_cast<float>(sum + slack * (1 + 0x1p-20)) < worker.kth[static_cast<size_t>(i)]) continue;
            put(worker, i, document, canonical_float(exact_sum(worker, i, document, tops, reach, true)));
        }
    }

    int64_t integer_sum(const float* tops, int64_t from, int64_t to) const {
        int64_t sum = 0;
        for (int64_t l = from; l < to; ++l)
            sum += integers_ ? reinterpret_cast<const int32_t*>(tops)[l] : pair_.q.dim + static_cast<int64_t>(tops[l]);
        return sum;
    }

    // The sum in order of the tokens' largest canonical scores. Without `all`, only lanes that have no estimate are scored so.
    double exact_sum(Worker& worker, int64_t i, int64_t document, const float* tops, double reach, bool all) {
        const int64_t from = lane(first_ + i), to = lane(first_ + i + 1);
        const bool wild = !(reach <= 0x1p50);
        worker.exact.assign(static_cast<size_t>(to - from), -INFINITY);
        if (!wild && all) exact_candidates(worker, from, to, document, tops, reach);
        double sum = 0.0;
        for (int64_t l = from; l < to; ++l) {
            double& exact = worker.exact[static_cast<size_t>(l - from)];
            const int kind = odd_lanes_[static_cast<size_t>(l)];
            if (wild || kind == kBlind)
                exact_all(worker, l, document, exact);
            else if (kind == kNothing)
                exact = 0.0;
            else if (!all)
                exact = static_cast<double>(tops[l]) * factors_[l];
            sum += exact;
        }
        return sum;
    }

    // The rows whose estimate comes so near the largest one that they may be it, scored canonically.
    void exact_candidates(Worker& worker, int64_t from, int64_t to, int64_t document, const float* tops, double reach) {
        const RowSets& sets = call_.documents;
        const SearchKernels& kernel = kernels().search;
        TokenBlocks& blocks = worker.again;
        for (int64_t at = sets.starts[document]; at < sets.stops[document];) {
            blocks.clear();
            at += blocks.take(document, sets.ids, at, sets.stops[document]);
            blocks.load();
            const float* scale = blocks.scale() ? blocks.scale() : ones_.data();
            for (int64_t p = from / tile_.panel_width(); p * tile_.panel_width() < to; ++p) {
                const int64_t start = p * tile_.panel_width();
                const int64_t width = static_cast<int64_t>(tile_.vectors(p)) * kernel.width;
                for (int64_t l = 0; l < width; ++l) {
                    const bool used = start + l >= from && start + l < to && !odd_lanes_[static_cast<size_t>(start + l)];
                    const double error = used ? 2 * (gamma_ * roots_[start + l] * reach + tiny_) : 0.0;
                    const double floor = used ? static_cast<double>(tops[start + l]) - error * (1 + 0x1p-20) : 0.0;
                    worker.floors[l] = used ? static_cast<float>(floor - std::fabs(floor) * 0x1p-22) : INFINITY;
                }
                blocks.sums(tile_, p, 0, blocks.size(), worker.raw.get());
                const auto* raw = worker.raw.get();
                const int64_t hits = family_ == Family::floats
                                         ? kernel.filter(reinterpret_cast<const float*>(raw), tile_.vectors(p), blocks.size(), scale,
                                                         zeros_.data(), ones_.data(), worker.floors.get(), worker.hits.get())
                                         : kernel.filter_codes(reinterpret_cast<const int32_t*>(raw), tile_.vectors(p), blocks.size(),
                                                               scale, zeros_.data(), ones_.data(), worker.floors.get(), worker.hits.get());
                for (int64_t h = 0; h < hits; ++h) {
                    const int64_t l = start + worker.hits[h].lane, row = blocks.row(worker.hits[h].row);
                    score(l, &row, 1, worker.exact[static_cast<size_t>(l - from)]);
                }
            }
        }
    }

    void exact_all(Worker& worker, int64_t l, int64_t document, double& largest) {
        const RowSets& sets = call_.documents;
        for (int64_t at = sets.starts[document]; at < sets.stops[document];) {
            worker.again.clear();
            const int64_t taken = worker.again.take(document, sets.ids, at, sets.stops[document]);
            for (int64_t j = 0; j < taken; ++j) {
                const int64_t row = worker.again.row(j);
                score(l, &row, 1, largest);
            }
            at += taken;
        }
    }

    // largest = max(largest, the canonical scores of one token with n rows); NaN stays.
    void score(int64_t l, const int64_t* rows, int64_t n, double& largest) const {
        const bool cosine = pair_.metric == Metric::cosine;
        for (int64_t j = 0; j < n; ++j) {
            double sum, norm;
            kernels().search.canonical(tokens_.get() + l * pair_.q.dim, pair_.x, rows + j, 1, cosine ? Sums::dot_and_norm : Sums::dot, &sum,
                                       &norm);
            const double own = pair_.q.scale ? static_cast<double>(pair_.q.scale[tile_.first() + l]) : 1.0;
            const double scale = own * (pair_.x.scale ? static_cast<double>(pair_.x.scale[rows[j]]) : 1.0);
            if (cosine) {
                const double norms = roots_[l] * std::sqrt(norm);
                sum = std::isnan(scale) ? NAN : norms == 0 ? sum : sum / norms;
            } else {
                sum *= scale;
            }
            if (!(sum <= largest)) largest = std::isnan(largest) ? largest : sum;
        }
    }

    // One score: into the matrix, or among the query's best.
    void put(Worker& worker, int64_t i, int64_t document, double score) {
        if (!indices_) {
            const int64_t at = (first_ + i) * call_.documents.n + document;
            if (integers_ || bits_)
                static_cast<int32_t*>(scores_)[at] = static_cast<int32_t>(score);
            else
                static_cast<float*>(scores_)[at] = static_cast<float>(score);
            return;
        }
        if (allowed_.masked_out(first_ + i, document)) return;
        std::vector<Ranked>& best = worker.best[static_cast<size_t>(i)];
        best.push_back({score, document});
        if (static_cast<int64_t>(best.size()) >= k_ + slack()) {
            std::nth_element(best.begin(), best.begin() + k_ - 1, best.end(), Better{true});
            best.resize(static_cast<size_t>(k_));
            worker.kth[static_cast<size_t>(i)] = best.back().score;
        }
    }

    void rank() {
        Pair ranked = pair_;
        if (bits_) ranked.metric = Metric::ip, ranked.form = Form::ints;
        const Output output(ranked, k_, scores_, indices_);
        std::vector<Ranked> all;
        for (int64_t i = 0; i < queries_; ++i) {
            all.clear();
            for (auto& worker : workers_) {
                auto& best = worker->best[static_cast<size_t>(i)];
                all.insert(all.end(), best.begin(), best.end());
            }
            output.write(first_ + i, all.data(), static_cast<int64_t>(all.size()));
        }
    }

    enum Odd : uint8_t { kPlain, kBlind, kNothing };  // a token without an estimate, a token of zeros

    const MaxSim& call_;
    const Pair& pair_;
    const Family family_;
    const bool integers_, bits_;
    const int64_t k_;
    const Allowed& allowed_;
    const Poll poll_;
    void* scores_;
    int64_t* indices_;
    QueryTile tile_;
    int threads_ = 1;
    int64_t most_queries_ = INT64_MAX, first_ = 0, queries_ = 0, lanes_ = 0, padded_ = 0;
    double gamma_ = 0.0, tiny_ = 0.0, work_ = 0.0;
    Buffer<double> tokens_, factors_, roots_;
    std::vector<uint8_t> odd_lanes_, odd_;
    std::vector<double> bounds_;  // by query: what reach is multiplied by
    const std::vector<float> ones_ = std::vector<float>(kMostTokens, 1.0f), zeros_ = std::vector<float>(kMostTokens, 0.0f);
    std::vector<std::unique_ptr<Worker>> workers_;
};

}  // namespace

bool maxsim(const MaxSim& call, int threads, Poll poll, void* scores) {
    FpState ieee;
    const Allowed all{};
    return Late(call, 0, all, threads, poll, scores, nullptr).run();
}

bool maxsim_topk(const MaxSim& call, int64_t k, const Allowed& allowed, int threads, Poll poll, void* scores, int64_t* indices) {
    FpState ieee;
    if (k == 0) return true;
    return Late(call, k, allowed, threads, poll, scores, indices).run();
}

}  // namespace fec

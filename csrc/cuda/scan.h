// One launch from rows to results: each block keeps the k best of a slice of the corpus, and the last to end merges them all.
//
// A scorer has
//   tile                           queries of a block
//   resident                       blocks that a multiprocessor's registers hold
//   shared()                       bytes of shared memory for them
//   prepare(first, count, memory)  the whole block reads queries first to first + tile, those below count
//   ranks(rows, out)               out[r][q] of kRows rows, the same in all eight threads of a team
//   score(rank), unfilled()        as int32 bits
#pragma once
#include "reservoir.h"

namespace fec_cuda {

constexpr int kThreads = 256;
constexpr int kLanes = 8;                  // threads that share a row: the lanes of a canonical score
constexpr int kTeams = kThreads / kLanes;  // rows side by side
constexpr int kRows = 4;                   // rows of a team at a time, for loads to be under way together
constexpr int kStep = kTeams * kRows;
constexpr int kRound = 4 * kStep;  // rows between two looks at the reservoir

__device__ inline bool allowed(const Mask& may, int64_t query, int64_t row) {
    if (may.mask) {
        const unsigned char* mask = may.mask + query * may.stride;
        if (may.packed ? !(mask[row / 8] >> (row % 8) & 1) : !mask[row]) return false;
    }
    return true;
}

__device__ inline bool excluded(const Mask& may, int64_t query, int64_t row) {
    for (int e = 0; e < may.excluded; ++e)
        if (may.exclude[query * may.excluded + e] == row) return true;
    return false;
}

// Scores the rows of one step, row(r, team) negative where there is none, and offers them to best(q) of each query. The team's threads
// share its offers.
template <class Scorer, class Best, class Row>
__device__ void offer_step(const Scorer& scorer, Best best, const Search& search, int64_t first, Row row) {
    constexpr int offers = (Scorer::tile * kRows + kLanes - 1) / kLanes;
    const int team = threadIdx.x / kLanes, lane = threadIdx.x % kLanes;
    int64_t rows[kRows], mine = -1;
    uint32_t ranks[kRows][Scorer::tile], rank[offers] = {};
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
        const int64_t at = row(r, team);
        if (lane % kRows == r) mine = at;
        rows[r] = at < 0 ? 0 : at;
    }
    scorer.ranks(rows, ranks);
#pragma unroll
    for (int place = 0; place < Scorer::tile * kRows; ++place)
        if (lane == place % kLanes) rank[place / kLanes] = ranks[place % kRows][place / kRows];
    if (mine < 0) return;
#pragma unroll
    for (int i = 0; i < offers; ++i) {
        const int q = (i * kLanes + lane) / kRows;
        const int64_t query = first + q;
        if (q >= Scorer::tile || query >= search.queries.n) continue;
        const Reservoir held = best(q);
        const Key key = key_of(rank[i], mine);
        if (held.wants(key) && allowed(search.may, query, mine) && !excluded(search.may, query, mine)) held.add(key);
    }
}

// A query's results, from its reservoir.
template <class Scorer>
__device__ void write_results(const Scorer& scorer, const Reservoir& best, const Search& search, int64_t query) {
    const int held = best.finish();
    for (int i = threadIdx.x; i < search.k; i += kThreads) {
        search.scores[query * search.k + i] = i < held ? scorer.score(rank_of(best.keys[i])) : scorer.unfilled();
        search.rows[query * search.k + i] = i < held ? static_cast<int64_t>(row_of(best.keys[i])) : -1;
    }
}

// How a search is split, and what it needs.
struct Plan {
    int tile, tiles, splits, capacity, k;
    int64_t slice;  // rows of a split

    Plan(const Search& search, int queries_of_block, int blocks_at_once) : tile(queries_of_block), k(search.k) {
        tiles = static_cast<int>((search.queries.n + tile - 1) / tile);
        // All that run at once; fewer for a large k, whose lists one block merges.
        const int64_t wanted = blocks_at_once / tiles, few = (1 << 17) / k, least = wanted / 4;
        const int64_t most = wanted < few ? wanted : few > least ? few : least;
        const int64_t steps = (search.corpus.n + kStep - 1) / kStep;
        splits = static_cast<int>(steps < most ? steps : most < 1 ? 1 : most);
        slice = (search.corpus.n + splits - 1) / splits;
        capacity = Reservoir::capacity_for(k, kRound);
    }

    size_t tickets() const { return (tiles * sizeof(int) + 15) / 16 * 16; }
    size_t workspace() const { return tickets() + sizeof(Key) * tiles * tile * splits * k; }
};

template <class Scorer>
Plan plan_of(const Search& search, Stream stream) {
    return {search, Scorer::tile, Scorer::resident * multiprocessors(stream)};
}

template <class Scorer>
__global__ void __launch_bounds__(kThreads, Scorer::resident)
    scan_kernel(Scorer scorer, Search search, Plan plan, int* tickets, Key* lists) {
    constexpr int tile = Scorer::tile;
    const int k = plan.k, splits = plan.splits, block_tile = blockIdx.x / splits, split = blockIdx.x % splits;
    const int64_t first = static_cast<int64_t>(block_tile) * tile;
    char* const memory = shared_memory();
    const size_t room = Reservoir::bytes(plan.capacity);
    const auto best = [=](int q) { return Reservoir(memory + q * room, plan.capacity, k); };
    for (int q = 0; q < tile; ++q) best(q).clear();
    scorer.prepare(first, search.queries.n, memory + tile * room);

    const int64_t n = search.corpus.n, begin = split * plan.slice, end = begin + plan.slice < n ? begin + plan.slice : n;
    for (int64_t start = begin; start < end; start += kRound) {
        for (int q = 0; q < tile; ++q) best(q).make_room(kRound);
        for (int64_t at = start; at < start + kRound && at < end; at += kStep)
            offer_step(scorer, best, search, first, [=](int r, int team) {
                const int64_t row = at + r * kTeams + team;
                return row < end ? row : -1;
            });
    }
    for (int q = 0; q < tile; ++q) {
        const int held = best(q).finish();
        Key* list = lists + ((first + q) * splits + split) * k;
        for (int i = threadIdx.x; i < k; i += kThreads) list[i] = i < held ? best(q).keys[i] : kEmpty;
    }

    __shared__ bool last;
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) last = atomicAdd(&tickets[block_tile], 1) == splits - 1;
    __syncthreads();
    if (!last) return;
    __threadfence();
    for (int64_t query = first; query < first + tile && query < search.queries.n; ++query) {
        const Key* mine = lists + query * splits * k;
        const Reservoir merged = best(0);
        merged.clear();
        for (int start = 0; start < splits * k; start += kRound) {
            merged.make_room(kRound);
            for (int i = start + threadIdx.x; i < start + kRound && i < splits * k; i += kThreads) {
                const Key key = __ldcg(mine + i % splits * k + i / splits);  // the best of every list first
                if (merged.wants(key)) merged.add(key);
            }
        }
        write_results(scorer, merged, search, query);
    }
}

template <class Scorer>
void scan(const Scorer& scorer, const Search& search, void* workspace, Stream stream) {
    const Plan plan = plan_of<Scorer>(search, stream);
    auto* tickets = static_cast<int*>(workspace);
    auto* lists = reinterpret_cast<Key*>(static_cast<char*>(workspace) + plan.tickets());
    zero(tickets, plan.tickets(), stream);
    launch(scan_kernel<Scorer>, static_cast<int64_t>(plan.tiles) * plan.splits, kThreads,
           Scorer::tile * Reservoir::bytes(plan.capacity) + scorer.shared(), stream, scorer, search, plan, tickets, lists);
}

}  // namespace fec_cuda

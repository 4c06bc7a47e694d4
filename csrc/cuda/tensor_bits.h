// Hamming distances of many queries by binary tensor cores: the least of each group of neighbouring rows, and no more of them.
//
// A block keeps a tile of queries in shared memory, and the corpus streams past it: tiles of 128 rows, 128 bytes of each at a time,
// through a ring of stages. sm_90 multiplies bits by AND alone; of |q ^ x| = |q| + |x| - 2 |q & x| the first is the same for all
// rows of a query and left out, the second is counted from the fragments.
#pragma once
#include "bits.h"

namespace fec_cuda {

constexpr int kGroup = 32;        // rows that share a minimum: those of a warp
constexpr int kWide = 4;          // warps side by side along the corpus
constexpr int kTile = kGroup * kWide;
constexpr int kTilesOfItem = 4;   // whose minima leave together: 32 bytes a query
constexpr int kGroupsOfItem = kTilesOfItem * kWide;
constexpr int kChunk = 128;       // bytes of a row in a stage
constexpr int kStages = 3;
constexpr uint16_t kNoRow = 0xFFFF;

// Of each query and group, |x| - 2 |q & x| + dim at least, which is never negative.
struct Minima {
    uint16_t* data;
    int64_t stride;  // groups of whole items

    static int64_t stride_for(int64_t n) { return (n + kTile * kTilesOfItem - 1) / (kTile * kTilesOfItem) * kGroupsOfItem; }
};

// Where 16 bytes of a row of a stage lie: shifted about, so that eight rows' are in different banks.
__device__ inline char* place(char* stage, int row, int unit) { return stage + row * kChunk + ((unit ^ (row & 7)) << 4); }

// `deep` warps along the queries, each of `fragments` times 16.
template <int deep, int fragments>
struct TensorTile {
    static constexpr int queries = deep * fragments * 16;
    static constexpr int threads = deep * kWide * 32;

    static constexpr int chunks(int64_t bytes) { return static_cast<int>((bytes + kChunk - 1) / kChunk); }
    static constexpr size_t shared(int64_t bytes) {
        return static_cast<size_t>(queries) * chunks(bytes) * kChunk + kStages * kTile * kChunk +
               queries * kGroupsOfItem * sizeof(uint16_t);
    }
};

static_assert(TensorTile<2, 4>::shared(kTensorBits / 8) <= kShared, "a block's memory");

// Rows first to first + count of a matrix into a stage, one chunk of each; zero where there is nothing.
__device__ inline void load_chunk(char* stage, const BitRows& rows, int64_t first, int count, int64_t n, int chunk, int units,
                                  uint32_t flip, bool copied) {
    for (int i = threadIdx.x; i < count * units; i += blockDim.x) {
        const int row = i / units, unit = i % units, u = chunk * (kChunk / 16) + unit;
        char* to = place(stage, row, unit);
        const unsigned char* from = rows.data + (first + row) * rows.stride;
        const bool inside = first + row < n;
        if (copied && inside && 4 * u < rows.words)
            copy_async(to, from + 16 * u);
        else
            *reinterpret_cast<uint4*>(to) = inside ? rows.gathered(from, u, flip) : uint4{0, 0, 0, 0};
    }
}

template <int deep, int fragments>
__global__ void __launch_bounds__(TensorTile<deep, fragments>::threads, 512 / TensorTile<deep, fragments>::threads)
    minima_kernel(BitRows q, BitRows x, Search search, int64_t first, int count, uint32_t flip, Minima out) {
    using Tile = TensorTile<deep, fragments>;
    const int lane = threadIdx.x % 32, across = threadIdx.x / 32 % kWide, down = threadIdx.x / 32 / kWide;
    const int chunks = (x.bytes + kChunk - 1) / kChunk, steps = (x.bytes + 31) / 32;
    const int tiles = (count + Tile::queries - 1) / Tile::queries, tile = blockIdx.x % tiles;
    const int items = static_cast<int>(out.stride / kGroupsOfItem), begin = blockIdx.x / tiles, hop = gridDim.x / tiles;
    const int64_t n = search.corpus.n;
    char* const ring = shared_memory();
    char* const asked = ring + kStages * kTile * kChunk;
    uint16_t* const minima = reinterpret_cast<uint16_t*>(asked + static_cast<size_t>(Tile::queries) * chunks * kChunk);

    const int64_t base = first + tile * Tile::queries;
    for (int chunk = 0; chunk < chunks; ++chunk) {
        const int left = steps - chunk * (kChunk / 32), units = 2 * (left < kChunk / 32 ? left : kChunk / 32);
        load_chunk(asked + static_cast<size_t>(chunk) * Tile::queries * kChunk, q, base, Tile::queries, first + count, chunk, units, flip,
                   false);
    }

    // Everything this block reads, in order: items, their tiles, their chunks. 2^32 rows of 1024 bytes are 2^28 loads.
    const int total = (begin < items ? (items - begin + hop - 1) / hop : 0) * kTilesOfItem * chunks;
    const auto row_of_load = [&](int load) {
        const int at = load / chunks;
        return (static_cast<int64_t>(begin + at / kTilesOfItem * hop) * kTilesOfItem + at % kTilesOfItem) * kTile;
    };
    const auto fetch = [&](int load) {
        if (load < total) {
            const int chunk = load % chunks, left = steps - chunk * (kChunk / 32);
            load_chunk(ring + load % kStages * (kTile * kChunk), x, row_of_load(load), kTile, n, chunk,
                       2 * (left < kChunk / 32 ? left : kChunk / 32), 0, x.grain == 16);
        }
        commit_copies();
    };
    for (int load = 0; load < kStages - 1; ++load) fetch(load);

    int both[fragments][4][4] = {}, ones[4] = {};
    for (int load = 0; load < total; ++load) {
        await_copies<kStages - 2>();
        __syncthreads();  // this stage has come, and the one before it is done with
        fetch(load + kStages - 1);
        const int chunk = load % chunks, left = steps - chunk * (kChunk / 32);
        char* const stage = ring + load % kStages * (kTile * kChunk);
        char* const queries = asked + static_cast<size_t>(chunk) * Tile::queries * kChunk;
        const int matrix = lane / 8, row = lane % 8;
        for (int step = 0; step < kChunk / 32 && step < left; ++step) {
            uint32_t b[2][4];
#pragma unroll
            for (int pair = 0; pair < 2; ++pair) {
                load_matrices(b[pair], place(stage, across * kGroup + pair * 16 + matrix / 2 * 8 + row, 2 * step + matrix % 2));
                ones[2 * pair] += __popc(b[pair][0]) + __popc(b[pair][1]);
                ones[2 * pair + 1] += __popc(b[pair][2]) + __popc(b[pair][3]);
            }
#pragma unroll
            for (int f = 0; f < fragments; ++f) {
                uint32_t a[4];
                load_matrices(a, place(queries, (down * fragments + f) * 16 + matrix % 2 * 8 + row, 2 * step + matrix / 2));
#pragma unroll
                for (int eight = 0; eight < 4; ++eight)
                    multiply_bits(both[f][eight], a, b[eight / 2][eight % 2 * 2], b[eight / 2][eight % 2 * 2 + 1]);
            }
        }
        if (chunk != chunks - 1) continue;

        // A thread holds, of queries lane / 4 and eight more, rows 2 * (lane % 4) and the next of each eight; ones are of row lane / 4.
        const int64_t tile_row = row_of_load(load), warp_row = tile_row + across * kGroup;
        const int rows = static_cast<int>(n - warp_row < kGroup ? n - warp_row : kGroup);  // of this group
        int least[fragments][2];
#pragma unroll
        for (int f = 0; f < fragments; ++f) least[f][0] = least[f][1] = kNoRow;
#pragma unroll
        for (int eight = 0; eight < 4; ++eight) {
            ones[eight] += shuffle_xor(ones[eight], 1);
            ones[eight] += shuffle_xor(ones[eight], 2);
#pragma unroll
            for (int j = 0; j < 2; ++j) {
                const int row = eight * 8 + lane % 4 * 2 + j;
                const int counted = shuffle(ones[eight], row % 8 * 4) + static_cast<int>(search.dim);
                const int offset = row < rows ? counted : kNoRow + 2 * static_cast<int>(kTensorBits);
#pragma unroll
                for (int f = 0; f < fragments; ++f)
#pragma unroll
                    for (int half = 0; half < 2; ++half) {
                        int value = offset - 2 * both[f][eight][half * 2 + j];
                        both[f][eight][half * 2 + j] = 0;
                        if (search.may.mask && row < rows) {
                            const int query = (down * fragments + f) * 16 + half * 8 + lane / 4;
                            if (tile * Tile::queries + query >= count || !allowed(search.may, base + query, warp_row + row)) value = kNoRow;
                        }
                        least[f][half] = value < least[f][half] ? value : least[f][half];
                    }
            }
            ones[eight] = 0;
        }
        const int within = static_cast<int>(tile_row / kTile % kTilesOfItem);
#pragma unroll
        for (int f = 0; f < fragments; ++f)
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                int value = least[f][half];
                for (int bits = 1; bits < 4; bits *= 2) {
                    const int other = shuffle_xor(value, bits);
                    if (other < value) value = other;
                }
                if (lane % 4 == 0)
                    minima[((down * fragments + f) * 16 + half * 8 + lane / 4) * kGroupsOfItem + within * kWide + across] =
                        static_cast<uint16_t>(value);
            }
        if (within != kTilesOfItem - 1) continue;

        __syncthreads();
        for (int i = threadIdx.x; i < Tile::queries * 2; i += Tile::threads) {
            const int64_t query = tile * Tile::queries + i / 2;
            if (query < count)
                reinterpret_cast<uint4*>(out.data + query * out.stride + tile_row / kTile / kTilesOfItem * kGroupsOfItem)[i % 2] =
                    reinterpret_cast<const uint4*>(minima)[i];
        }
    }
}

// Of one query a block: the groups that hold its k best rows, for every group before them in (minimum, number) holds a row that is
// better; then those groups' rows, by popcount. `taken` groups: k, and as many more as rows are excluded, each of which spoils one.
__global__ void __launch_bounds__(kThreads, 4)
    select_kernel(BitScorer<1> scorer, Search search, int64_t first, Minima minima, int taken, int capacity) {
    char* const memory = shared_memory();
    const int64_t query = first + blockIdx.x;
    const Reservoir best(memory, capacity, taken);
    best.clear();
    auto* const groups = reinterpret_cast<uint32_t*>(memory + Reservoir::bytes(capacity));
    scorer.prepare(query, search.queries.n, memory + Reservoir::bytes(capacity) + (taken * sizeof(uint32_t) + 15) / 16 * 16);

    const uint16_t* mine = minima.data + blockIdx.x * minima.stride;
    constexpr int wide = sizeof(uint4) / sizeof(uint16_t);
    for (int64_t start = 0; start < minima.stride; start += kThreads * wide) {
        best.make_room(kThreads * wide);
        const int64_t at = start + threadIdx.x * wide;
        if (at >= minima.stride) continue;
        const uint4 eight = *reinterpret_cast<const uint4*>(mine + at);
        const uint32_t words[4] = {eight.x, eight.y, eight.z, eight.w};
#pragma unroll
        for (int i = 0; i < wide; ++i) {
            const uint32_t value = words[i / 2] >> i % 2 * 16 & 0xFFFF;
            const Key key = key_of(value, at + i);
            if (value != kNoRow && best.wants(key)) best.add(key);
        }
    }
    const int held = best.finish();
    for (int i = threadIdx.x; i < held; i += kThreads) groups[i] = row_of(best.keys[i]);

    static_assert(kTeams == kGroup && kRound % kStep == 0, "a team a row of a group");
    const Reservoir results(memory, capacity, search.k);
    results.clear();
    for (int start = 0; start < held; start += kRound / kGroup) {
        results.make_room(kRound);
        for (int at = start; at < start + kRound / kGroup && at < held; at += kRows)
            offer_step(
                scorer, [=](int) { return results; }, search, query,
                [=](int r, int team) -> int64_t {
                    if (at + r >= held) return -1;
                    const int64_t row = static_cast<int64_t>(groups[at + r]) * kGroup + team;
                    return row < search.corpus.n ? row : -1;
                });
    }
    write_results(scorer, results, search, query);
}

}  // namespace fec_cuda

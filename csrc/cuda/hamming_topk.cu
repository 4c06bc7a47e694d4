// Top-k by Hamming distance: of few queries by popcount in one launch, of many by binary tensor cores.
#include "tensor_bits.h"

namespace fec_cuda {
namespace {

constexpr size_t kMinima = size_t{1} << 29;  // bytes: enough queries at a time for reading the corpus not to cost more than they do

// A few queries share a block where their reservoirs fit beside one another.
constexpr int kTogether = 4, kTogetherMost = 512;
static_assert(kTogether * (Reservoir::bytes(Reservoir::capacity_for(kTogetherMost, kRound)) + kMostBits / 8) <= kShared,
              "a block's memory");
bool together(const Search& search) { return search.queries.n > 1 && search.k <= kTogetherMost; }

// Queries whose minima are held at a time, in whole tiles of one kind or the other.
int64_t queries_at_once(const Search& search) {
    const int64_t most = static_cast<int64_t>(kMinima / (Minima::stride_for(search.corpus.n) * sizeof(uint16_t))) / 128 * 128;
    return most < 128 ? 16 : most;
}

int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

template <int deep, int fragments>
void minima_of(const Search& search, int64_t first, int count, uint32_t flip, Minima out, Stream stream) {
    using Tile = TensorTile<deep, fragments>;
    const BitRows q(search.queries, search.dim, true), x(search.corpus, search.dim, false);
    const int64_t tiles = (count + Tile::queries - 1) / Tile::queries, items = out.stride / kGroupsOfItem;
    const int64_t at_once = 512 / Tile::threads * multiprocessors(stream) / tiles;  // blocks of a tile, to run side by side
    launch(minima_kernel<deep, fragments>, tiles * smaller(items, at_once < 1 ? 1 : at_once), Tile::threads, Tile::shared(x.bytes), stream,
           q, x, search, first, count, flip, out);
}

void by_tensor_cores(const Search& search, int flip, uint16_t* workspace, Stream stream) {
    const Minima minima{workspace, Minima::stride_for(search.corpus.n)};
    const int taken = static_cast<int>(smaller(search.k + search.may.excluded, minima.stride));
    const int capacity = Reservoir::capacity_for(taken, kThreads * 8);
    const BitScorer<1> scorer(search, flip);
    const size_t shared = Reservoir::bytes(capacity) + (taken * sizeof(uint32_t) + 15) / 16 * 16 + scorer.shared();
    const int64_t step = queries_at_once(search);
    for (int64_t first = 0; first < search.queries.n; first += step) {
        const int count = static_cast<int>(smaller(step, search.queries.n - first));
        const auto run = count <= 16 ? minima_of<1, 1> : minima_of<2, 4>;
        run(search, first, count, flip * 0x01010101u, minima, stream);
        launch(select_kernel, count, kThreads, shared, stream, scorer, search, first, minima, taken, capacity);
    }
}

}  // namespace

const bool on_host = kOnHost;
const char* const targets = kTargets;

size_t hamming_workspace(const Search& search, bool tensor, const Stream& stream) {
    use(stream);
    if (tensor) return smaller(queries_at_once(search), search.queries.n) * Minima::stride_for(search.corpus.n) * sizeof(uint16_t);
    return (together(search) ? plan_of<BitScorer<kTogether>>(search, stream) : plan_of<BitScorer<1>>(search, stream)).workspace();
}

void hamming_topk(const Search& search, bool tensor, int flip, void* workspace, const Stream& stream) {
    use(stream);
    if (tensor)
        by_tensor_cores(search, flip, static_cast<uint16_t*>(workspace), stream);
    else if (together(search))
        scan(BitScorer<kTogether>(search, flip), search, workspace, stream);
    else
        scan(BitScorer<1>(search, flip), search, workspace, stream);
}

}  // namespace fec_cuda

// A bag is reduced column block by column block, the sums of a block in registers; its rows come from anywhere in the table, so
// that each is fetched a few ids ahead of its turn, the next bag's first ones too.
#include "bag.h"
#include "rowwise.inl.h"

namespace {
namespace bagging {

using fec::bag_leaf;
using fec::Bagging;
using fec::BagMode;
using simd::F;
using simd::W;

// Up to bag_leaf rows: where each lies, what it is multiplied by, and the row that is fetched at its turn (null: none).
struct Leaf {
    const char* rows[bag_leaf];
    const char* fetched[bag_leaf];
    float factors[bag_leaf];
    int64_t n;
    bool plain;  // every factor is 1
};

template <class T>
inline F read(const char* row, int64_t i, int64_t width) {
    const T* p = reinterpret_cast<const T*>(row) + i;
    return width >= W ? simd::widen(p) : simd::widen_n(p, width);
}

// Columns [from, from + U * W) of a leaf, the last vector `width` of them; into out, or joined with what it holds.
template <class T, int U, class Join>
inline void columns(const Leaf& leaf, int64_t from, int64_t width, int64_t fetch, F start, bool joined, float* out, Join join) {
    F acc[U];
    for (F& one : acc) one = start;
    for (int64_t r = 0; r < leaf.n; ++r) {
        if (leaf.fetched[r] && fetch) {  // every line that the row touches, the one it ends in too
            const int64_t before = reinterpret_cast<uintptr_t>(leaf.fetched[r]) & 63;
            for (int64_t b = -before; b < fetch; b += 64) simd::prefetch_second(leaf.fetched[r] + b);
        }
        const F factor = simd::set1(leaf.factors[r]);
        for (int u = 0; u < U; ++u) acc[u] = join(acc[u], read<T>(leaf.rows[r], from + u * W, u + 1 < U ? W : width), factor);
    }
    const F one = simd::set1(1.0f);
    for (int u = 0; u < U; ++u) simd::store(out + from + u * W, joined ? join(simd::load(out + from + u * W), acc[u], one) : acc[u]);
}

// out is rounded up to whole vectors. The lines of the rows to come are fetched in the first pass.
template <class T, class Join>
inline void reduce(const Leaf& leaf, int64_t dim, int64_t bytes, F start, bool joined, float* out, Join join) {
    constexpr int most = simd::tile_rows * simd::tile_vectors >= 24 ? 16 : 8;
    int64_t i = 0;
    const auto fetch = [&] { return i == 0 ? bytes : 0; };
    for (; i + most * W <= dim; i += most * W) columns<T, most>(leaf, i, W, fetch(), start, joined, out, join);
    for (; i + 4 * W <= dim; i += 4 * W) columns<T, 4>(leaf, i, W, fetch(), start, joined, out, join);
    for (; i < dim; i += W) columns<T, 1>(leaf, i, dim - i, fetch(), start, joined, out, join);
}

template <class T>
inline void reduce_leaf(const Bagging& call, const Leaf& leaf, int64_t bytes, bool joined, float* out) {
    const int64_t dim = call.table.dim;
    const auto add = [](F acc, F x, F) { return simd::add(acc, x); };
    const auto scaled = [](F acc, F x, F factor) { return simd::fma(x, factor, acc); };
    const auto largest = [](F acc, F x, F factor) { return simd::max_or_nan(acc, simd::mul(x, factor)); };
    if (call.mode == BagMode::max)
        reduce<T>(leaf, dim, bytes, simd::set1(-__builtin_inff()), joined, out, largest);
    else if (leaf.plain)
        reduce<T>(leaf, dim, bytes, simd::zero(), joined, out, add);
    else
        reduce<T>(leaf, dim, bytes, simd::zero(), joined, out, scaled);
}

void bag(const Bagging& call, int64_t b, float* state, float* scratch, int64_t ld) {
    const fec::Rows& table = call.table;
    const int64_t begin = call.offsets[b], end = call.offsets[b + 1], last = call.offsets[call.bags];
    const int64_t size = table.kind == fec::Kind::f32 ? 4 : table.kind == fec::Kind::i8 ? 1 : 2, bytes = table.dim * size;
    const int64_t ahead = call.ahead;
    const bool in_place = !scratch;
    double weight = call.weights ? 0.0 : static_cast<double>(end - begin);
    Leaf leaf;
    for (int64_t from = begin; from < end; from += bag_leaf) {
        leaf.n = end - from < bag_leaf ? end - from : bag_leaf;
        leaf.plain = !call.weights && !(in_place && table.scale);
        if (!in_place) widen_rows(table, call.ids + from, 0, leaf.n, true, scratch, ld);
        for (int64_t r = 0; r < leaf.n; ++r) {
            const int64_t at = from + r, id = call.ids[at];
            const float own = call.weights ? call.weights[at] : 1.0f;
            if (call.weights) weight += static_cast<double>(own);
            leaf.rows[r] = in_place ? table.row(id) : reinterpret_cast<const char*>(scratch + r * ld);
            leaf.fetched[r] = in_place && at + ahead < last ? table.row(call.ids[at + ahead]) : nullptr;
            if (leaf.fetched[r] && table.scale) simd::prefetch_second(table.scale + call.ids[at + ahead]);
            leaf.factors[r] = in_place && table.scale ? own * table.scale[id] : own;
        }
        const bool joined = from > begin;
        if (!in_place || table.kind == fec::Kind::f32)
            reduce_leaf<float>(call, leaf, bytes, joined, state);
        else if (table.kind == fec::Kind::f16)
            reduce_leaf<fec::f16>(call, leaf, bytes, joined, state);
        else if (table.kind == fec::Kind::bf16)
            reduce_leaf<fec::bf16>(call, leaf, bytes, joined, state);
        else
            reduce_leaf<int8_t>(call, leaf, bytes, joined, state);
    }
    if (begin == end) {
        __builtin_memset(state, 0, table.dim * sizeof(float));
    } else if (call.mode == BagMode::mean) {
        const F divisor = simd::set1(static_cast<float>(weight));
        for (int64_t i = 0; i < table.dim; i += W) simd::store(state + i, simd::div(simd::load(state + i), divisor));
    }
    if (call.normalize) rows::normalize(state, table.dim, 1e-12, state);
    rows::emit(state, call.sink, b);
}

}  // namespace bagging

constexpr fec::BagKernels bag_kernels = {bagging::bag};

}  // namespace

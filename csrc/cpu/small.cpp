#include "small.h"

#include <cstring>

#include "../core/fp_state.h"
#include "scorer.h"

namespace fec {
namespace {

// The inner products of one query with rows whose norms are surely in range: the sums themselves, as `similarity` has them. False
// where they are not.
bool plain_products(const Pair& pair, float* scores) {
    const Rows &q = pair.q, &x = pair.x;
    if (pair.metric != Metric::ip || q.n != 1 || q.kind != Kind::f32 || x.kind != Kind::f32 || x.dim > 1 << 20) return false;
    const SearchKernels& search = kernels().search;
    Buffer<float> scratch(x.dim + x.n);
    float *query = scratch.get(), *largest = query + x.dim;
    std::memcpy(query, q.data, static_cast<size_t>(x.dim) * sizeof(float));
    const double square = search.squared_norm(query, x.dim);
    if (!(square >= 0x1p-100 && square <= 0x1p100)) return false;
    search.dot_one(query, x.dim, x.data, x.stride, x.n, scores, largest);
    bool ordinary = true;  // no squared norm exceeds the largest magnitude's square times dim, 2^98; a NaN is no number below 2^39
    for (int64_t i = 0; i < x.n; ++i) {
        ordinary &= largest[i] <= 0x1p39f;
        scores[i] += 0.0f;  // of -0
    }
    return ordinary;
}

}  // namespace

void rank_all(const Pair& pair, int64_t k, float* scores, int64_t* indices) {
    FpState ieee;
    Scorer scorer(pair);
    const Output output(pair, k, scores, indices);
    Buffer<Ranked> rows(pair.x.n);
    for (int64_t query = 0; query < pair.q.n; ++query) {
        // From the last row to the first: the scorer compares a row with the one before it only where they come in order.
        for (int64_t i = 0; i < pair.x.n; ++i) rows[i].row = pair.x.n - 1 - i;
        scorer.select(query);
        scorer.score(rows.get(), pair.x.n);
        output.write(query, rows.get(), pair.x.n);
    }
}

void score_all(const Pair& pair, float* scores) {
    FpState ieee;
    if (!plain_products(pair, scores)) similarity(pair, 1, nullptr, scores);
}

}  // namespace fec

// The whole search on the level in use – scan, certify, rescore, threads – against every row's canonical score, sorted.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "../cpu/dispatch.h"
#include "../cpu/scorer.h"
#include "operand.h"

namespace fec {
namespace test {

void check_topk();

namespace {

int64_t count_bits(const double* a, const double* b, int64_t dim, bool either) {
    int64_t count = 0;
    for (int64_t d = 0; d < dim; ++d) count += either ? a[d] > 0 || b[d] > 0 : a[d] != b[d];
    return count;
}

// The score of a pair by its definition.
double plain_score(const Operand& q, int64_t i, const Operand& x, int64_t j, Metric metric, Form form) {
    const int64_t dim = q.rows.dim;
    const double *a = q.value(i), *b = x.value(j), sa = q.scale_of(i), sb = x.scale_of(j);
    const auto sum = [&](const double* u, const double* v) { return canonical_sum(dim, [&](int64_t d) { return u[d] * v[d]; }); };
    if (form == Form::bits) {
        const auto differ = static_cast<double>(count_bits(a, b, dim, false)), either = static_cast<double>(count_bits(a, b, dim, true));
        return metric == Metric::hamming ? differ : either == 0 ? 0.0 : canonical_float(differ / either);
    }
    double score = 0;
    if (metric == Metric::ip) {
        score = sum(a, b) * (sa * sb);
    } else if (metric == Metric::cosine) {
        const double norms = std::sqrt(sum(a, a)) * std::sqrt(sum(b, b));
        score = norms == 0 ? sum(a, b) : sum(a, b) / norms;
    } else {
        score = canonical_sum(dim, [&](int64_t d) { return (sa * a[d] - sb * b[d]) * (sa * a[d] - sb * b[d]); });
        if (metric == Metric::l2) score = std::sqrt(score);
    }
    return form == Form::ints && (metric == Metric::ip || metric == Metric::sqeuclidean) ? score : canonical_float(score);
}

void check_pair(const Operand& q, const Operand& x, Metric metric, Form form) {
    const Pair pair = {q.rows, x.rows, metric, form};
    const bool integers = pair.integer_scores();
    std::vector<std::vector<Ranked>> sorted;
    for (int64_t i = 0; i < q.rows.n; ++i) {
        std::vector<Ranked> all;
        for (int64_t j = 0; j < x.rows.n; ++j) all.push_back({plain_score(q, i, x, j, metric, form), j});
        std::sort(all.begin(), all.end(), Better{pair.similarity()});
        sorted.push_back(all);
    }
    for (const int64_t k : {int64_t{1}, int64_t{7}, int64_t{60}}) {
        for (const int threads : {1, 3}) {
            std::vector<float> floats(static_cast<size_t>(q.rows.n * k));
            std::vector<int32_t> whole(floats.size());
            std::vector<int64_t> indices(floats.size());
            void* scores = integers ? static_cast<void*>(whole.data()) : floats.data();
            topk(pair, k, {nullptr, 0, false, nullptr, 0}, threads, nullptr, scores, indices.data());
            for (size_t at = 0; at < indices.size(); ++at) {
                const Ranked& want = sorted[at / static_cast<size_t>(k)][at % static_cast<size_t>(k)];
                expect("topk index", k, static_cast<uint64_t>(indices[at]), static_cast<uint64_t>(want.row));
                expect_same("topk score", k, integers ? whole[at] : static_cast<double>(floats[at]), want.score);
            }
        }
    }
}

// Rows that tie, and rows that hold a NaN or an infinity.
void trouble(const Operand& x) {
    char* data = const_cast<char*>(x.rows.data);
    auto& values = const_cast<std::vector<double>&>(x.values);
    const int64_t dim = x.rows.dim, bytes = dim * 4;
    const auto copy = [&](int64_t from, int64_t to) {
        std::memcpy(data + to * x.rows.stride, data + from * x.rows.stride, static_cast<size_t>(bytes));
        std::copy_n(values.begin() + from * dim, dim, values.begin() + to * dim);
    };
    const auto set = [&](int64_t row, float v) {
        std::memcpy(data + row * x.rows.stride, &v, 4);
        values[static_cast<size_t>(row * dim)] = static_cast<double>(v);
    };
    for (int64_t i = 0; i < 12; ++i) copy(i, 100 + i);
    set(5, NAN);
    set(17, INFINITY);
    set(18, 1e-40f);
    set(19, 3e38f);
}

}  // namespace

void check_topk() {
    constexpr int64_t n = 420;  // enough that the largest case is worth threads
    for (const int64_t queries : {1, 6, 37}) {
        for (const int64_t dim : {7, 131}) {
            const Operand q(Kind::f32, queries, dim, 1);
            for (const Metric metric : {Metric::cosine, Metric::ip, Metric::l2, Metric::sqeuclidean}) {
                for (const Kind kind : {Kind::f32, Kind::f16, Kind::bf16, Kind::f64, Kind::i8, Kind::i4}) {
                    const Operand x(kind, n, dim, 2, kind == Kind::i8 || kind == Kind::i4);
                    if (kind == Kind::f32) trouble(x);
                    check_pair(q, x, metric, Form::floats);
                }
                const Operand ranged(Kind::u8, n, dim, 2, false, true);
                check_pair(q, ranged, metric, Form::floats);
                for (const Kind kind : {Kind::i8, Kind::u8, Kind::i4}) {
                    const Operand a(kind, queries, dim, 3, kind == Kind::i4), b(kind, n, dim, 2, kind == Kind::i4);
                    check_pair(a, b, metric, kind == Kind::i4 ? Form::rows : Form::ints);
                }
            }
            const Operand a(Kind::bits, queries, dim, 3), b(Kind::bits, n, dim, 2, false, false, 0x80);
            for (const Metric metric : {Metric::hamming, Metric::jaccard}) check_pair(a, b, metric, Form::bits);
        }
    }
}

}  // namespace test
}  // namespace fec

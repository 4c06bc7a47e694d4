#include "scores.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace fec {
namespace test {
namespace {

int64_t count_bits(const double* a, const double* b, int64_t dim, bool either) {
    int64_t count = 0;
    for (int64_t d = 0; d < dim; ++d) count += either ? a[d] > 0 || b[d] > 0 : a[d] != b[d];
    return count;
}

double dot(int64_t dim, const double* a, const double* b) {
    return canonical_sum(dim, [&](int64_t d) { return a[d] * b[d]; });
}

double norm(const Operand& x, int64_t row) { return std::sqrt(dot(x.rows.dim, x.value(row), x.value(row))); }

// In float64, before it is rounded; the norms are read under cosine only.
double sum_of(const Operand& q, int64_t i, const Operand& x, int64_t j, Metric metric, double q_norm, double x_norm) {
    const int64_t dim = q.rows.dim;
    const double *a = q.value(i), *b = x.value(j), sa = q.scale_of(i), sb = x.scale_of(j);
    if (metric == Metric::ip) return dot(dim, a, b) * (sa * sb);
    if (metric == Metric::cosine) return q_norm * x_norm == 0 ? dot(dim, a, b) : dot(dim, a, b) / (q_norm * x_norm);
    const double square = canonical_sum(dim, [&](int64_t d) { return (sa * a[d] - sb * b[d]) * (sa * a[d] - sb * b[d]); });
    return metric == Metric::l2 ? std::sqrt(square) : square;
}

double score_of_bits(const Operand& q, int64_t i, const Operand& x, int64_t j, Metric metric) {
    const auto differ = static_cast<double>(count_bits(q.value(i), x.value(j), q.rows.dim, false));
    const auto either = static_cast<double>(count_bits(q.value(i), x.value(j), q.rows.dim, true));
    return metric == Metric::hamming ? differ : either == 0 ? 0.0 : canonical_float(differ / either);
}

}  // namespace

double plain_sum(const Operand& q, int64_t i, const Operand& x, int64_t j, Metric metric) {
    const bool cosine = metric == Metric::cosine;
    return sum_of(q, i, x, j, metric, cosine ? norm(q, i) : 0, cosine ? norm(x, j) : 0);
}

std::vector<std::vector<Ranked>> plain_rankings(const Operand& q, const Operand& x, const Pair& pair) {
    const bool cosine = pair.metric == Metric::cosine;
    std::vector<double> norms;  // once: an emulator takes its time
    for (int64_t j = 0; j < x.rows.n; ++j) norms.push_back(cosine ? norm(x, j) : 0);
    std::vector<std::vector<Ranked>> sorted;
    for (int64_t i = 0; i < q.rows.n; ++i) {
        const double own = cosine ? norm(q, i) : 0;
        std::vector<Ranked> all;
        for (int64_t j = 0; j < x.rows.n; ++j) {
            if (pair.form == Form::bits) {
                all.push_back({score_of_bits(q, i, x, j, pair.metric), j});
                continue;
            }
            const double sum = sum_of(q, i, x, j, pair.metric, own, norms[static_cast<size_t>(j)]);
            all.push_back({pair.integer_scores() ? sum : static_cast<double>(canonical_float(sum)), j});
        }
        std::sort(all.begin(), all.end(), Better{pair.similarity()});
        sorted.push_back(all);
    }
    return sorted;
}

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

}  // namespace test
}  // namespace fec

// Late interaction on the level in use: its kernels, then the matrix and the best documents, against plain loops over tokens.
#include "../cpu/maxsim.h"

#include <algorithm>
#include <cmath>

#include "scores.h"

namespace fec {
namespace test {

void check_maxsim();

namespace {

// The largest of each lane's sums, of floats or of integers, with and without a scale for each row.
template <class Raw, class Top, class Kernel>
void check_largest(const char* what, bool scaled, Kernel kernel) {
    for (const int vectors : {1, kernels().search.tile_vectors}) {
        const int64_t lanes = static_cast<int64_t>(vectors) * kernels().search.width;
        for (int64_t n = 1; n <= 13; ++n) {
            auto* raw = static_cast<Raw*>(guarded(0, static_cast<size_t>(n * lanes * 4)));
            auto* top = static_cast<Top*>(guarded(1, static_cast<size_t>(lanes * 4)));
            auto* scale = static_cast<float*>(guarded(2, static_cast<size_t>(n * 4)));
            for (int64_t i = 0; i < n; ++i) scale[i] = static_cast<float>(random_in(-64, 64)) / 64;
            for (int64_t i = 0; i < n * lanes; ++i) raw[i] = static_cast<Raw>(random_in(-100000, 100000));
            std::vector<Top> want;
            for (int64_t lane = 0; lane < lanes; ++lane) {
                top[lane] = static_cast<Top>(random_in(-100000, 100000));
                want.push_back(top[lane]);
                for (int64_t i = 0; i < n; ++i) {
                    const auto value = static_cast<Top>(raw[i * lanes + lane]);
                    want.back() = std::max(want.back(), scaled ? static_cast<Top>(static_cast<float>(value) * scale[i]) : value);
                }
            }
            kernel(raw, vectors, n, scale, top);
            for (int64_t lane = 0; lane < lanes; ++lane)
                expect_same(what, n, static_cast<double>(top[lane]), static_cast<double>(want[static_cast<size_t>(lane)]));
        }
    }
}

// Between the longest row and the row of the columns' largest magnitudes.
void check_reach(const Operand& x) {
    const int64_t dim = x.rows.dim;
    double longest = 0, columns = 0;
    for (int64_t i = 0; i < x.rows.n; ++i) {
        double square = 0;
        for (int64_t d = 0; d < dim; ++d) square += x.value(i)[d] * x.value(i)[d];
        longest = std::max(longest, std::sqrt(square));
    }
    for (int64_t d = 0; d < dim; ++d) {
        double most = 0;
        for (int64_t i = 0; i < x.rows.n; ++i) most = std::max(most, std::fabs(x.value(i)[d]));
        columns += most * most;
    }
    const auto reach = static_cast<double>(kernels().maxsim.reach(x.rows.data, x.rows.stride, x.rows.n, dim));
    const double rounding = static_cast<double>(dim + 16) * 0x1p-24;
    expect("reach", dim, reach >= longest * (1 - rounding), true);
    expect_near("reach", dim, reach, std::sqrt(columns), std::sqrt(columns) * rounding);
    kernels().maxsim.stream(x.rows.data, x.rows.stride, x.rows.n, dim * 4);  // fetches past the end, and may
}

struct Late {
    MaxSim call;
    const Operand &q, &x;

    bool bits() const { return call.pair.form == Form::bits; }
    bool integers() const { return bits() || (call.pair.form == Form::ints && call.pair.metric == Metric::ip); }

    double token_score(int64_t token, int64_t row) const {
        if (!bits()) return plain_sum(q, token, x, row, call.pair.metric);
        double sum = 0;
        for (int64_t d = 0; d < q.rows.dim; ++d) sum += q.value(token)[d] * x.value(row)[d];
        return sum;
    }

    // The sum over a query's tokens of the largest score; `size` is what the matrix's error is proportional to.
    double score(int64_t query, int64_t document, double& size) const {
        const RowSets& sets = call.documents;
        size = 0;
        if (sets.starts[document] == sets.stops[document]) return integers() ? INT32_MIN : -INFINITY;
        double sum = 0;
        for (int64_t t = call.offsets[query]; t < call.offsets[query + 1]; ++t) {
            double most = -INFINITY, reach = 0;
            for (int64_t at = sets.starts[document]; at < sets.stops[document]; ++at) {
                const int64_t row = sets.ids ? sets.ids[at] : at;
                const double each = token_score(t, row);
                if (std::isnan(each) || std::isnan(most)) most = NAN;
                most = each > most ? each : most;
                const double squares = canonical_sum(q.rows.dim, [&](int64_t d) { return x.value(row)[d] * x.value(row)[d]; });
                reach = std::max(reach, std::sqrt(squares) * std::fabs(x.scale_of(row)));
            }
            const double own = canonical_sum(q.rows.dim, [&](int64_t d) { return q.value(t)[d] * q.value(t)[d]; });
            size += call.pair.metric == Metric::cosine ? 1 : std::sqrt(own) * q.scale_of(t) * reach;
            sum += most;
        }
        return sum;
    }
};

void check_call(const Late& late) {
    const MaxSim& call = late.call;
    const int64_t n = call.documents.n;
    std::vector<double> want, size;
    for (int64_t i = 0; i < call.queries; ++i)
        for (int64_t j = 0; j < n; ++j) {
            size.emplace_back();
            want.push_back(late.score(i, j, size.back()));
        }
    for (const int threads : {1, 2}) {
        std::vector<float> floats(want.size());
        std::vector<int32_t> whole(want.size());
        maxsim(call, threads, nullptr, late.integers() ? static_cast<void*>(whole.data()) : floats.data());
        for (size_t at = 0; at < want.size(); ++at) {
            const double got = late.integers() ? whole[at] : static_cast<double>(floats[at]);
            const double tolerance = static_cast<double>(late.q.rows.dim + 64) * 0x1p-24 * size[at];
            const double rounded = late.integers() ? want[at] : static_cast<double>(canonical_float(want[at]));
            if (late.integers() || !std::isfinite(rounded))
                expect_same("maxsim", late.q.rows.dim, got, rounded);
            else
                expect_near("maxsim", late.q.rows.dim, got, want[at], tolerance);
        }
        for (const int64_t k : {int64_t{1}, int64_t{5}, n}) {
            std::vector<int64_t> indices(static_cast<size_t>(call.queries * k));
            maxsim_topk(call, k, {nullptr, 0, false, nullptr, 0}, threads, nullptr,
                        late.integers() ? static_cast<void*>(whole.data()) : floats.data(), indices.data());
            for (int64_t i = 0; i < call.queries; ++i) {
                std::vector<Ranked> sorted;
                for (int64_t j = 0; j < n; ++j) {
                    const double sum = want[static_cast<size_t>(i * n + j)];
                    sorted.push_back({late.integers() ? sum : static_cast<double>(canonical_float(sum)), j});
                }
                std::sort(sorted.begin(), sorted.end(), Better{true});
                for (int64_t place = 0; place < k; ++place) {
                    const auto at = static_cast<size_t>(i * k + place);
                    const Ranked& best = sorted[static_cast<size_t>(place)];
                    expect("maxsim index", k, static_cast<uint64_t>(indices[at]), static_cast<uint64_t>(best.row));
                    expect_same("maxsim score", k, late.integers() ? whole[at] : static_cast<double>(floats[at]), best.score);
                }
            }
        }
    }
}

// Documents of none to a block and more tokens; the same with some tokens left out.
void check_pair(const Operand& q, const Operand& x, Metric metric, Form form) {
    const std::vector<int64_t> ends = {0, 1, 1, 3, 20, 33, 34, 50, 310, 317, 330};
    const std::vector<int64_t> starts(ends.begin(), ends.end() - 1), stops(ends.begin() + 1, ends.end());
    const std::vector<int64_t> offsets = {0, 1, 8, q.rows.n};
    const auto documents = static_cast<int64_t>(starts.size());
    const Pair pair = {q.rows, x.rows, metric, form};
    check_call({{pair, 3, offsets.data(), {documents, starts.data(), stops.data(), nullptr}}, q, x});
    std::vector<int64_t> ids, firsts, lasts;
    for (int64_t i = 0; i < documents; ++i) {
        firsts.push_back(static_cast<int64_t>(ids.size()));
        for (int64_t row = starts[static_cast<size_t>(i)]; row < stops[static_cast<size_t>(i)]; ++row)
            if (row % 4 != 1) ids.push_back(row);
        lasts.push_back(static_cast<int64_t>(ids.size()));
    }
    check_call({{pair, 3, offsets.data(), {documents, firsts.data(), lasts.data(), ids.data()}}, q, x});
}

}  // namespace

void check_maxsim() {
    const MaxSimKernels& kernel = kernels().maxsim;
    for (const bool scaled : {false, true}) {
        const auto given = [=](const float* scale) { return scaled ? scale : nullptr; };
        check_largest<float, float>("largest of floats", scaled, [&](auto* raw, int vectors, int64_t n, const float* scale, float* top) {
            kernel.largest(raw, vectors, n, given(scale), top);
        });
        check_largest<int32_t, float>("largest of codes", scaled, [&](auto* raw, int vectors, int64_t n, const float* scale, float* top) {
            kernel.largest_code(raw, vectors, n, given(scale), top);
        });
    }
    check_largest<int32_t, int32_t>("largest of integers", false, [&](auto* raw, int vectors, int64_t n, const float*, int32_t* top) {
        kernel.largest_integer(raw, vectors, n, top);
    });
    for (int64_t dim = 1; dim <= 140; ++dim) check_reach(Operand(Kind::f32, 1 + dim % 5, dim, 2));
    constexpr int64_t tokens = 330;
    for (const int64_t queries : {9, 41}) {  // a panel of few and more than one
        for (const int64_t dim : {13, 64}) {
            const Operand q(Kind::f32, queries, dim, 1);
            for (const Metric metric : {Metric::ip, Metric::cosine}) {
                for (const Kind kind : {Kind::f32, Kind::f16, Kind::i8, Kind::i4, Kind::bits}) {
                    const Operand x(kind, tokens, dim, 2, kind == Kind::i8 || kind == Kind::i4);
                    if (kind == Kind::f32) trouble(x);
                    check_pair(q, x, metric, Form::floats);
                }
                const Operand ranged(Kind::u8, tokens, dim, 2, false, true);
                check_pair(q, ranged, metric, Form::floats);
                for (const Kind kind : {Kind::i8, Kind::u8, Kind::i4}) {
                    const Operand a(kind, queries, dim, 3, kind == Kind::i4), b(kind, tokens, dim, 2, kind == Kind::i4);
                    check_pair(a, b, metric, kind == Kind::i4 ? Form::rows : Form::ints);
                }
            }
            const Operand a(Kind::bits, queries, dim, 3), b(Kind::bits, tokens, dim, 2, false, false, 0x80);
            check_pair(a, b, Metric::hamming, Form::bits);
        }
    }
}

}  // namespace test
}  // namespace fec

// range_search on the level in use against every row's canonical score: thresholds that rows meet exactly among them.
#include "../cpu/range.h"

#include <cmath>
#include <cstring>

#include "scores.h"

namespace fec {
namespace test {

void check_range();

namespace {

void check_pair(const Operand& q, const Operand& x, Metric metric, Form form) {
    const Pair pair = {q.rows, x.rows, metric, form};
    const int64_t n = x.rows.n;
    const std::vector<std::vector<Ranked>> sorted = plain_rankings(q, x, pair);
    for (const int64_t rank : {int64_t{0}, int64_t{9}, n / 2, n - 1}) {
        std::vector<float> thresholds;
        for (const auto& ranked : sorted) {
            const auto score = static_cast<float>(ranked[static_cast<size_t>(rank)].score);
            thresholds.push_back(std::isnan(score) ? 0.0f : score);
        }
        const int threads = rank % 2 ? 1 : 3;
        std::vector<int64_t> indptr(sorted.size() + 1);
        RangeResults results;
        range_search(pair, thresholds.data(), {nullptr, 0, false, nullptr, 0}, threads, nullptr, indptr.data(), results);
        for (size_t i = 0; i < sorted.size(); ++i) {
            int64_t at = indptr[i];
            for (const Ranked& want : sorted[i]) {
                const double t = static_cast<double>(thresholds[i]);
                if (!(pair.similarity() ? want.score >= t : want.score <= t)) continue;
                if (at == indptr[i + 1]) {
                    expect("range rows", rank, static_cast<uint64_t>(-1), static_cast<uint64_t>(want.row));
                    break;
                }
                int32_t whole;
                float single;
                std::memcpy(&whole, results.scores.get() + at, 4);
                std::memcpy(&single, results.scores.get() + at, 4);
                expect("range index", rank, static_cast<uint64_t>(results.indices.get()[at]), static_cast<uint64_t>(want.row));
                expect_same("range score", rank, pair.integer_scores() ? whole : static_cast<double>(single), want.score);
                ++at;
            }
            expect("range count", rank, static_cast<uint64_t>(indptr[i + 1]), static_cast<uint64_t>(at));
        }
    }
}

}  // namespace

void check_range() {
    constexpr int64_t n = 420;
    constexpr struct {
        int64_t queries, dim;
    } shapes[] = {{1, 403}, {6, 131}, {37, 31}};  // by rows and by panels; just enough work that there is a scan
    for (const auto& shape : shapes) {
        const Operand q(Kind::f32, shape.queries, shape.dim, 1);
        for (const Metric metric : {Metric::cosine, Metric::ip, Metric::l2, Metric::sqeuclidean}) {
            for (const Kind kind : {Kind::f32, Kind::f16, Kind::i8, Kind::i4}) {
                const Operand x(kind, n, shape.dim, 2, kind == Kind::i8 || kind == Kind::i4);
                if (kind == Kind::f32) trouble(x);
                check_pair(q, x, metric, Form::floats);
            }
            for (const Kind kind : {Kind::i8, Kind::u8, Kind::i4}) {
                const Operand a(kind, shape.queries, shape.dim, 3, kind == Kind::i4), b(kind, n, shape.dim, 2, kind == Kind::i4);
                check_pair(a, b, metric, kind == Kind::i4 ? Form::rows : Form::ints);
            }
        }
        const Operand a(Kind::bits, shape.queries, shape.dim, 3), b(Kind::bits, n, shape.dim, 2, false, false, 0x80);
        for (const Metric metric : {Metric::hamming, Metric::jaccard}) check_pair(a, b, metric, Form::bits);
        for (const Metric metric : {Metric::cosine, Metric::ip}) check_pair(q, b, metric, Form::floats);
    }
}

}  // namespace test
}  // namespace fec

// The whole search on the level in use – scan, certify, rescore, threads – against every row's canonical score, sorted:
// by the rows themselves, and by codes of them.
#include "../cpu/coded.h"
#include "scores.h"

namespace fec {
namespace test {

void check_topk();

namespace {

constexpr Metric float_metrics[] = {Metric::cosine, Metric::ip, Metric::l2, Metric::sqeuclidean};

void check_found(const Pair& pair, const std::vector<Coded>& scans, const std::vector<std::vector<Ranked>>& sorted) {
    const bool integers = pair.integer_scores();
    constexpr struct {
        int64_t k;
        int threads;
    } runs[] = {{1, 3}, {7, 1}, {60, 3}};
    for (const auto& [k, threads] : runs) {
        std::vector<float> floats(static_cast<size_t>(pair.q.n * k));
        std::vector<int32_t> whole(floats.size());
        std::vector<int64_t> indices(floats.size());
        void* scores = integers ? static_cast<void*>(whole.data()) : floats.data();
        SearchStats stats;
        topk(pair, scans.data(), static_cast<int>(scans.size()), k, {nullptr, 0, false, nullptr, 0}, threads, nullptr, scores,
             indices.data(), stats);
        for (size_t at = 0; at < indices.size(); ++at) {
            const Ranked& want = sorted[at / static_cast<size_t>(k)][at % static_cast<size_t>(k)];
            expect("topk index", k, static_cast<uint64_t>(indices[at]), static_cast<uint64_t>(want.row));
            expect_same("topk score", k, integers ? whole[at] : static_cast<double>(floats[at]), want.score);
        }
    }
}

void check_pair(const Operand& q, const Operand& x, Metric metric, Form form) {
    const Pair pair = {q.rows, x.rows, metric, form};
    check_found(pair, {}, plain_rankings(q, x, pair));
}

// Codes of x as a corpus carries them, each row's last byte before the next one's first, the last one at a guard page.
struct Codes {
    std::vector<float> scale, error, norm, bias, center;
    Coded coded;

    Codes(const Operand& x, Metric metric, bool nibbles, int slot) {
        const int64_t n = x.rows.n, dim = x.rows.dim, bytes = nibbles ? (dim + 1) / 2 : dim;
        for (std::vector<float>* each : {&scale, &error, &norm, &bias}) each->resize(static_cast<size_t>(n));
        center.resize(static_cast<size_t>(dim));
        const bool distance = metric == Metric::l2 || metric == Metric::sqeuclidean;
        auto* data = static_cast<char*>(guarded(slot, static_cast<size_t>(n * bytes)));
        float* biases = distance ? bias.data() : nullptr;
        code_center(x.rows, metric, center.data());
        encode(x.rows, metric, 2, nullptr, {data, bytes, nibbles, scale.data(), error.data(), norm.data(), biases, center.data()});
        coded = {{data, n, dim, bytes, nibbles ? Kind::i4 : Kind::i8, scale.data(), nullptr, 0},
                 error.data(),
                 norm.data(),
                 biases,
                 center.data()};
    }
    Codes(const Codes&) = delete;
    Codes& operator=(const Codes&) = delete;
};

void check_coded(const Operand& q, const Operand& x) {
    for (const Metric metric : float_metrics) {
        const Pair pair = {q.rows, x.rows, metric, Form::floats};
        const std::vector<std::vector<Ranked>> sorted = plain_rankings(q, x, pair);
        const Codes nibbles(x, metric, true, 4), bytes(x, metric, false, 5);
        check_found(pair, {nibbles.coded}, sorted);
        check_found(pair, {bytes.coded}, sorted);
        check_found(pair, {nibbles.coded, bytes.coded}, sorted);
    }
}

}  // namespace

void check_topk() {
    constexpr int64_t n = 420;  // enough that the largest case is worth threads
    for (const int64_t queries : {1, 6, 37}) {
        for (const int64_t dim : {7, 131}) {
            const Operand q(Kind::f32, queries, dim, 1);
            for (const Metric metric : float_metrics) {
                if (metric == Metric::sqeuclidean && queries == 37) continue;  // l2 but for the root
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
            for (const Metric metric : {Metric::cosine, Metric::ip}) check_pair(q, b, metric, Form::floats);
        }
    }
    // Just enough work that rows are scanned at all; one and two queries walk them, more share panels.
    constexpr struct {
        int64_t queries, dim;
    } shapes[] = {{1, 403}, {2, 201}, {5, 67}, {37, 31}};
    for (const auto& shape : shapes) {
        const Operand q(Kind::f32, shape.queries, shape.dim, 1), x(Kind::f32, n, shape.dim, 2);
        trouble(x);
        check_coded(q, x);
        for (const Kind kind : {Kind::i8, Kind::i4, Kind::bits}) {
            const Operand codes(kind, n, shape.dim, 2, kind != Kind::bits);
            for (const Metric metric : {Metric::cosine, Metric::ip}) check_pair(q, codes, metric, Form::floats);
        }
    }
    const Operand q(Kind::f32, 3, 131, 1), half(Kind::f16, n, 131, 2);
    check_coded(q, half);
}

}  // namespace test
}  // namespace fec

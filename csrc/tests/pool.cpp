// Pooling on the level in use, every mode, against float64 sums over the valid tokens.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "../cpu/dispatch.h"
#include "operand.h"

namespace fec {
namespace test {

void check_pool();

namespace {

constexpr PoolMode modes[] = {PoolMode::mean,      PoolMode::max,          PoolMode::cls,
                              PoolMode::lasttoken, PoolMode::weightedmean, PoolMode::mean_sqrt_len_tokens,
                              PoolMode::attention};

struct Expected {
    double value, tolerance;
};

// What element d of the sequence's embedding is, and how far float32 sums in pieces may be from it.
Expected embedding(const Pooling& call, const Operand& tokens, const std::vector<int64_t>& valid, int64_t d) {
    if (valid.empty()) return {0.0, 0.0};
    const auto n = static_cast<double>(valid.size());
    double sum = 0, size = 0, total = 0, most = tokens.value(valid[0])[d];
    if (call.mode == PoolMode::cls) return {most, 0.0};
    if (call.mode == PoolMode::lasttoken) return {tokens.value(valid.back())[d], 0.0};
    double reach = 0, query = 0;
    std::vector<double> scores;
    for (const int64_t t : valid) {
        double score = 0, square = 0;
        for (int64_t i = 0; call.query && i < call.head_dim; ++i) {
            const double q = static_cast<double>(call.query[i]), x = tokens.value(t)[i];
            score += q * x, square += x * x;
        }
        scores.push_back(score * static_cast<double>(call.scale));
        reach = std::fmax(reach, std::sqrt(square));
    }
    for (int64_t i = 0; call.query && i < call.head_dim; ++i)
        query += static_cast<double>(call.query[i]) * static_cast<double>(call.query[i]);
    const double top = *std::max_element(scores.begin(), scores.end());
    for (size_t i = 0; i < valid.size(); ++i) {
        const double x = tokens.value(valid[i])[d];
        double w = call.token_weights ? static_cast<double>(call.token_weights[valid[i]]) : 1.0;
        if (call.mode == PoolMode::weightedmean) w *= static_cast<double>(1 + valid[i] - valid[0]);
        if (call.mode == PoolMode::attention) w = std::exp(scores[i] - top);
        sum += w * x, size += w * std::fabs(x), total += w, most = std::fmax(most, x);
    }
    if (call.mode == PoolMode::max) return {most, 0.0};
    const double divisor = call.mode == PoolMode::mean_sqrt_len_tokens ? std::sqrt(total) : total;
    double relative = (80 + n / 64) * 0x1p-24;
    if (call.mode == PoolMode::attention)
        relative += 2 * (static_cast<double>(call.head_dim) / 8 + 64) * 0x1p-23 *
                    (std::fabs(static_cast<double>(call.scale)) * std::sqrt(query) * reach + 1);
    return {sum / divisor, size / divisor * relative};
}

void check_call(Pooling call, const Operand& tokens) {
    float* out = static_cast<float*>(guarded(3, static_cast<size_t>(call.sequences * call.dim * 4)));
    call.sink = {reinterpret_cast<char*>(out), call.dim * 4, call.dim, Precision::f32, nullptr, nullptr, false};
    pool(call, 2, nullptr);
    for (int64_t b = 0; b < call.sequences; ++b) {
        const int64_t first = call.offsets ? call.offsets[b] : b * call.length,
                      end = call.offsets ? call.offsets[b + 1] : first + call.length;
        std::vector<int64_t> valid;
        for (int64_t t = first; t < end; ++t)
            if (!call.mask || call.mask[t]) valid.push_back(t);
        std::vector<Expected> want;
        double square = 0, error = 0;
        for (int64_t d = 0; d < call.dim; ++d) {
            want.push_back(embedding(call, tokens, valid, d));
            square += want.back().value * want.back().value, error += want.back().tolerance * want.back().tolerance;
        }
        // The elements' errors move the norm by at most their own.
        const double norm = call.normalize ? std::fmax(std::sqrt(square), 1e-12) : 1.0,
                     moved = call.normalize ? std::sqrt(error) / norm : 0.0;
        for (int64_t d = 0; d < call.dim; ++d) {
            const double value = want[static_cast<size_t>(d)].value / norm,
                         slack = call.normalize ? (moved + 0x1p-22) * std::fabs(value) : 0.0;
            const double tolerance = want[static_cast<size_t>(d)].tolerance / norm * 1.01 + slack * 1.01;
            expect_near("pool", static_cast<int64_t>(call.mode), static_cast<double>(out[b * call.dim + d]), value, tolerance);
        }
    }
}

}  // namespace

void check_pool() {
    constexpr int64_t sequences = 4;
    for (const int64_t length : {1, 7, 66, 530}) {
        for (const int64_t dim : {1, 3, 8, 17, 31, 33, 64, 100}) {
            if (length > 100 && dim > 33) continue;
            for (const Kind kind : {Kind::f32, Kind::f16, Kind::bf16, Kind::f64}) {
                const Operand tokens(kind, sequences * length, dim, 2);
                std::vector<uint8_t> mask(static_cast<size_t>(sequences * length));
                std::vector<float> weights(mask.size()), query(static_cast<size_t>(dim));
                for (size_t t = 0; t < mask.size(); ++t) {
                    mask[t] = t >= static_cast<size_t>(length) && random_in(0, 2) != 0;  // the first sequence has no valid token
                    weights[t] = static_cast<float>(random_in(1, 100)) / 64;
                }
                for (float& q : query) q = static_cast<float>(random_in(-100, 100)) / 77;
                const int64_t offsets[sequences + 1] = {0, 0, length, length + 1, sequences * length};
                for (const PoolMode mode : modes) {
                    Pooling call = {};
                    call.tokens = tokens.rows.data, call.kind = kind, call.sequences = sequences, call.length = length, call.dim = dim;
                    call.token_stride = tokens.rows.stride, call.sequence_stride = length * tokens.rows.stride;
                    call.mode = mode, call.heads = 1, call.head_dim = dim;
                    if (mode == PoolMode::attention) call.query = query.data(), call.scale = 0.7f;
                    check_call(call, tokens);
                    call.mask = mask.data();
                    check_call(call, tokens);
                    if (mode == PoolMode::mean || mode == PoolMode::weightedmean) call.token_weights = weights.data();
                    call.offsets = offsets;
                    check_call(call, tokens);
                    call.normalize = true;
                    check_call(call, tokens);
                }
            }
        }
    }
}

}  // namespace test
}  // namespace fec

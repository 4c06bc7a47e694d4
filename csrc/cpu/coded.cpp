#include "coded.h"

#include <algorithm>
#include <cmath>

#include "../core/buffer.h"
#include "../core/fp_state.h"
#include "../core/thread_pool.h"
#include "dispatch.h"

namespace fec {
namespace {

constexpr int64_t kSample = 4096;
constexpr int64_t kBlock = 256;

float rounded_up_float(double v) {
    const auto f = static_cast<float>(v);
    return f < v ? std::nextafter(f, INFINITY) : f;
}

// Norms this far from 1 are left to the canonical scores alone. Zero is as good as any: its cosine is 0.
bool in_range(double square, bool directions) { return square <= 0x1p100 && (square >= 0x1p-100 || square == 0 || !directions); }

// A row in float64: as it is, or its direction. False where nothing can be said of it.
bool widened(const Rows& x, int64_t row, bool directions, float* floats, double* out) {
    kernels().search.widen_rows(x, nullptr, row, 1, false, floats, x.dim);
    double square = 0;
    for (int64_t d = 0; d < x.dim; ++d) square += static_cast<double>(floats[d]) * floats[d];
    if (!in_range(square, directions)) return false;
    const double factor = directions && square > 0 ? 1 / std::sqrt(square) : 1.0;
    for (int64_t d = 0; d < x.dim; ++d) out[d] = floats[d] * factor;
    return true;
}

// Few levels fit better when the largest elements are clipped; how far is tried out row by row.
constexpr float kClips[] = {1.0f, 0.87f, 0.75f, 0.64f, 0.55f};

// Codes of t at the step that fits best, and the scale that serves them best (least squares).
float best_fit(const float* t, int64_t dim, float most, bool nibbles, int8_t* codes, int8_t* trial) {
    const CodeKernels& kernels = fec::kernels().codes;
    if (!nibbles) {
        const FitSums sums = kernels.fit(t, dim, 127 / most, 127, codes);
        return sums.product / sums.square;
    }
    float best = -1, scale = 0;
    for (const float clip : kClips) {
        const FitSums sums = kernels.fit(t, dim, 7 / (clip * most), 7, trial);
        if (sums.product * (sums.product / sums.square) <= best) continue;  // |t|^2 less the residual's square
        best = sums.product * (sums.product / sums.square), scale = sums.product / sums.square;
        std::copy_n(trial, dim, codes);
    }
    return scale;
}

// Scratch of one thread.
struct Row {
    explicit Row(int64_t dim) : floats(dim), t(dim), codes(dim), trial(dim) {}
    Buffer<float> floats;
    Buffer<double> t;
    Buffer<int8_t> codes, trial;
};

void encode_row(const Rows& x, Metric metric, int64_t i, const CodedOut& out, Row& row) {
    char* to = out.codes + i * out.stride;
    double* t = row.t.get();
    int8_t* codes = row.codes.get();
    std::fill_n(codes, x.dim, int8_t{0});
    out.scale[i] = out.error[i] = NAN, out.norm[i] = 0;
    if (out.bias) out.bias[i] = 0;
    if (widened(x, i, metric == Metric::cosine, row.floats.get(), t)) {
        double square = 0;
        float most = 0;
        for (int64_t d = 0; d < x.dim; ++d) {
            t[d] -= static_cast<double>(out.center[d]);
            square += t[d] * t[d];
            row.floats[d] = static_cast<float>(t[d]);
            most = std::max(most, std::fabs(row.floats[d]));
        }
        if (square == 0) out.scale[i] = out.error[i] = 0;
        // Elements too small or large for float32 arithmetic leave the row to its canonical score.
        if (most > 0x1p-40f && square <= 0x1p80) {
            const float scale = best_fit(row.floats.get(), x.dim, most, out.nibbles, codes, row.trial.get());
            double norm = 0;
            for (int64_t d = 0; d < x.dim; ++d) norm += static_cast<double>(codes[d]) * codes[d];
            constexpr double up = 1 + 0x1p-20;
            out.scale[i] = scale;
            out.norm[i] = rounded_up_float(std::sqrt(norm) * static_cast<double>(scale) * up);
            const double residual = fec::kernels().codes.residual_square(t, codes, x.dim, static_cast<double>(scale));
            // Directions are rounded in float64; every difference from them was, too.
            out.error[i] = rounded_up_float(std::sqrt(residual) * up + std::sqrt(square) * 0x1p-40);
            if (out.bias) out.bias[i] = static_cast<float>(-square / 2);
        }
    }
    if (!out.nibbles) {
        std::copy_n(codes, x.dim, reinterpret_cast<int8_t*>(to));
        return;
    }
    auto* bytes = reinterpret_cast<uint8_t*>(to);
    for (int64_t d = 0; d < x.dim; d += 2)
        bytes[d / 2] = static_cast<uint8_t>((codes[d] + 8) | (d + 1 < x.dim ? codes[d + 1] + 8 : 0) << 4);
}

}  // namespace

void code_center(const Rows& x, Metric metric, float* center) {
    FpState ieee;
    Buffer<float> floats(x.dim);
    Buffer<double> row(x.dim), sum(x.dim);
    std::fill_n(sum.get(), x.dim, 0.0);
    const int64_t step = std::max<int64_t>(1, x.n / kSample);
    double taken = 0;
    for (int64_t i = 0; i < x.n; i += step) {
        if (!widened(x, i, metric == Metric::cosine, floats.get(), row.get())) continue;
        ++taken;
        for (int64_t d = 0; d < x.dim; ++d) sum[d] += row[d];
    }
    for (int64_t d = 0; d < x.dim; ++d) center[d] = taken > 0 ? static_cast<float>(sum[d] / taken) : 0.0f;
}

bool encode(const Rows& x, Metric metric, int threads, Poll poll, const CodedOut& out) {
    FpState ieee;
    return parallel_for((x.n + kBlock - 1) / kBlock, threads,
                        [&](int64_t block, int) {
                            Row row(x.dim);
                            for (int64_t i = block * kBlock; i < std::min(x.n, (block + 1) * kBlock); ++i)
                                encode_row(x, metric, i, out, row);
                        },
                        poll);
}

}  // namespace fec

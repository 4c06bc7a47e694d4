#include "quantize.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "../core/fp_state.h"
#include "dispatch.h"
#include "tasks.h"

namespace fec {

Buffer<float> with_inverses(const float* ranges, int64_t dim) {
    Buffer<float> all(3 * dim);
    std::copy(ranges, ranges + 2 * dim, all.get());
    for (int64_t i = 0; i < dim; ++i) {
        const float step = ranges[dim + i];
        all[2 * dim + i] = step >= 0x1p-100f && step <= 0x1p100f ? 1 / step : std::numeric_limits<float>::quiet_NaN();
    }
    return all;
}

bool quantize(const Rows& x, const RowSink& out, const float* limits, int threads, Poll poll) {
    FpState ieee;
    RowSink sink = out;
    sink.past_cache = x.n * sink.stride >= kLostFromCache && reinterpret_cast<int64_t>(sink.data) % 16 == 0 && sink.stride % 16 == 0;
    Buffer<float> ranges;
    if (limits) {
        const float *minimum = limits, *maximum = limits + x.dim;
        std::vector<float> steps(minimum, maximum);
        for (int64_t i = 0; i < x.dim; ++i) {
            const float step = (maximum[i] - minimum[i]) / 255.0f;
            steps.push_back(step == 0.0f ? 1.0f : step);
        }
        ranges = with_inverses(steps.data(), x.dim);
        sink.ranges = ranges.get();
    }
    std::vector<std::vector<float>> scratch(threads);
    return for_rows(x.n, x.row_bytes(), threads, poll, [&](int64_t lo, int64_t hi, int worker) {
        if (x.kind != Kind::f32) scratch[worker].resize(x.dim);
        kernels().quantize.quantize(x, sink, scratch[worker].data(), lo, hi);
    });
}

bool dequantize(const Rows& x, char* out, int64_t stride, int threads, Poll poll) {
    FpState ieee;
    return for_rows(x.n, x.dim * 4, threads, poll,
                    [&](int64_t lo, int64_t hi, int) { kernels().quantize.dequantize(x, out, stride, lo, hi); });
}

bool calibrate(const Rows& x, float* limits, int threads, Poll poll) {
    FpState ieee;
    std::vector<std::vector<float>> found(threads);
    const bool done = for_rows(x.n, x.row_bytes(), threads, poll, [&](int64_t lo, int64_t hi, int worker) {
        std::vector<float>& mine = found[worker];
        if (mine.empty()) {
            mine.assign(2 * x.dim, std::numeric_limits<float>::infinity());
            std::fill(mine.begin() + x.dim, mine.end(), -std::numeric_limits<float>::infinity());
        }
        kernels().quantize.calibrate(x, mine.data(), lo, hi);
    });
    std::fill(limits, limits + x.dim, std::numeric_limits<float>::infinity());
    std::fill(limits + x.dim, limits + 2 * x.dim, -std::numeric_limits<float>::infinity());
    for (const std::vector<float>& mine : found)
        for (size_t i = 0; i < mine.size(); ++i) {
            const bool wider = static_cast<int64_t>(i) < x.dim ? mine[i] < limits[i] : mine[i] > limits[i];
            if (wider || std::isnan(mine[i])) limits[i] = mine[i];
        }
    return done;
}

}  // namespace fec

// Codes beside float rows, on the level in use: how they are fitted, and that what is said of them bounds what they leave out.
#include "../cpu/coded.h"

#include <cmath>

#include "../cpu/dispatch.h"
#include "operand.h"

namespace fec {
namespace test {

void check_coded();

namespace {

void check_fit(int64_t dim, float levels) {
    auto* t = static_cast<float*>(guarded(0, static_cast<size_t>(dim) * 4));
    auto* codes = static_cast<int8_t*>(guarded(1, static_cast<size_t>(dim)));
    for (int64_t d = 0; d < dim; ++d) t[d] = static_cast<float>(random_in(-3000, 3000)) / 1024;
    const float inverse = levels / static_cast<float>(random_in(1, 3));  // some are clipped
    const FitSums sums = kernels().codes.fit(t, dim, inverse, levels, codes);
    double product = 0, square = 0, size = 0;
    for (int64_t d = 0; d < dim; ++d) {
        const float whole = std::rint(t[d] * inverse), code = std::fmin(std::fmax(whole, -levels), levels);
        expect_same("fitted code", dim, codes[d], code + 0.0f);  // of zeros +0
        const double each = static_cast<double>(t[d]) * static_cast<double>(code);
        product += each, size += std::fabs(each), square += static_cast<double>(code) * static_cast<double>(code);
    }
    const double rounding = static_cast<double>(dim + 16) * 0x1p-24;
    expect_near("fit product", dim, static_cast<double>(sums.product), product, size * rounding);
    expect_near("fit square", dim, static_cast<double>(sums.square), square, square * rounding);
}

void check_residual(int64_t dim) {
    auto* t = static_cast<double*>(guarded(0, static_cast<size_t>(dim) * 8));
    auto* codes = static_cast<int8_t*>(guarded(1, static_cast<size_t>(dim)));
    const double scale = random_in(1, 1000) / 77777.0;
    long double want = 0;
    for (int64_t d = 0; d < dim; ++d) {
        t[d] = random_in(-3000, 3000) / 1000.0;
        codes[d] = static_cast<int8_t>(random_in(-127, 127));
        const long double off = t[d] - static_cast<long double>(scale) * codes[d];
        want += off * off;
    }
    const auto square = static_cast<double>(want);
    expect_near("residual_square", dim, kernels().codes.residual_square(t, codes, dim, scale), square,
                square * static_cast<double>(dim + 8) * 0x1p-50);
}

// x = center + scale * codes + a residual no longer than `error`, whatever the codes are.
void check_encoded(const Operand& x, Metric metric, bool nibbles) {
    const int64_t n = x.rows.n, dim = x.rows.dim, bytes = nibbles ? (dim + 1) / 2 : dim, stride = bytes + 3;
    const bool distance = metric == Metric::l2;
    auto* codes = static_cast<char*>(guarded(3, static_cast<size_t>(stride * (n - 1) + bytes)));
    std::vector<float> center(static_cast<size_t>(dim)), scale(static_cast<size_t>(n)), error(scale), norm(scale), bias(scale);
    code_center(x.rows, metric, center.data());
    encode(x.rows, metric, 2, nullptr,
           {codes, stride, nibbles, scale.data(), error.data(), norm.data(), distance ? bias.data() : nullptr, center.data()});
    const int most = nibbles ? 7 : 127;
    for (int64_t i = 0; i < n; ++i) {
        const auto at = static_cast<size_t>(i);
        const auto* row = reinterpret_cast<const uint8_t*>(codes + i * stride);
        double length = 1, residual = 0, own = 0, square = 0, largest = 0;
        if (metric == Metric::cosine) {
            length = 0;
            for (int64_t d = 0; d < dim; ++d) length += x.value(i)[d] * x.value(i)[d];
            length = length > 0 ? std::sqrt(length) : 1;
        }
        for (int64_t d = 0; d < dim; ++d) {
            const int code = nibbles ? (row[d / 2] >> 4 * (d % 2) & 15) - 8 : static_cast<int8_t>(row[d]);
            expect("a code's size", dim, code >= -most && code <= most, true);
            const double t =
                static_cast<double>(static_cast<float>(x.value(i)[d])) / length - static_cast<double>(center[static_cast<size_t>(d)]);
            const double y = static_cast<double>(scale[at]) * code;
            residual += (t - y) * (t - y), own += y * y, square += t * t, largest = std::fmax(largest, std::fabs(t));
        }
        if (std::isnan(error[at])) {  // a row that lies too near the center is left to its canonical score
            expect("no codes", dim, std::isnan(scale[at]) && largest <= 0x1p-40, true);
            continue;
        }
        expect("the residual's bound", dim, std::sqrt(residual) <= static_cast<double>(error[at]) * (1 + 0x1p-40), true);
        expect("the residual's bound is near", dim, static_cast<double>(error[at]) <= std::sqrt(residual) * (1 + 0x1p-16) + 1e-9, true);
        expect("the codes' norm", dim, std::sqrt(own) <= static_cast<double>(norm[at]), true);
        expect("the codes' norm is near", dim, static_cast<double>(norm[at]) <= std::sqrt(own) * (1 + 0x1p-16), true);
        // A step of the codes is at most what the largest element needs, and no element is off by more than clipping allows.
        expect("codes fit", dim, residual <= square * (nibbles ? 0.25 : 0.001) + 1e-12, true);
        if (distance) expect_near("bias", dim, static_cast<double>(bias[at]), -square / 2, square * 0x1p-24);
    }
}

// Codes made as a scan comes to the rows: each is the nearest, and what is said of them holds.
void check_fresh(int64_t dim) {
    constexpr int64_t n = 5;  // zeros, tiny and huge elements among them
    const int64_t stride = dim * 4 + 12, ld = dim + 3;
    auto* rows = static_cast<char*>(guarded(0, static_cast<size_t>(stride * (n - 1) + dim * 4)));
    auto* codes = static_cast<int8_t*>(guarded(1, static_cast<size_t>(ld * (n - 1) + dim)));
    constexpr float sizes[n] = {1.0f, 0.0f, 0x1p-101f, 0x1p120f, 0x1p-20f};
    const auto row = [&](int64_t i) { return reinterpret_cast<float*>(rows + i * stride); };
    for (int64_t i = 0; i < n; ++i)
        for (int64_t d = 0; d < dim; ++d) row(i)[d] = sizes[i] * static_cast<float>(random_in(1, 3000) * (random_in(0, 1) * 2 - 1)) / 3000;
    float scale[n], square[n], residual[n];
    kernels().codes.freshen(rows, stride, n, dim, codes, ld, scale, square, residual);
    for (int64_t i = 0; i < n; ++i) {
        double own = 0, rest = 0, most = 0;
        for (int64_t d = 0; d < dim; ++d) {
            const double size = std::fabs(static_cast<double>(row(i)[d]));
            if (size > most) most = size;
        }
        const bool serves = most >= 0x1p-100 && most <= 0x1p100;
        expect("whether a scale serves", dim, std::isnan(scale[i]), !serves && most > 0);
        if (!serves) {
            if (most == 0) expect("the scale of zeros", dim, scale[i] == 0 && square[i] == 0 && residual[i] == 0, true);
            continue;
        }
        expect_near("fresh scale", dim, static_cast<double>(scale[i]), most / 127, most * 0x1p-23);
        for (int64_t d = 0; d < dim; ++d) {
            const double value = static_cast<double>(row(i)[d]), code = codes[i * ld + d],
                         off = value - static_cast<double>(scale[i]) * code;
            expect("a fresh code is the nearest", dim, std::fabs(off) <= static_cast<double>(scale[i]) * (0.5 + 0x1p-15), true);
            own += value * value, rest += off * off;
        }
        const double rounding = static_cast<double>(dim + 32) * 0x1p-24;
        expect_near("fresh square", dim, static_cast<double>(square[i]), own, own * rounding);
        expect_near("fresh residual", dim, static_cast<double>(residual[i]), rest,
                    rest * rounding + 2 * std::sqrt(rest * own) * 0x1p-24 + own * 0x1p-44);
    }
}

}  // namespace

void check_coded() {
    for (int64_t dim = 1; dim <= 130; ++dim) {
        check_fit(dim, 127);
        check_fit(dim, 7);
        check_residual(dim);
        check_fresh(dim);
        for (const Kind kind : {Kind::f32, Kind::f16, Kind::f64}) {
            const Operand x(kind, 5, dim, 2);
            for (const Metric metric : {Metric::cosine, Metric::l2, Metric::ip})
                for (const bool nibbles : {true, false}) check_encoded(x, metric, nibbles);
        }
    }
}

}  // namespace test
}  // namespace fec

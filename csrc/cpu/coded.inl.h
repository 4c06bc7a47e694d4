// Fitting codes to a row: what encode() does to each.
#include "coded.h"

namespace {

// codes = rint(t * inverse) clipped to +-levels. Returns sums of t * code and code * code, which say how well the codes fit.
fec::FitSums fit_codes(const float* t, int64_t dim, float inverse, float levels, int8_t* codes) {
    using namespace simd;
    const F top = set1(levels), bottom = set1(-levels), factor = set1(inverse);
    F product = zero(), square = zero();
    int64_t d = 0;
    const auto step = [&](F v) {
        const F c = max(min(round_even(mul(v, factor)), top), bottom);
        product = fma(v, c, product);
        square = fma(c, c, square);
        return c;
    };
    for (; d + W <= dim; d += W) narrow(codes + d, step(load(t + d)));
    if (d < dim) narrow_n(codes + d, step(widen_n(t + d, dim - d)), dim - d);
    return {sum(product), sum(square)};
}

// The square of |t - scale * codes| in float64.
double residual_square(const double* t, const int8_t* codes, int64_t dim, double scale) {
    using namespace simd;
    const D factor = dset1(scale);
    D total = dzero();
    int64_t d = 0;
    for (; d + 8 <= dim; d += 8) {
        const D off = dsub(dload(t + d), dmul(factor, dwiden(codes + d)));
        total = dadd(total, dmul(off, off));
    }
    double lanes[8], out = 0;
    dstore(lanes, total);
    for (const double lane : lanes) out += lane;
    for (; d < dim; ++d) out += (t[d] - scale * codes[d]) * (t[d] - scale * codes[d]);
    return out;
}

// A row is measured while the one before it is coded: so its lines are asked for all the time, not every other moment.
void freshen(const char* rows, int64_t stride, int64_t n, int64_t dim, int8_t* codes, int64_t ld, float* scale, float* square,
             float* residual) {
    using namespace simd;
    F most = zero(), own = zero();
    const auto measure = [&](F v) __attribute__((always_inline)) {
        most = max(abs(v), most);
        own = fma(v, v, own);
    };
    const auto row = [&](int64_t r) { return reinterpret_cast<const float*>(rows + r * stride); };
    const auto each = [&](auto visit) __attribute__((always_inline)) {
        int64_t i = 0;
        for (; i + W <= dim; i += W) visit([=](const float* p) { return load(p + i); }, i, W);
        if (i < dim) visit([=](const float* p) { return widen_n(p + i, dim - i); }, i, dim - i);
    };
    each([&](auto part, int64_t, int64_t) { measure(part(row(0))); });
    for (int64_t r = 0; r < n; ++r, codes += ld) {
        const float largest = max_of(most);
        const bool serves = largest >= 0x1p-100f && largest <= 0x1p100f;
        const F inverse = set1(serves ? 127 / largest : 0.0f), step = set1(serves ? -largest / 127 : 0.0f);
        scale[r] = serves ? largest / 127 : largest > 0 ? __builtin_nanf("") : 0.0f;
        square[r] = sum(own);
        most = own = zero();
        F off = zero();
        const float *p = row(r), *next = row(r + 1 < n ? r + 1 : r);
        each([&](auto part, int64_t at, int64_t left) __attribute__((always_inline)) {
            F v = part(p);
            keep(v);
            const F code = round_even(mul(v, inverse)), rest = fma(step, code, v);
            measure(part(next));
            off = fma(rest, rest, off);
            if (left == W)
                narrow(codes + at, code);
            else
                narrow_n(codes + at, code, left);
        });
        residual[r] = sum(off);
    }
}

const fec::CodeKernels code_kernels = {fit_codes, residual_square, freshen};

}  // namespace

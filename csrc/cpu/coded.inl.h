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

// visit(vector, position, accumulator) over a row, four chains side by side.
template <class Visit>
inline __attribute__((always_inline)) void over_row(const float* p, int64_t dim, Visit visit) {
    using namespace simd;
    int64_t i = 0;
    for (; i + 4 * W <= dim; i += 4 * W)
        for (int u = 0; u < 4; ++u) visit(load(p + i + u * W), i + u * W, u, W);
    for (; i < dim; i += W) {
        const int64_t left = dim - i;
        if (left < W)
            visit(widen_n(p + i, left), i, 0, left);
        else
            visit(load(p + i), i, 0, W);
    }
}

void freshen(const char* rows, int64_t stride, int64_t n, int64_t dim, int8_t* codes, int64_t ld, float* scale, float* square,
             float* residual) {
    using namespace simd;
    for (int64_t r = 0; r < n; ++r, codes += ld) {
        const float* p = reinterpret_cast<const float*>(rows + r * stride);
        F most[4], own[4], off[4];
        for (int u = 0; u < 4; ++u) most[u] = own[u] = off[u] = zero();
        over_row(p, dim, [&](F v, int64_t, int u, int64_t) {
            most[u] = max(abs(v), most[u]);
            own[u] = fma(v, v, own[u]);
        });
        const float largest = max_of(max(max(most[0], most[1]), max(most[2], most[3])));
        const bool serves = largest >= 0x1p-100f && largest <= 0x1p100f;
        const F inverse = set1(serves ? 127 / largest : 0.0f), step = set1(serves ? -largest / 127 : 0.0f);
        over_row(p, dim, [&](F v, int64_t at, int u, int64_t left) {
            const F code = round_even(mul(v, inverse)), rest = fma(step, code, v);
            off[u] = fma(rest, rest, off[u]);
            if (left == W)
                narrow(codes + at, code);
            else
                narrow_n(codes + at, code, left);
        });
        scale[r] = serves ? largest / 127 : largest > 0 ? __builtin_nanf("") : 0.0f;
        square[r] = sum(add(add(own[0], own[1]), add(own[2], own[3])));
        residual[r] = sum(add(add(off[0], off[1]), add(off[2], off[3])));
    }
}

const fec::CodeKernels code_kernels = {fit_codes, residual_square, freshen};

}  // namespace

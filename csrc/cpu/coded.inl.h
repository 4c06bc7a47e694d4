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

const fec::CodeKernels code_kernels = {fit_codes, residual_square};

}  // namespace

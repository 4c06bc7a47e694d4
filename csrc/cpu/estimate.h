// What a scan's estimate of a score says about the canonical one: the error bounds of SEMANTICS section 5.
//
// Estimates are larger-is-better numbers in units of their own (ip as it is; cosine times the query's norm; distances
// negated). Let u = 2^-24, a the query's norm, r a row's reach (its norm times its scale; 1 under cosine):
//
//   dot       |estimate - true| <= g a r, g = (summation depth + the norm's own error) u, inflated for the rounding of the
//             bound itself, plus 2^-22 for the two roundings to float32 at the end. A row or query whose squared norm leaves
//             [2^-100, 2^100] gets no estimate at all (NaN), so that neither overflow nor underflow enters the bound.
//   squared   estimate = -s, s = sum (q - x)^2 by differences: every term is rounded a few times, so the error is g s; codes scaled
//             to float32 first are off by u |x| an element, so with b = 2u(a + r) the true root lies within b of the computed one.
//   integers  exact while sums stay below 2^24, otherwise the rounding to float32: 2^-22 a r, or 2^-20 (a + r)^2 for distances.
//   jaccard   from the exact Hamming distance h and the counts of set bits a, b: 2h / (a + b + h).
#pragma once
#include <cmath>
#include <cstdint>

#include "search.h"

namespace fec {

constexpr float kUnbounded = INFINITY;

struct Bounds {
    float lower, upper;
};

class Estimate {
public:
    enum class Error { dot, squared, integer_squared, none, jaccard };

    Estimate(const Pair& pair, int64_t depth) {
        const double u = 0x1p-24, dim = static_cast<double>(pair.q.dim);
        const double largest = pair.q.kind == Kind::u8 ? 255.0 : 128.0, sum = dim * largest * largest;
        floor_ = 1e-40;
        if (pair.form == Form::bits) {
            error = pair.metric == Metric::jaccard ? Error::jaccard : Error::none;
        } else if (pair.metric == Metric::l2 || pair.metric == Metric::sqeuclidean) {
            const bool integers = pair.form == Form::ints;
            error = !integers ? Error::squared : pair.metric == Metric::sqeuclidean && sum <= 0x1p22 ? Error::none : Error::integer_squared;
            gamma_ = integers ? 0x1p-20 : 1.02 * (static_cast<double>(depth) + 16) * u + 0x1p-21;
            inexact_ = pair.form == Form::rows || pair.x.scale ? 8 * u : 0.0;
        } else {
            const bool floats = pair.form == Form::floats;
            error = pair.form == Form::ints && pair.metric == Metric::ip && sum <= 0x1p24 ? Error::none : Error::dot;
            gamma_ = 0x1p-20 + (floats ? 1.02 * (2 * static_cast<double>(depth) + dim / 16 + 32) * u : 0.0);
        }
    }

    Error error;

    bool exact() const { return error == Error::none; }

    // Bounds of the canonical score in the estimate's units. NaN (no estimate) bounds nothing. reach2 is jaccard's b.
    Bounds bounds(float estimate, double a, double r) const {
        if (!(std::fabs(estimate) < 0x1p120f)) return {-kUnbounded, kUnbounded};
        const double e = estimate;
        if (error == Error::none) return {estimate, estimate};
        if (error == Error::squared) {
            const double root = std::sqrt(-e), b = 4 * inexact_ * (a + r);
            const double low = root > b ? root - b : 0.0;
            return {static_cast<float>(-(root + b) * (root + b) * (1 + gamma_) - floor_),
                    static_cast<float>(-low * low * (1 - gamma_) + floor_)};
        }
        if (error == Error::jaccard) {
            const double either = a + r - e, distance = either > 0 ? -2 * e / either : 0.0;
            return {static_cast<float>(-distance * (1 + 0x1p-22)), static_cast<float>(-distance * (1 - 0x1p-22))};
        }
        const double slack = error == Error::dot ? gamma_ * a * r + floor_ : gamma_ * (a + r) * (a + r);
        return {static_cast<float>(e - slack), static_cast<float>(e + slack)};
    }

    // The lowest estimate that a row of reach <= r may have and still not lie below `threshold`, the k-th best lower bound.
    float lowest(float threshold, double a, double r) const {
        if (!(threshold > -kUnbounded)) return -kUnbounded;
        const double t = threshold;
        if (error == Error::none) return threshold;
        if (error == Error::squared) {
            const double root = std::sqrt(t < 0 ? -t : 0.0) + 4 * inexact_ * (a + r);
            return static_cast<float>(-(root * root) / (1 - gamma_) * (1 + 0x1p-20) - 2 * floor_);
        }
        if (error == Error::jaccard) {  // 2h / (a + b + h) <= d means h <= d (a + b) / (2 - d)
            const double d = -t * (1 + 0x1p-20);
            return d >= 1 ? -kUnbounded : static_cast<float>(-d * (a + r) / (2 - d) * (1 + 0x1p-20));
        }
        const double slack = error == Error::dot ? gamma_ * a * r + floor_ : gamma_ * (a + r) * (a + r);
        return static_cast<float>(t - slack - std::fabs(t) * 0x1p-22);
    }

private:
    double gamma_ = 0.0, inexact_ = 0.0, floor_ = 0.0;
};

}  // namespace fec

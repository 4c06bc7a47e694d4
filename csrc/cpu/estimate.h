// What a scan's estimate of a score says about the canonical one: the error bounds of SEMANTICS section 5.
//
// A kernel's estimate e is a larger-is-better number; v = e * unit + shift is the inner product it stands for (or a distance's
// square, negated), and bounds of v become bounds of the score: divided by the query's length under cosine, distances negated.
// All bounds are of the score itself, whatever kind of scan gave them, rounded to float32 as canonical scores are: rounding keeps
// order, so comparing with canonical scores is safe. Let u = 2^-24, a the query's norm, r a row's reach (its norm times its
// scale; 1 under cosine):
//
//   dot       |v - true| <= g a r, and |p - p'| r where p is scanned as bfloat16 p', and 2^-8 |p'| r where rows are, too;
//             g = (summation depth + the norm's own error) u, inflated for the rounding of the bound itself.
//             A row or query whose squared norm leaves [2^-100, 2^100] gets no estimate at all (NaN), so that neither overflow
//             nor underflow enters the bound.
//   squared   v = 2 q.x - |q|^2 - |x|^2, of operands centred first where they lie far from the origin: no more than g (a + r)^2
//             for the three sums, and for the rounding of the operands themselves (scaled or centred, u an element).
//   integers  exact while sums stay below 2^24, otherwise the rounding to float32: 2^-20 a r, or 2^-20 (a + r)^2 for distances.
//   coded     x = center + y + residual, y = scale * codes (under cosine x / |x|). With p the query (less the center for
//             distances) scanned as p', p.x = p.center + p'.y + (p - p').y + p.residual: by Cauchy-Schwarz off by no more than
//             |p| |residual| + |p - p'| |y|, plus 2^-20 |p| |y| for float32 and the float64 terms of everything stored,
//             or float32 terms where codes are fresh.
//   jaccard   from the exact Hamming distance h and the counts of set bits a, b: 2h / (a + b + h).
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>

#include "dispatch.h"
#include "search.h"

namespace fec {

constexpr float kUnbounded = INFINITY;

struct Bounds {
    float lower, upper;
};

// What a query brings to its bounds; norms are rounded up.
struct QueryNorms {
    double norm = 0;      // |q|, of its codes for scaled codes; |p| in coded scans; set bits under jaccard
    double length = 1;    // what turns v into a cosine: sqrt(q.q) as exact as float64 is
    double residual = 0;  // |p - p'| where a query is scanned as p'
    double unit = 1, shift = 0;
};

// What a row brings: `norm` only in coded scans, |y|.
struct RowNorms {
    double reach, norm;
};

class Estimate {
public:
    enum class Error { dot, squared, none, jaccard, coded };

    Error error;

    Estimate(const Pair& pair, const Coded* coded) : metric_(pair.metric) {
        const double u = 0x1p-24, dim = static_cast<double>(pair.q.dim);
        // Of a tile's sums, or of those of a walk by rows, which are a vector wide.
        const double depth = std::max((dim < 512 ? dim : 512) + dim / 512, dim / kernels().search.width);
        const double largest = pair.q.kind == Kind::u8 ? 255.0 : 128.0, sum = dim * largest * largest;
        const bool squared = pair.distance();
        if (coded) {
            error = Error::coded;
            gamma_ = coded->fresh ? 1.02 * (dim / kernels().search.width + 32) * u : (dim + 64) * 0x1p-50;
            double square = 0;
            for (int64_t d = 0; coded->center && !coded->fresh && d < pair.q.dim; ++d)
                square += static_cast<double>(coded->center[d]) * coded->center[d];
            center_ = std::sqrt(square) * (1 + 0x1p-20);
        } else if (pair.form == Form::bits) {
            error = pair.metric == Metric::jaccard ? Error::jaccard : Error::none;
        } else if (squared) {
            error = pair.form == Form::ints && pair.metric == Metric::sqeuclidean && sum <= 0x1p22 ? Error::none : Error::squared;
            gamma_ = 0x1p-19 + (pair.form == Form::ints ? 0.0 : 1.02 * (depth + dim / 32 + 32) * u);
        } else {
            error = pair.form == Form::ints && pair.metric == Metric::ip && sum <= 0x1p24 ? Error::none : Error::dot;
            gamma_ = 0x1p-20 + (pair.form == Form::floats ? 1.02 * (2 * depth + dim / 16 + 32) * u : 0.0);
        }
    }

    bool exact() const { return error == Error::none; }

    Bounds bounds(float estimate, const QueryNorms& q, RowNorms x) const {
        if (!(std::fabs(estimate) < 0x1p120f)) return {-kUnbounded, kUnbounded};
        const double v = estimate * q.unit + q.shift;
        if (error == Error::none) return {static_cast<float>(v), static_cast<float>(v)};
        if (error == Error::jaccard) {
            const double either = q.norm + x.reach - v, distance = either > 0 ? -2 * v / either : 0.0;
            return {static_cast<float>(-distance * (1 + 0x1p-22)), static_cast<float>(-distance * (1 - 0x1p-22))};
        }
        const double e = slack(q, x);
        return {score(v - e, q), score(v + e, q)};
    }

    // The lowest estimate that a row of at most these norms may have and still not score below `threshold`.
    float lowest(float threshold, const QueryNorms& q, RowNorms x) const {
        if (!(threshold > -kUnbounded)) return -kUnbounded;
        double t = threshold;
        if (error == Error::none) return static_cast<float>((t - q.shift) / q.unit);
        t -= std::fabs(t) * 0x1p-22;  // what rounds up to the threshold
        if (error == Error::jaccard) {  // 2h / (a + b + h) <= d means h <= d (a + b) / (2 - d)
            const double d = -t * (1 + 0x1p-20);
            return d >= 1 ? -kUnbounded : static_cast<float>(-d * (q.norm + x.reach) / (2 - d) * (1 + 0x1p-20));
        }
        if (metric_ == Metric::cosine) t *= q.length;
        if (metric_ == Metric::l2) t = -t * t;
        t = (t - slack(q, x) - q.shift) / q.unit;
        return static_cast<float>(t - std::fabs(t) * 0x1p-22);
    }

private:
    static constexpr double kFloor = 1e-40;  // float32 sums may have lost subnormal bits

    // How far v may lie from the true value.
    double slack(const QueryNorms& q, RowNorms x) const {
        if (error == Error::dot) return ((gamma_ * q.norm + q.residual) * x.reach + kFloor) * std::fabs(q.unit);
        if (error == Error::squared) return gamma_ * (q.norm + x.reach) * (q.norm + x.reach) + 2 * q.residual * x.reach + 4 * kFloor;
        const double t = x.reach + x.norm, row = center_ + t, whole = q.norm + row;
        const double off = q.norm * x.reach + (q.residual + 0x1p-20 * q.norm) * x.norm;
        if (metric_ == Metric::ip || metric_ == Metric::cosine) return off + gamma_ * q.norm * row + kFloor * (1 + q.unit);
        return 2 * off + 0x1p-20 * t * t + gamma_ * (whole + center_) * (whole + center_) + kFloor * (1 + q.unit);
    }

    float score(double v, const QueryNorms& q) const {
        if (metric_ == Metric::cosine) return static_cast<float>(v / q.length);
        if (metric_ == Metric::l2) return static_cast<float>(v < 0 ? -std::sqrt(-v) : 0.0);
        if (metric_ == Metric::sqeuclidean) return static_cast<float>(v < 0 ? v : 0.0);
        return static_cast<float>(v);
    }

    Metric metric_;
    double gamma_ = 0.0, center_ = 0.0;
};

}  // namespace fec

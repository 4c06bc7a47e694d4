// Products of float queries with single rows, as float32 sums: up to eight queries with all rows in order, and pairs of any.
#pragma once
#include "rowwise.inl.h"

namespace {

// Sums of a row's products with NQ queries, and of its squares, in the lanes of vectors.
template <class T, int NQ>
inline __attribute__((always_inline)) void dot_walk(const float* q, int64_t ldq, const char* row, int64_t dim, int64_t ahead, simd::F* dots,
                                                    simd::F& own) {
    using namespace simd;
    constexpr int U = NQ == 1 ? 4 : NQ == 2 ? 2 : 1;  // independent chains enough to hide the latency of fma
    F acc[NQ][U], square[U];
    for (int u = 0; u < U; ++u) {
        square[u] = zero();
        for (int j = 0; j < NQ; ++j) acc[j][u] = zero();
    }
    const auto add_products = [&](F v, int64_t i, int u) {
        square[u] = fma(v, v, square[u]);
        // q is zero-padded to whole vectors.
        for (int j = 0; NQ <= fec::kMostApart && j < NQ; ++j) acc[j][u] = fma(v, load(q + j * ldq + i), acc[j][u]);
        for (int j = 0; NQ > fec::kMostApart && j < NQ; j += 2) {
            const I both = iload(reinterpret_cast<const int32_t*>(q + j / 2 * ldq + i));
            acc[j][u] = fma(v, upper(both), acc[j][u]);
            if (j + 1 < NQ) acc[j + 1][u] = fma(v, lower(both), acc[j + 1][u]);
        }
    };
    const T* p = reinterpret_cast<const T*>(row);
    int64_t i = 0;
    for (; i + U * W <= dim; i += U * W)
        for (int u = 0; u < U; ++u) {
            rows::prefetch(p + i + u * W, ahead);
            add_products(widen(p + i + u * W), i + u * W, u);
        }
    for (; i < dim; i += W) add_products(dim - i < W ? widen_n(p + i, dim - i) : widen(p + i), i, 0);
    for (int u = 1; u < U; ++u) {
        square[0] = add(square[0], square[u]);
        for (int j = 0; j < NQ; ++j) acc[j][0] = add(acc[j][0], acc[j][u]);
    }
    own = square[0];
    for (int j = 0; j < NQ; ++j) dots[j * W] = acc[j][0];
}

template <class T, bool Centered>
inline void dot_pairs_as(const float* const* q, const Rows& x, const int64_t* ids, int64_t n, const float* center, float* out) {
    using namespace simd;
    constexpr int U = 4;
    for (int64_t r = 0; r < n; r += W) {
        const int here = static_cast<int>(n - r < W ? n - r : W);
        F dots[W];
        for (int j = here; j < W; ++j) dots[j] = zero();
        for (int j = 0; j < here; ++j) {
            const float* own = q[r + j];
            const T* row = reinterpret_cast<const T*>(x.row(ids[r + j]));
            F acc[U] = {zero(), zero(), zero(), zero()};
            const auto add_products = [&](F v, int64_t i, int64_t left, int u) {
                if (Centered) v = sub(v, left < W ? widen_n(center + i, left) : load(center + i));
                acc[u] = fma(v, load(own + i), acc[u]);  // q is zero-padded to whole vectors
            };
            int64_t i = 0;
            for (; i + U * W <= x.dim; i += U * W)
                for (int u = 0; u < U; ++u) add_products(widen(row + i + u * W), i + u * W, W, u);
            for (; i < x.dim; i += W) add_products(x.dim - i < W ? widen_n(row + i, x.dim - i) : widen(row + i), i, x.dim - i, 0);
            dots[j] = add(add(acc[0], acc[1]), add(acc[2], acc[3]));
        }
        narrow_first(out + r, sum_each(dots), here);
    }
}

void dot_pairs(const float* const* q, const Rows& x, const int64_t* ids, int64_t n, const float* center, float* out) {
    with_type(x.kind, [&](auto* tag) {
        using Value = typename Unqualified<decltype(tag)>::type;
        if (center)
            dot_pairs_as<Value, true>(q, x, ids, n, center, out);
        else
            dot_pairs_as<Value, false>(q, x, ids, n, center, out);
    });
}

// One row after the other: two rows at once, though they would share the loads of the queries,
// took a quarter longer, for the more there is to do between two lines, the fewer are on their way. W rows' lanes are summed together.
template <class T, int NQ>
inline void dot_rows_as(const float* q, int64_t ldq, const Rows& x, const int64_t* ids, int64_t first, int64_t n, float* out,
                        float* squares) {
    using namespace simd;
    F dots[NQ * W], own[W];
    const int64_t ahead = fec::fetched_ahead(kAhead);
    for (int64_t r = 0; r < n; r += W) {
        const int here = static_cast<int>(n - r < W ? n - r : W);
        for (int at = 0; at < here; ++at) dot_walk<T, NQ>(q, ldq, row_at(x, ids, first, r + at), x.dim, ahead, dots + at, own[at]);
        for (int j = 0; j < NQ; ++j) narrow_first(out + j * n + r, sum_each(dots + j * W), here);
        narrow_first(squares + r, sum_each(own), here);
    }
}

void dot_rows(const float* q, int nq, int64_t ldq, const Rows& x, const int64_t* ids, int64_t first, int64_t n, float* out,
              float* squares) {
    with_type(x.kind, [&](auto* tag) {
        using Value = typename Unqualified<decltype(tag)>::type;
        switch (nq) {
            case 1:
                return dot_rows_as<Value, 1>(q, ldq, x, ids, first, n, out, squares);
            case 2:
                return dot_rows_as<Value, 2>(q, ldq, x, ids, first, n, out, squares);
            case 3:
                return dot_rows_as<Value, 3>(q, ldq, x, ids, first, n, out, squares);
            case 4:
                return dot_rows_as<Value, 4>(q, ldq, x, ids, first, n, out, squares);
            case 5:
                return dot_rows_as<Value, 5>(q, ldq, x, ids, first, n, out, squares);
            case 6:
                return dot_rows_as<Value, 6>(q, ldq, x, ids, first, n, out, squares);
            case 7:
                return dot_rows_as<Value, 7>(q, ldq, x, ids, first, n, out, squares);
            default:
                return dot_rows_as<Value, 8>(q, ldq, x, ids, first, n, out, squares);
        }
    });
}

}  // namespace

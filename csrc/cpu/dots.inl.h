// Products of float queries with single rows, as float32 sums: a few queries with all rows in order, and pairs of any.
#pragma once
#include "rowwise.inl.h"

namespace {

template <int N>
struct Count {
    static constexpr int value = N;
};

constexpr int most_apart = simd::halves_floats ? 1 : 4, most_by_rows = simd::halves_floats ? 16 : 8;

// Sums of a row's products with NQ queries, and of its squares, in the lanes of vectors.
template <class T, int NQ>
inline __attribute__((always_inline)) void float_walk(const float* q, int64_t ldq, const char* row, int64_t dim, int64_t ahead,
                                                      simd::F* dots, simd::F& own) {
    using namespace simd;
    constexpr int U = NQ == 1 ? 4 : NQ == 2 ? 2 : 1;  // independent chains enough to hide the latency of fma
    F acc[NQ][U], square[U];
    for (int u = 0; u < U; ++u) {
        square[u] = zero();
        for (int j = 0; j < NQ; ++j) acc[j][u] = zero();
    }
    const auto add_products = [&](F v, int64_t i, int u) {
        square[u] = fma(v, v, square[u]);
        for (int j = 0; j < NQ; ++j) acc[j][u] = fma(v, load(q + j * ldq + i), acc[j][u]);  // q is zero-padded to whole vectors
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

// The same with queries as bfloat16. Their words are a second stream, which keeps the prefetcher from the rows' when it is long: then
// rows are asked for far ahead.
template <class T, int NQ>
inline __attribute__((always_inline)) void half_walk(const uint32_t* q, const char* row, int64_t dim, int64_t ahead, simd::F* dots,
                                                     simd::F& own) {
    using namespace simd;
    F acc[NQ], square[2] = {zero(), zero()};
    for (int j = 0; j < NQ; ++j) acc[j] = zero();
    const auto add_products = [&](F first, F second) {
        const Halves both = halve(first, second);
        square[0] = fma(first, first, square[0]);
        square[1] = fma(second, second, square[1]);
        for (int j = 0; j < NQ; ++j, q += W) acc[j] = dot_halves(acc[j], both, iload(reinterpret_cast<const int32_t*>(q)));
    };
    const T* p = reinterpret_cast<const T*>(row);
    int64_t i = 0;
    for (; i + 2 * W <= dim; i += 2 * W) {
        for (int64_t line = 0; ahead && line < static_cast<int64_t>(2 * W * sizeof(T)); line += 64)
            prefetch_second(reinterpret_cast<const char*>(p + i) + ahead + line);
        add_products(widen(p + i), widen(p + i + W));
    }
    if (i < dim) {
        const int64_t left = dim - i;
        add_products(left < W ? widen_n(p + i, left) : widen(p + i), left > W ? widen_n(p + i + W, left - W) : zero());
    }
    own = add(square[0], square[1]);
    for (int j = 0; j < NQ; ++j) dots[j * W] = acc[j];
}

double halve_query(const float* q, int64_t dim, int64_t step, uint32_t* words) {
    using simd::W;
    double square = 0;
    for (int64_t i = 0; i < dim; i += 2 * W, words += step) {
        const int64_t here = dim - i < 2 * W ? dim - i : 2 * W;
        float own[2 * W] = {}, taken[2 * W];
        __builtin_memcpy(own, q + i, here * sizeof(float));
        simd::to_halves(own, words, taken);
        for (int64_t l = 0; l < here; ++l) {
            const double off = static_cast<double>(own[l]) - static_cast<double>(taken[l]);
            square += off * off;
        }
    }
    return __builtin_sqrt(square);
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
template <class T, int NQ, bool Halved>
inline void dot_rows_as(const float* q, int nq, int64_t ldq, const Rows& x, const int64_t* ids, int64_t first, int64_t n, float* out,
                        float* squares) {
    using namespace simd;
    constexpr int kFar = 6;  // queries whose words are many enough
    F dots[NQ * W], own[W];
    const int64_t ahead = !Halved ? fec::fetched_ahead(kAhead) : NQ >= kFar && !ids ? 4 * kAhead : 0;
    for (int64_t r = 0; r < n; r += W) {
        const int here = static_cast<int>(n - r < W ? n - r : W);
        for (int at = 0; at < here; ++at) {
            const char* row = row_at(x, ids, first, r + at);
            if constexpr (Halved)
                half_walk<T, NQ>(reinterpret_cast<const uint32_t*>(q), row, x.dim, ahead, dots + at, own[at]);
            else
                float_walk<T, NQ>(q, ldq, row, x.dim, ahead, dots + at, own[at]);
        }
        for (int j = 0; j < nq; ++j) narrow_first(out + j * n + r, sum_each(dots + j * W), here);
        narrow_first(squares + r, sum_each(own), here);
    }
}

void dot_rows(const float* q, int nq, int64_t ldq, const Rows& x, const int64_t* ids, int64_t first, int64_t n, float* out,
              float* squares) {
    with_type(x.kind, [&](auto* tag) {
        using Value = typename Unqualified<decltype(tag)>::type;
        const auto walk = [&](auto count) {
            constexpr int NQ = decltype(count)::value;
            if constexpr (NQ <= most_by_rows) dot_rows_as<Value, NQ, (NQ > most_apart)>(q, nq, ldq, x, ids, first, n, out, squares);
        };
        switch (nq <= most_apart ? nq : fec::padded_queries(nq)) {
            case 1:
                return walk(Count<1>{});
            case 2:
                return walk(Count<2>{});
            case 3:
                return walk(Count<3>{});
            case 4:
                return walk(Count<4>{});
            case 6:
                return walk(Count<6>{});
            case 8:
                return walk(Count<8>{});
            case 12:
                return walk(Count<12>{});
            default:
                return walk(Count<16>{});
        }
    });
}

}  // namespace

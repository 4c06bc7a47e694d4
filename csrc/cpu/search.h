// Exact search: scan (estimate every score, with a proven bound), certify (drop what provably cannot be returned), rescore
// (canonical scores of the survivors). Declared here: the kernels each instruction set provides, and the drivers.
#pragma once
#include <stdint.h>

#include "../core/types.h"

namespace fec {

enum class Metric : int { cosine, ip, l2, sqeuclidean, hamming, jaccard };

// The arithmetic of a pair: float x anything, integers on both sides, scaled codes on both sides, bits on both sides.
enum class Form : int { floats, ints, rows, bits };

// What the canonical kernel sums for each row: q.x; q.x and x.x; |q - scale * x|^2.
enum class Sums : int { dot, dot_and_norm, squared };

constexpr int kFew = 4;  // queries whose rows are read across, a lane each: see dot_few

// Queries that a walk by rows takes for n of them whose elements share words; those added are zeros.
inline __attribute__((always_inline)) int64_t padded_queries(int64_t n) { return n <= 4 ? n : n <= 8 ? (n + 1) / 2 * 2 : (n + 3) / 4 * 4; }

// A score that passed its query's threshold.
struct Hit {
    float estimate;
    int32_t row;   // within the block
    int32_t lane;  // query within the panel
};

// Rows to bring into the cache while a tile works: one for each of the tile's own, 2^-shift bytes for each byte of those. Larger
// ones (a negative shift) come in the order they lie in, and no nearer than the second level: the first has no room for them.
struct Ahead {
    const char* rows = nullptr;  // null for none
    int64_t stride = 0;
    int shift = 0;

    // Bytes of the tile's own rows for a cache line of these, less one.
    __attribute__((always_inline)) int64_t line() const { return (shift < 0 ? 64 >> -shift : int64_t{64} << shift) - 1; }
    template <int R>
    __attribute__((always_inline)) void fetch(int64_t k) const {
        if (shift < 0)
            for (int r = 0; r < R; ++r) __builtin_prefetch(rows + (k << -shift) * R + r * 64, 0, 2);
        else
            for (int r = 0; r < R; ++r) __builtin_prefetch(rows + r * stride + (k >> shift), 0, 3);
    }

    __attribute__((always_inline)) Ahead from(int64_t row) const { return {rows ? rows + row * stride : nullptr, stride, shift}; }
};

// Queries are packed once into panels: `vectors` SIMD vectors of queries, for each element (or group of elements) in turn.
// A tile kernel multiplies a panel with n rows of a corpus block and writes out[row * vectors * W + lane].
struct SearchKernels {
    int width;         // queries a vector holds, W
    int tile_vectors;  // vectors of the widest panel
    int tile_rows;     // rows a tile holds in registers
    int code_group;    // elements of codes a lane holds: 4 (signed bytes) or 2 (int16)
    bool code_unsigned_panel;
    int most_apart;    // float queries that walk by rows as they are: more come as bfloat16, two elements to a word
    int most_by_rows;  // and all that walk by rows at all, in one stream through memory: a panel of so few would be half empty
    bool halves_rows;  // whether rows meet bfloat16 queries as bfloat16, too

    // Rows as float32, `ld` floats apart: codes scaled if `scaled`, values with ranges dequantized. ids null: first, first + 1, ...
    void (*widen_rows)(const Rows& x, const int64_t* ids, int64_t first, int64_t n, bool scaled, float* out, int64_t ld);
    // Rows of integer codes as the code tile reads them (int8 or int16; uint8 less 128 where the panel is unsigned), `ld` bytes apart.
    void (*code_rows)(const Rows& x, const int64_t* ids, int64_t first, int64_t n, void* out, int64_t ld);

    void (*subtract)(const float* center, int64_t dim, float* rows, int64_t ld, int64_t n);
    float (*largest)(const float* x, int64_t n);  // NaN left out; 0 at least
    double (*squared_norm)(const float* x, int64_t n);  // in float64
    void (*square_sums)(const char* rows, int64_t stride, int64_t n, int64_t dim, float* out);
    void (*code_sums)(const char* rows, int64_t stride, int64_t n, int64_t dim, int32_t* sums);  // rows as the code tile reads them
    void (*code_squares)(const Rows& x, const int64_t* ids, int64_t first, int64_t n, int32_t* squares);

    void (*dot_tile)(const float* panel, int vectors, int64_t dim, const char* rows, int64_t stride, int64_t n, Ahead ahead, float* out);
    void (*square_tile)(const float* panel, int vectors, int64_t dim, const char* rows, int64_t stride, int64_t n, Ahead ahead, float* out);
    // The same sums to the bit for one to four queries, one after the other, ldq apart: out[query * n + row].
    void (*dot_few)(const float* q, int nq, int64_t ldq, int64_t dim, const char* rows, int64_t stride, int64_t n, float* out);
    // The same of one query, with each row's largest magnitude, NaN the largest of all.
    void (*dot_one)(const float* q, int64_t dim, const char* rows, int64_t stride, int64_t n, float* out, float* largest);
    void (*square_few)(const float* q, int nq, int64_t ldq, int64_t dim, const char* rows, int64_t stride, int64_t n, float* out);
    void (*code_tile)(const void* panel, int vectors, int64_t dim, const char* rows, int64_t stride, int64_t n, Ahead ahead,
                      const int32_t* row_start, const int32_t* lane_start, int32_t* out);
    void (*bit_tile)(const uint32_t* panel, int vectors, int64_t dim, const char* rows, int64_t stride, int64_t n, Ahead ahead,
                     int32_t* out);

    // out[i] = q[i] . (row ids[i] less the center, where there is one), one pair after the other.
    void (*dot_pairs)(const float* const* q, const Rows& x, const int64_t* ids, int64_t n, const float* center, float* out);

    // One to most_by_rows queries against rows walked one after the other, out[query * n + row], and the rows' own squares. More than
    // most_apart of them, padded_queries() then, come as halve_query() puts them, side by side every 2 W elements; ldq is for the others.
    void (*dot_rows)(const float* q, int nq, int64_t ldq, const Rows& x, const int64_t* ids, int64_t first, int64_t n, float* out,
                     float* squares);
    // A query as bfloat16, the W words of every 2 W elements `step` words apart. Returns the distance from the query to what they stand
    // for.
    double (*halve_query)(const float* q, int64_t dim, int64_t step, uint32_t* words);
    void (*code_dot_rows)(const int16_t* q, const Rows& x, const int64_t* ids, int64_t first, int64_t n, int32_t* out);
    // Nibbles: the query's even elements, then its odd ones, both zero-padded to whole vectors.
    void (*nibble_dot_rows)(const int8_t* even, const int8_t* odd, const Rows& x, const int64_t* ids, int64_t first, int64_t n,
                            int32_t* out);
    // Bits are +-1; the query in `scan_position` order, zero-padded to whole vectors.
    void (*sign_dot_rows)(const int8_t* q, const Rows& x, const int64_t* ids, int64_t first, int64_t n, int32_t* out);
    void (*hamming_rows)(const uint8_t* q, const Rows& x, const int64_t* ids, int64_t first, int64_t n, int32_t* out);

    // Hits: estimate = raw * scale[row] + bias[row] * per_bias[lane], kept unless below the query's threshold (so NaN is kept).
    int64_t (*filter)(const float* raw, int vectors, int64_t n, const float* scale, const float* bias, const float* per_bias,
                      const float* threshold, Hit* hits);
    int64_t (*filter_codes)(const int32_t* raw, int vectors, int64_t n, const float* scale, const float* bias, const float* per_bias,
                            const float* threshold, Hit* hits);
    // n rows in `groups` groups of neighbours: for each lane, the least of the groups' largest estimates, NaN left out.
    void (*least_largest)(const float* raw, int vectors, int64_t n, int64_t groups, const float* scale, const float* bias,
                          const float* per_bias, float* out);
    void (*least_largest_codes)(const int32_t* raw, int vectors, int64_t n, int64_t groups, const float* scale, const float* bias,
                                const float* per_bias, float* out);
    // Hits of one query against n rows side by side; their lane is 0.
    int64_t (*filter_rows)(const float* raw, int64_t n, const float* scale, const float* bias, float per_bias, float threshold, Hit* hits);
    int64_t (*filter_code_rows)(const int32_t* raw, int64_t n, const float* scale, const float* bias, float per_bias, float threshold,
                                Hit* hits);

    // The canonical sums (SEMANTICS section 3) of one query with n rows: eight float64 lanes in a fixed order. x.x in `norms`.
    void (*canonical)(const double* q, const Rows& x, const int64_t* ids, int64_t n, Sums what, double* out, double* norms);
};

// Where element d of a row of bits lies once they are bytes: a byte's least significant bit, its last element, comes first.
inline int64_t scan_position(int64_t d) { return d / 8 * 8 + 7 - d % 8; }

// Two operands that have a score. Codes with ranges on both sides come without them: they are their integers.
struct Pair {
    Rows q, x;
    Metric metric;
    Form form;
    const float* center = nullptr;  // dim, or null: what a scan subtracts from both before it estimates their distance

    bool distance() const { return metric == Metric::l2 || metric == Metric::sqeuclidean; }
    bool integer_scores() const {
        return metric == Metric::hamming || (form == Form::ints && (metric == Metric::ip || metric == Metric::sqeuclidean));
    }
    bool similarity() const { return metric == Metric::cosine || metric == Metric::ip; }
};

// Codes beside float rows, which a scan reads instead of them: x = center + scale * codes + a residual, under cosine for x / |x|.
// A corpus that is codes itself has only those: no residual, no center, norms of its own.
struct Coded {
    Rows codes;                // int8, nibbles or bits
    const float* error;        // |residual|, rounded up; NaN, as the scale is, for a row that has no codes
    const float* norm;         // |scale * codes|, rounded up
    const float* bias;         // -|x - center|^2 / 2; null unless the metric is a distance
    const float* center;       // dim
    bool fresh = false;        // made by the scan itself, a block at a time: nothing above is stored but the center
};

// What a search did, summed over its queries: rows whose estimates were computed and rows scored canonically.
struct SearchStats {
    int64_t scanned = 0, rescored = 0;
    int scan = 0;  // the scan that came last: which of the codes, or how many there are for the rows themselves
};

// Which rows a query may return. A null mask allows all; stride 0 shares one mask among the queries.
struct Allowed {
    const uint8_t* mask;  // a byte a row (0 = not), or packed little-endian bits
    int64_t stride;       // bytes between queries
    bool packed;
    const int64_t* exclude;  // (Q, excludes) row numbers, -1 = none
    int64_t excludes;

    bool masked_out(int64_t q, int64_t row) const {
        if (!mask) return false;
        const uint8_t* m = mask + q * stride;
        return packed ? !(m[row >> 3] >> (row & 7) & 1) : !m[row];
    }
    bool excluded(int64_t q, int64_t row) const {
        for (int64_t e = 0; e < excludes; ++e)
            if (exclude[q * excludes + e] == row) return true;
        return false;
    }
};

// Drivers. Scores are float, or int32 where pair.integer_scores(); false where poll asked to stop.
// coded: scans to try before the rows themselves, the cheapest first; only for float queries and float rows.
bool topk(const Pair& pair, const Coded* coded, int scans, int64_t k, const Allowed& allowed, int threads, Poll poll, void* scores,
          int64_t* indices, SearchStats& stats);
bool rescore(const Pair& pair, const int64_t* ids, int64_t candidates, int64_t k, int threads, Poll poll, void* scores, int64_t* indices);
bool similarity(const Pair& pair, int threads, Poll poll, void* scores);
bool similarity_paired(const Pair& pair, int threads, Poll poll, void* scores);

}  // namespace fec

// The search kernels of the level in use against plain loops: integers and canonical sums to the bit, float sums within
// their bound, at dimensions around every width, rows unaligned and against a guard page.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "../cpu/dispatch.h"
#include "operand.h"

namespace fec {
namespace test {

void check_search();

namespace {

constexpr Kind kinds[] = {Kind::f32, Kind::f16, Kind::bf16, Kind::f64, Kind::i8, Kind::u8, Kind::i4, Kind::bits};

int64_t dim_at(int i) {
    constexpr int64_t larger[] = {255, 256, 257, 384, 511, 512, 513, 1025};
    return i < 130 ? i + 1 : i < 138 ? larger[i - 130] : 0;
}

// A value that a float sum of dim products of this total size may differ from.
double slack(int64_t dim, double size) { return (static_cast<double>(dim) + 16) * size * 0x1p-23; }

// Every `step`-th row from the end: gathered rows in no order of memory.
std::vector<int64_t> scattered(int64_t n) {
    std::vector<int64_t> ids;
    for (int64_t i = 0; i < n; ++i) ids.push_back((i * 7 + 3) % n);
    return ids;
}

void check_canonical(const SearchKernels& kernels, const Operand& x, const Operand& q) {
    const int64_t dim = x.rows.dim, n = x.rows.n;
    const std::vector<int64_t> ids = scattered(n);
    std::vector<double> sums(static_cast<size_t>(n)), norms(static_cast<size_t>(n));
    for (const Sums what : {Sums::dot, Sums::dot_and_norm, Sums::squared}) {
        kernels.canonical(q.value(0), x.rows, ids.data(), n, what, sums.data(), norms.data());
        for (int64_t i = 0; i < n; ++i) {
            const double *a = q.value(0), *b = x.value(ids[static_cast<size_t>(i)]), scale = x.scale_of(ids[static_cast<size_t>(i)]);
            const double want = canonical_sum(dim, [&](int64_t d) {
                const double difference = a[d] - scale * b[d];
                return what == Sums::squared ? difference * difference : a[d] * b[d];
            });
            expect_same("canonical", dim, sums[static_cast<size_t>(i)], want);
            if (what == Sums::dot_and_norm)
                expect_same("canonical norm", dim, norms[static_cast<size_t>(i)],
                            canonical_sum(dim, [&](int64_t d) { return b[d] * b[d]; }));
        }
    }
}

void check_widen_rows(const SearchKernels& kernels, const Operand& x) {
    const int64_t dim = x.rows.dim, n = x.rows.n, ld = dim + 3;
    float* out = static_cast<float*>(guarded(3, static_cast<size_t>((ld * (n - 1) + dim) * 4)));
    const std::vector<int64_t> ids = scattered(n);
    for (const bool scaled : {false, true}) {
        kernels.widen_rows(x.rows, ids.data(), 0, n, scaled, out, ld);
        for (int64_t i = 0; i < n; ++i) {
            const int64_t row = ids[static_cast<size_t>(i)];
            const float scale = scaled ? static_cast<float>(x.scale_of(row)) : 1.0f;
            for (int64_t d = 0; d < dim; ++d) expect_same("widen_rows", dim, out[i * ld + d], static_cast<float>(x.value(row)[d]) * scale);
        }
    }
}

void check_dot_rows(const SearchKernels& kernels, const Operand& x) {
    const int most = kernels.most_by_rows;
    const int64_t dim = x.rows.dim, n = x.rows.n, ldq = (dim + 63) / 64 * 64, width = kernels.width;
    std::vector<float> q(static_cast<size_t>(most * ldq)), out(static_cast<size_t>(most * n)), squares(static_cast<size_t>(n));
    std::vector<uint32_t> words(static_cast<size_t>(padded_queries(most) * width * ((dim + 2 * width - 1) / (2 * width))));
    std::vector<double> off(static_cast<size_t>(most));
    for (int64_t d = 0; d < dim; ++d)
        for (int64_t j = 0; j < most; ++j) q[static_cast<size_t>(j * ldq + d)] = static_cast<float>(random_in(-1000, 1000)) / 333;
    for (int queries = 1; queries <= most; ++queries) {
        const bool halved = queries > kernels.most_apart;
        std::fill(words.begin(), words.end(), 0);
        for (int64_t j = 0; halved && j < queries; ++j) {
            const float* own = q.data() + j * ldq;
            off[static_cast<size_t>(j)] = kernels.halve_query(own, dim, padded_queries(queries) * width, words.data() + j * width);
            double size = 0;
            for (int64_t d = 0; d < dim; ++d) size += static_cast<double>(own[d]) * static_cast<double>(own[d]);
            expect_near("halve_query", dim, static_cast<float>(off[static_cast<size_t>(j)]), 0.0, std::sqrt(size) * 0x1p-8);
        }
        kernels.dot_rows(halved ? reinterpret_cast<const float*>(words.data()) : q.data(), queries, ldq, x.rows, nullptr, 0, n, out.data(),
                         squares.data());
        for (int64_t i = 0; i < n; ++i) {
            double square = 0;
            for (int64_t d = 0; d < dim; ++d) square += x.code(i)[d] * x.code(i)[d];
            expect_near("dot_rows square", dim, squares[static_cast<size_t>(i)], square, slack(dim, square));
            for (int j = 0; j < queries; ++j) {
                double dot = 0, size = 0;
                for (int64_t d = 0; d < dim; ++d) {
                    const auto value = static_cast<float>(x.code(i)[d]);
                    const float met = halved && kernels.halves_rows ? value_of(nearest_bf16(value)) : value;
                    const double product = static_cast<double>(q[static_cast<size_t>(j * ldq + d)]) * static_cast<double>(met);
                    dot += product, size += std::fabs(product);
                }
                const double rounded = halved ? off[static_cast<size_t>(j)] * std::sqrt(square) * 1.01 : 0.0;
                expect_near("dot_rows", dim, out[static_cast<size_t>(j * n + i)], dot, slack(dim, size) + rounded);
            }
        }
    }
}

void check_dot_pairs(const SearchKernels& kernels, const Operand& x) {
    const int64_t dim = x.rows.dim, ldq = (dim + 63) / 64 * 64, pairs = random_in(1, 40);
    std::vector<float> q(static_cast<size_t>(3 * ldq)), center(static_cast<size_t>(dim)), out(static_cast<size_t>(pairs));
    for (int64_t d = 0; d < dim; ++d) {
        for (int64_t j = 0; j < 3; ++j) q[static_cast<size_t>(j * ldq + d)] = static_cast<float>(random_in(-1000, 1000)) / 333;
        center[static_cast<size_t>(d)] = static_cast<float>(random_in(-64, 64)) / 16;
    }
    std::vector<const float*> chosen(static_cast<size_t>(pairs));
    std::vector<int64_t> ids(chosen.size());
    for (size_t i = 0; i < ids.size(); ++i)
        chosen[i] = q.data() + random_in(0, 2) * ldq, ids[i] = random_in(0, static_cast<int>(x.rows.n) - 1);
    for (const float* less : {static_cast<const float*>(nullptr), static_cast<const float*>(center.data())}) {
        kernels.dot_pairs(chosen.data(), x.rows, ids.data(), pairs, less, out.data());
        for (size_t i = 0; i < ids.size(); ++i) {
            double dot = 0, size = 0;
            for (int64_t d = 0; d < dim; ++d) {
                const double value = x.code(ids[i])[d], own = static_cast<double>(chosen[i][d]);
                dot += own * (value - (less ? static_cast<double>(less[d]) : 0.0));
                size += std::fabs(own) * (std::fabs(value) + (less ? 4 : 0));
            }
            expect_near("dot_pairs", dim, out[i], dot, slack(dim, size));
        }
    }
}

void check_float_tiles(const SearchKernels& kernels, const Operand& x) {
    const int64_t dim = x.rows.dim, n = x.rows.n;
    std::vector<float> squares(static_cast<size_t>(n));
    kernels.square_sums(x.rows.data, x.rows.stride, n, dim, squares.data());
    for (const int vectors : {1, kernels.tile_vectors}) {
        const int64_t lanes = static_cast<int64_t>(vectors) * kernels.width;
        std::vector<float> panel(static_cast<size_t>(lanes * dim)), dots(static_cast<size_t>(n * lanes)), distances(dots.size());
        for (float& v : panel) v = static_cast<float>(random_in(-1000, 1000)) / 333;
        kernels.dot_tile(panel.data(), vectors, dim, x.rows.data, x.rows.stride, n, {}, dots.data());
        kernels.square_tile(panel.data(), vectors, dim, x.rows.data, x.rows.stride, n, {x.rows.data, x.rows.stride, 0}, distances.data());
        const int few = random_in(1, 4);
        std::vector<float> queries(static_cast<size_t>(few * dim)), few_dots(static_cast<size_t>(few * n)), few_distances(few_dots);
        for (int64_t j = 0; j < few; ++j)
            for (int64_t d = 0; d < dim; ++d) queries[static_cast<size_t>(j * dim + d)] = panel[static_cast<size_t>(d * lanes + j)];
        kernels.dot_few(queries.data(), few, dim, dim, x.rows.data, x.rows.stride, n, few_dots.data());
        std::vector<float> one(static_cast<size_t>(n)), largest(one);
        kernels.dot_one(queries.data(), dim, x.rows.data, x.rows.stride, n, one.data(), largest.data());
        kernels.square_few(queries.data(), few, dim, dim, x.rows.data, x.rows.stride, n, few_distances.data());
        for (int64_t j = 0; j < few; ++j)
            for (int64_t i = 0; i < n; ++i) {
                const auto at = static_cast<size_t>(j * n + i), beside = static_cast<size_t>(i * lanes + j);
                expect_same("dot_few", dim, few_dots[at], dots[beside]);
                expect_same("square_few", dim, few_distances[at], distances[beside]);
            }
        for (int64_t i = 0; i < n; ++i) {
            double own = 0, most = 0;
            for (int64_t d = 0; d < dim; ++d) own += x.value(i)[d] * x.value(i)[d], most = std::max(most, std::fabs(x.value(i)[d]));
            expect_same("dot_one", dim, one[static_cast<size_t>(i)], dots[static_cast<size_t>(i * lanes)]);
            expect_same("dot_one, largest", dim, largest[static_cast<size_t>(i)], static_cast<float>(most));
            expect_near("square_sums", dim, squares[static_cast<size_t>(i)], own, slack(dim, own));
            for (int64_t lane = 0; lane < lanes; ++lane) {
                double dot = 0, size = 0, square = 0;
                for (int64_t d = 0; d < dim; ++d) {
                    const double a = static_cast<double>(panel[static_cast<size_t>(d * lanes + lane)]), b = x.value(i)[d];
                    dot += a * b, size += std::fabs(a * b), square += (a - b) * (a - b);
                }
                const auto at = static_cast<size_t>(i * lanes + lane);
                expect_near("dot_tile", dim, dots[at], dot, slack(dim, size));
                expect_near("square_tile", dim, distances[at], square, slack(dim, square));
            }
        }
    }
}

// Codes as the level's tiles take them, then tiles over them, with starts on both sides.
void check_code_tiles(const SearchKernels& kernels, const Operand& x) {
    const int64_t dim = x.rows.dim, n = x.rows.n, group = kernels.code_group, bytes = dim * (4 / group), ld = (bytes + 3) / 4 * 4;
    char* codes = static_cast<char*>(guarded(3, static_cast<size_t>(ld * n)));
    const std::vector<int64_t> ids = scattered(n);
    std::vector<int32_t> starts, sums(static_cast<size_t>(n)), squares(static_cast<size_t>(n));
    for (int64_t i = 0; i < n; ++i) starts.push_back(random_in(-100000, 100000));
    kernels.code_rows(x.rows, ids.data(), 0, n, codes, ld);
    kernels.code_squares(x.rows, ids.data(), 0, n, squares.data());
    if (kernels.code_unsigned_panel) kernels.code_sums(codes, ld, n, dim, sums.data());  // no other level calls it
    const int shift = group == 4 && x.rows.kind == Kind::u8 ? 128 : 0;  // what the rows are stored less
    for (const int vectors : {1, kernels.tile_vectors}) {
        const int64_t lanes = static_cast<int64_t>(vectors) * kernels.width, words = (dim + group - 1) / group;
        std::vector<int> panel(static_cast<size_t>(lanes * dim));
        std::vector<uint32_t> packed(static_cast<size_t>(lanes * words));
        std::vector<int32_t> lane_starts(static_cast<size_t>(lanes)), out(static_cast<size_t>(lanes * n));
        for (int32_t& start : lane_starts) start = random_in(-100000, 100000);
        for (int64_t d = 0; d < dim; ++d)
            for (int64_t lane = 0; lane < lanes; ++lane) {
                const int element = kernels.code_unsigned_panel ? random_in(0, 255) : random_in(-128, 127);
                panel[static_cast<size_t>(d * lanes + lane)] = element;
                const uint32_t kept = static_cast<uint32_t>(element) & (group == 4 ? 0xFFu : 0xFFFFu);
                packed[static_cast<size_t>(d / group * lanes + lane)] |= kept << (32 / group * (d % group));
            }
        kernels.code_tile(packed.data(), vectors, dim, codes, ld, n, {codes, ld, 1}, starts.data(), lane_starts.data(), out.data());
        for (int64_t i = 0; i < n; ++i) {
            const double* row = x.code(ids[static_cast<size_t>(i)]);
            for (int64_t lane = 0; lane < lanes; ++lane) {
                int64_t want = starts[static_cast<size_t>(i)] + lane_starts[static_cast<size_t>(lane)];
                for (int64_t d = 0; d < dim; ++d) want += panel[static_cast<size_t>(d * lanes + lane)] * (static_cast<int>(row[d]) - shift);
                expect("code_tile", dim, static_cast<uint32_t>(out[static_cast<size_t>(i * lanes + lane)]), static_cast<uint32_t>(want));
            }
        }
    }
    for (int64_t i = 0; i < n; ++i) {
        int64_t sum = 0, square = 0;
        for (int64_t d = 0; d < dim; ++d) {
            const auto code = static_cast<int64_t>(x.code(ids[static_cast<size_t>(i)])[d]);
            sum += code - shift, square += code * code;
        }
        const auto at = static_cast<size_t>(i);
        if (kernels.code_unsigned_panel) expect("code_sums", dim, static_cast<uint32_t>(sums[at]), static_cast<uint32_t>(sum));
        expect("code_squares", dim, static_cast<uint32_t>(squares[at]), static_cast<uint32_t>(square));
    }
}

// Bits as the codes a level's tiles take: +-1 in the order of `scan_position`, zero behind the last byte's bits.
void check_signs(const SearchKernels& kernels, const Operand& x) {
    const int64_t dim = x.rows.dim, n = x.rows.n, size = 4 / kernels.code_group, ld = (dim * size + 63) / 64 * 64 + 64;
    Rows whole_bytes = x.rows;
    whole_bytes.dim = (dim + 7) / 8 * 8;
    auto* codes = static_cast<char*>(guarded(3, static_cast<size_t>(ld * n)));
    std::memset(codes, 0x5A, static_cast<size_t>(ld * n));
    const std::vector<int64_t> ids = scattered(n);
    kernels.code_rows(whole_bytes, ids.data(), 0, n, codes, ld);
    for (int64_t i = 0; i < n; ++i) {
        const auto code = [&](int64_t at) {
            int16_t word = 0;
            std::memcpy(&word, codes + i * ld + at * size, static_cast<size_t>(size));
            return size == 1 ? static_cast<int8_t>(word) : word;
        };
        for (int64_t d = 0; d < dim; ++d) expect_same("signs", dim, code(scan_position(d)), x.code(ids[static_cast<size_t>(i)])[d]);
        for (int64_t at = whole_bytes.dim; at < ld / size; ++at) expect_same("behind signs", dim, code(at), 0);
    }
}

// One query of codes against rows of bytes, nibbles or bits walked one by one, in each layout the kernels take it in.
void check_code_walks(const SearchKernels& kernels, const Operand& x) {
    const int64_t dim = x.rows.dim, n = x.rows.n, padded = (dim + 63) / 64 * 64 + 64;
    const bool bytes = x.rows.kind == Kind::i8 || x.rows.kind == Kind::u8;
    const std::vector<int64_t> ids = scattered(n);
    std::vector<int16_t> words(static_cast<size_t>(padded));
    std::vector<int8_t> whole(static_cast<size_t>(padded)), even(whole), odd(whole);
    for (int64_t d = 0; d < dim; ++d) {
        const auto code = static_cast<int16_t>(bytes ? random_in(-128, 255) : random_in(-127, 127));
        words[static_cast<size_t>(d)] = code;
        whole[static_cast<size_t>(scan_position(d))] = static_cast<int8_t>(code);
        (d % 2 ? odd : even)[static_cast<size_t>(d / 2)] = static_cast<int8_t>(code);
    }
    std::vector<int32_t> dots(static_cast<size_t>(n));
    for (const int64_t* listed : {ids.data(), static_cast<const int64_t*>(nullptr)}) {
        if (x.rows.kind == Kind::i4)
            kernels.nibble_dot_rows(even.data(), odd.data(), x.rows, listed, 0, n, dots.data());
        else if (x.rows.kind == Kind::bits)
            kernels.sign_dot_rows(whole.data(), x.rows, listed, 0, n, dots.data());
        else
            kernels.code_dot_rows(words.data(), x.rows, listed, 0, n, dots.data());
        for (int64_t i = 0; i < n; ++i) {
            const double* row = x.code(listed ? listed[i] : i);
            int64_t want = 0;
            for (int64_t d = 0; d < dim; ++d) want += static_cast<int64_t>(row[d]) * words[static_cast<size_t>(d)];
            expect("dots of codes", dim, static_cast<uint32_t>(dots[static_cast<size_t>(i)]), static_cast<uint32_t>(want));
        }
    }
}

// The largest of n numbers of which some are NaN, the last one before a guard page.
void check_largest(const SearchKernels& kernels) {
    for (int64_t n = 0; n <= 70; ++n) {
        for (int time = 0; time < 8; ++time) {
            auto* x = static_cast<float*>(guarded(0, static_cast<size_t>(n) * 4));
            float want = 0;
            for (int64_t i = 0; i < n; ++i) {
                x[i] = random_in(0, 3) ? static_cast<float>(random_in(time ? -1000 : -9, time ? 1000 : -1)) / 7 : NAN;
                if (x[i] > want) want = x[i];
            }
            expect_same("largest", n, kernels.largest(x, n), want);
        }
    }
}

void check_bit_tiles(const SearchKernels& kernels, const Operand& x) {
    const int64_t dim = x.rows.dim, n = x.rows.n, bytes = (dim + 7) / 8, words = (bytes + 3) / 4;
    const int64_t lanes = static_cast<int64_t>(kernels.tile_vectors) * kernels.width;
    const Operand q(Kind::bits, lanes, dim, 3);
    // Queries as the kernels take them: the rows' flip folded in, pad bits 0.
    std::vector<uint8_t> folded(static_cast<size_t>(lanes * (words * 4 + 256)));
    std::vector<uint32_t> panel(static_cast<size_t>(lanes * words));
    for (int64_t lane = 0; lane < lanes; ++lane) {
        uint8_t* own = folded.data() + lane * (words * 4 + 256);
        for (int64_t b = 0; b < bytes; ++b) own[b] = static_cast<uint8_t>(q.rows.row(lane)[b]) ^ x.rows.flip;
        if (dim % 8) own[bytes - 1] &= static_cast<uint8_t>(0xFF00 >> dim % 8);
        for (int64_t w = 0; w < words; ++w) std::memcpy(&panel[static_cast<size_t>(w * lanes + lane)], own + 4 * w, 4);
    }
    std::vector<int32_t> tile(static_cast<size_t>(n * lanes)), single(static_cast<size_t>(n));
    kernels.bit_tile(panel.data(), kernels.tile_vectors, dim, x.rows.data, x.rows.stride, n, {}, tile.data());
    for (int64_t lane = 0; lane < lanes; ++lane) {
        kernels.hamming_rows(folded.data() + lane * (words * 4 + 256), x.rows, nullptr, 0, n, single.data());
        for (int64_t i = 0; i < n; ++i) {
            int differ = 0;
            for (int64_t d = 0; d < dim; ++d) differ += q.code(lane)[d] != x.code(i)[d];
            expect("bit_tile", dim, static_cast<uint32_t>(tile[static_cast<size_t>(i * lanes + lane)]), static_cast<uint32_t>(differ));
            expect("hamming_rows", dim, static_cast<uint32_t>(single[static_cast<size_t>(i)]), static_cast<uint32_t>(differ));
        }
    }
}

// The least of the groups' largest estimates, NaN left out.
template <class Raw, class Least>
void check_least_largest(const SearchKernels& kernels, Least least) {
    for (int time = 0; time < 64; ++time) {
        const int vectors = time % 2 ? 1 : kernels.tile_vectors;
        const int64_t lanes = static_cast<int64_t>(vectors) * kernels.width, groups = 1 + time % 7, n = groups + time % 19;
        std::vector<Raw> raw(static_cast<size_t>(n * lanes));
        std::vector<float> scale(static_cast<size_t>(n)), bias(scale), factor(static_cast<size_t>(lanes)), out(factor);
        for (Raw& v : raw) v = static_cast<Raw>(random_in(-100, 100));
        for (float& v : scale) v = random_in(0, 3) ? static_cast<float>(random_in(-8, 8)) / 8 : NAN;
        for (float& v : bias) v = static_cast<float>(random_in(-50, 50)) / 4;
        for (float& v : factor) v = random_in(0, 1) ? 0.5f : 2.0f;  // products exact, so that fused or not is one
        least(raw.data(), vectors, n, groups, scale.data(), bias.data(), factor.data(), out.data());
        for (int64_t lane = 0; lane < lanes; ++lane) {
            float want = INFINITY;
            for (int64_t g = 0, r = 0; g < groups; ++g) {
                float most = -INFINITY;
                for (; r < (g + 1) * n / groups; ++r) {
                    const float estimate =
                        std::fmaf(bias[static_cast<size_t>(r)], factor[static_cast<size_t>(lane)],
                                  static_cast<float>(raw[static_cast<size_t>(r * lanes + lane)]) * scale[static_cast<size_t>(r)]);
                    if (estimate > most) most = estimate;
                }
                want = std::min(want, most);
            }
            expect_same("least_largest", time, out[static_cast<size_t>(lane)], want);
        }
    }
}

// Which estimates reach their threshold: all that are not below it, so NaN too.
template <class Raw, class Filter, class FilterRows>
void check_filter(const SearchKernels& kernels, Filter filter, FilterRows filter_rows) {
    for (int time = 0; time < 64; ++time) {
        const int vectors = time % 2 ? 1 : kernels.tile_vectors;
        const int64_t lanes = static_cast<int64_t>(vectors) * kernels.width, n = 1 + time % 19;
        std::vector<Raw> raw(static_cast<size_t>(n * lanes));
        std::vector<float> scale(static_cast<size_t>(n)), bias(scale), threshold(static_cast<size_t>(lanes)), factor(threshold);
        for (Raw& v : raw) v = static_cast<Raw>(random_in(-100, 100));
        for (float& v : scale) v = random_in(0, 5) ? static_cast<float>(random_in(-8, 8)) / 7 : NAN;
        for (float& v : bias) v = static_cast<float>(random_in(-50, 50)) / 3;
        for (float& v : threshold) v = static_cast<float>(random_in(-50, 50));
        for (float& v : factor) v = random_in(0, 1) ? 0.5f : 2.0f;  // products exact, so that fused or not is one
        std::vector<Hit> hits(static_cast<size_t>(n * lanes));
        const auto compare = [&](int64_t count, int64_t rows, int64_t width, auto value, auto limit) {
            int64_t next = 0;
            for (int64_t r = 0; r < rows; ++r)
                for (int64_t lane = 0; lane < width; ++lane) {
                    const float estimate = std::fmaf(bias[static_cast<size_t>(r)], factor[static_cast<size_t>(lane)],
                                                     static_cast<float>(value(r, lane)) * scale[static_cast<size_t>(r)]);
                    if (estimate < limit(lane)) continue;
                    const Hit hit = next < count ? hits[static_cast<size_t>(next)] : Hit{0, -1, -1};
                    expect("filter row", time, static_cast<uint64_t>(hit.row), static_cast<uint64_t>(r));
                    expect("filter lane", time, static_cast<uint64_t>(hit.lane), static_cast<uint64_t>(lane));
                    expect_same("filter estimate", time, hit.estimate, estimate);
                    ++next;
                }
            expect("filter count", time, static_cast<uint64_t>(count), static_cast<uint64_t>(next));
        };
        compare(
            filter(raw.data(), vectors, n, scale.data(), bias.data(), factor.data(), threshold.data(), hits.data()), n, lanes,
            [&](int64_t r, int64_t lane) { return raw[static_cast<size_t>(r * lanes + lane)]; },
            [&](int64_t lane) { return threshold[static_cast<size_t>(lane)]; });
        compare(
            filter_rows(raw.data(), n, scale.data(), bias.data(), factor[0], threshold[0], hits.data()), n, 1,
            [&](int64_t r, int64_t) { return raw[static_cast<size_t>(r)]; }, [&](int64_t) { return threshold[0]; });
    }
}

}  // namespace

void check_search() {
    const SearchKernels& kernels = fec::kernels().search;
    for (int i = 0; const int64_t dim = dim_at(i); ++i) {
        const int64_t n = i < 40 ? 1 + i % (2 * kernels.tile_rows + 4) : kernels.tile_rows + 3;
        const Operand q(Kind::f32, 1, dim, 1);
        for (const Kind kind : kinds) {
            const bool integer = kind == Kind::i8 || kind == Kind::u8, coded = integer || kind == Kind::i4;
            const Operand x(kind, n, dim, 2, coded, false, kind == Kind::bits && i % 2 ? 0x80 : 0);
            check_canonical(kernels, x, q);
            check_widen_rows(kernels, x);
            if (coded) check_code_tiles(kernels, x);
            if (coded || kind == Kind::bits) check_code_walks(kernels, x);
            if (kind == Kind::bits) check_signs(kernels, x);
            if (kind == Kind::f32) check_float_tiles(kernels, x);
            if (kind <= Kind::u8) check_dot_rows(kernels, x);
            if (kind <= Kind::f64) check_dot_pairs(kernels, x);
            if (kind == Kind::bits) check_bit_tiles(kernels, x);
            if (integer) {
                const Operand ranged(kind, n, dim, 2, false, true);
                check_canonical(kernels, ranged, q);
                check_widen_rows(kernels, ranged);
            }
        }
    }
    check_largest(kernels);
    check_least_largest<float>(kernels, kernels.least_largest);
    check_least_largest<int32_t>(kernels, kernels.least_largest_codes);
    check_filter<float>(kernels, kernels.filter, kernels.filter_rows);
    check_filter<int32_t>(kernels, kernels.filter_codes, kernels.filter_code_rows);
}

}  // namespace test
}  // namespace fec

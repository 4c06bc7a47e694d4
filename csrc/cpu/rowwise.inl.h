// Rows of a corpus one at a time: conversion into scratch, norms, and codes or bits walked in order –
// a single stream is what the prefetcher follows best, so this is the way for few queries.
#pragma once
#include "../core/cpu_features.h"
#include "search.h"

namespace {

using fec::Kind;
using fec::Rows;

inline const char* row_at(const Rows& x, const int64_t* ids, int64_t first, int64_t i) {
    return x.data + (ids ? ids[i] : first + i) * x.stride;
}
inline int64_t row_number(const int64_t* ids, int64_t first, int64_t i) { return ids ? ids[i] : first + i; }

// Calls each(tag) with a pointer whose type is the storage type of a float or byte kind.
template <class Each>
inline void with_type(Kind kind, Each each) {
    switch (kind) {
        case Kind::f32:
            return each(static_cast<const float*>(nullptr));
        case Kind::f16:
            return each(static_cast<const fec::f16*>(nullptr));
        case Kind::bf16:
            return each(static_cast<const fec::bf16*>(nullptr));
        case Kind::f64:
            return each(static_cast<const double*>(nullptr));
        case Kind::u8:
            return each(static_cast<const uint8_t*>(nullptr));
        default:
            return each(static_cast<const int8_t*>(nullptr));
    }
}

// Elements [from, from + n) of a row of nibbles (code + 8, even elements low) or bits (+1 / -1) as bytes; from is even, or a multiple of 8.
inline void unpack(const Rows& x, const char* row, int64_t from, int64_t n, int8_t* out) {
    const uint8_t* p = reinterpret_cast<const uint8_t*>(row);
    if (x.kind == Kind::i4) {
        p += from / 2;
        int64_t i = 0;
        for (; i + 4 * simd::W <= n; i += 4 * simd::W) simd::istore(out + i, simd::signed_nibbles(simd::widen16(p + i / 2)));
        for (; i + 2 <= n; i += 2) {
            out[i] = static_cast<int8_t>((p[i / 2] & 15) - 8);
            out[i + 1] = static_cast<int8_t>((p[i / 2] >> 4) - 8);
        }
        if (n & 1) out[n - 1] = static_cast<int8_t>((p[n / 2] & 15) - 8);
    } else {
        p += from / 8;
        for (int64_t i = 0; i < n; ++i) out[i] = static_cast<int8_t>(((p[i >> 3] ^ x.flip) >> (7 - (i & 7)) & 1) * 2 - 1);
    }
}

inline bool is_packed(Kind kind) { return kind == Kind::i4 || kind == Kind::bits; }

template <class T>
inline void widen_row(const T* row, int64_t dim, float* out) {
    using namespace simd;
    int64_t i = 0;
    for (; i + W <= dim; i += W) store(out + i, widen(row + i));
    if (i < dim) narrow_n(out + i, widen_n(row + i, dim - i), dim - i);
}

constexpr int64_t kUnpacked = 512;  // elements unpacked at a time, on the stack

// float32(step * u + minimum), computed in float64: the product of a byte and a float32 is exact there.
template <class T>
inline void dequantize_row(const T* row, double offset, const float* ranges, int64_t dim, float* out) {
    using namespace simd;
    const float* step = ranges + dim;
    int64_t i = 0;
    for (; i + 8 <= dim; i += 8) dnarrow(out + i, dfma(dwiden(step + i), dadd(dwiden(row + i), dset1(offset)), dwiden(ranges + i)));
    for (; i < dim; ++i) out[i] = static_cast<float>(static_cast<double>(step[i]) * (row[i] + offset) + ranges[i]);
}

void widen_rows(const Rows& x, const int64_t* ids, int64_t first, int64_t n, bool scaled, float* out, int64_t ld) {
    using namespace simd;
    for (int64_t r = 0; r < n; ++r) {
        const char* row = row_at(x, ids, first, r);
        float* to = out + r * ld;
        if (x.ranges) {
            if (x.kind == Kind::i8)
                dequantize_row(reinterpret_cast<const int8_t*>(row), 128.0, x.ranges, x.dim, to);
            else
                dequantize_row(reinterpret_cast<const uint8_t*>(row), 0.0, x.ranges, x.dim, to);
        } else if (is_packed(x.kind)) {
            int8_t bytes[kUnpacked];
            for (int64_t i = 0; i < x.dim; i += kUnpacked) {
                const int64_t here = x.dim - i < kUnpacked ? x.dim - i : kUnpacked;
                unpack(x, row, i, here, bytes);
                widen_row(bytes, here, to + i);
            }
        } else {
            with_type(x.kind, [&](auto* tag) { widen_row(reinterpret_cast<decltype(tag)>(row), x.dim, to); });
        }
        if (scaled && x.scale) {
            const float s = x.scale[row_number(ids, first, r)];
            for (int64_t i = 0; i < x.dim; ++i) to[i] *= s;
        }
    }
}

// 8 * bytes elements from the bits of a row on, one word of 4 W of them after the other: put(word, position).
template <class Put>
inline void over_bits(const Rows& x, const char* row, Put put) {
    constexpr int64_t step = simd::W / 2;
    const int64_t bytes = (x.dim + 7) / 8;
    const uint64_t flip = x.flip * uint64_t{0x0101010101010101};
    int64_t i = 0;
    uint64_t word = 0;
    for (; i + step <= bytes; i += step) {
        __builtin_memcpy(&word, row + i, step);
        put(word ^ flip, 8 * i);
    }
    if (i == bytes) return;
    word = 0;
    for (int64_t b = 0; i + b < bytes; ++b) word |= static_cast<uint64_t>(static_cast<uint8_t>(row[i + b])) << 8 * b;
    put(word ^ flip, 8 * i);
}

// A row's codes as bytes, to whole vectors: there is room behind it.
inline void code_bytes(const Rows& x, const char* row, int8_t* out) {
    using namespace simd;
    if (x.kind == Kind::i4) {
        unpack(x, row, 0, x.dim, out);
    } else if (x.kind == Kind::bits) {
        over_bits(x, row, [&](uint64_t word, int64_t at) { istore(out + at, choose(word, 1, -1)); });
    } else {
        __builtin_memcpy(out, row, x.dim);
        if (x.kind == Kind::u8)
            for (int64_t i = 0; i < x.dim; ++i) out[i] = static_cast<int8_t>(out[i] ^ 0x80);
    }
}

void code_rows(const Rows& x, const int64_t* ids, int64_t first, int64_t n, void* out, int64_t ld) {
    using namespace simd;
    for (int64_t r = 0; r < n; ++r) {
        const char* row = row_at(x, ids, first, r);
        int8_t* bytes = static_cast<int8_t*>(out) + r * ld;
        if (dot_group == 4) {
            code_bytes(x, row, bytes);
            for (int64_t i = x.dim; i < ld; ++i) bytes[i] = 0;
            continue;
        }
        // Bytes go to the back half of the row's room and are widened from there, front to back.
        int16_t* words = reinterpret_cast<int16_t*>(bytes);
        const int64_t room = ld / 2;
        int8_t* from = bytes + room;
        code_bytes(x, row, from);
        for (int64_t i = x.dim; i < room; ++i) from[i] = 0;
        for (int64_t i = 0; i < room; ++i) words[i] = x.kind == Kind::u8 ? static_cast<int16_t>(from[i] + 128) : from[i];
        for (int64_t i = x.dim; i < room; ++i) words[i] = 0;
    }
}

void subtract(const float* center, int64_t dim, float* rows, int64_t ld, int64_t n) {
    using namespace simd;
    for (int64_t r = 0; r < n; ++r) {
        float* row = rows + r * ld;
        int64_t i = 0;
        for (; i + W <= dim; i += W) store(row + i, sub(load(row + i), load(center + i)));
        if (i < dim) narrow_n(row + i, sub(widen_n(row + i, dim - i), widen_n(center + i, dim - i)), dim - i);
    }
}

inline void narrow_first(float* out, simd::F v, int n) {
    if (n == simd::W)
        simd::store(out, v);
    else
        simd::narrow_n(out, v, n);
}

double squared_norm(const float* x, int64_t n) { return rows::squared_norm(x, n, 0); }

void square_sums(const char* rows, int64_t stride, int64_t n, int64_t dim, float* out) {
    using namespace simd;
    const auto squares = [&](int64_t r) __attribute__((always_inline)) {
        const float* p = reinterpret_cast<const float*>(rows + r * stride);
        F acc[4] = {zero(), zero(), zero(), zero()};
        int64_t i = 0;
        for (; i + 4 * W <= dim; i += 4 * W)
            for (int u = 0; u < 4; ++u) {
                const F v = load(p + i + u * W);
                acc[u] = fma(v, v, acc[u]);
            }
        for (; i < dim; i += W) {
            const F v = dim - i < W ? widen_n(p + i, dim - i) : load(p + i);
            acc[0] = fma(v, v, acc[0]);
        }
        return add(add(acc[0], acc[1]), add(acc[2], acc[3]));
    };
    F sums[W];
    for (int64_t r = 0; r < n; r += W) {  // one way to sum the lanes, so that a row's sum does not depend on how many come with it
        for (int j = 0; j < W; ++j) sums[j] = r + j < n ? squares(r + j) : zero();
        narrow_first(out + r, sum_each(sums), static_cast<int>(n - r < W ? n - r : W));
    }
}

// Sums over the bytes of each row, 2W at a time: Each::step(accumulators, 16-bit words of the row, position).
template <class T, class Step>
inline void over_words(const T* row, int64_t dim, Step step) {
    using namespace simd;
    int64_t i = 0;
    for (; i + 2 * W <= dim; i += 2 * W) step(widen16(row + i), i);
    if (i < dim) {
        T tail[2 * W] = {};
        __builtin_memcpy(tail, row + i, dim - i);
        step(widen16(tail), i);
    }
}

// Walks rows of bytes (nibbles unpacked, a piece at a time) and gives each 16-bit vector with its position in the row.
template <class Step>
inline void over_code_row(const Rows& x, const char* row, Step step) {
    if (x.kind == Kind::i4) {
        int8_t bytes[kUnpacked];
        for (int64_t i = 0; i < x.dim; i += kUnpacked) {
            const int64_t here = x.dim - i < kUnpacked ? x.dim - i : kUnpacked;
            unpack(x, row, i, here, bytes);
            over_words(bytes, here, [&](simd::I v, int64_t k) { step(v, i + k); });
        }
    } else if (x.kind == Kind::u8) {
        over_words(reinterpret_cast<const uint8_t*>(row), x.dim, step);
    } else {
        over_words(reinterpret_cast<const int8_t*>(row), x.dim, step);
    }
}

void code_squares(const Rows& x, const int64_t* ids, int64_t first, int64_t n, int32_t* squares) {
    using namespace simd;
    for (int64_t r = 0; r < n; ++r) {
        I square = izero();
        over_code_row(x, row_at(x, ids, first, r), [&](I v, int64_t) { square = madd16(square, v, v); });
        squares[r] = isum(square);
    }
}

constexpr int64_t kAhead = 2048;  // bytes a walk over rows fetches ahead, where that helps

// out[r] = start + the lanes' sum of walk(row r). W rows' lanes are summed together, which costs a third of summing each alone.
template <class Walk>
inline __attribute__((always_inline)) void sum_walks(const Rows& x, const int64_t* ids, int64_t first, int64_t n, int32_t start,
                                                     int32_t* out, Walk walk) {
    using namespace simd;
    I sums[W];
    int64_t r = 0;
    for (; r + W <= n; r += W) {
        for (int j = 0; j < W; ++j) sums[j] = walk(row_at(x, ids, first, r + j));
        istore(out + r, iadd(iset1(start), isum_each(sums)));
    }
    for (; r < n; ++r) out[r] = start + isum(walk(row_at(x, ids, first, r)));
}

// Sums of each row's codes as the code tile reads them, by the tile's own dot product with ones; only where it needs them.
void code_sums(const char* rows, int64_t stride, int64_t n, int64_t dim, int32_t* sums) {
    using namespace simd;
    constexpr int64_t step = 4 * W;
    const I ones = iset1(0x01010101);
    sum_walks({rows, n, dim, stride, Kind::i8, nullptr, nullptr, 0}, nullptr, 0, n, 0, sums, [&](const char* row) {
        I total = izero();
        int64_t i = 0;
        for (; i + step <= dim; i += step) total = dot(total, ones, iload(reinterpret_cast<const int32_t*>(row + i)));
        if (i < dim) total = dot(total, ones, iload_n(row + i, dim - i));
        return total;
    });
}

// q is int16, zero-padded to whole vectors.
void code_dot_rows(const int16_t* q, const Rows& x, const int64_t* ids, int64_t first, int64_t n, int32_t* out) {
    using namespace simd;
    const int32_t* words = reinterpret_cast<const int32_t*>(q);
    const int64_t ahead = fec::fetched_ahead(kAhead);
    const auto walk = [&](auto* tag) {
        sum_walks(x, ids, first, n, 0, out, [&](const char* row) {
            I dot = izero();
            over_words(reinterpret_cast<decltype(tag)>(row), x.dim, [&](I v, int64_t k) {
                prefetch(row + k + ahead);
                dot = madd16(dot, v, iload(words + k / 2));
            });
            return dot;
        });
    };
    if (x.kind == Kind::u8)
        walk(static_cast<const uint8_t*>(nullptr));
    else
        walk(static_cast<const int8_t*>(nullptr));
}

// A nibble is its code plus 8: sums of the nibbles less 8 sum(q).
void nibble_dot_rows(const int8_t* even, const int8_t* odd, const Rows& x, const int64_t* ids, int64_t first, int64_t n, int32_t* out) {
    using namespace simd;
    const int32_t* low = reinterpret_cast<const int32_t*>(even);
    const int32_t* high = reinterpret_cast<const int32_t*>(odd);
    constexpr int64_t step = 4 * W;
    const int64_t bytes = (x.dim + 1) / 2, ahead = fec::fetched_ahead(kAhead);
    I eights = izero();
    for (int64_t i = 0; i < bytes; i += step) {
        eights = dot_u7(eights, iset1(0x08080808), iload(low + i / 4));
        eights = dot_u7(eights, iset1(0x08080808), iload(high + i / 4));
    }
    sum_walks(x, ids, first, n, -isum(eights), out, [&](const char* row) {
        I a = izero(), b = izero();
        const auto add = [&](I v, int64_t i) {
            a = dot_u7(a, low_nibbles(v), iload(low + i / 4));
            b = dot_u7(b, high_nibbles(v), iload(high + i / 4));
        };
        int64_t i = 0;
        for (; i + step <= bytes; i += step) {
            prefetch(row + i + ahead);
            add(iload(reinterpret_cast<const int32_t*>(row + i)), i);
        }
        if (i < bytes) add(iload_n(row + i, bytes - i), i);
        return iadd(a, b);
    });
}

// A bit counts 0 or 2, less the sum of q.
void sign_dot_rows(const int8_t* q, const Rows& x, const int64_t* ids, int64_t first, int64_t n, int32_t* out) {
    using namespace simd;
    const int32_t* words = reinterpret_cast<const int32_t*>(q);
    I ones = izero();
    for (int64_t i = 0; i < (x.dim + 7) / 8 * 8; i += 4 * W) ones = dot_u7(ones, iset1(0x01010101), iload(words + i / 4));
    const int64_t ahead = fec::fetched_ahead(kAhead);
    sum_walks(x, ids, first, n, -isum(ones), out, [&](const char* row) {
        I dot = izero();
        prefetch(row + ahead);
        over_bits(x, row, [&](uint64_t word, int64_t at) { dot = dot_u7(dot, choose(word, 2, 0), iload(words + at / 4)); });
        return dot;
    });
}

// q holds the query's bytes with both operands' flips folded in and pad bits 0, zero-padded to whole vectors.
void hamming_rows(const uint8_t* q, const Rows& x, const int64_t* ids, int64_t first, int64_t n, int32_t* out) {
    using namespace simd;
    constexpr int64_t step = 4 * W;
    const int64_t bytes = (x.dim + 7) / 8, whole = (x.dim % 8 ? bytes - 1 : bytes) / step * step;  // the last byte may need its mask
    const int32_t* words = reinterpret_cast<const int32_t*>(q);
    uint8_t keep[step] = {};
    for (int64_t i = whole; i < bytes; ++i) keep[i - whole] = 0xFF;
    if (x.dim % 8) keep[bytes - 1 - whole] = static_cast<uint8_t>(0xFF00 >> (x.dim % 8));
    const I valid = iload(reinterpret_cast<const int32_t*>(keep));
    const int64_t ahead = fec::fetched_ahead(kAhead);
    sum_walks(x, ids, first, n, 0, out, [&](const char* row) {
        I acc = izero();
        for (int64_t i = 0; i < whole; i += step) {
            prefetch(row + i + ahead);
            acc = hamming(acc, iload(words + i / 4), iload(reinterpret_cast<const int32_t*>(row + i)));
        }
        if (whole < bytes) acc = hamming(acc, iload(words + whole / 4), iand(valid, iload_n(row + whole, bytes - whole)));
        return acc;
    });
}

float largest(const float* x, int64_t n) {
    using namespace simd;
    F top = zero();
    int64_t i = 0;
    for (; i + W <= n; i += W) top = max(load(x + i), top);  // the second where the first is NaN
    if (i < n) top = max(widen_n(x + i, n - i), top);
    return max_of(top);
}

template <class P>
struct Unqualified;
template <class T>
struct Unqualified<const T*> {
    using type = T;
};

}  // namespace

// Rows of a corpus one at a time: conversion into scratch, norms, and up to eight queries against rows walked in order –
// a single stream is what the prefetcher follows best, so this is the way for few queries.
#pragma once
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
        for (int64_t i = 0; i < n / 2; ++i) {
            out[2 * i] = static_cast<int8_t>((p[i] & 15) - 8);
            out[2 * i + 1] = static_cast<int8_t>((p[i] >> 4) - 8);
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

void code_rows(const Rows& x, const int64_t* ids, int64_t first, int64_t n, void* out, int64_t ld) {
    using namespace simd;
    const int64_t padded = ld / (dot_group == 4 ? 1 : 2);
    for (int64_t r = 0; r < n; ++r) {
        const char* row = row_at(x, ids, first, r);
        char* to = static_cast<char*>(out) + r * ld;
        int8_t* bytes = reinterpret_cast<int8_t*>(to);
        int16_t* words = reinterpret_cast<int16_t*>(to);
        const uint8_t* u = reinterpret_cast<const uint8_t*>(row);
        const int8_t* s = reinterpret_cast<const int8_t*>(row);
        int8_t unpacked[kUnpacked];
        for (int64_t from = 0; from < x.dim; from += kUnpacked) {
            const int64_t to_end = from + kUnpacked < x.dim ? from + kUnpacked : x.dim;
            if (x.kind == Kind::i4) {
                unpack(x, row, from, to_end - from, unpacked);
                s = unpacked - from;
            }
            for (int64_t i = from; i < to_end; ++i) {
                if (dot_group == 4)
                    bytes[i] = x.kind == Kind::u8 ? static_cast<int8_t>(u[i] ^ 0x80) : s[i];
                else
                    words[i] = x.kind == Kind::u8 ? static_cast<int16_t>(u[i]) : static_cast<int16_t>(s[i]);
            }
        }
        for (int64_t i = x.dim; i < padded; ++i) {
            if (dot_group == 4)
                bytes[i] = 0;
            else
                words[i] = 0;
        }
    }
}

void square_sums(const char* rows, int64_t stride, int64_t n, int64_t dim, float* out) {
    using namespace simd;
    for (int64_t r = 0; r < n; ++r) {
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
        out[r] = sum(add(add(acc[0], acc[1]), add(acc[2], acc[3])));
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

// Sums of each row's codes as the code tile reads them, by the tile's own dot product with ones; only where it needs them.
void code_sums(const char* rows, int64_t stride, int64_t n, int64_t dim, int32_t* sums) {
    using namespace simd;
    constexpr int64_t step = 4 * W;
    uint8_t ones[step];
    for (uint8_t& one : ones) one = 1;
    const I unit = iload(reinterpret_cast<const int32_t*>(ones));
    for (int64_t r = 0; r < n; ++r) {
        const char* row = rows + r * stride;
        I total = izero();
        int64_t i = 0;
        for (; i + step <= dim; i += step) total = dot(total, unit, iload(reinterpret_cast<const int32_t*>(row + i)));
        if (i < dim) {
            int32_t tail[W] = {};
            __builtin_memcpy(tail, row + i, dim - i);
            total = dot(total, unit, iload(tail));
        }
        sums[r] = isum(total);
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

// q is int16, zero-padded to whole vectors.
void code_dot_rows(const int16_t* q, const Rows& x, const int64_t* ids, int64_t first, int64_t n, int32_t* out) {
    using namespace simd;
    const int32_t* words = reinterpret_cast<const int32_t*>(q);
    for (int64_t r = 0; r < n; ++r) {
        I dot = izero();
        over_code_row(x, row_at(x, ids, first, r), [&](I v, int64_t k) { dot = madd16(dot, v, iload(words + k / 2)); });
        out[r] = isum(dot);
    }
}

// q holds the query's bytes with both operands' flips folded in and pad bits 0, zero-padded to whole vectors.
void hamming_rows(const uint8_t* q, const Rows& x, const int64_t* ids, int64_t first, int64_t n, int32_t* out) {
    using namespace simd;
    const int64_t bytes = (x.dim + 7) / 8;
    const auto keep = static_cast<uint8_t>(x.dim % 8 ? 0xFF00 >> (x.dim % 8) : 0xFF);
    const int32_t* words = reinterpret_cast<const int32_t*>(q);
    constexpr int64_t step = 4 * W;
    const int64_t whole = x.dim % 8 ? bytes - 1 : bytes;  // the last byte is masked, so it goes by the tail
    for (int64_t r = 0; r < n; ++r) {
        const char* row = row_at(x, ids, first, r);
        I acc = izero();
        int64_t i = 0;
        for (; i + step <= whole; i += step) acc = hamming(acc, iload(words + i / 4), iload(reinterpret_cast<const int32_t*>(row + i)));
        if (i < bytes) {
            int32_t tail[W] = {};
            __builtin_memcpy(tail, row + i, bytes - i);
            reinterpret_cast<uint8_t*>(tail)[bytes - i - 1] &= keep;
            acc = hamming(acc, iload(words + i / 4), iload(tail));
        }
        out[r] = isum(acc);
    }
}

template <class P>
struct Unqualified;
template <class T>
struct Unqualified<const T*> {
    using type = T;
};

template <class T, int NQ>
inline void dot_rows_as(const float* q, int64_t ldq, const Rows& x, const int64_t* ids, int64_t first, int64_t n, float* out,
                        float* squares) {
    using namespace simd;
    constexpr int U = NQ == 1 ? 4 : NQ == 2 ? 2 : 1;  // independent chains enough to hide the latency of fma
    const int64_t dim = x.dim;
    for (int64_t r = 0; r < n; ++r) {
        const T* p = reinterpret_cast<const T*>(row_at(x, ids, first, r));
        F acc[NQ][U], square[U];
        for (int u = 0; u < U; ++u) {
            square[u] = zero();
            for (int j = 0; j < NQ; ++j) acc[j][u] = zero();
        }
        int64_t i = 0;
        for (; i + U * W <= dim; i += U * W)
            for (int u = 0; u < U; ++u) {
                const F v = widen(p + i + u * W);
                square[u] = fma(v, v, square[u]);
                for (int j = 0; j < NQ; ++j) acc[j][u] = fma(v, load(q + j * ldq + i + u * W), acc[j][u]);
            }
        for (; i < dim; i += W) {  // q is zero-padded to whole vectors
            const F v = dim - i < W ? widen_n(p + i, dim - i) : widen(p + i);
            square[0] = fma(v, v, square[0]);
            for (int j = 0; j < NQ; ++j) acc[j][0] = fma(v, load(q + j * ldq + i), acc[j][0]);
        }
        for (int u = 1; u < U; ++u) {
            square[0] = add(square[0], square[u]);
            for (int j = 0; j < NQ; ++j) acc[j][0] = add(acc[j][0], acc[j][u]);
        }
        for (int j = 0; j < NQ; ++j) out[j * n + r] = sum(acc[j][0]);
        squares[r] = sum(square[0]);
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

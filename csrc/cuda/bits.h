// Rows of packed bits, 16 bytes at a time, and their Hamming distances by popcount.
#pragma once
#include "scan.h"

namespace fec_cuda {

// How rows of bits may be read: 16 or 4 bytes at once where every row is whole ones, else byte by byte; nothing past a row's end.
struct BitRows {
    const unsigned char* data;
    int64_t stride;
    int bytes, words, grain;
    uint32_t tail;  // of the last word, the bits that count

    BitRows(const Matrix& rows, int64_t dim, bool plain) : data(rows.data), stride(rows.stride) {
        bytes = static_cast<int>((dim + 7) / 8);
        words = (bytes + 3) / 4;
        const int used = bytes - 4 * (words - 1), pad = static_cast<int>(8 * bytes - dim);
        tail = (used == 4 ? ~0u : (1u << 8 * used) - 1) & ~(((1u << pad) - 1) << 8 * (used - 1));  // the first bit is a byte's highest
        grain = 1;
        for (int wide : {4, 16})
            if (!plain && (wide == 4 || pad == 0) && (reinterpret_cast<uintptr_t>(data) | stride | bytes) % wide == 0) grain = wide;
    }

    int units() const { return (words + 3) / 4; }

    __device__ uint4 whole(const unsigned char* row, int u) const { return reinterpret_cast<const uint4*>(row)[u]; }

    // 16 bytes, zero past the end and where bits do not count.
    __device__ uint4 gathered(const unsigned char* row, int u, uint32_t flip) const {
        uint32_t word[4] = {};
        if (grain >= 4) {
#pragma unroll
            for (int w = 0; w < 4; ++w)
                if (4 * u + w < words) word[w] = reinterpret_cast<const uint32_t*>(row)[4 * u + w];
        } else {
#pragma unroll 1
            for (int i = 0; i < 4; ++i)
#pragma unroll
                for (int w = 0; w < 4; ++w)
                    if (16 * u + 4 * w + i < bytes) word[w] |= static_cast<uint32_t>(row[16 * u + 4 * w + i]) << 8 * i;
        }
#pragma unroll
        for (int w = 0; w < 4; ++w) {
            const int left = words - (4 * u + w);
            word[w] = (word[w] ^ flip) & (left > 1 ? ~0u : left == 1 ? tail : 0);
        }
        return uint4{word[0], word[1], word[2], word[3]};
    }
};

template <int queries>
class BitScorer {
public:
    static constexpr int tile = queries, resident = queries == 1 ? 4 : 3;

    BitScorer(const Search& search, int flip)
        : q_(search.queries, search.dim, false), x_(search.corpus, search.dim, false), flip_(flip * 0x01010101u), units_(x_.units()) {}

    size_t shared() const { return tile * units_ * sizeof(uint4); }

    __device__ void prepare(int64_t first, int64_t count, char* memory) {
        values_ = reinterpret_cast<uint4*>(memory);
        for (int i = threadIdx.x; i < tile * units_; i += blockDim.x) {
            const int64_t query = first + i / units_ < count ? first + i / units_ : first;
            values_[i] = q_.gathered(q_.data + query * q_.stride, i % units_, flip_);
        }
        __syncthreads();
    }

    __device__ void ranks(const int64_t (&rows)[kRows], uint32_t (&out)[kRows][tile]) const {
        for (int r = 0; r < kRows; ++r)
            for (int q = 0; q < tile; ++q) out[r][q] = 0;
        for (int u = threadIdx.x % kLanes; u < units_; u += kLanes) {
            uint4 x[kRows];
            if (x_.grain == 16)
#pragma unroll
                for (int r = 0; r < kRows; ++r) x[r] = x_.whole(x_.data + rows[r] * x_.stride, u);
            else
#pragma unroll
                for (int r = 0; r < kRows; ++r) x[r] = x_.gathered(x_.data + rows[r] * x_.stride, u, 0);
#pragma unroll
            for (int q = 0; q < tile; ++q) {
                const uint4 y = values_[q * units_ + u];
#pragma unroll
                for (int r = 0; r < kRows; ++r)
                    out[r][q] += __popc(x[r].x ^ y.x) + __popc(x[r].y ^ y.y) + __popc(x[r].z ^ y.z) + __popc(x[r].w ^ y.w);
            }
        }
#pragma unroll
        for (int r = 0; r < kRows; ++r)
#pragma unroll
            for (int q = 0; q < tile; ++q)
                for (int bits = kLanes / 2; bits; bits /= 2) out[r][q] += shuffle_xor(out[r][q], bits);
    }

    __device__ int32_t score(uint32_t rank) const { return static_cast<int32_t>(rank); }
    __device__ int32_t unfilled() const { return INT32_MAX; }

private:
    BitRows q_, x_;
    uint32_t flip_;
    int units_;
    uint4* values_ = nullptr;
};

}  // namespace fec_cuda

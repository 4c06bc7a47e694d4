// What the extension offers: searches over raw device pointers, on a stream, waiting for nothing.
#pragma once
#include <cstddef>
#include <cstdint>

namespace fec_cuda {

struct Stream {
    int device;
    void* handle;
};

// Rows of any stride.
struct Matrix {
    const unsigned char* data;
    int64_t n, stride;  // bytes between rows
};

// Which rows a query may return.
struct Mask {
    const unsigned char* mask;  // bytes, or bits, the lowest first; null: all
    int64_t stride;             // bytes between queries; 0: one mask for all
    bool packed;
    const int64_t* exclude;  // (queries, excluded)
    int excluded;
};

struct Search {
    Matrix queries, corpus;
    int64_t dim;
    int k;  // at least 1, and at most the rows there are
    Mask may;
    int32_t* scores;  // (queries, k); the bits of float32
    int64_t* rows;    // (queries, k)
};

enum class Kind { f32, f16, bf16 };
enum class Metric { ip, cosine, l2, sqeuclidean };

// What one block holds: k with a query's excludes, and a query's bits or floats.
constexpr int kMost = 2048;
constexpr int64_t kMostBits = 1 << 18, kMostFloats = 1 << 14;
constexpr int64_t kTensorBits = 6144;
constexpr int64_t kShared = 163 << 10;  // bytes a block may have on sm_80; sm_90 has more

extern const bool on_host;       // compiled by no nvcc: addresses are the host's
extern const char* const targets;  // the devices it was compiled for

// Rows of bits, whose bytes of queries are xor'ed with `flip`. tensor: by binary tensor cores, for at most kTensorBits bits.
size_t hamming_workspace(const Search& search, bool tensor, const Stream& stream);
void hamming_topk(const Search& search, bool tensor, int flip, void* workspace, const Stream& stream);

// Canonical scores of every row.
size_t float_workspace(const Search& search, const Stream& stream);
void float_topk(const Search& search, Kind queries, Kind corpus, Metric metric, void* workspace, const Stream& stream);

}  // namespace fec_cuda

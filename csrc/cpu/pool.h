// Pooling token states into one row a sequence: mask, reduce, truncate, normalize and quantize in one pass.
#pragma once
#include "rows.h"

namespace fec {

// The order is shared with the binding.
enum class PoolMode : int { mean, max, cls, lasttoken, weightedmean, mean_sqrt_len_tokens, attention };

// One call. Token t of sequence b lies sequence_stride * b + token_stride * t bytes from `tokens`; with offsets sequence b
// is tokens offsets[b] to offsets[b + 1]. Mask and weights have one element a token, densely, in the same order.
struct Pooling {
    const char* tokens;
    Kind kind;  // f32 f16 bf16 f64
    int64_t sequences;
    int64_t length;  // tokens a sequence, where offsets is null
    int64_t dim;     // elements read of each token
    int64_t sequence_stride, token_stride;
    const int64_t* offsets;
    const uint8_t* mask;          // null: every token is valid
    const float* token_weights;  // null: 1
    PoolMode mode;
    const float* query;  // heads rows of head_dim, for the kernels padded_dim() apart; head h reads from element h * head_step on
    int64_t heads, head_dim, head_step;
    float scale;
    bool normalize;
    RowSink sink;
    int64_t lead;  // elements of every token before its first cache line, 0 where that varies; the driver's

    // The running state of one sequence: for each head an accumulator, then for each head the shift of its scores, then the sum of its
    // weights, then the weight of its last token.
    // Always inlined: a copy compiled for one instruction set must not serve the whole program.
    __attribute__((always_inline)) int64_t padded_dim() const { return (head_dim + 15) / 16 * 16; }
    __attribute__((always_inline)) int64_t state_floats() const { return heads * padded_dim() + (3 * heads + 15) / 16 * 16; }
};

// Up to span_tokens valid tokens of one sequence. The reading goes on at `next`, which is fetched ahead of time.
struct Span {
    const char* const* tokens;
    const float* weights;  // null: 1
    int64_t n;
    const char* next;
};

// A sequence's tokens are summed in leaves, leaves in spans and spans in order, whatever the threads, the padding and the
// rest of the batch: float32 sums of T tokens are leaf_tokens + span_tokens / leaf_tokens + T / span_tokens deep.
constexpr int64_t leaf_tokens = 64, span_tokens = 512;

struct PoolKernels {
    void (*span[4])(const Pooling&, const Span&, float* state, float* leaf);  // by Kind; overwrites the state
    void (*merge)(const Pooling&, float* state, const float* next);
    void (*finish)(const Pooling&, float* state, int64_t valid, double weight, int64_t sequence);  // weight: the sum of weights
};

// The driver, in pool.cpp; false where poll (see core/thread_pool.h) asked to stop.
bool pool(const Pooling& call, int threads, bool (*poll)());

}  // namespace fec

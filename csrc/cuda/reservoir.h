// The k smallest of the keys that a block meets, in shared memory.
#pragma once
#include "vocabulary.h"

namespace fec_cuda {

// How a row ranks, smaller is better, above its number: keys are distinct, so that no order of arrival shows in a result.
using Key = unsigned long long;
constexpr Key kEmpty = ~0ull;

__device__ inline Key key_of(uint32_t rank, int64_t row) { return static_cast<Key>(rank) << 32 | static_cast<uint32_t>(row); }
__device__ inline uint32_t rank_of(Key key) { return static_cast<uint32_t>(key >> 32); }
__device__ inline uint32_t row_of(Key key) { return static_cast<uint32_t>(key); }

class Reservoir {
public:
    __host__ __device__ static constexpr size_t bytes(int capacity) { return capacity * sizeof(Key) + 16; }

    // The power of two that holds k keys and `coming` more.
    static constexpr int capacity_for(int k, int coming) {
        int capacity = 1;
        while (capacity < k + coming) capacity *= 2;
        return capacity;
    }

    // memory: bytes(capacity) of shared memory, 8-aligned. Every member but wants and add is called by the whole block.
    __device__ Reservoir(char* memory, int capacity, int k) : keys(reinterpret_cast<Key*>(memory)), capacity_(capacity), k_(k) {}

    __device__ void clear() const {
        if (threadIdx.x == 0) {
            limit() = kEmpty;
            count() = 0;
        }
        __syncthreads();
    }

    __device__ bool wants(Key key) const { return key < limit(); }
    __device__ void add(Key key) const { keys[atomicAdd(&count(), 1)] = key; }

    __device__ void make_room(int coming) const {
        const int held = settled();
        if (held + coming > capacity_) prune(held);
    }

    // How many are held, at most k: the first of `keys`, ascending.
    __device__ int finish() const {
        const int held = settled();
        prune(held);
        return held < k_ ? held : k_;
    }

    Key* const keys;

private:
    __device__ Key& limit() const { return keys[capacity_]; }
    __device__ int& count() const { return *reinterpret_cast<int*>(keys + capacity_ + 1); }

    // The count between two barriers: nobody adds meanwhile, and all decide alike.
    __device__ int settled() const {
        __syncthreads();
        const int held = count();
        __syncthreads();
        return held;
    }

    // Sorts bitonically and keeps the first k.
    __device__ void prune(int held) const {
        int size = 1;
        while (size < held) size *= 2;
        for (int i = held + threadIdx.x; i < size; i += blockDim.x) keys[i] = kEmpty;
        for (int run = 2; run <= size; run *= 2)
            for (int step = run / 2; step > 0; step /= 2) {
                __syncthreads();
                for (int pair = threadIdx.x; pair < size / 2; pair += blockDim.x) {
                    const int low = 2 * pair - (pair & (step - 1));
                    const Key a = keys[low], b = keys[low + step];
                    if ((a > b) == ((low & run) == 0)) {
                        keys[low] = b;
                        keys[low + step] = a;
                    }
                }
            }
        __syncthreads();
        if (threadIdx.x == 0) {
            limit() = held < k_ ? kEmpty : keys[k_ - 1];
            count() = held < k_ ? held : k_;
        }
        __syncthreads();
    }

    const int capacity_, k_;
};

}  // namespace fec_cuda

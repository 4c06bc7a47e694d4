// CUDA's words on the host, for tests: one block at a time, its threads fibers. Warps of some blocks keep abreast, of others each runs
// as far as a barrier lets it before another does; which of them first is drawn, so that a barrier left out shows.
#pragma once
#include <setjmp.h>
#include <ucontext.h>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __shared__ static
#define __launch_bounds__(...)

#include "launch.h"

namespace fec_cuda {

constexpr bool kOnHost = true;
constexpr char kTargets[] = "the host";

struct Index {
    unsigned x;
};

inline Index threadIdx, blockIdx, blockDim, gridDim;

struct alignas(16) uint4 {
    uint32_t x, y, z, w;
};

class Block {
public:
    static Block& running() {
        static Block block;
        return block;
    }

    void run(int threads, size_t shared, std::function<void()> body) {
        constexpr size_t stack = 1 << 16;
        body_ = std::move(body);
        memory_.assign(shared + 128, '\xAA');  // what is read before it is written is no zero
        fibers_.resize(threads);
        stacks_.resize(threads * stack);
        warps_.assign((threads + 31) / 32, {});
        block_ = {};
        abreast_ = draw();
        for (int i = 0; i < threads; ++i) {
            Fiber& fiber = fibers_[i];
            fiber = {};
            getcontext(&fiber.start);
            fiber.start.uc_stack.ss_sp = stacks_.data() + i * stack;
            fiber.start.uc_stack.ss_size = stack;
            makecontext(&fiber.start, [] { running().enter(); }, 0);
        }
        while (step(draw()));
    }

    char* memory() { return reinterpret_cast<char*>((reinterpret_cast<uintptr_t>(memory_.data()) + 127) / 128 * 128); }

    void await_block() { await(block_, static_cast<int>(fibers_.size())); }

    // What each lane of the warp gave: read it before the next exchange but one.
    template <class T>
    const T* exchange(const T& value) {
        static_assert(sizeof(T) <= 32, "a slot");
        Fiber& fiber = fibers_[threadIdx.x];
        Warp& warp = warps_[threadIdx.x / 32];
        char* slots = warp.slots[fiber.exchanges++ % 2];
        std::memcpy(slots + threadIdx.x % 32 * sizeof(T), &value, sizeof(T));
        await(warp.barrier, 32);
        return reinterpret_cast<const T*>(slots);
    }

private:
    struct Barrier {
        int arrived = 0;
        long opened = 0;
    };
    struct Warp {
        Barrier barrier;
        alignas(32) char slots[2][32 * 32];
    };
    struct Fiber {
        ucontext_t start;
        jmp_buf place;
        bool begun, done;
        const long* awaited;
        long seen;
        int exchanges;
    };

    bool draw() { return (draw_ = draw_ * 1664525 + 1013904223) >> 31; }

    void enter() {
        body_();
        fibers_[threadIdx.x].done = true;
        _longjmp(scheduler_, 1);
    }

    void await(Barrier& barrier, int size) {
        const long seen = barrier.opened;
        if (++barrier.arrived == size) {
            barrier.arrived = 0;
            ++barrier.opened;
        }
        Fiber& fiber = fibers_[threadIdx.x];
        fiber.awaited = &barrier.opened;
        fiber.seen = seen;
        if (!_setjmp(fiber.place)) _longjmp(scheduler_, 1);
    }

    // Takes each warp a step, or as far as the block's barrier lets it; false when all are done.
    bool step(bool forward) {
        const int n = static_cast<int>(warps_.size());
        bool resumed = false, all_done = true;
        for (int i = 0; i < n; ++i)
            while (step_warp(forward ? i : n - 1 - i, forward)) {
                resumed = true;
                if (abreast_) break;
            }
        for (const Fiber& fiber : fibers_) all_done = all_done && fiber.done;
        if (!resumed && !all_done) {
            std::fputs("threads of a block wait at different barriers\n", stderr);
            std::abort();
        }
        return !all_done;
    }

    // Resumes the threads of a warp that can go on; false where none can.
    bool step_warp(int warp, bool forward) {
        bool resumed = false;
        for (int i = 0; i < 32; ++i) {
            const int at = 32 * warp + (forward ? i : 31 - i);
            Fiber& fiber = fibers_[at];
            if (fiber.done || (fiber.awaited && *fiber.awaited == fiber.seen)) continue;
            resumed = true;
            resume(at);
        }
        return resumed;
    }

    void resume(int at) {
        threadIdx.x = at;
        Fiber& fiber = fibers_[at];
        if (_setjmp(scheduler_)) return;
        if (fiber.begun) _longjmp(fiber.place, 1);
        fiber.begun = true;
        setcontext(&fiber.start);
    }

    std::function<void()> body_;
    std::vector<char> memory_, stacks_;
    std::vector<Fiber> fibers_;
    std::vector<Warp> warps_;
    Barrier block_;
    uint32_t draw_ = 0;
    bool abreast_ = false;
    jmp_buf scheduler_;
};

inline void __syncthreads() { Block::running().await_block(); }
inline void __threadfence() {}
inline int __popc(uint32_t x) { return __builtin_popcount(x); }
inline int atomicAdd(int* at, int value) { return (*at += value) - value; }
template <class T>
T __ldcg(const T* at) {
    return *at;
}

inline void use(Stream) {}
inline void zero(void* memory, size_t bytes, Stream) { std::memset(memory, 0, bytes); }
inline int multiprocessors(Stream) { return 3; }

template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), int64_t blocks, int threads, size_t shared, Stream, Arguments... arguments) {
    blockDim.x = threads;
    gridDim.x = static_cast<unsigned>(blocks);
    for (blockIdx.x = 0; blockIdx.x < gridDim.x; ++blockIdx.x) Block::running().run(threads, shared, [=] { kernel(arguments...); });
}

inline char* shared_memory() { return Block::running().memory(); }

template <class T>
T shuffle(T value, int lane) {
    return Block::running().exchange(value)[lane & 31];
}

template <class T>
T shuffle_xor(T value, int bits) {
    return Block::running().exchange(value)[(threadIdx.x ^ bits) & 31];
}

inline float float_of(uint32_t bits) {
    float value;
    std::memcpy(&value, &bits, 4);
    return value;
}
inline uint32_t bits_of(float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, 4);
    return bits;
}

inline float half_value(uint16_t bits) {
    const float magnitude = (bits & 0x7C00) == 0x7C00 ? ((bits & 0x3FF) ? NAN : INFINITY)
                            : (bits & 0x7C00)         ? std::ldexp(1024.0f + (bits & 0x3FF), ((bits >> 10) & 31) - 25)
                                                      : std::ldexp(static_cast<float>(bits & 0x3FF), -24);
    return bits & 0x8000 ? -magnitude : magnitude;
}

inline void copy_async(void* to, const void* from) { std::memcpy(to, from, 16); }
inline void commit_copies() {}
template <int pending>
void await_copies() {}

inline void load_matrices(uint32_t (&words)[4], const void* row) {
    const int lane = threadIdx.x % 32;
    const void* const* rows = Block::running().exchange(row);
    for (int i = 0; i < 4; ++i) std::memcpy(&words[i], static_cast<const char*>(rows[8 * i + lane / 4]) + lane % 4 * 4, 4);
}

inline void multiply_bits(int (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    struct Fragments {
        uint32_t a[4], b[2];
    };
    const int lane = threadIdx.x % 32;
    const Fragments* of = Block::running().exchange(Fragments{{a[0], a[1], a[2], a[3]}, {b0, b1}});
    for (int i = 0; i < 4; ++i)
        for (int word = 0; word < 8; ++word) {
            const uint32_t left = of[lane / 4 * 4 + word % 4].a[i / 2 + word / 4 * 2];
            const uint32_t right = of[(lane % 4 * 2 + i % 2) * 4 + word % 4].b[word / 4];
            c[i] += __builtin_popcount(left & right);
        }
}

}  // namespace fec_cuda

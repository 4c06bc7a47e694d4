// What kernels need beyond CUDA's own words: PTX where there is no intrinsic, and launching. host.h holds the same for a host.
#pragma once
#include <cuda_runtime.h>

#include <cstdint>
#include <stdexcept>
#include <string>

#include "launch.h"

namespace fec_cuda {

constexpr bool kOnHost = false;
#ifndef FEC_CUDA_TARGETS
#define FEC_CUDA_TARGETS ""
#endif
constexpr char kTargets[] = FEC_CUDA_TARGETS;  // CMakeLists.txt names them

inline void check(cudaError_t status) {
    if (status != cudaSuccess) throw std::runtime_error(std::string("CUDA: ") + cudaGetErrorString(status));
}

// This extension's runtime is its own: what torch made current is said again.
inline void use(Stream stream) { check(cudaSetDevice(stream.device)); }

inline void zero(void* memory, size_t bytes, Stream stream) {
    check(cudaMemsetAsync(memory, 0, bytes, static_cast<cudaStream_t>(stream.handle)));
}

inline int multiprocessors(Stream stream) {
    int count = 0;
    check(cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, stream.device));
    return count;
}

template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), int64_t blocks, int threads, size_t shared, Stream stream, Arguments... arguments) {
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared)));
    kernel<<<static_cast<unsigned>(blocks), threads, shared, static_cast<cudaStream_t>(stream.handle)>>>(arguments...);
    check(cudaGetLastError());
}

__device__ inline char* shared_memory() {
    extern __shared__ __align__(128) char memory[];
    return memory;
}

template <class T>
__device__ T shuffle(T value, int lane) {
    return __shfl_sync(0xFFFFFFFFu, value, lane);
}

template <class T>
__device__ T shuffle_xor(T value, int bits) {
    return __shfl_xor_sync(0xFFFFFFFFu, value, bits);
}

__device__ inline float float_of(uint32_t bits) { return __uint_as_float(bits); }
__device__ inline uint32_t bits_of(float value) { return __float_as_uint(value); }

__device__ inline float half_value(uint16_t bits) {
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
    return value;
}

__device__ inline uint32_t shared_address(const void* p) { return static_cast<uint32_t>(__cvta_generic_to_shared(p)); }

__device__ inline void copy_async(void* to, const void* from) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared_address(to)), "l"(from) : "memory");
}

__device__ inline void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Until at most `pending` groups of this thread's copies are under way.
template <int pending>
__device__ void await_copies() {
    asm volatile("cp.async.wait_group %0;" ::"n"(pending) : "memory");
}

// Four matrices of 8 rows of 16 bytes; lane i names row i % 8 of matrix i / 8 and gets word i % 4 of row i / 4 of each.
__device__ inline void load_matrices(uint32_t (&words)[4], const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
                 : "r"(shared_address(row))
                 : "memory");
}

// c += popc(a & b): 16 rows by 8, 256 bits. XOR would be two instructions on sm_90.
__device__ inline void multiply_bits(int (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    asm volatile("mma.sync.aligned.m16n8k256.row.col.s32.b1.b1.s32.and.popc {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

}  // namespace fec_cuda

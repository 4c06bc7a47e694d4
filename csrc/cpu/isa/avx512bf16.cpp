#include "../simd/avx512bf16.h"

#define FEC_KERNELS kernels_avx512bf16
#include "../all.inl.h"

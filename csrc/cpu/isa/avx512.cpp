#include "../simd/avx512.h"

#define FEC_KERNELS kernels_avx512
#include "../all.inl.h"

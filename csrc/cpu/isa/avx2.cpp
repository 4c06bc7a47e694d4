#include "../simd/avx2.h"

#define FEC_KERNELS kernels_avx2
#include "../all.inl.h"

#include "../simd/neon.h"

#define FEC_KERNELS kernels_neon
#include "../all.inl.h"

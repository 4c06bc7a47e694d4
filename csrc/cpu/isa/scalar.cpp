#include "../simd/generic.h"

#define FEC_KERNELS kernels_scalar
#include "../all.inl.h"

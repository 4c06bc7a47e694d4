#include "../simd/neoni8mm.h"

#define FEC_KERNELS kernels_neoni8mm
#include "../all.inl.h"

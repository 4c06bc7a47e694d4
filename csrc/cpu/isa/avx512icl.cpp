#include "../simd/avx512icl.h"

#define FEC_KERNELS kernels_avx512icl
#include "../all.inl.h"

// Every operation's bodies over the vocabulary included before, and their table. Everything here has internal linkage:
// a function compiled for AVX must never be the one copy the linker keeps for the whole program.
// clang-format off: later files build on earlier ones
#include "kernels.h"
#include "simd/common.h"
#include "rows.inl.h"
// clang-format on

#include "bag.inl.h"
#include "coded.inl.h"
#include "limits.inl.h"
#include "maxsim.inl.h"
#include "normalize.inl.h"
#include "pool.inl.h"
#include "quantize.inl.h"
#include "search.inl.h"

namespace fec {
extern const Kernels FEC_KERNELS;
const Kernels FEC_KERNELS = {search_kernels, code_kernels,      pool_kernels,   quantize_kernels,
                             limit_kernels,  normalize_kernels, maxsim_kernels, bag_kernels};
}  // namespace fec

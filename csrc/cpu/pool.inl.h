#include "pool.h"

namespace {
const fec::PoolKernels pool_kernels = {};
}

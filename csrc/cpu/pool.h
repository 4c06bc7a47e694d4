#pragma once
#include "../core/types.h"

namespace fec {

struct PoolKernels {};

}  // namespace fec

#pragma once
#include "../core/types.h"

namespace fec {

struct QuantizeKernels {};

}  // namespace fec

#pragma once
#include "../core/types.h"

namespace fec {

struct SearchKernels {};

}  // namespace fec

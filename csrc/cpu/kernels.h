// The function table of one instruction set. Each operation's kernels are declared here and defined once, generically,
// in <op>.inl.h; isa/<isa>.cpp compiles every body over its own vector vocabulary and fills one table.
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "../core/types.h"
#include "bag.h"
#include "coded.h"
#include "limits.h"
#include "maxsim.h"
#include "normalize.h"
#include "pool.h"
#include "quantize.h"
#include "search.h"

namespace fec {

struct Kernels {
    SearchKernels search;
    CodeKernels codes;
    PoolKernels pool;
    QuantizeKernels quantize;
    LimitKernels limits;
    NormalizeKernels normalize;
    MaxSimKernels maxsim;
    BagKernels bag;
};

}  // namespace fec

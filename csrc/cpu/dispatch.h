// Probe once, then one function table.
#pragma once
#include "../core/cpu_features.h"
#include "kernels.h"

namespace fec {

const Kernels& kernels();
Isa current_isa();
bool isa_built(Isa isa);

// One level's table, or null where this machine cannot run it or this build does not hold it.
const Kernels* kernels_of(Isa isa);

// Use one level from now on; false where this machine cannot run it or this build does not hold it.
bool select_isa(Isa isa);

}  // namespace fec

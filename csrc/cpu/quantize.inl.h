#include "quantize.h"

namespace {
const fec::QuantizeKernels quantize_kernels = {};
}

#include "search.h"

namespace {
const fec::SearchKernels search_kernels = {};
}

// The words kernels are written in: nvcc's, or fibers on the host.
#pragma once
#ifdef __CUDACC__
#include "device.h"
#else
#include "host.h"
#endif

// Advanced SIMD with the 8-bit integer products of Armv8.6 (Graviton 3, Apple M2 and later).
#pragma once
#define FEC_I8MM 1
#include "neon.h"

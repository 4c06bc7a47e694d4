// AVX-512 with VNNI and VPOPCNTDQ (Ice Lake, Zen 4 and later).
#pragma once
#define FEC_ICL 1
#include "avx512.h"

#include "cpu_features.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace fec {

bool isa_available(Isa isa) {
    if (isa == Isa::scalar) return true;
#if defined(__x86_64__)
    // __builtin_cpu_supports reads cpuid and, for the vector levels, XGETBV: the operating system must save the registers.
    __builtin_cpu_init();
    unsigned eax, ebx, ecx = 0, edx;  // clang before 19 has no name for F16C, which needs the same saved registers as AVX2
    const bool f16c = __get_cpuid(1, &eax, &ebx, &ecx, &edx) && (ecx & bit_F16C);
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && f16c;
    const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    const bool icl = avx512 && __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512vpopcntdq");
    return (isa == Isa::avx2 && avx2) || (isa == Isa::avx512 && avx512) || (isa == Isa::avx512icl && icl);
#elif defined(__aarch64__)
    return isa == Isa::neon;  // Advanced SIMD is part of the architecture
#else
    return false;
#endif
}

}  // namespace fec

#include "cpu_features.h"

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#elif defined(__aarch64__) && defined(__APPLE__)
#include <sys/sysctl.h>
#endif

namespace fec {

#if defined(__aarch64__)
namespace {

bool has_i8mm() {
#if defined(__linux__)
    return getauxval(AT_HWCAP2) & 1ul << 13;  // HWCAP2_I8MM, which older headers do not name
#elif defined(__APPLE__)
    int present = 0;
    size_t size = sizeof present;
    return sysctlbyname("hw.optional.arm.FEAT_I8MM", &present, &size, nullptr, 0) == 0 && present;
#else
    return false;
#endif
}

}  // namespace
#endif

namespace {

bool is_zen5() {
#if defined(__x86_64__)
    unsigned eax, ebx, ecx, edx;
    if (!__get_cpuid(0, &eax, &ebx, &ecx, &edx) || ebx != signature_AMD_ebx) return false;
    return __get_cpuid(1, &eax, &ebx, &ecx, &edx) && (eax >> 8 & 0xF) + (eax >> 20 & 0xFF) == 0x1A;
#else
    return false;
#endif
}

}  // namespace

int64_t fetched_ahead(int64_t bytes) {
    static const bool by_software = is_zen5();
    return by_software ? bytes : 0;
}

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
    const bool bf16 = icl && __builtin_cpu_supports("avx512bf16");
    return (isa == Isa::avx2 && avx2) || (isa == Isa::avx512 && avx512) || (isa == Isa::avx512icl && icl) ||
           (isa == Isa::avx512bf16 && bf16);
#elif defined(__aarch64__)
    return isa == Isa::neon || (isa == Isa::neoni8mm && has_i8mm());  // Advanced SIMD is part of the architecture
#else
    return false;
#endif
}

}  // namespace fec

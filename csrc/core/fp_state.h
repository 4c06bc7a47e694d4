// Canonical scores need IEEE arithmetic: round to nearest, subnormals kept. Callers may have set other modes
// (torch.set_flush_denormal, a library linked with -ffast-math), so every entry and every pool thread sets them
// and restores what it found.
#pragma once
#include <stdint.h>
#if defined(__SSE2__)
#include <xmmintrin.h>
#endif

namespace fec {

class FpState {
public:
    FpState() {
#if defined(__SSE2__)
        saved_ = _mm_getcsr();
        _mm_setcsr(0x1F80);  // all exceptions masked, nearest, no FTZ, no DAZ
#elif defined(__aarch64__)
        asm volatile("mrs %0, fpcr" : "=r"(saved_));
        asm volatile("msr fpcr, %0" : : "r"(uint64_t{0}));
#endif
    }
    ~FpState() {
#if defined(__SSE2__)
        _mm_setcsr(saved_);
#elif defined(__aarch64__)
        asm volatile("msr fpcr, %0" : : "r"(saved_));
#endif
    }
    FpState(const FpState&) = delete;
    FpState& operator=(const FpState&) = delete;

private:
#if defined(__SSE2__)
    unsigned saved_;
#elif defined(__aarch64__)
    uint64_t saved_;
#endif
};

}  // namespace fec

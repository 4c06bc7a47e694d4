#include "check.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace fec {
namespace test {
namespace {

int64_t checks = 0, failures = 0;
constexpr int64_t kShown = 20;

template <class To, class From>
To bits_as(From v) {
    static_assert(sizeof(To) == sizeof(From), "");
    To out;
    std::memcpy(&out, &v, sizeof out);
    return out;
}

bool counted(const char* what, int64_t place, bool ok) {
    ++checks;
    if (!ok && ++failures <= kShown) std::printf("  %s at %lld: ", what, static_cast<long long>(place));
    return ok || failures > kShown;
}

// Positive numbers of a 16-bit format ascend with their bits, so the nearest is one of the two around |v|.
template <class T>
T nearest(float v, uint16_t infinity, double infinity_as_number, uint16_t nan) {
    const uint16_t sign = static_cast<uint16_t>(bits_as<uint32_t>(v) >> 16 & 0x8000u);
    const double magnitude = std::fabs(static_cast<double>(v));
    if (v != v) return T{nan};
    if (std::isinf(magnitude)) return T{static_cast<uint16_t>(sign | infinity)};
    const auto value = [&](uint16_t bits) { return bits == infinity ? infinity_as_number : static_cast<double>(value_of(T{bits})); };
    uint16_t lo = 0, hi = infinity;  // value(lo) <= magnitude; the answer is at most hi
    while (hi - lo > 1) {
        const uint16_t middle = static_cast<uint16_t>((lo + hi) / 2);
        (value(middle) <= magnitude ? lo : hi) = middle;
    }
    const double below = magnitude - value(lo), above = value(hi) - magnitude;
    const uint16_t chosen = below < above || (below == above && lo % 2 == 0) ? lo : hi;
    return T{static_cast<uint16_t>(sign | chosen)};
}

}  // namespace

void* guarded(int slot, size_t bytes) {
    constexpr size_t kBytes = 1 << 22;
    static char* ends[8] = {};
    if (bytes > kBytes) std::abort();
    if (!ends[slot]) {
        const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
        void* base = mmap(nullptr, kBytes + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (base == MAP_FAILED || mprotect(static_cast<char*>(base) + kBytes, page, PROT_NONE)) std::abort();
        ends[slot] = static_cast<char*>(base) + kBytes;
    }
    return ends[slot] - bytes;
}

uint32_t random_bits() {
    static uint64_t state = 0x9E3779B97F4A7C15u;
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    return static_cast<uint32_t>(state >> 32);
}

const uint32_t float_edges[] = {
    0x00000000, 0x80000000, 0x00000001, 0x80000001, 0x007FFFFF, 0x00800000, 0x7F7FFFFF, 0xFF7FFFFF, 0x7F800000, 0xFF800000,
    0x7FC00000, 0xFFC00000, 0x7FFFFFFF, 0x3F800000, 0xBF800000, 0x3F000000, 0x3EFFFFFF, 0xBF000000, 0x3FC00000, 0x40200000,
    0xC0200000, 0x4B000000, 0x4AFFFFFF, 0x4F000000, 0xCF000000, 0x477FE000, 0x477FEFFF, 0x477FF000, 0x33000000, 0x33000001,
    0x33800000, 0x387FC000, 0x387FFFFF, 0x38800000, 0x7F7F7FFF, 0x7F7F8000, 0x7F7FFFFF, 0x42FE0000, 0xC3000000, 0x437F0000,
};
const int float_edge_count = sizeof float_edges / sizeof *float_edges;

float value_of(float v) { return v; }
float value_of(double v) { return static_cast<float>(v); }
float value_of(bf16 v) { return bits_as<float>(static_cast<uint32_t>(v.bits) << 16); }
float value_of(int8_t v) { return v; }
float value_of(uint8_t v) { return v; }
float value_of(f16 v) {
    const int exponent = v.bits >> 10 & 31, fraction = v.bits & 1023;
    const double sign = v.bits & 0x8000 ? -1.0 : 1.0;
    if (exponent == 31) return static_cast<float>(fraction ? std::nan("") : sign * INFINITY);
    return static_cast<float>(sign * std::ldexp(exponent ? 1024 + fraction : fraction, (exponent ? exponent : 1) - 25));
}

f16 nearest_f16(float v) { return nearest<f16>(v, 0x7C00, 65536.0, 0x7E00); }
bf16 nearest_bf16(float v) { return nearest<bf16>(v, 0x7F80, std::ldexp(1.0, 128), 0x7FC0); }

float fused(float a, float b, float c) { return std::fma(a, b, c); }

void expect(const char* what, int64_t place, uint64_t got, uint64_t want) {
    if (!counted(what, place, got == want))
        std::printf("got %llx, expected %llx\n", static_cast<unsigned long long>(got), static_cast<unsigned long long>(want));
}

void expect_same(const char* what, int64_t place, double got, double want) {
    const bool same = (got != got && want != want) || bits_as<uint64_t>(got) == bits_as<uint64_t>(want);
    if (!counted(what, place, same)) std::printf("got %a, expected %a\n", got, want);
}

void expect_near(const char* what, int64_t place, double got, double want, double tolerance) {
    if (!counted(what, place, std::fabs(got - want) <= tolerance)) std::printf("got %a, expected %a within %g\n", got, want, tolerance);
}

bool report(const char* name) {
    std::printf("%s: %lld checks, %lld failed\n", name, static_cast<long long>(checks), static_cast<long long>(failures));
    const bool ok = checks > 0 && failures == 0;
    checks = failures = 0;
    return ok;
}

}  // namespace test
}  // namespace fec

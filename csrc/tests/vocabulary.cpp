// Checks one instruction set's vocabulary against plain scalar answers, at every tail length and against a guard page.
// Compiled once a level, with FEC_VOCABULARY naming its header and FEC_CHECK the function.
#include FEC_VOCABULARY

#include "../cpu/simd/common.h"
#include "check.h"

namespace {

using namespace fec::test;
using simd::D;
using simd::F;
using simd::I;
using simd::W;

float float_from(uint32_t bits) {
    float v;
    __builtin_memcpy(&v, &bits, 4);
    return v;
}

uint32_t bits_from(float v) {
    uint32_t bits;
    __builtin_memcpy(&bits, &v, 4);
    return bits;
}

float edge_or_random(int64_t i) {
    return float_from(i < fec::test::float_edge_count ? fec::test::float_edges[i] : fec::test::random_bits());
}

}  // namespace

#include "conversions.inl.h"
#include "integers.inl.h"

namespace {

// Every pair of edge values, then random ones.
void check_arithmetic() {
    const int n = fec::test::float_edge_count;
    for (int64_t i = 0; i < n * n + 4096; ++i) {
        float a[W], b[W], c[W];
        for (int j = 0; j < W; ++j) {
            a[j] = i < n * n ? float_from(float_edges[i / n]) : edge_or_random(n);
            b[j] = i < n * n ? float_from(float_edges[(i + j) % n]) : edge_or_random(n);
            c[j] = edge_or_random((i * 7 + j) % (2 * n));
        }
        const F x = simd::load(a), y = simd::load(b), z = simd::load(c);
        float sum[W], difference[W], product[W], quotient[W], muladd[W], low[W], high[W], high_or_nan[W], either[W], positive[W], chosen[W];
        simd::store(sum, simd::add(x, y));
        simd::store(difference, simd::sub(x, y));
        simd::store(product, simd::mul(x, y));
        simd::store(quotient, simd::div(x, y));
        simd::store(muladd, simd::fma(x, y, z));
        simd::store(low, simd::min(x, y));
        simd::store(high, simd::max(x, y));
        simd::store(either, simd::max_or_nan(x, y));
        simd::store(high_or_nan, simd::max_or_nan(x, y));
        simd::store(positive, simd::abs(x));
        const unsigned mask = static_cast<unsigned>(random_bits()) & ((1u << W) - 1);
        simd::store(chosen, simd::select(mask, x, y));
        const unsigned greater = simd::greater(x, y), not_less = simd::not_less(x, y), nan = simd::is_nan(x);
        for (int j = 0; j < W; ++j) {
            expect_same("add", i, sum[j], a[j] + b[j]);
            expect_same("sub", i, difference[j], a[j] - b[j]);
            expect_same("mul", i, product[j], a[j] * b[j]);
            expect_same("div", i, quotient[j], a[j] / b[j]);
            const float once = fused(a[j], b[j], c[j]), twice = a[j] * b[j] + c[j];
            expect_same("fma", i, muladd[j], bits_from(muladd[j]) == bits_from(once) ? once : twice);
            expect_same("min", i, low[j], a[j] < b[j] ? a[j] : b[j]);
            expect_same("max", i, high[j], a[j] > b[j] ? a[j] : b[j]);
            expect_same("max_or_nan", i, either[j] + 0.0f, (a[j] > b[j] || a[j] != a[j] ? a[j] : b[j]) + 0.0f);  // of zeros either one
            expect_same("max_or_nan", i, high_or_nan[j], a[j] != a[j] ? a[j] : a[j] > b[j] ? a[j] : b[j]);
            expect("abs", i, bits_from(positive[j]), bits_from(a[j]) & 0x7FFFFFFFu);
            expect("select", i, bits_from(chosen[j]), bits_from(mask >> j & 1 ? a[j] : b[j]));
            expect("greater", i, greater >> j & 1, a[j] > b[j]);
            expect("not_less", i, not_less >> j & 1, !(a[j] < b[j]));
            expect("is_nan", i, nan >> j & 1, a[j] != a[j]);
        }
        expect("masks beyond W", i, (greater | not_less | nan) >> (W - 1) >> 1, 0);
    }
}

void check_rounding_and_sums() {
    for (int64_t i = 0; i < 8192; ++i) {
        float in[W], even[W], down[W];
        double total = 0, size = 0;
        for (int j = 0; j < W; ++j) {
            // Halves of whole numbers, and numbers of every size
            in[j] = i % 2 ? static_cast<float>(static_cast<int>(random_bits() % 4096) - 2048) / 2
                          : edge_or_random(i % fec::test::float_edge_count);
        }
        simd::store(even, simd::round_even(simd::load(in)));
        simd::store(down, simd::floor(simd::load(in)));
        for (int j = 0; j < W; ++j) {
            expect_same("round_even", i, even[j], __builtin_rintf(in[j]));
            expect_same("floor", i, down[j], __builtin_floorf(in[j]));
        }
        for (int j = 0; j < W; ++j) {
            in[j] = static_cast<float>(static_cast<int32_t>(random_bits())) / 3;
            total += in[j];
            size += in[j] < 0 ? -in[j] : in[j];
        }
        expect_near("sum", i, simd::sum(simd::load(in)), total, size * W / 16777216);
        float top = in[0];
        for (int j = 1; j < W; ++j) top = in[j] > top ? in[j] : top;
        expect_same("max_of", i, simd::max_of(simd::load(in)), top);
    }
}

// Canonical lanes: the eight of float64, each operation rounded once.
void check_float64() {
    for (int64_t i = 0; i < 8192; ++i) {
        double a[8], b[8], c[8], got[8];
        float narrowed[8];
        for (int j = 0; j < 8; ++j) {
            a[j] = edge_or_random((i + j) % (2 * fec::test::float_edge_count));
            b[j] = edge_or_random((i / 8 + j) % (2 * fec::test::float_edge_count));
            c[j] = a[j] * 1.000000059604645 + b[j];  // not a float32
        }
        const D x = simd::dload(a), y = simd::dload(b), z = simd::dload(c);
        const auto same = [&](const char* what, D v, auto want) {
            simd::dstore(got, v);
            for (int j = 0; j < 8; ++j) expect_same(what, i, got[j], want(j));
        };
        same("dadd", simd::dadd(z, y), [&](int j) { return c[j] + b[j]; });
        same("dsub", simd::dsub(z, y), [&](int j) { return c[j] - b[j]; });
        same("dmul", simd::dmul(z, y), [&](int j) { return c[j] * b[j]; });
        same("dfma", simd::dfma(x, y, z), [&](int j) { return a[j] * b[j] + c[j]; });  // a * b is exact
        same("dround", simd::dround(z), [&](int j) { return static_cast<double>(static_cast<float>(c[j])); });
        same("dset1", simd::dset1(c[0]), [&](int) { return c[0]; });
        same("dzero", simd::dzero(), [](int) { return 0.0; });
        simd::dnarrow(narrowed, z);
        for (int j = 0; j < 8; ++j) expect_same("dnarrow", i, narrowed[j], static_cast<float>(c[j]));
        alignas(64) float streamed[8];
        simd::dstream(streamed, z);
        simd::fence();
        for (int j = 0; j < 8; ++j) expect_same("dstream", i, streamed[j], static_cast<float>(c[j]));
    }
}

template <class T>
void check_type(const char* what) {
    check_tails<T>(what);
    check_unaligned<T>(what);
}

}  // namespace

namespace fec {
namespace test {

void FEC_CHECK();
void FEC_CHECK() {
    check_widen<fec::f16>("widen f16", 65536, [](int64_t i) { return fec::f16{static_cast<uint16_t>(i)}; });
    check_widen<fec::bf16>("widen bf16", 65536, [](int64_t i) { return fec::bf16{static_cast<uint16_t>(i)}; });
    check_widen<int8_t>("widen int8", 256, [](int64_t i) { return static_cast<int8_t>(i - 128); });
    check_widen<uint8_t>("widen uint8", 256, [](int64_t i) { return static_cast<uint8_t>(i); });
    check_widen<float>("widen float", 4096, edge_or_random);
    check_widen<double>("widen double", 4096, [](int64_t i) { return edge_or_random(i) * 1.000000059604645; });
    check_type<fec::f16>("f16");
    check_type<fec::bf16>("bf16");
    check_type<int8_t>("int8");
    check_type<uint8_t>("uint8");
    check_type<float>("float");
    check_type<double>("double");
    check_narrow_tails<fec::f16>("narrow f16");
    check_narrow_tails<fec::bf16>("narrow bf16");
    check_narrow_tails<int8_t>("narrow int8");
    check_narrow_tails<uint8_t>("narrow uint8");
    check_narrow_tails<float>("narrow float");
    check_narrow16<fec::f16>("narrow f16", nearest_f16);
    check_narrow16<fec::bf16>("narrow bf16", nearest_bf16);
    check_narrow8<int8_t>("narrow int8", -128);
    check_narrow8<uint8_t>("narrow uint8", 0);
    check_codes();
    check_joined();
    check_halves();
    check_arithmetic();
    check_rounding_and_sums();
    check_float64();
    check_lanes();
    check_dots();
    check_taken_apart();
    check_widen16<int8_t>("widen16 int8");
    check_widen16<uint8_t>("widen16 uint8");
}

}  // namespace test
}  // namespace fec

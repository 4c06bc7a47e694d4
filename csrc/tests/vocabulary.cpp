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

// W (or 8) of `count` bit patterns at a time, the last ones again where they run out.
template <class T, class Pattern, class Each>
void in_blocks(int64_t count, int lanes, Pattern pattern, Each each) {
    T* block = static_cast<T*>(guarded(0, lanes * sizeof(T)));
    for (int64_t i = 0; i < count; i += lanes) {
        for (int j = 0; j < lanes; ++j) block[j] = pattern(i + j < count ? i + j : count - 1);
        each(i, block);
    }
}

// Every value of a 16- or 8-bit type widens to what its format says, in float32 and in float64.
template <class T, class Pattern>
void check_widen(const char* what, int64_t count, Pattern pattern) {
    in_blocks<T>(count, W, pattern, [&](int64_t i, const T* block) {
        float got[W];
        simd::store(got, simd::widen(block));
        for (int j = 0; j < W; ++j) expect_same(what, i + j, got[j], value_of(block[j]));
    });
    in_blocks<T>(count, 8, pattern, [&](int64_t i, const T* block) {
        double got[8];
        simd::dstore(got, simd::dwiden(block));
        for (int j = 0; j < 8; ++j) expect_same(what, i + j, got[j], value_of(block[j]));
    });
}

// Tails: n of the lanes are read, the rest are zero; narrowing writes n and leaves what lies around alone. The row's last
// element is the last byte before the guard.
template <class T>
void check_tails(const char* what) {
    for (int n = 1; n <= W; ++n) {
        T* p = static_cast<T*>(guarded(0, n * sizeof(T)));
        for (int i = 0; i < n; ++i) __builtin_memset(p + i, 0x11 * (i % 5 + 1), sizeof(T));
        float got[W];
        simd::store(got, simd::widen_n(p, n));
        for (int j = 0; j < W; ++j) expect_same(what, n, got[j], j < n ? value_of(p[j]) : 0.0f);
    }
    for (int n = 1; n <= 8; ++n) {
        T* p = static_cast<T*>(guarded(0, n * sizeof(T)));
        for (int i = 0; i < n; ++i) __builtin_memset(p + i, 0x11 * (i % 5 + 1), sizeof(T));
        double got[8];
        simd::dstore(got, simd::dwiden_n(p, n));
        for (int j = 0; j < 8; ++j) expect_same(what, n, got[j], j < n ? value_of(p[j]) : 0.0f);
    }
}

template <class T>
void check_narrow_tails(const char* what) {
    for (int n = 1; n <= W; ++n) {
        unsigned char* before = static_cast<unsigned char*>(guarded(0, 1 + n * sizeof(T)));
        *before = 0xA5;
        T* p = reinterpret_cast<T*>(before + 1);  // one byte off alignment
        simd::narrow_n(p, simd::set1(3.0f), n);
        for (int i = 0; i < n; ++i) {
            T element;
            __builtin_memcpy(&element, before + 1 + i * sizeof(T), sizeof(T));
            expect_same(what, n, value_of(element), 3.0f);
        }
        expect(what, n, *before, 0xA5);
    }
}

// Unaligned reads at every byte offset.
template <class T>
void check_unaligned(const char* what) {
    for (size_t offset = 0; offset < 64; ++offset) {
        const size_t wide = (W > 8 ? W : 8) * sizeof(T);
        char* base = static_cast<char*>(guarded(0, wide + offset));
        for (size_t i = 0; i < wide; i += sizeof(T))
            __builtin_memset(base + i, static_cast<int>(0x11 * (i / sizeof(T) % 5 + 1)), sizeof(T));
        float got[W];
        simd::store(got, simd::widen(reinterpret_cast<const T*>(base)));
        double dgot[8];
        simd::dstore(dgot, simd::dwiden(reinterpret_cast<const T*>(base)));
        for (int j = 0; j < (W > 8 ? W : 8); ++j) {
            T element;
            __builtin_memcpy(&element, base + j * sizeof(T), sizeof(T));
            if (j < W) expect_same(what, static_cast<int64_t>(offset), got[j], value_of(element));
            if (j < 8) expect_same(what, static_cast<int64_t>(offset), dgot[j], value_of(element));
        }
    }
}

// Around every value of a 16-bit format: itself, the midpoint to the next one, and the float32 neighbours of both.
template <class T, class Nearest>
void check_narrow16(const char* what, Nearest nearest) {
    for (int64_t i = 0; i < 65536; i += 1) {
        const T lo{static_cast<uint16_t>(i)}, hi{static_cast<uint16_t>(i + ((i & 0x7FFF) < 0x7FFF))};
        const uint32_t at = bits_from(value_of(lo)), middle = bits_from(value_of(lo) / 2 + value_of(hi) / 2);
        const uint32_t around[] = {at, at + 1, at - 1, middle, middle + 1, middle - 1};
        float in[16] = {};
        for (int j = 0; j < 6; ++j) in[j] = float_from(around[j]);
        for (int j = 0; j < 6; j += W) {
            T got[16];
            simd::narrow(got + j, simd::load(in + j));
            for (int l = j; l < 6 && l < j + W; ++l) {
                const T want = nearest(in[l]);
                expect_same(what, i, value_of(got[l]), value_of(want));
                if (in[l] == in[l]) expect(what, i, got[l].bits, want.bits);
            }
        }
    }
}

template <class T>
void check_narrow8(const char* what, int lowest) {
    for (int i = 0; i < 256; i += W) {
        float in[W];
        T got[W];
        for (int j = 0; j < W; ++j) in[j] = static_cast<float>(lowest + i + j);
        simd::narrow(got, simd::load(in));
        for (int j = 0; j < W; ++j) expect_same(what, i + j, got[j], in[j]);
    }
}

float edge_or_random(int64_t i) {
    return float_from(i < fec::test::float_edge_count ? fec::test::float_edges[i] : fec::test::random_bits());
}

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
        float sum[W], difference[W], product[W], quotient[W], muladd[W], low[W], high[W], either[W], positive[W], chosen[W];
        simd::store(sum, simd::add(x, y));
        simd::store(difference, simd::sub(x, y));
        simd::store(product, simd::mul(x, y));
        simd::store(quotient, simd::div(x, y));
        simd::store(muladd, simd::fma(x, y, z));
        simd::store(low, simd::min(x, y));
        simd::store(high, simd::max(x, y));
        simd::store(either, simd::max_or_nan(x, y));
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
    }
}

// `count` random bytes in [low, high]; the first time all lowest, then all highest.
template <class T>
void fill(T* out, int count, int time, int low, int high) {
    for (int j = 0; j < count; ++j)
        out[j] = static_cast<T>(time == 0   ? low
                                : time == 1 ? high
                                            : low + static_cast<int>(random_bits() % static_cast<uint32_t>(high - low + 1)));
}

void expect_lanes(const char* what, int64_t place, I got, const int32_t* want) {
    int32_t lanes[W];
    simd::istore(lanes, got);
    for (int j = 0; j < W; ++j) expect(what, place, static_cast<uint32_t>(lanes[j]), static_cast<uint32_t>(want[j]));
}

template <class T>
I words_of(const T* p) {
    static_assert(sizeof(I) == 4 * W, "");
    I v;
    __builtin_memcpy(&v, p, sizeof v);
    return v;
}

// What a lane of `dot` multiplies: 4 bytes, the panel's unsigned or not, or 2 int16.
template <int G, bool Unsigned>
struct Element {
    using A = int16_t;
    using B = int16_t;
};
template <>
struct Element<4, true> {
    using A = uint8_t;
    using B = int8_t;
};
template <>
struct Element<4, false> {
    using A = int8_t;
    using B = int8_t;
};

// Products of bytes, G of them in each 32-bit lane, added to it.
template <int G, class A, class B, class Op>
void check_products(const char* what, int time, int low, int high, Op op) {
    A a[G * W];
    B b[G * W];
    int32_t start[W], want[W];
    fill(a, G * W, time, low, high);
    fill(b, G * W, time % 4, -128, 127);
    for (int j = 0; j < W; ++j) {
        want[j] = start[j] = static_cast<int32_t>(random_bits()) / 4;
        for (int g = 0; g < G; ++g) want[j] += a[G * j + g] * b[G * j + g];
    }
    expect_lanes(what, time, op(simd::iload(start), words_of(a), words_of(b)), want);
}

void check_dots() {
    using Panel = Element<simd::dot_group, simd::dot_unsigned_panel>;
    for (int time = 0; time < 4096; ++time) {
        constexpr int low = simd::dot_unsigned_panel ? 0 : -128, high = simd::dot_unsigned_panel ? 255 : 127;
        check_products<simd::dot_group, Panel::A, Panel::B>("dot", time, low, high, simd::dot);
        check_products<2, int16_t, int16_t>("madd16", time, -255, 255, simd::madd16);
        check_products<4, uint8_t, int8_t>("dot_u7", time, 0, 127, simd::dot_u7);

        // As many steps as narrow sums can hold: 8 pairs of products of 15 and a byte, 32 counts of 4 bits.
        int32_t total[W] = {}, counts[W] = {};
        I pairs = simd::izero(), bytes = simd::izero();
        for (int step = 0; step < 32; ++step) {
            uint8_t u[4 * W], n[4 * W];
            int8_t s[4 * W];
            fill(u, 4 * W, time + 1, 0, 15);
            fill(s, 4 * W, time, -128, 127);
            fill(n, 4 * W, time, 0, 15);
            if (step < 8) pairs = simd::dot_u4(pairs, words_of(u), words_of(s));
            bytes = simd::nibble_hamming(bytes, words_of(u), words_of(n));
            for (int j = 0; j < 4 * W; ++j) {
                if (step < 8) total[j / 4] += u[j] * s[j];
                counts[j / 4] += __builtin_popcount(static_cast<unsigned>(u[j] ^ n[j]));
            }
        }
        expect_lanes("dot_u4", time, simd::add_pairs(simd::izero(), pairs), total);
        expect_lanes("nibble_hamming", time, simd::add_bytes(simd::izero(), bytes), counts);
    }
}

template <class T>
void check_widen16(const char* what) {
    for (int first = 0; first < 256; first += 2 * W) {
        T* p = static_cast<T*>(guarded(0, 2 * W));
        for (int j = 0; j < 2 * W; ++j) p[j] = static_cast<T>(first + j);
        int16_t got[2 * W];
        simd::istore(got, simd::widen16(p));
        for (int j = 0; j < 2 * W; ++j) expect(what, first + j, static_cast<uint16_t>(got[j]), static_cast<uint16_t>(p[j]));
    }
}

void check_lanes() {
    for (int64_t i = 0; i < 4096; ++i) {
        int32_t a[W], b[W], sum[W], either[W], every[W], bits[W];
        int64_t total = 0;
        for (int j = 0; j < W; ++j) {
            a[j] = static_cast<int32_t>(random_bits()) / W;
            b[j] = static_cast<int32_t>(random_bits()) / W;
            sum[j] = a[j] + b[0];
            either[j] = a[j] | b[j];
            bits[j] = a[j] + __builtin_popcount(static_cast<uint32_t>(a[j] ^ b[j]));
            total += a[j];
        }
        expect_lanes("iadd", i, simd::iadd(simd::iload(a), simd::iset1(b[0])), sum);
        expect_lanes("ior", i, simd::ior(simd::iload(a), simd::iload(b)), either);
        expect_lanes("hamming", i, simd::hamming(simd::iload(a), simd::iload(a), simd::iload(b)), bits);
        expect("isum", i, static_cast<uint32_t>(simd::isum(simd::iload(a))), static_cast<uint32_t>(total));
        const char* odd = reinterpret_cast<const char*>(a) + 1;
        for (int32_t& one : every) __builtin_memcpy(&one, odd, 4);
        expect_lanes("broadcast32", i, simd::broadcast32(odd), every);
        float floats[W];
        simd::store(floats, simd::to_float(simd::iload(a)));
        for (int j = 0; j < W; ++j) expect_same("to_float", i, floats[j], static_cast<float>(a[j]));
    }
    const int32_t zeros[W] = {};
    expect_lanes("izero", 0, simd::izero(), zeros);
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
    check_arithmetic();
    check_rounding_and_sums();
    check_float64();
    check_lanes();
    check_dots();
    check_widen16<int8_t>("widen16 int8");
    check_widen16<uint8_t>("widen16 uint8");
}

}  // namespace test
}  // namespace fec

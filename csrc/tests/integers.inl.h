// Integer lanes: dot products of codes, counts of bits, and the lanes themselves.
#pragma once

namespace {

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

template <class T>
void expect_bytes(const char* what, int64_t place, I got, const T* want) {
    T bytes[4 * W];
    static_assert(sizeof bytes == sizeof got, "");
    simd::istore(bytes, got);
    for (int j = 0; j < 4 * W; ++j) expect(what, place, static_cast<uint8_t>(bytes[j]), static_cast<uint8_t>(want[j]));
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

// Bytes and nibbles taken apart, chosen and read from a row's end; sums of many vectors' lanes.
void check_taken_apart() {
    for (int64_t i = 0; i < 2048; ++i) {
        uint8_t bytes[4 * W], other[4 * W], both[4 * W], low[4 * W], high[4 * W];
        int8_t picked[4 * W], nibbles[4 * W];
        fill(bytes, 4 * W, 2, 0, 255);
        fill(other, 4 * W, 2, 0, 255);
        const uint64_t word = i == 0 ? 0 : i == 1 ? ~uint64_t{0} : uint64_t{random_bits()} << 32 | random_bits();
        const auto yes = static_cast<int8_t>(random_bits()), no = static_cast<int8_t>(random_bits());
        for (int j = 0; j < 4 * W; ++j) {
            both[j] = bytes[j] & other[j], low[j] = bytes[j] & 15, high[j] = bytes[j] >> 4;
            picked[j] = word >> j & 1 ? yes : no;
            nibbles[j] = static_cast<int8_t>((bytes[j / 2] >> 4 * (j % 2) & 15) - 8);
        }
        expect_bytes("iand", i, simd::iand(words_of(bytes), words_of(other)), both);
        expect_bytes("low_nibbles", i, simd::low_nibbles(words_of(bytes)), low);
        expect_bytes("high_nibbles", i, simd::high_nibbles(words_of(bytes)), high);
        expect_bytes("signed_nibbles", i, simd::signed_nibbles(simd::widen16(bytes)), nibbles);
        expect_bytes("choose", i, simd::choose(word, yes, no), picked);

        I many[W];
        F floats[W];
        int32_t totals[W];
        float sums[W], values[W];
        double near[W] = {}, size[W] = {};
        for (int v = 0; v < W; ++v) {
            int32_t lanes[W];
            totals[v] = 0;
            for (int j = 0; j < W; ++j) {
                lanes[j] = static_cast<int32_t>(random_bits()) / W, totals[v] += lanes[j];
                values[j] = static_cast<float>(static_cast<int32_t>(random_bits())) / 3;
                near[v] += values[j], size[v] += values[j] < 0 ? -values[j] : values[j];
            }
            many[v] = simd::iload(lanes), floats[v] = simd::load(values);
        }
        expect_lanes("isum_each", i, simd::isum_each(many), totals);
        simd::store(sums, simd::sum_each(floats));
        for (int v = 0; v < W; ++v) expect_near("sum_each", i, sums[v], near[v], size[v] * W / 16777216);
    }
    for (int n = 1; n <= 4 * W; ++n) {
        char* p = static_cast<char*>(guarded(0, static_cast<size_t>(n)));
        char want[4 * W] = {};
        for (int j = 0; j < n; ++j) want[j] = p[j] = static_cast<char>(random_bits() | 1);
        expect_bytes("iload_n", n, simd::iload_n(static_cast<const char*>(p), n), want);
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
    for (int64_t i = 0; i < 4096; ++i) {
        float v[W];
        int32_t size[W], other[W], most[W], top = INT32_MIN;
        for (int j = 0; j < W; ++j) {
            v[j] = edge_or_random(static_cast<int64_t>(random_bits() % 2) * fec::test::float_edge_count +
                                  (i + j) % fec::test::float_edge_count);
            size[j] = static_cast<int32_t>(bits_from(v[j]) & 0x7FFFFFFFu);
            other[j] = static_cast<int32_t>(random_bits());
            most[j] = size[j] > other[j] ? size[j] : other[j];
            top = other[j] > top ? other[j] : top;
        }
        expect_lanes("magnitude", i, simd::magnitude(simd::load(v)), size);
        expect_lanes("imax", i, simd::imax(simd::iload(size), simd::iload(other)), most);
        expect("imax_of", i, static_cast<uint32_t>(simd::imax_of(simd::iload(other))), static_cast<uint32_t>(top));
    }
    const int32_t zeros[W] = {};
    expect_lanes("izero", 0, simd::izero(), zeros);
}

}  // namespace

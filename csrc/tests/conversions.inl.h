// Widening and narrowing of every storage type: all values there are, tails, alignments.
#pragma once

namespace {

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

// Bytes of whole parts, and nibbles: what codes are written with.
void check_codes() {
    for (int64_t i = 0; i < 4096; ++i) {
        float whole[W], small[W];
        for (int j = 0; j < W; ++j) {
            whole[j] = static_cast<float>(random_bits() % 256) + static_cast<float>(random_bits() % 1024) / 1024;
            if (whole[j] > 255) whole[j] = 255;
            small[j] = static_cast<float>(random_bits() % 16);
        }
        const uint8_t flip = i % 2 ? 0x80 : 0;
        uint8_t* stored = static_cast<uint8_t*>(guarded(0, W));
        uint8_t* nibbles = static_cast<uint8_t*>(guarded(1, W / 2));
        alignas(64) uint8_t streamed[64];
        simd::narrow_whole(stored, simd::load(whole), flip);
        simd::stream_whole(streamed, simd::load(whole), flip);
        simd::narrow_nibbles(nibbles, simd::load(small));
        simd::fence();
        for (int j = 0; j < W; ++j) {
            const auto want = static_cast<uint8_t>(static_cast<int>(whole[j]) ^ flip);
            expect("narrow_whole", i, stored[j], want);
            expect("stream_whole", i, streamed[j], want);
            expect("narrow_nibbles", i, nibbles[j / 2] >> 4 * (j % 2) & 15, static_cast<uint64_t>(small[j]));
        }
        float any[64];
        F u[64 / W];
        for (int j = 0; j < 64; ++j) any[j] = i % 2 ? edge_or_random(i / 2 + j) : static_cast<float>(random_bits() % 4096) / 8 - 128;
        for (int j = 0; j < 64; j += W) u[j / W] = simd::load(any + j);
        simd::stream_codes(streamed, u, flip);
        simd::fence();
        for (int j = 0; j < 64; ++j) {
            const float clipped = any[j] > 255 ? 255.0f : any[j] > 0 ? any[j] : 0.0f;
            expect("stream_codes", i, streamed[j], static_cast<uint8_t>(static_cast<int>(clipped) ^ flip));
        }
    }
}

// A row read vector after vector gives the elements in order, wherever in a line it begins.
void check_halves() {
    constexpr int n = 2 * W;
    for (int64_t i = 0; i < 4096; ++i) {
        float query[n], row[n], taken[n];
        uint32_t words[W];
        double want = 0, size = 0;
        for (int l = 0; l < n; ++l) {
            query[l] = static_cast<float>(static_cast<int>(random_bits() % 200001) - 100000) / 777;
            row[l] = static_cast<float>(static_cast<int>(random_bits() % 511) - 255);  // a bfloat16
        }
        simd::to_halves(query, words, taken);
        for (int l = 0; l < n; ++l) {
            if (simd::halves_floats) expect_same("to_halves", i, taken[l], value_of(nearest_bf16(query[l])));
            expect_near("to_halves", i, taken[l], query[l], __builtin_fabs(query[l]) * 0x1.01p-8 + 0x1p-126);
            const double product = static_cast<double>(taken[l]) * row[l];
            want += product, size += __builtin_fabs(product);
        }
        const simd::Halves both = simd::halve(simd::load(row), simd::load(row + W));
        const F got = simd::dot_halves(simd::set1(1.0f), both, simd::iload(reinterpret_cast<const int32_t*>(words)));
        expect_near("dot_halves", i, simd::sum(got), want + W, size * 0x1p-20);
    }
}

void check_joined() {
    constexpr int vectors = 4, apart = 16;
    alignas(64) float row[apart + (vectors + 1) * W];
    for (int first = 0; first < apart; ++first) {
        for (float& element : row) element = edge_or_random(float_edge_count);
        const float* x = row + first;
        const simd::I lanes = simd::join_lanes(x);
        F held = simd::join_start(x);
        for (int i = 0; i < vectors * W; i += W) {
            float got[W];
            simd::store(got, simd::join_next(x + i, held, lanes));
            for (int j = 0; j < W; ++j) expect("join_next", first, bits_from(got[j]), bits_from(x[i + j]));
        }
    }
}

}  // namespace

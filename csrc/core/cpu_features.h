// Which instruction sets this machine and its operating system run.
#pragma once
#include <stdint.h>

namespace fec {

// Levels in ascending order; a machine that runs one runs those of its architecture before it.
enum class Isa : int { scalar, avx2, avx512, avx512icl, neon, neoni8mm };

constexpr const char* isa_names[] = {"scalar", "avx2", "avx512", "avx512icl", "neon", "neoni8mm"};
constexpr int isa_count = sizeof isa_names / sizeof *isa_names;

// Whether this machine can run a level that this build holds.
bool isa_available(Isa isa);

// How many of `bytes` a stream through memory is to fetch ahead of itself: all of them on Zen 5, whose own prefetchers leave arithmetic
// waiting, none elsewhere. Measured, one query over float32 rows: Zen 5 0.68 of the read bandwidth without, 0.83 to 0.93 with 2 KiB;
// Zen 4 0.93 without, 0.72 with, and mean pooling 1.3 times as fast without.
int64_t fetched_ahead(int64_t bytes);

}  // namespace fec

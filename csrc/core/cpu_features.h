// Which instruction sets this machine and its operating system run.
#pragma once
#include <stdint.h>

namespace fec {

// Levels in ascending order; a machine that runs one runs those of its architecture before it.
enum class Isa : int { scalar, avx2, avx512, avx512icl, avx512bf16, neon, neoni8mm };

constexpr const char* isa_names[] = {"scalar", "avx2", "avx512", "avx512icl", "avx512bf16", "neon", "neoni8mm"};
constexpr int isa_count = sizeof isa_names / sizeof *isa_names;

// Whether this machine can run a level that this build holds.
bool isa_available(Isa isa);

// How many of `bytes` a stream through memory is to fetch ahead of itself: all of them on Zen 5, whose own prefetchers leave arithmetic
// waiting, none elsewhere: on Zen 4 the same fetches make a stream slower that is alone.
int64_t fetched_ahead(int64_t bytes);

}  // namespace fec

#include "dispatch.h"

#include <atomic>
#include <cstdlib>
#include <cstring>

namespace fec {

extern const Kernels kernels_scalar;
#if defined(__x86_64__)
extern const Kernels kernels_avx2, kernels_avx512, kernels_avx512icl, kernels_avx512bf16;
#elif defined(__aarch64__)
extern const Kernels kernels_neon, kernels_neoni8mm;
#endif

namespace {

struct Level {
    Isa isa;
    const Kernels* table;
};

// One row an instruction set, ascending.
const Level levels[] = {
    {Isa::scalar, &kernels_scalar},
#if defined(__x86_64__)
    {Isa::avx2, &kernels_avx2},           {Isa::avx512, &kernels_avx512},
    {Isa::avx512icl, &kernels_avx512icl}, {Isa::avx512bf16, &kernels_avx512bf16},
#elif defined(__aarch64__)
    {Isa::neon, &kernels_neon},
    {Isa::neoni8mm, &kernels_neoni8mm},
#endif
};

const Level* best_level() {
    const char* asked = std::getenv("FASTEMBED_CORE_ISA");
    const Level* best = &levels[0];
    for (const Level& level : levels) {
        if (!isa_available(level.isa)) continue;
        best = &level;
        if (asked && !std::strcmp(asked, isa_names[static_cast<int>(level.isa)])) break;
    }
    return best;
}

std::atomic<const Level*>& current() {
    static std::atomic<const Level*> level{best_level()};
    return level;
}

const Level* find(Isa isa) {
    for (const Level& level : levels)
        if (level.isa == isa) return &level;
    return nullptr;
}

}  // namespace

const Kernels& kernels() { return *current().load(std::memory_order_relaxed)->table; }

Isa current_isa() { return current().load(std::memory_order_relaxed)->isa; }

const Kernels* kernels_of(Isa isa) {
    const Level* level = find(isa);
    return level && isa_available(isa) ? level->table : nullptr;
}

bool isa_built(Isa isa) { return find(isa) != nullptr; }

bool select_isa(Isa isa) {
    const Level* level = find(isa);
    if (!level || !isa_available(isa)) return false;
    current().store(level);
    return true;
}

}  // namespace fec

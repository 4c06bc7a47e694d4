// Every instruction set of this build that this machine runs, or the one named, against plain loops, without Python.
// Exits 1 where one differs.
#include <cstdio>
#include <cstring>

#include "../cpu/dispatch.h"
#include "check.h"

namespace fec {
namespace test {

void check_bag();
void check_coded();
void check_maxsim();
void check_pool();
void check_range();
void check_search();
void check_topk();
void check_vectors();

void vocabulary_scalar();
#if defined(__x86_64__)
void vocabulary_avx2();
void vocabulary_avx512();
void vocabulary_avx512icl();
void vocabulary_avx512bf16();
#elif defined(__aarch64__)
void vocabulary_neon();
void vocabulary_neoni8mm();
#endif

namespace {

struct Level {
    Isa isa;
    void (*vocabulary)();
};

const Level levels[] = {
    {Isa::scalar, vocabulary_scalar},
#if defined(__x86_64__)
    {Isa::avx2, vocabulary_avx2},           {Isa::avx512, vocabulary_avx512},
    {Isa::avx512icl, vocabulary_avx512icl}, {Isa::avx512bf16, vocabulary_avx512bf16},
#elif defined(__aarch64__)
    {Isa::neon, vocabulary_neon},
    {Isa::neoni8mm, vocabulary_neoni8mm},
#endif
};

}  // namespace
}  // namespace test
}  // namespace fec

int main(int count, char** names) {
    bool ok = true;
    for (const auto& level : fec::test::levels) {
        const char* name = fec::isa_names[static_cast<int>(level.isa)];
        if (count > 1 && std::strcmp(names[1], name)) continue;
        if (!fec::select_isa(level.isa)) {
            std::printf("%s: compiled, not run: this machine has no such instructions\n", name);
            continue;
        }
        level.vocabulary();
        fec::test::check_search();
        fec::test::check_pool();
        fec::test::check_coded();
        fec::test::check_bag();
        fec::test::check_topk();
        fec::test::check_range();
        fec::test::check_maxsim();
        fec::test::check_vectors();
        ok &= fec::test::report(name);
    }
    return ok ? 0 : 1;
}

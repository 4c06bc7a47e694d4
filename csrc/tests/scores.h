// Scores by their definition, and rows that searches have stumbled over.
#pragma once
#include <vector>

#include "../cpu/scorer.h"
#include "operand.h"

namespace fec {
namespace test {

// What a pair scores in float64, before it is rounded; not of bits.
double plain_sum(const Operand& q, int64_t i, const Operand& x, int64_t j, Metric metric);

// Every row's score for each query, the best first.
std::vector<std::vector<Ranked>> plain_rankings(const Operand& q, const Operand& x, const Pair& pair);

// Makes rows of float32 tie, and puts a NaN, an infinity, a subnormal and a huge number in some; for at least 112 rows.
void trouble(const Operand& x);

}  // namespace test
}  // namespace fec

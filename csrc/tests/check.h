// What the checks of every level share: inputs, the plain answers, and the count of what differed from them. Only
// declarations: vocabulary.cpp is compiled for each instruction set and must define nothing of this.
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "../core/types.h"

namespace fec {
namespace test {

// Memory of `bytes` bytes whose end is the end of a page, with nothing mapped behind it: one byte read past it is a crash.
// Each call of a slot reuses the slot's memory.
void* guarded(int slot, size_t bytes);

// Repeatable: the same sequence on every machine.
uint32_t random_bits();

// Bit patterns of float32 where conversions, comparisons and roundings have gone wrong before.
extern const uint32_t float_edges[];
extern const int float_edge_count;

// float32 of a stored element, by the definition of its format.
float value_of(float v);
float value_of(double v);
float value_of(f16 v);
float value_of(bf16 v);
float value_of(int8_t v);
float value_of(uint8_t v);

// The nearest element to v, ties to the even one; a NaN is any NaN.
f16 nearest_f16(float v);
bf16 nearest_bf16(float v);

float fused(float a, float b, float c);

// Count a check; where it fails, say what. Values are the same where their bits are, or where both are NaN.
void expect(const char* what, int64_t place, uint64_t got, uint64_t want);
void expect_same(const char* what, int64_t place, double got, double want);
void expect_near(const char* what, int64_t place, double got, double want, double tolerance);

// The end of one level's checks: prints their number under `name`, true where all held.
bool report(const char* name);

}  // namespace test
}  // namespace fec

// Random operands of every storage kind, with what each element stands for.
#pragma once
#include <cstdint>
#include <vector>

#include "check.h"

namespace fec {
namespace test {

// n rows of dim elements in a kind, one byte off alignment, an odd number of bytes apart, the last one ending at a guard page.
struct Operand {
    Rows rows;
    std::vector<double> codes;   // n * dim: elements as stored, a bit as +1 or -1
    std::vector<double> values;  // the same where `ranges` dequantize them, else equal
    std::vector<float> scale, ranges;

    Operand(Kind kind, int64_t n, int64_t dim, int slot, bool scaled = false, bool ranged = false, uint8_t flip = 0);
    Operand(const Operand&) = delete;
    Operand& operator=(const Operand&) = delete;

    const double* code(int64_t row) const { return codes.data() + row * rows.dim; }
    const double* value(int64_t row) const { return values.data() + row * rows.dim; }
    double scale_of(int64_t row) const { return scale.empty() ? 1.0 : static_cast<double>(scale[static_cast<size_t>(row)]); }
};

// The definition of the canonical sum: eight lanes in order, then a fixed tree.
template <class Term>
double canonical_sum(int64_t dim, Term term) {
    double l[8] = {};
    for (int64_t d = 0; d < dim; ++d) l[d % 8] += term(d);
    return ((l[0] + l[4]) + (l[2] + l[6])) + ((l[1] + l[5]) + (l[3] + l[7]));
}

inline int random_in(int low, int high) { return low + static_cast<int>(random_bits() % static_cast<uint32_t>(high - low + 1)); }

}  // namespace test
}  // namespace fec

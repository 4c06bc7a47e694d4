// Bags of rows of a table: gather, reduce, normalize and quantize in one pass.
#pragma once
#include "rows.h"

namespace fec {

// The order is shared with the binding.
enum class BagMode : int { sum, mean, max };

// One call: bag b is rows ids[offsets[b]] to ids[offsets[b + 1]] of the table, each times its weight.
struct Bagging {
    Rows table;
    const int64_t* ids;
    const int64_t* offsets;
    int64_t bags;
    const float* weights;  // null: 1
    BagMode mode;
    bool normalize;
    RowSink sink;
    int64_t ahead;  // so many ids on lies the row that is fetched; the driver's
};

// Rows are summed in leaves, and leaves in order, whatever the threads and the rest of the batch.
constexpr int64_t bag_leaf = 64;

struct BagKernels {
    // Writes bag b; state is room for a row, scratch for a leaf of rows `ld` floats apart where the table's kind has no reader.
    void (*bag)(const Bagging&, int64_t b, float* state, float* scratch, int64_t ld);
};

// Whether rows of the table are read in place, as floats or signed bytes.
inline bool reads_in_place(const Rows& table) {
    return !table.ranges && (table.kind == Kind::f32 || table.kind == Kind::f16 || table.kind == Kind::bf16 || table.kind == Kind::i8);
}

// The driver, in bag.cpp; false where poll asked to stop.
bool embedding_bag(const Bagging& call, int threads, Poll poll);

}  // namespace fec

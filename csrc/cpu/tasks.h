// How calls whose rows are independent are cut into tasks.
#pragma once
#include <algorithm>

#include "../core/thread_pool.h"
#include "../core/types.h"

namespace fec {

// The cache has lost the beginning of an output this large before its end is written: stores that bypass it then save the
// reading of each line that a plain store begins with.
constexpr int64_t kLostFromCache = int64_t{16} << 20;

// task(lo, hi, worker) over n rows of row_bytes, in pieces of about 256 KiB; work of under about 100 us stays in the caller.
template <class Task>
bool for_rows(int64_t n, int64_t row_bytes, int threads, Poll poll, const Task& task) {
    const int64_t piece = std::max<int64_t>(1, (256 << 10) / std::max<int64_t>(1, row_bytes));
    const int64_t pieces = (n + piece - 1) / piece;
    if (n * row_bytes < 2 << 20) threads = 1;
    return parallel_for(pieces, threads, [&](int64_t i, int worker) { task(i * piece, std::min(n, (i + 1) * piece), worker); }, poll);
}

}  // namespace fec

#include "normalize.h"

#include "../core/fp_state.h"
#include "../core/thread_pool.h"
#include "dispatch.h"
#include "tasks.h"

namespace fec {

bool normalize(const Rows& x, double eps, const UnitRows& out, int threads, Poll poll) {
    FpState ieee;
    const int64_t row_bytes = x.row_bytes();
    const bool apart = out.data != x.data;
    const bool past_cache = apart && x.n * row_bytes >= kLostFromCache;
    return for_rows(x.n, row_bytes, threads, poll,
                    [&](int64_t lo, int64_t hi, int) { kernels().normalize.rows(x, eps, out, past_cache, lo, hi); });
}

}  // namespace fec

// Searches so small that what prepares a scan would cost more than the scan.
#pragma once
#include "search.h"

namespace fec {

// topk of every row of a float pair, each scored canonically: no masks, one thread; k at most the number of rows.
void rank_all(const Pair& pair, int64_t k, float* scores, int64_t* indices);

// similarity of a float pair on one thread, to the bit.
void score_all(const Pair& pair, float* scores);

}  // namespace fec

#include "bag.h"

#include <algorithm>
#include <vector>

#include "../core/buffer.h"
#include "../core/fp_state.h"
#include "../core/thread_pool.h"
#include "dispatch.h"
#include "quantize.h"

namespace fec {
namespace {

constexpr int64_t task_bytes = 256 << 10;           // of rows handed to a thread at a time, in whole bags
constexpr int64_t serial_bytes = int64_t{1} << 20;  // below this a second thread costs more than it saves

// Measured on Zen 5, rows of 256 bytes from a table of 256 MB: 8 ids ahead 2.5 ms, 16 2.2, 32 1.9, 48 1.7, 64 1.9.
constexpr int64_t fetched_bytes = 8192;

struct Scratch {
    Buffer<float> state, rows;
};

}  // namespace

bool embedding_bag(const Bagging& given, int threads, Poll poll) {
    FpState ieee;
    Bagging call = given;
    Buffer<float> ranges;
    if (call.sink.ranges) {
        ranges = with_inverses(call.sink.ranges, call.sink.dim);
        call.sink.ranges = ranges.get();
    }
    call.ahead = 8 + fetched_bytes / std::max<int64_t>(64, call.table.row_bytes());
    const int64_t width = (call.table.dim + 15) / 16 * 16, ld = width + 16;
    const bool in_place = reads_in_place(call.table);
    const int64_t bytes = (call.offsets[call.bags] + call.bags) * std::max<int64_t>(1, call.table.dim) * 2;
    if (bytes < serial_bytes) threads = 1;
    const int64_t group = std::max<int64_t>(1, task_bytes * call.bags / std::max<int64_t>(bytes, 1));
    std::vector<Scratch> scratch(static_cast<size_t>(threads));
    for (Scratch& each : scratch) {
        each.state.resize(width);
        if (!in_place) each.rows.resize(bag_leaf * ld);
    }
    return parallel_for((call.bags + group - 1) / group, threads,
                        [&](int64_t task, int worker) {
                            Scratch& own = scratch[static_cast<size_t>(worker)];
                            for (int64_t b = task * group; b < std::min(call.bags, (task + 1) * group); ++b)
                                kernels().bag.bag(call, b, own.state.get(), in_place ? nullptr : own.rows.get(), ld);
                        },
                        poll);
}

}  // namespace fec

// One small pool of std::threads: no OpenMP, whose runtimes (a virtual environment easily holds six) fight each other.
#pragma once
#include <stdint.h>

#include <functional>

#include "types.h"

namespace fec {

// Runs task(i, worker) for i in [0, tasks) on at most `threads` threads, the caller one of them; worker < threads names
// the thread, so that scratch can be kept per worker. Tasks are handed out in ascending order. Returns false where poll
// asked to stop. Concurrent callers do not wait for each other: whoever finds the pool taken works alone. An exception
// in a task (std::bad_alloc) stops the call and is rethrown in the caller.
bool parallel_for(int64_t tasks, int threads, const std::function<void(int64_t, int)>& task, Poll poll);

}  // namespace fec

#include "thread_pool.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#include "fp_state.h"

namespace fec {
namespace {

struct Job {
    const std::function<void(int64_t, int)>* task;
    int64_t tasks;
    std::atomic<int64_t> next{0};
    std::atomic<bool> stop{false};
    std::mutex error_lock;
    std::exception_ptr error;

    void work(int worker, Poll poll) {
        FpState ieee;
        try {
            for (int64_t i; !stop.load(std::memory_order_relaxed) && (i = next.fetch_add(1, std::memory_order_relaxed)) < tasks;) {
                (*task)(i, worker);
                if (poll && poll()) stop = true;
            }
        } catch (...) {
            std::lock_guard<std::mutex> hold(error_lock);
            if (!error) error = std::current_exception();
            stop = true;
        }
    }
};

// Started lazily, grown on demand. A forked child has no threads: it finds another process id and starts its own pool.
class Pool {
public:
    explicit Pool() : pid_(getpid()) {}
    ~Pool() {
        {
            std::lock_guard<std::mutex> hold(lock_);
            quit_ = true;
        }
        wake_.notify_all();
        for (auto& thread : threads_) thread.join();
    }
    pid_t pid() const { return pid_; }

    bool try_take() { return !taken_.test_and_set(std::memory_order_acquire); }

    // The caller holds `taken_`. Workers 1..helpers join in; each runs the job once.
    void run(Job& job, int helpers, Poll poll) {
        try {
            while (static_cast<int>(threads_.size()) < helpers) {
                const int worker = static_cast<int>(threads_.size()) + 1;
                threads_.emplace_back([this, worker, seen = round_] { loop(worker, seen); });
            }
        } catch (const std::system_error&) {  // no more threads to be had: work with those there are
            helpers = static_cast<int>(threads_.size());
        }
        {
            std::lock_guard<std::mutex> hold(lock_);
            job_ = &job;
            helpers_ = helpers;
            running_ = helpers;
            ++round_;
        }
        wake_.notify_all();
        job.work(0, poll);
        std::unique_lock<std::mutex> hold(lock_);
        done_.wait(hold, [this] { return running_ == 0; });
        job_ = nullptr;
        hold.unlock();
        taken_.clear(std::memory_order_release);
    }

private:
    void loop(int worker, uint64_t seen) {
        std::unique_lock<std::mutex> hold(lock_);
        for (;;) {
            wake_.wait(hold, [&] { return quit_ || round_ != seen; });
            if (quit_) return;
            seen = round_;
            if (worker > helpers_) continue;
            Job* job = job_;
            hold.unlock();
            job->work(worker, nullptr);
            hold.lock();
            if (--running_ == 0) done_.notify_one();
        }
    }

    const pid_t pid_;
    std::atomic_flag taken_ = ATOMIC_FLAG_INIT;
    std::mutex lock_;
    std::condition_variable wake_, done_;
    std::vector<std::thread> threads_;
    Job* job_ = nullptr;
    int helpers_ = 0, running_ = 0;
    uint64_t round_ = 0;
    bool quit_ = false;
};

std::atomic<Pool*> current_pool{nullptr};

Pool& pool() {
    Pool* found = current_pool.load(std::memory_order_acquire);
    if (found && found->pid() == getpid()) return *found;
    // In a forked child the parent's pool is left as it lies: its threads do not exist here and its locks may be held.
    Pool* fresh = new Pool;
    if (!current_pool.compare_exchange_strong(found, fresh)) {
        delete fresh;
        return *current_pool.load(std::memory_order_acquire);
    }
    return *fresh;
}

}  // namespace

bool parallel_for(int64_t tasks, int threads, const std::function<void(int64_t, int)>& task, Poll poll) {
    if (tasks <= 0) return true;
    Job job;
    job.task = &task;
    job.tasks = tasks;
    const int helpers = static_cast<int>(std::min<int64_t>(threads, tasks)) - 1;
    if (helpers > 0 && pool().try_take())
        pool().run(job, helpers, poll);
    else
        job.work(0, poll);
    if (job.error) std::rethrow_exception(job.error);
    return !job.stop;
}

}  // namespace fec

// range_search: every row whose canonical score reaches its query's threshold.
#pragma once
#include <stdint.h>

#include <cstdlib>
#include <new>
#include <vector>

#include "search.h"

namespace fec {

// Plain data that grows without holding old and new at once: realloc moves the pages of what is large.
template <class T>
class Growing {
public:
    Growing() = default;
    ~Growing() { std::free(data_); }
    Growing(Growing&& other) noexcept : data_(other.release()), size_(other.size_) {}
    Growing(const Growing&) = delete;
    Growing& operator=(const Growing&) = delete;

    T* get() { return data_; }
    int64_t size() const { return size_; }
    void resize(int64_t n) {
        void* grown = std::realloc(data_, static_cast<size_t>(n > 0 ? n : 1) * sizeof(T));
        if (!grown) throw std::bad_alloc();
        data_ = static_cast<T*>(grown), size_ = n;
    }
    // The memory itself, to be freed with std::free.
    T* release() {
        T* data = data_;
        data_ = nullptr;
        return data;
    }

private:
    T* data_ = nullptr;
    int64_t size_ = 0;
};

// Results of all queries one after the other. Scores are the bits of float, or of int32 where pair.integer_scores().
struct RangeResults {
    Growing<uint32_t> scores;
    Growing<int64_t> indices;
};

// thresholds: one a query, no NaN. indptr: Q + 1, filled. False where poll asked to stop.
bool range_search(const Pair& pair, const float* thresholds, const Allowed& allowed, int threads, Poll poll, int64_t* indptr,
                  RangeResults& results);

}  // namespace fec

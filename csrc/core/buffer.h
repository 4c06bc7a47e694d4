// Scratch memory: aligned to a cache line, not initialised, grown but never shrunk.
#pragma once
#include <cstddef>
#include <cstdint>
#include <new>
#include <type_traits>
#include <utility>

namespace fec {

// Blocks of 1 to 64 KiB that this thread gave back, to be taken again: malloc would be a good part of a small call.
class SpareBlocks {
public:
    SpareBlocks() = default;
    ~SpareBlocks() {
        for (Size& size : sizes_)
            while (size.count) ::operator delete(size.blocks[--size.count], std::align_val_t{64});
    }
    SpareBlocks(const SpareBlocks&) = delete;
    SpareBlocks& operator=(const SpareBlocks&) = delete;

    static SpareBlocks& of_this_thread() {
        static thread_local SpareBlocks spare;
        return spare;
    }
    void* take(size_t bytes) {
        const int at = place(bytes);
        if (at == kSizes) return ::operator new(bytes, std::align_val_t{64});
        Size& size = sizes_[at];
        return size.count ? size.blocks[--size.count] : ::operator new(kLeast << at, std::align_val_t{64});
    }
    // bytes: what `take` was asked for.
    void give(void* block, size_t bytes) {
        const int at = place(bytes);
        if (at < kSizes && sizes_[at].count < kEach)
            sizes_[at].blocks[sizes_[at].count++] = block;
        else
            ::operator delete(block, std::align_val_t{64});
    }

private:
    static constexpr size_t kLeast = 1 << 10;
    static constexpr int kSizes = 7, kEach = 4;
    struct Size {
        void* blocks[kEach];
        int count = 0;
    };
    static int place(size_t bytes) {
        int at = 0;
        while (at < kSizes && kLeast << at < bytes) ++at;
        return at;
    }
    Size sizes_[kSizes];
};

template <class T>
class Buffer {
    static_assert(std::is_trivially_copyable<T>::value, "Buffer holds plain data");

public:
    Buffer() = default;
    explicit Buffer(int64_t n) { resize(n); }
    ~Buffer() { release(); }
    Buffer(Buffer&& other) noexcept : data_(other.data_), capacity_(other.capacity_) { other.data_ = nullptr, other.capacity_ = 0; }
    Buffer& operator=(Buffer&& other) noexcept {
        std::swap(data_, other.data_), std::swap(capacity_, other.capacity_);
        return *this;
    }
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;

    // Room for n; what was in it is lost when it grows.
    void resize(int64_t n) {
        if (n <= capacity_) return;
        release();
        data_ = static_cast<T*>(SpareBlocks::of_this_thread().take(static_cast<size_t>(n) * sizeof(T)));
        capacity_ = n;
    }
    T* get() { return data_; }
    const T* get() const { return data_; }
    T& operator[](int64_t i) { return data_[i]; }
    const T& operator[](int64_t i) const { return data_[i]; }

private:
    void release() {
        if (data_) SpareBlocks::of_this_thread().give(data_, static_cast<size_t>(capacity_) * sizeof(T));
        data_ = nullptr, capacity_ = 0;
    }
    T* data_ = nullptr;
    int64_t capacity_ = 0;
};

}  // namespace fec

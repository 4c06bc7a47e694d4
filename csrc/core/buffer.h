// Scratch memory: aligned to a cache line, not initialised, grown but never shrunk.
#pragma once
#include <cstddef>
#include <cstdint>
#include <new>
#include <type_traits>

namespace fec {

template <class T>
class Buffer {
    static_assert(std::is_trivially_copyable<T>::value, "Buffer holds plain data");

public:
    Buffer() = default;
    explicit Buffer(int64_t n) { resize(n); }
    ~Buffer() { release(); }
    Buffer(Buffer&& other) noexcept : data_(other.data_), capacity_(other.capacity_) { other.data_ = nullptr, other.capacity_ = 0; }
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;

    // Room for n; what was in it is lost when it grows.
    void resize(int64_t n) {
        if (n <= capacity_) return;
        release();
        data_ = static_cast<T*>(::operator new(static_cast<size_t>(n) * sizeof(T), std::align_val_t{64}));
        capacity_ = n;
    }
    T* get() { return data_; }
    const T* get() const { return data_; }
    T& operator[](int64_t i) { return data_[i]; }
    const T& operator[](int64_t i) const { return data_[i]; }

private:
    void release() {
        ::operator delete(data_, std::align_val_t{64});
        data_ = nullptr, capacity_ = 0;
    }
    T* data_ = nullptr;
    int64_t capacity_ = 0;
};

}  // namespace fec

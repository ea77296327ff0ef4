// Owned memory aligned to a cache line.
#pragma once

#include <cstddef>
#include <cstdint>
#include <new>
#include <span>
#include <utility>

#include "base/status.h"

namespace nbl {

inline constexpr std::size_t kAlignment = 64;

/// A move-only block of bytes, 64-byte aligned, zeroed when made. Its capacity is rounded up to whole 64-byte lines,
/// so that a kernel may load the last line whole.
class Buffer {
 public:
  Buffer() noexcept = default;
  /// An error (out_of_memory) instead of an exception when the memory is not to be had.
  static Result<Buffer> create(std::size_t bytes);
  ~Buffer();
  Buffer(Buffer&& other) noexcept { swap(other); }
  Buffer& operator=(Buffer&& other) noexcept {
    Buffer dead(std::move(other));
    swap(dead);
    return *this;
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  std::byte* data() noexcept { return data_; }
  const std::byte* data() const noexcept { return data_; }
  std::size_t size() const noexcept { return size_; }

  template <class T>
  std::span<T> as() noexcept {
    return {reinterpret_cast<T*>(data_), size_ / sizeof(T)};
  }
  template <class T>
  std::span<const T> as() const noexcept {
    return {reinterpret_cast<const T*>(data_), size_ / sizeof(T)};
  }

  void swap(Buffer& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
  }

 private:
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace nbl

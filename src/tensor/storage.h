// Bytes that a tensor stands on: owned, or borrowed from a mapping that the storage keeps alive.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "base/buffer.h"
#include "base/status.h"

namespace nbl {

/// Immutable once shared. Copying copies the reference, not the bytes.
class Storage {
 public:
  Storage() noexcept = default;
  /// Takes the buffer over.
  static Storage own(Buffer buffer);
  /// Points into memory that `keep_alive` owns.
  static Storage borrow(std::span<const std::byte> bytes, std::shared_ptr<const void> keep_alive);
  /// A copy of `bytes` in a fresh aligned buffer.
  static Result<Storage> copy(std::span<const std::byte> bytes);

  const std::byte* data() const noexcept { return bytes_.data(); }
  std::size_t size() const noexcept { return bytes_.size(); }
  bool empty() const noexcept { return bytes_.empty(); }
  /// Gives the buffer of own() or copy() back where nothing else stands on it; an empty one otherwise.
  Buffer release() &&;
  /// Made by own() or copy(): in memory of its own, not in a mapping or a part of something else.
  bool owns() const noexcept { return owns_; }
  std::span<const std::byte> bytes() const noexcept { return bytes_; }
  template <class T>
  std::span<const T> as() const noexcept {
    return {reinterpret_cast<const T*>(bytes_.data()), bytes_.size() / sizeof(T)};
  }

 private:
  std::span<const std::byte> bytes_;
  std::shared_ptr<const void> keep_alive_;
  bool owns_ = false;
};

}  // namespace nbl

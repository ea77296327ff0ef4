// Whose memory large blocks come from: the system's, or a caller's own.
#pragma once

#include <cstddef>

namespace nbl {

/// `allocate` gives `size` bytes (a multiple of 64) aligned to `alignment`, or null; `release` takes them back, from any thread.
struct Allocator {
  void* (*allocate)(void* user, std::size_t size, std::size_t alignment) = nullptr;
  void (*release)(void* user, void* memory, std::size_t size) = nullptr;
  void* user = nullptr;
};

/// While it lives, the Buffers that this thread makes, and those that the teams make which it runs, come from `allocator`. Null: from
/// the system. A Buffer remembers where it came from.
class AllocatorScope {
 public:
  explicit AllocatorScope(const Allocator* allocator) noexcept;
  ~AllocatorScope();
  AllocatorScope(const AllocatorScope&) = delete;
  AllocatorScope& operator=(const AllocatorScope&) = delete;
  static const Allocator* current() noexcept;

 private:
  const Allocator* before_;
};

}  // namespace nbl

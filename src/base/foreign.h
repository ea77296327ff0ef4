// What the memory sanitizer cannot know: bytes that a library wrote which was not built with it, and pages fresh from the system that nobody
// has written. Nothing in other builds.
#pragma once

#include <cstddef>

#if defined(__has_feature)
#if __has_feature(memory_sanitizer)
#define NBL_MEMORY_SANITIZER
#endif
#endif

#ifdef NBL_MEMORY_SANITIZER
#include <sanitizer/allocator_interface.h>
#include <sanitizer/msan_interface.h>
#endif

namespace nbl {

/// `size` bytes at `data`.
inline void filled_elsewhere([[maybe_unused]] const void* data, [[maybe_unused]] std::size_t size) {
#ifdef NBL_MEMORY_SANITIZER
  __msan_unpoison(data, size);
#endif
}

/// The whole of what an allocator gave at `block`; null is nothing.
inline void block_filled_elsewhere([[maybe_unused]] const void* block) {
#ifdef NBL_MEMORY_SANITIZER
  if (block != nullptr) __msan_unpoison(block, __sanitizer_get_allocated_size(block));
#endif
}

/// While one lives, what this thread's calls hand to the C library is not looked at: that of a library which keeps texts of its own.
class ForeignCalls {
 public:
#ifdef NBL_MEMORY_SANITIZER
  ForeignCalls() noexcept { __msan_scoped_disable_interceptor_checks(); }
  ~ForeignCalls() { __msan_scoped_enable_interceptor_checks(); }
#else
  ForeignCalls() noexcept {}
  ~ForeignCalls() {}
#endif
  ForeignCalls(const ForeignCalls&) = delete;
  ForeignCalls& operator=(const ForeignCalls&) = delete;
};

/// `size` bytes at `data` hold nothing yet, whatever the system filled them with.
inline void unwritten([[maybe_unused]] const void* data, [[maybe_unused]] std::size_t size) {
#ifdef NBL_MEMORY_SANITIZER
  __msan_allocated_memory(data, size);
#endif
}

}  // namespace nbl

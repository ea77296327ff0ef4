#include "base/buffer.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include <cstdlib>
#include <cstring>
#include <limits>

namespace nbl {
namespace {

// Buffers from this size on come from the system itself: already zero, resident only where touched, and on large pages
// where it has them, which a processor streams through noticeably faster.
constexpr std::size_t kFromSystem = std::size_t{4} << 20;
constexpr std::size_t kLargePage = std::size_t{2} << 20;

std::size_t system_capacity(std::size_t bytes) { return (bytes + kLargePage - 1) / kLargePage * kLargePage; }

void* map_zeroed(std::size_t capacity) {
  // One large page more, and the ends beyond its boundaries given back.
  void* mapped = ::mmap(nullptr, capacity + kLargePage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) return nullptr;
  std::byte* begin = static_cast<std::byte*>(mapped);
  const std::size_t before = (kLargePage - reinterpret_cast<std::uintptr_t>(begin) % kLargePage) % kLargePage;
  if (before > 0) ::munmap(begin, before);
  if (before < kLargePage) ::munmap(begin + before + capacity, kLargePage - before);
#ifdef MADV_HUGEPAGE
  ::madvise(begin + before, capacity, MADV_HUGEPAGE);  // a wish: its refusal costs nothing but speed
#endif
  return begin + before;
}

}  // namespace

Result<Buffer> Buffer::create(std::size_t bytes) {
  Buffer b;
  if (bytes == 0) return b;
  constexpr std::size_t kLargest = std::numeric_limits<std::ptrdiff_t>::max();
  if (bytes > kLargest - 2 * kLargePage) {
    return Status(Code::out_of_memory, fmt::format("a buffer of {} bytes is larger than any memory", bytes));
  }
  const std::size_t capacity = (bytes + kAlignment - 1) / kAlignment * kAlignment;
  const bool from_system = bytes >= kFromSystem;
  void* p = from_system ? map_zeroed(system_capacity(bytes)) : std::aligned_alloc(kAlignment, capacity);
  if (p == nullptr) return Status(Code::out_of_memory, fmt::format("no memory for a buffer of {} bytes", bytes));
  if (!from_system) std::memset(p, 0, capacity);
  b.data_ = static_cast<std::byte*>(p);
  b.size_ = bytes;
  return b;
}

Buffer::~Buffer() {
  if (size_ >= kFromSystem)
    ::munmap(data_, system_capacity(size_));
  else
    std::free(data_);
}

}  // namespace nbl

#include "base/buffer.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <map>
#include <mutex>

#include "base/allocator.h"

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

thread_local const Allocator* allocator_in_use = nullptr;

// Blocks of callers' allocators, beside the Buffers, which thereby stay two words. Large blocks are few: a lock for each costs
// nothing that could be measured, and nothing at all without such an allocator.
struct OwnBlocks {
  std::mutex mutex;
  std::map<const void*, Allocator> all;
  std::atomic<std::size_t> count{0};
};
OwnBlocks& own_blocks() {
  static OwnBlocks* const instance = new OwnBlocks;  // never destroyed: Buffers may outlive static objects
  return *instance;
}

/// A block of the caller's, zeroed and noted; null when there is none.
void* take_own(const Allocator& from, std::size_t capacity) {
  void* p = from.allocate(from.user, capacity, kAlignment);
  if (p == nullptr) return nullptr;
  bool good = reinterpret_cast<std::uintptr_t>(p) % kAlignment == 0;
  if (good) {
    try {
      OwnBlocks& blocks = own_blocks();
      const std::lock_guard lock(blocks.mutex);
      blocks.all.emplace(p, from);
      blocks.count.fetch_add(1);
    } catch (const std::bad_alloc&) {
      good = false;
    }
  }
  if (!good) {
    from.release(from.user, p, capacity);
    return nullptr;
  }
  std::memset(p, 0, capacity);
  return p;
}

bool give_own_back(void* p, std::size_t capacity) {
  OwnBlocks& blocks = own_blocks();
  if (blocks.count.load() == 0) return false;
  Allocator owner;
  {
    const std::lock_guard lock(blocks.mutex);
    const auto it = blocks.all.find(p);
    if (it == blocks.all.end()) return false;
    owner = it->second;
    blocks.all.erase(it);
    blocks.count.fetch_sub(1);
  }
  owner.release(owner.user, p, capacity);
  return true;
}

std::size_t whole_lines(std::size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

}  // namespace

AllocatorScope::AllocatorScope(const Allocator* allocator) noexcept : before_(allocator_in_use) {
  allocator_in_use = allocator;
}
AllocatorScope::~AllocatorScope() { allocator_in_use = before_; }
const Allocator* AllocatorScope::current() noexcept { return allocator_in_use; }

Result<Buffer> Buffer::create(std::size_t bytes) {
  Buffer b;
  if (bytes == 0) return b;
  constexpr std::size_t kLargest = std::numeric_limits<std::ptrdiff_t>::max();
  if (bytes > kLargest - 2 * kLargePage) {
    return Status(Code::out_of_memory, fmt::format("a buffer of {} bytes is larger than any memory", bytes));
  }
  const std::size_t capacity = whole_lines(bytes);
  if (const Allocator* own = AllocatorScope::current()) {
    b.data_ = static_cast<std::byte*>(take_own(*own, capacity));
    if (b.data_ == nullptr) {
      return Status(Code::out_of_memory, fmt::format("the caller's allocator gave no {} bytes aligned to {}", capacity, kAlignment));
    }
    b.size_ = bytes;
    return b;
  }
  const bool from_system = bytes >= kFromSystem;
  void* p = from_system ? map_zeroed(system_capacity(bytes)) : std::aligned_alloc(kAlignment, capacity);
  if (p == nullptr) return Status(Code::out_of_memory, fmt::format("no memory for a buffer of {} bytes", bytes));
  if (!from_system) std::memset(p, 0, capacity);
  b.data_ = static_cast<std::byte*>(p);
  b.size_ = bytes;
  return b;
}

Buffer::~Buffer() {
  if (data_ != nullptr && give_own_back(data_, whole_lines(size_))) return;
  if (size_ >= kFromSystem)
    ::munmap(data_, system_capacity(size_));
  else
    std::free(data_);
}

}  // namespace nbl

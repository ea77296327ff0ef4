#include "counting_new.h"

#include <cstdlib>
#include <new>

#include "support/sanitizers.h"

namespace nbl::model::test {

std::atomic<bool> counting{false};
std::atomic<int64_t> allocations{0};

}  // namespace nbl::model::test

// The address and memory sanitizers' own operators stay in place: they know what was allocated. Nothing is counted then.
#if !defined(NBL_UNDER_ADDRESS_SANITIZER) && !defined(NBL_UNDER_MEMORY_SANITIZER)
void* operator new(std::size_t size) {
  using namespace nbl::model::test;
  if (counting.load(std::memory_order_relaxed)) allocations.fetch_add(1, std::memory_order_relaxed);
  if (void* p = std::malloc(size == 0 ? 1 : size)) return p;
  throw std::bad_alloc();
}
void operator delete(void* p) noexcept { std::free(p); }
void operator delete(void* p, std::size_t) noexcept { std::free(p); }
#endif

// Memory that ends exactly at an unreadable page (and begins after one), so that a kernel that reads or writes past
// what its arguments describe dies in the test.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdlib>
#include <span>

#include "base/foreign.h"

namespace nbl::testing {

/// `count` elements of T whose end (or, with `at_start`, whose beginning) touches the guard page.
template <class T>
class Guarded {
 public:
  explicit Guarded(std::size_t count, bool at_start = false) : count_(count) {
    const std::size_t page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    const std::size_t bytes = count * sizeof(T), body = (bytes + page - 1) / page * page;
    size_ = body + 2 * page;
    map_ = static_cast<std::byte*>(mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    if (map_ == MAP_FAILED) std::abort();
    mprotect(map_, page, PROT_NONE);
    mprotect(map_ + page + body, page, PROT_NONE);
    data_ = reinterpret_cast<T*>(at_start ? map_ + page : map_ + page + body - bytes);
    unwritten(data_, bytes);
  }
  ~Guarded() { munmap(map_, size_); }
  Guarded(const Guarded&) = delete;
  Guarded& operator=(const Guarded&) = delete;

  T* data() { return data_; }
  std::span<T> span() { return {data_, count_}; }
  T& operator[](std::size_t i) { return data_[i]; }
  std::size_t size() const { return count_; }

 private:
  std::byte* map_ = nullptr;
  std::size_t size_ = 0, count_ = 0;
  T* data_ = nullptr;
};

}  // namespace nbl::testing

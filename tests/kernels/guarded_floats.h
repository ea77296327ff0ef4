// Memory that faults one byte past its end: what a kernel reads or writes too much stops the test.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

namespace nbl::test {

template <class T>
class Guarded {
 public:
  explicit Guarded(std::size_t count, T fill = T{}) : count_(count) {
    const std::size_t page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    const std::size_t data = (count * sizeof(T) + page - 1) / page * page;
    bytes_ = data + page;
    base_ = static_cast<char*>(mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    mprotect(base_ + data, page, PROT_NONE);
    data_ = reinterpret_cast<T*>(base_ + data - count * sizeof(T));
    for (std::size_t i = 0; i < count; ++i) data_[i] = fill;
  }
  explicit Guarded(const std::vector<T>& values) : Guarded(values.size()) {
    if (!values.empty()) std::memcpy(data_, values.data(), values.size() * sizeof(T));
  }
  ~Guarded() { munmap(base_, bytes_); }
  Guarded(const Guarded&) = delete;
  Guarded& operator=(const Guarded&) = delete;

  T* data() { return data_; }
  T& operator[](std::size_t i) { return data_[i]; }
  std::size_t size() const { return count_; }
  std::vector<T> copy() const { return {data_, data_ + count_}; }

 private:
  std::size_t count_ = 0, bytes_ = 0;
  char* base_ = nullptr;
  T* data_ = nullptr;
};

}  // namespace nbl::test

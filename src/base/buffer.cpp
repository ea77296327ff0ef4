#include "base/buffer.h"

#include <fmt/format.h>

#include <cstdlib>
#include <cstring>
#include <limits>

namespace nbl {

Result<Buffer> Buffer::create(std::size_t bytes) {
  Buffer b;
  if (bytes == 0) return b;
  constexpr std::size_t kLargest = std::numeric_limits<std::ptrdiff_t>::max();
  if (bytes > kLargest - kAlignment) {
    return Status(Code::out_of_memory, fmt::format("a buffer of {} bytes is larger than any memory", bytes));
  }
  const std::size_t capacity = (bytes + kAlignment - 1) / kAlignment * kAlignment;
  void* p = std::aligned_alloc(kAlignment, capacity);
  if (p == nullptr) return Status(Code::out_of_memory, fmt::format("no memory for a buffer of {} bytes", bytes));
  std::memset(p, 0, capacity);
  b.data_ = static_cast<std::byte*>(p);
  b.size_ = bytes;
  return b;
}

Buffer::~Buffer() { std::free(data_); }

}  // namespace nbl

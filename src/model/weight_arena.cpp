#include "model/weight_arena.h"

#include <cstring>

namespace nbl::model {
namespace {

constexpr std::size_t kChunk = std::size_t{32} << 20;
constexpr std::size_t kLargeEnough = std::size_t{4} << 20;  ///< gets large pages on its own

}  // namespace

Status WeightArena::adopt(Storage* storage) {
  const std::size_t bytes = storage->size();
  if (!storage->owns() || bytes == 0 || bytes >= kLargeEnough) return {};
  // Whole lines, so that a kernel may load the last one whole and the next array starts aligned.
  const std::size_t room = (bytes + kAlignment - 1) / kAlignment * kAlignment;
  if (chunk_ == nullptr || used_ + room > chunk_->size()) {
    NBL_ASSIGN(Buffer buffer, Buffer::create(kChunk));
    chunk_ = std::make_shared<Buffer>(std::move(buffer));
    used_ = 0;
  }
  std::byte* to = chunk_->data() + used_;
  std::memcpy(to, storage->data(), bytes);
  used_ += room;
  *storage = Storage::borrow({to, bytes}, chunk_);
  return {};
}

Status WeightArena::adopt(QTensor* tensor) {
  for (Segment& segment : tensor->segments) {
    NBL_TRY(adopt(&segment.codes));
    NBL_TRY(adopt(&segment.scales));
    NBL_TRY(adopt(&segment.zeros));
  }
  return {};
}

}  // namespace nbl::model

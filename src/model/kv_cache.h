// The keys and values of one sequence, in the layout of kernels/attention/attention.h.
#pragma once

#include <cstdint>

#include "base/buffer.h"
#include "base/status.h"
#include "kernels/attention/attention.h"
#include "model/model.h"

namespace nbl::model {

class KvCache {
 public:
  /// Room for `capacity` positions of `layers` layers. `config` gives heads and dimensions.
  static Result<KvCache> create(const Config& config, int64_t layers, int64_t capacity, kernels::CacheType type);

  kernels::CacheType type() const noexcept { return type_; }
  int64_t capacity() const noexcept { return capacity_; }

  const void* keys(int64_t layer, int64_t head) const noexcept { return head_base(layer, head); }
  const void* values(int64_t layer, int64_t head) const noexcept { return head_base(layer, head) + key_bytes_; }
  /// Where a position's first key component and its value row lie.
  void* key_at(int64_t layer, int64_t head, int64_t position) noexcept;
  void* value_at(int64_t layer, int64_t head, int64_t position) noexcept;
  /// Asks the processor to fetch what storing that position will touch: a key's components lie in lines of their own.
  void prefetch(int64_t layer, int64_t head, int64_t position) noexcept;
  /// The first `positions` of a cache of the same model and type, which must have room for them and so must this one.
  void copy_from(const KvCache& other, int64_t positions) noexcept;

 private:
  const std::byte* head_base(int64_t layer, int64_t head) const noexcept {
    return buffer_.data() + (layer * heads_ + head) * (key_bytes_ + value_bytes_);
  }
  Buffer buffer_;
  kernels::CacheType type_ = kernels::CacheType::f32;
  int64_t capacity_ = 0, layers_ = 0, heads_ = 0, head_dim_ = 0, value_stride_ = 0, element_ = 0;
  int64_t key_bytes_ = 0, value_bytes_ = 0;  ///< of one head of one layer
};

}  // namespace nbl::model

// The keys and values of one sequence, in the layout of kernels/attention/attention.h; or quantized
// (kv_quant.h), and made into that layout for each use.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/buffer.h"
#include "base/status.h"
#include "kernels/attention/attention.h"
#include "model/model.h"

namespace nbl::model {

class KvCache {
 public:
  /// Room for `capacity` positions of `layers` layers. `config` gives heads and dimensions; `type` is not automatic. `workers`:
  /// how many may use a quantized cache at once.
  static Result<KvCache> create(const Config& config, int64_t layers, int64_t capacity, KvType type, int workers);

  KvType kv_type() const noexcept { return type_; }
  /// What attention reads.
  kernels::CacheType type() const noexcept { return kernel_type_; }
  int64_t capacity() const noexcept { return capacity_; }

  /// Stores one position's key and value of a head: head_dim components each.
  void store(const kernels::AttentionKernels& kernels, int64_t layer, int64_t head, int64_t position, const float* key,
             const float* value) noexcept;
  struct View {
    const void* keys = nullptr;
    const void* values = nullptr;
  };
  /// Keys and values of a head, [0, capacity), of which positions [begin, end) are readable. Those of a quantized cache lie in
  /// the worker's own memory until its next view.
  View view(int64_t layer, int64_t head, int64_t begin, int64_t end, int worker) noexcept;
  /// Where attention will read a head's keys and values from a position on, and how many bytes of keys up to another one.
  /// Nothing for quantized caches, which are made anew for each look.
  struct Place {
    const std::byte* keys = nullptr;
    const std::byte* values = nullptr;
    int64_t key_bytes = 0;
  };
  Place place(int64_t layer, int64_t head, int64_t begin, int64_t end) noexcept;
  /// Asks the processor to fetch what storing that position will touch: a key's components lie in lines of their own.
  void prefetch(int64_t layer, int64_t head, int64_t position) noexcept;
  /// The first `positions` of a cache of the same model and type, which must have room for them and so must this one.
  void copy_from(const KvCache& other, int64_t positions) noexcept;

  int64_t planes() const noexcept { return layers_ * heads_; }
  /// The bytes that hold the first `positions` of one head of one layer: keys in whole tiles of 16, and value rows.
  std::span<std::byte> used_keys(int64_t plane, int64_t positions) noexcept;
  std::span<std::byte> used_values(int64_t plane, int64_t positions) noexcept;
  int64_t bytes() const noexcept { return static_cast<int64_t>(buffer_.size()); }

 private:
  std::byte* tile(int64_t layer, int64_t head, int64_t position) noexcept {
    return buffer_.data() + (layer * heads_ + head) * (key_bytes_ + value_bytes_) + position / 16 * tile_bytes_;
  }
  std::byte* row(int64_t layer, int64_t head, int64_t position) noexcept {
    return buffer_.data() + (layer * heads_ + head) * (key_bytes_ + value_bytes_) + key_bytes_ + position * row_bytes_;
  }
  bool quantized() const noexcept { return type_ == KvType::q8 || type_ == KvType::q4; }

  Buffer buffer_;
  Buffer scratch_;  ///< [workers]: keys and values of one head as floats
  KvType type_ = KvType::f32;
  kernels::CacheType kernel_type_ = kernels::CacheType::f32;
  int64_t capacity_ = 0, layers_ = 0, heads_ = 0, head_dim_ = 0, value_dim_ = 0, value_stride_ = 0, element_ = 0;
  int64_t tile_bytes_ = 0, row_bytes_ = 0;
  int64_t key_bytes_ = 0, value_bytes_ = 0;  ///< of one head of one layer
  int64_t scratch_floats_ = 0;               ///< of one worker
};

}  // namespace nbl::model

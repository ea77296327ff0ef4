#include "model/kv_cache.h"

#include <fmt/format.h>

#include <cstring>

#include "base/checked.h"

namespace nbl::model {

Result<KvCache> KvCache::create(const Config& config, int64_t layers, int64_t capacity, kernels::CacheType type) {
  KvCache cache;
  cache.type_ = type;
  cache.capacity_ = capacity;
  cache.layers_ = layers;
  cache.heads_ = config.kv_heads;
  cache.head_dim_ = config.head_dim;
  cache.value_stride_ = round_up(config.v_dim(), 16);
  cache.element_ = kernels::kCacheTypeBytes[static_cast<int>(type)];
  int64_t rows = 0, heads = 0, total = 0;
  const bool fits = checked_add(capacity, 15, &rows) && checked_mul(rows / 16 * 16, cache.element_, &rows) &&
                    checked_mul(rows, cache.head_dim_, &cache.key_bytes_) &&
                    checked_mul(rows, cache.value_stride_, &cache.value_bytes_) &&
                    checked_mul(layers, cache.heads_, &heads) &&
                    checked_add(cache.key_bytes_, cache.value_bytes_, &total) && checked_mul(total, heads, &total);
  if (!fits) return Status(Code::limit, fmt::format("a cache of {} positions does not fit any memory", capacity));
  NBL_ASSIGN(cache.buffer_, Buffer::create(static_cast<std::size_t>(total)));
  return cache;
}

void* KvCache::key_at(int64_t layer, int64_t head, int64_t position) noexcept {
  std::byte* base = const_cast<std::byte*>(head_base(layer, head));
  return base + ((position / 16 * head_dim_) * 16 + position % 16) * element_;
}

void* KvCache::value_at(int64_t layer, int64_t head, int64_t position) noexcept {
  std::byte* base = const_cast<std::byte*>(head_base(layer, head)) + key_bytes_;
  return base + position * value_stride_ * element_;
}

void KvCache::prefetch(int64_t layer, int64_t head, int64_t position) noexcept {
  const std::byte* key = static_cast<const std::byte*>(key_at(layer, head, position / 16 * 16));
  for (int64_t i = 0; i < 16 * head_dim_ * element_; i += 64) __builtin_prefetch(key + i, 1);
  const std::byte* value = static_cast<const std::byte*>(value_at(layer, head, position));
  for (int64_t i = 0; i < value_stride_ * element_; i += 64) __builtin_prefetch(value + i, 1);
}

void KvCache::copy_from(const KvCache& other, int64_t positions) noexcept {
  // Keys lie in blocks of 16 positions, values in rows: the first positions are the first bytes of both.
  const int64_t keys = (positions + 15) / 16 * 16 * head_dim_ * element_;
  const int64_t values = positions * value_stride_ * element_;
  const int64_t here = key_bytes_ + value_bytes_, there = other.key_bytes_ + other.value_bytes_;
  for (int64_t i = 0; i < layers_ * heads_; ++i) {
    std::memcpy(buffer_.data() + i * here, other.buffer_.data() + i * there, static_cast<std::size_t>(keys));
    std::memcpy(buffer_.data() + i * here + key_bytes_, other.buffer_.data() + i * there + other.key_bytes_,
                static_cast<std::size_t>(values));
  }
}

}  // namespace nbl::model

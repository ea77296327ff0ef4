#include "model/kv_cache.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "base/checked.h"
#include "model/kv_quant.h"

namespace nbl::model {
namespace {

kernels::CacheType kernel_type(KvType type) {
  if (type == KvType::f16) return kernels::CacheType::f16;
  if (type == KvType::bf16) return kernels::CacheType::bf16;
  return kernels::CacheType::f32;
}

}  // namespace

Result<KvCache> KvCache::create(const Config& config, int64_t layers, int64_t capacity, KvType type, int workers) {
  KvCache c;
  c.type_ = type;
  c.kernel_type_ = kernel_type(type);
  c.capacity_ = capacity;
  c.layers_ = layers;
  // Of latent attention the latents are kept, which all heads share.
  const bool latent = config.latent.kv_rank > 0;
  c.heads_ = latent ? 1 : config.kv_heads;
  c.head_dim_ = latent ? config.latent.kv_rank + config.latent.rope_dim : config.head_dim;
  c.value_dim_ = latent ? config.latent.kv_rank : config.v_dim();
  c.value_stride_ = round_up(c.value_dim_, 16);
  c.element_ = kernels::kCacheTypeBytes[static_cast<int>(c.kernel_type_)];
  if (c.quantized()) {
    c.tile_bytes_ = quantized_tile_bytes(type, c.head_dim_);
    c.row_bytes_ = quantized_row_bytes(type, c.value_stride_);
  } else {
    c.tile_bytes_ = c.head_dim_ * 16 * c.element_;
    c.row_bytes_ = c.value_stride_ * c.element_;
  }
  int64_t rows = 0, heads = 0, total = 0, scratch = 0;
  const bool fits = checked_add(capacity, 15, &rows) && checked_mul(rows / 16, c.tile_bytes_, &c.key_bytes_) &&
                    checked_mul(rows / 16 * 16, c.row_bytes_, &c.value_bytes_) && checked_mul(layers, c.heads_, &heads) &&
                    checked_add(c.key_bytes_, c.value_bytes_, &total) && checked_mul(total, heads, &total) &&
                    checked_mul(rows / 16 * 16, c.head_dim_ + c.value_stride_, &c.scratch_floats_) &&
                    checked_mul(c.scratch_floats_, int64_t{4} * workers, &scratch);
  if (!fits) return Status(Code::limit, fmt::format("a cache of {} positions does not fit any memory", capacity));
  NBL_ASSIGN(c.buffer_, Buffer::create(static_cast<std::size_t>(total)));
  if (c.quantized()) {
    NBL_ASSIGN(c.scratch_, Buffer::create(static_cast<std::size_t>(scratch)));
  }
  return c;
}

void KvCache::store(const kernels::AttentionKernels& kernels, int64_t layer, int64_t head, int64_t position,
                    const float* key, const float* value) noexcept {
  std::byte *keys = tile(layer, head, position), *values = row(layer, head, position);
  if (type_ == KvType::q8) {
    store_key_q8(key, head_dim_, position % 16, keys);
    store_value_q8(value, value_dim_, value_stride_, values);
  } else if (type_ == KvType::q4) {
    store_key_q4(key, head_dim_, position % 16, keys);
    store_value_q4(value, value_dim_, value_stride_, values);
  } else {
    kernels.store_key(kernel_type_, key, head_dim_, keys + position % 16 * element_);
    kernels.store_value(kernel_type_, value, value_dim_, values);
  }
}

KvCache::View KvCache::view(int64_t layer, int64_t head, int64_t begin, int64_t end, int worker) noexcept {
  if (!quantized()) return {tile(layer, head, 0), row(layer, head, 0)};
  float* keys = scratch_.as<float>().data() + worker * scratch_floats_;
  float* values = keys + (capacity_ + 15) / 16 * 16 * head_dim_;
  // Attention reads whole tiles, of blocks that begin at multiples of 64.
  const int64_t first = begin / kernels::kAttentionBlock * kernels::kAttentionBlock;
  const int64_t last = std::min((end + 15) / 16 * 16, (capacity_ + 15) / 16 * 16);
  for (int64_t p = first; p < last; p += 16) {
    if (type_ == KvType::q8)
      read_keys_q8(tile(layer, head, p), head_dim_, keys + p * head_dim_);
    else
      read_keys_q4(tile(layer, head, p), head_dim_, keys + p * head_dim_);
  }
  for (int64_t p = first; p < last; ++p) {
    if (type_ == KvType::q8)
      read_value_q8(row(layer, head, p), value_stride_, values + p * value_stride_);
    else
      read_value_q4(row(layer, head, p), value_stride_, values + p * value_stride_);
  }
  return {keys, values};
}

KvCache::Place KvCache::place(int64_t layer, int64_t head, int64_t begin, int64_t end) noexcept {
  if (quantized()) return {};
  const std::byte* keys = tile(layer, head, begin);
  return {keys, row(layer, head, begin), tile(layer, head, end) - keys};
}

void KvCache::prefetch(int64_t layer, int64_t head, int64_t position) noexcept {
  const std::byte* key = tile(layer, head, position);
  for (int64_t i = 0; i < tile_bytes_; i += 64) __builtin_prefetch(key + i, 1);
  const std::byte* value = row(layer, head, position);
  for (int64_t i = 0; i < row_bytes_; i += 64) __builtin_prefetch(value + i, 1);
}

std::span<std::byte> KvCache::used_keys(int64_t plane, int64_t positions) noexcept {
  return {buffer_.data() + plane * (key_bytes_ + value_bytes_),
          static_cast<std::size_t>((positions + 15) / 16 * tile_bytes_)};
}

std::span<std::byte> KvCache::used_values(int64_t plane, int64_t positions) noexcept {
  return {buffer_.data() + plane * (key_bytes_ + value_bytes_) + key_bytes_,
          static_cast<std::size_t>(positions * row_bytes_)};
}

void KvCache::copy_from(const KvCache& other, int64_t positions) noexcept {
  // Keys lie in tiles of 16 positions, values in rows: the first positions are the first bytes of both.
  auto& from = const_cast<KvCache&>(other);
  for (int64_t plane = 0; plane < planes(); ++plane) {
    const auto keys = from.used_keys(plane, positions), values = from.used_values(plane, positions);
    std::memcpy(used_keys(plane, positions).data(), keys.data(), keys.size());
    std::memcpy(used_values(plane, positions).data(), values.data(), values.size());
  }
}

}  // namespace nbl::model

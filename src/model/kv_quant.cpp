#include "model/kv_quant.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/half.h"

namespace nbl::model {
namespace {

int64_t groups(int64_t n) { return (n + kKvGroup - 1) / kKvGroup; }

float half_at(const std::byte* at, int64_t index) {
  uint16_t bits = 0;
  std::memcpy(&bits, at + index * 2, 2);
  return f16_to_f32(bits);
}
/// Stores the value and returns what it reads back as.
float put_half(std::byte* at, int64_t index, float value) {
  const uint16_t bits = f32_to_f16(std::clamp(value, -65504.0f, 65504.0f));
  std::memcpy(at + index * 2, &bits, 2);
  return f16_to_f32(bits);
}

/// Codes of one group, told one by one to put(component, code).
template <class Put>
float quantize_q8(const float* x, int64_t n, std::byte* scales, int64_t index, Put put) {
  float most = 0;
  for (int64_t i = 0; i < n; ++i) most = std::max(most, std::abs(x[i]));
  const float scale = put_half(scales, index, most / 127.0f);
  const float inverse = scale > 0 ? 1.0f / scale : 0.0f;
  for (int64_t i = 0; i < n; ++i) put(i, static_cast<int>(std::lrint(std::clamp(x[i] * inverse, -127.0f, 127.0f))));
  return scale;
}
template <class Put>
void quantize_q4(const float* x, int64_t n, std::byte* scales, std::byte* minima, int64_t index, Put put) {
  float low = x[0], high = x[0];
  for (int64_t i = 1; i < n; ++i) {
    low = std::min(low, x[i]);
    high = std::max(high, x[i]);
  }
  const float minimum = put_half(minima, index, low);
  const float scale = put_half(scales, index, (high - minimum) / 15.0f);
  const float inverse = scale > 0 ? 1.0f / scale : 0.0f;
  for (int64_t i = 0; i < n; ++i)
    put(i, static_cast<int>(std::lrint(std::clamp((x[i] - minimum) * inverse, 0.0f, 15.0f))));
}

void put_nibble(std::byte& at, bool high, int code) {
  const auto value = static_cast<unsigned char>(code);
  const auto old = static_cast<unsigned char>(at);
  at = static_cast<std::byte>(high ? (old & 0x0F) | value << 4 : (old & 0xF0) | value);
}

}  // namespace

int64_t quantized_tile_bytes(KvType type, int64_t head_dim) {
  return type == KvType::q8 ? head_dim * 16 + groups(head_dim) * 32 : (head_dim + 1) / 2 * 16 + groups(head_dim) * 64;
}

int64_t quantized_row_bytes(KvType type, int64_t stride) {
  return type == KvType::q8 ? stride + groups(stride) * 2 : stride / 2 + groups(stride) * 4;
}

void store_key_q8(const float* key, int64_t head_dim, int64_t lane, std::byte* tile) noexcept {
  std::byte* scales = tile + head_dim * 16;
  for (int64_t d = 0; d < head_dim; d += kKvGroup)
    quantize_q8(key + d, std::min(kKvGroup, head_dim - d), scales, d / kKvGroup * 16 + lane,
                [&](int64_t i, int code) { tile[(d + i) * 16 + lane] = static_cast<std::byte>(code & 0xFF); });
}

void store_key_q4(const float* key, int64_t head_dim, int64_t lane, std::byte* tile) noexcept {
  std::byte* scales = tile + (head_dim + 1) / 2 * 16;
  std::byte* minima = scales + groups(head_dim) * 32;
  for (int64_t d = 0; d < head_dim; d += kKvGroup)
    quantize_q4(key + d, std::min(kKvGroup, head_dim - d), scales, minima, d / kKvGroup * 16 + lane,
                [&](int64_t i, int code) { put_nibble(tile[(d + i) / 2 * 16 + lane], (d + i) % 2 != 0, code); });
}

void store_value_q8(const float* value, int64_t n, int64_t stride, std::byte* row) noexcept {
  for (int64_t d = 0; d < stride; d += kKvGroup) {
    const int64_t count = std::clamp<int64_t>(n - d, 0, kKvGroup);
    quantize_q8(value + d, count, row + stride, d / kKvGroup,
                [&](int64_t i, int code) { row[d + i] = static_cast<std::byte>(code & 0xFF); });
  }
}

void store_value_q4(const float* value, int64_t n, int64_t stride, std::byte* row) noexcept {
  std::byte* scales = row + stride / 2;
  std::byte* minima = scales + groups(stride) * 2;
  for (int64_t d = 0; d < n; d += kKvGroup)
    quantize_q4(value + d, std::min(kKvGroup, n - d), scales, minima, d / kKvGroup,
                [&](int64_t i, int code) { put_nibble(row[(d + i) / 2], (d + i) % 2 != 0, code); });
}

void read_keys_q8(const std::byte* tile, int64_t head_dim, float* out) noexcept {
  const std::byte* scales = tile + head_dim * 16;
  const auto* codes = reinterpret_cast<const int8_t*>(tile);
  for (int64_t d = 0; d < head_dim; d += kKvGroup) {
    float scale[16];
    for (int64_t i = 0; i < 16; ++i) scale[i] = half_at(scales, d / kKvGroup * 16 + i);
    const int64_t end = std::min(d + kKvGroup, head_dim);
    for (int64_t j = d; j < end; ++j)
      for (int64_t i = 0; i < 16; ++i) out[j * 16 + i] = static_cast<float>(codes[j * 16 + i]) * scale[i];
  }
}

void read_keys_q4(const std::byte* tile, int64_t head_dim, float* out) noexcept {
  const std::byte* scales = tile + (head_dim + 1) / 2 * 16;
  const std::byte* minima = scales + groups(head_dim) * 32;
  const auto* codes = reinterpret_cast<const uint8_t*>(tile);
  for (int64_t d = 0; d < head_dim; d += kKvGroup) {
    float scale[16], low[16];
    for (int64_t i = 0; i < 16; ++i) {
      scale[i] = half_at(scales, d / kKvGroup * 16 + i);
      low[i] = half_at(minima, d / kKvGroup * 16 + i);
    }
    const int64_t end = std::min(d + kKvGroup, head_dim);
    for (int64_t j = d; j < end; ++j) {
      const uint8_t* pair = codes + j / 2 * 16;
      const int shift = j % 2 != 0 ? 4 : 0;
      for (int64_t i = 0; i < 16; ++i) out[j * 16 + i] = static_cast<float>(pair[i] >> shift & 0x0F) * scale[i] + low[i];
    }
  }
}

void read_value_q8(const std::byte* row, int64_t stride, float* out) noexcept {
  const auto* codes = reinterpret_cast<const int8_t*>(row);
  for (int64_t d = 0; d < stride; d += 16) {
    const float scale = half_at(row + stride, d / kKvGroup);
    for (int64_t i = 0; i < 16; ++i) out[d + i] = static_cast<float>(codes[d + i]) * scale;
  }
}

void read_value_q4(const std::byte* row, int64_t stride, float* out) noexcept {
  const std::byte* scales = row + stride / 2;
  const std::byte* minima = scales + groups(stride) * 2;
  const auto* codes = reinterpret_cast<const uint8_t*>(row);
  for (int64_t d = 0; d < stride; d += 16) {
    const float scale = half_at(scales, d / kKvGroup), low = half_at(minima, d / kKvGroup);
    for (int64_t i = 0; i < 8; ++i) {
      out[d + 2 * i] = static_cast<float>(codes[d / 2 + i] & 0x0F) * scale + low;
      out[d + 2 * i + 1] = static_cast<float>(codes[d / 2 + i] >> 4) * scale + low;
    }
  }
}

}  // namespace nbl::model

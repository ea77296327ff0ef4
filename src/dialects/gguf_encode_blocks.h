// One block of each GGUF type that is written, from codes and scales: the inverse of GgufBlock::decode.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace nbl::dialects {

struct GgufBlockEncoder {
  std::string_view type;
  /// False when the scales are not what the type can express (products of one f16 number and small integers).
  bool (*encode)(const uint8_t* codes, const float* scales, const float* zeros, uint8_t* block);
};

/// Smallest first.
std::span<const GgufBlockEncoder> gguf_block_encoders() noexcept;

/// Finds an f16 number d and integers in [low, high] with values[i] = d * integers[i] exactly. `d` is its bits.
bool factor_scales(std::span<const float> values, int low, int high, uint16_t* d, int* integers) noexcept;

}  // namespace nbl::dialects

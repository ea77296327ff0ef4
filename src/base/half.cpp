#include "base/half.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstring>

namespace nbl {
namespace {

constexpr uint32_t kF32Infinity = 0x7f800000U;

// Rounds a positive finite float to a small format with `kMantissa` fraction bits whose smallest normal exponent is
// `kMinExp`; the result counts the format's values upward from zero, so that a carry out of the fraction enters the
// exponent by itself.
template <int kMantissa, int kMinExp>
uint32_t round_to_small(uint32_t magnitude) noexcept {
  const int exponent = static_cast<int>(magnitude >> 23) - 127;
  const uint32_t fraction = magnitude & 0x7fffffU;
  uint32_t significand = fraction | 0x800000U;
  int shift = 23 - kMantissa;
  uint32_t base = 0;
  if (exponent >= kMinExp) {
    base = static_cast<uint32_t>(exponent - kMinExp)
           << kMantissa;  // the implicit one adds the missing 1 to the exponent
  } else {
    shift +=
        kMinExp - exponent;  // subnormal in the small format (and zero and float subnormals, which are far below it)
    if (shift > 25) return 0;
  }
  const uint32_t kept = significand >> shift;
  const uint32_t rest = significand & ((1U << shift) - 1);
  const uint32_t half = 1U << (shift - 1);
  const uint32_t up = static_cast<uint32_t>(rest > half || (rest == half && (kept & 1U) != 0));
  return base + kept + up;
}

}  // namespace

float f16_to_f32(uint16_t bits) noexcept {
  const uint32_t sign = (static_cast<uint32_t>(bits) & 0x8000U) << 16;
  const uint32_t exponent = (bits >> 10) & 0x1fU;
  const uint32_t fraction = bits & 0x3ffU;
  if (exponent == 0x1f) return std::bit_cast<float>(sign | kF32Infinity | fraction << 13);
  if (exponent != 0) return std::bit_cast<float>(sign | (exponent + 112) << 23 | fraction << 13);
  const float value = static_cast<float>(fraction) * 0x1p-24F;  // exact
  return sign != 0 ? -value : value;
}

uint16_t f32_to_f16(float value) noexcept {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint32_t sign = (bits >> 16) & 0x8000U;
  const uint32_t magnitude = bits & 0x7fffffffU;
  if (magnitude > kF32Infinity) return static_cast<uint16_t>(sign | 0x7e00U | (magnitude >> 13 & 0x3ffU));
  // 65520 and above round to infinity; below, the carry of the rounding reaches at most 65504.
  if (magnitude >= 0x477ff000U) return static_cast<uint16_t>(sign | 0x7c00U);
  return static_cast<uint16_t>(sign | round_to_small<10, -14>(magnitude));
}

float bf16_to_f32(uint16_t bits) noexcept { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }

uint16_t f32_to_bf16(float value) noexcept {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7fffffffU) > kF32Infinity) return static_cast<uint16_t>(bits >> 16 | 0x40U);
  return static_cast<uint16_t>((bits + 0x7fffU + (bits >> 16 & 1U)) >> 16);
}

void f32_to_bf16(const float* values, int64_t count, void* out) noexcept {
  constexpr int64_t kBlock = 64;
  for (int64_t done = 0; done < count; done += kBlock) {
    const int64_t n = std::min(kBlock, count - done);
    uint16_t block[kBlock] = {};
    for (int64_t i = 0; i < n; ++i) block[i] = f32_to_bf16(values[done + i]);
    std::memcpy(static_cast<std::byte*>(out) + 2 * done, block, static_cast<std::size_t>(2 * n));
  }
}

float e4m3_to_f32(uint8_t bits) noexcept {
  const uint32_t sign = (static_cast<uint32_t>(bits) & 0x80U) << 24;
  const uint32_t exponent = (bits >> 3) & 0xfU;
  const uint32_t fraction = bits & 7U;
  if ((bits & 0x7fU) == 0x7fU) return std::bit_cast<float>(sign | 0x7fc00000U);
  if (exponent != 0) return std::bit_cast<float>(sign | (exponent + 120) << 23 | fraction << 20);
  const float value = static_cast<float>(fraction) * 0x1p-9F;
  return sign != 0 ? -value : value;
}

uint8_t f32_to_e4m3(float value) noexcept {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint32_t sign = (bits >> 24) & 0x80U;
  const uint32_t magnitude = bits & 0x7fffffffU;
  if (magnitude > kF32Infinity) return 0x7f;
  if (magnitude >= 0x43e00000U) return static_cast<uint8_t>(sign | 0x7eU);  // 448 and above
  return static_cast<uint8_t>(sign | round_to_small<3, -6>(magnitude));
}

float e8m0_to_f32(uint8_t bits) noexcept {
  if (bits == 0xff) return std::bit_cast<float>(0x7fc00000U);
  if (bits == 0) return 0x1p-127F;
  return std::bit_cast<float>(static_cast<uint32_t>(bits) << 23);
}

}  // namespace nbl

#include "tensor/dtype.h"

#include <array>
#include <bit>
#include <cstring>

#include "base/half.h"

namespace nbl {
namespace {

template <class T>
T load(const void* src, int64_t i) noexcept {
  T value;
  std::memcpy(&value, static_cast<const std::byte*>(src) + i * static_cast<int64_t>(sizeof(T)), sizeof(T));
  return value;
}

template <class T>
void store(void* dst, int64_t i, T value) noexcept {
  std::memcpy(static_cast<std::byte*>(dst) + i * static_cast<int64_t>(sizeof(T)), &value, sizeof(T));
}

template <class T>
void integers_to_f32(const void* src, int64_t n, float* dst) noexcept {
  for (int64_t i = 0; i < n; ++i) dst[i] = static_cast<float>(load<T>(src, i));
}

// Without branches, so that it vectorizes: the 15 low bits moved into place and multiplied by 2^112 give every finite
// value, subnormals included; infinities and NaNs get their exponent filled in afterwards.
float widen_f16(uint16_t bits) noexcept {
  const uint32_t sign = static_cast<uint32_t>(bits & 0x8000u) << 16;
  const uint32_t magnitude = static_cast<uint32_t>(bits & 0x7fffu) << 13;
  const uint32_t finite = std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude) * 0x1p112f);
  const uint32_t special = (bits & 0x7c00u) == 0x7c00u ? 0x7f800000u : 0u;
  return std::bit_cast<float>(finite | special | sign);
}

/// The values of all e4m3 codes: a look-up takes less than their arithmetic.
const std::array<float, 256>& e4m3_values() noexcept {
  static const std::array<float, 256> values = [] {
    std::array<float, 256> v{};
    for (std::size_t code = 0; code < v.size(); ++code) v[code] = e4m3_to_f32(static_cast<uint8_t>(code));
    return v;
  }();
  return values;
}

/// f32_to_e4m3() without branches.
uint8_t narrow_e4m3(float value) noexcept {
  constexpr int32_t kLargest = 0x43e00000, kSmallestNormal = 0x3c800000;  // 448, 2^-6
  constexpr float kUnits = 24576.0f;  // 1.5 * 2^14: adding it leaves no bits below 2^-9, the unit of subnormals
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const int32_t magnitude = static_cast<int32_t>(bits & 0x7fffffffu);
  const int32_t capped = magnitude < kLargest ? magnitude : kLargest;
  const int32_t normal = ((capped + 0x7ffff + ((capped >> 20) & 1)) >> 20) - (120 << 3);
  const int32_t small = std::bit_cast<int32_t>(std::bit_cast<float>(capped) + kUnits) - std::bit_cast<int32_t>(kUnits);
  const int32_t code = (capped < kSmallestNormal ? small : normal) | static_cast<int32_t>((bits >> 24) & 0x80u);
  return static_cast<uint8_t>(magnitude > 0x7f800000 ? 0x7f : code);
}

}  // namespace

int64_t dtype_bytes(DType dtype) noexcept {
  switch (dtype) {
    case DType::f64:
    case DType::i64:
      return 8;
    case DType::f32:
    case DType::i32:
      return 4;
    case DType::f16:
    case DType::bf16:
    case DType::i16:
      return 2;
    case DType::e4m3:
    case DType::i8:
    case DType::u8:
    case DType::e8m0:
      return 1;
  }
  return 0;
}

const char* dtype_name(DType dtype) noexcept {
  switch (dtype) {
    case DType::f32:
      return "f32";
    case DType::f16:
      return "f16";
    case DType::bf16:
      return "bf16";
    case DType::e4m3:
      return "e4m3";
    case DType::f64:
      return "f64";
    case DType::i8:
      return "i8";
    case DType::u8:
      return "u8";
    case DType::i16:
      return "i16";
    case DType::i32:
      return "i32";
    case DType::i64:
      return "i64";
    case DType::e8m0:
      return "e8m0";
  }
  return "?";
}

void convert_to_f32(DType dtype, const void* src, int64_t n, float* dst) noexcept {
  if (n <= 0) return;
  switch (dtype) {
    case DType::f32:
      std::memcpy(dst, src, static_cast<std::size_t>(n) * sizeof(float));
      return;
    case DType::f16:
      for (int64_t i = 0; i < n; ++i) dst[i] = widen_f16(load<uint16_t>(src, i));
      return;
    case DType::bf16:
      for (int64_t i = 0; i < n; ++i) dst[i] = std::bit_cast<float>(uint32_t{load<uint16_t>(src, i)} << 16);
      return;
    case DType::e4m3: {
      const std::array<float, 256>& values = e4m3_values();
      for (int64_t i = 0; i < n; ++i) dst[i] = values[load<uint8_t>(src, i)];
      return;
    }
    case DType::e8m0:
      for (int64_t i = 0; i < n; ++i) dst[i] = e8m0_to_f32(load<uint8_t>(src, i));
      return;
    case DType::f64:
      return integers_to_f32<double>(src, n, dst);
    case DType::i8:
      return integers_to_f32<int8_t>(src, n, dst);
    case DType::u8:
      return integers_to_f32<uint8_t>(src, n, dst);
    case DType::i16:
      return integers_to_f32<int16_t>(src, n, dst);
    case DType::i32:
      return integers_to_f32<int32_t>(src, n, dst);
    case DType::i64:
      return integers_to_f32<int64_t>(src, n, dst);
  }
}

void convert_from_f32(const float* src, int64_t n, DType dtype, void* dst) noexcept {
  if (n <= 0) return;
  switch (dtype) {
    case DType::f32:
      std::memcpy(dst, src, static_cast<std::size_t>(n) * sizeof(float));
      return;
    case DType::f16:
      for (int64_t i = 0; i < n; ++i) store(dst, i, f32_to_f16(src[i]));
      return;
    case DType::bf16:
      f32_to_bf16(src, n, dst);
      return;
    case DType::e4m3:
      for (int64_t i = 0; i < n; ++i) store(dst, i, narrow_e4m3(src[i]));
      return;
    case DType::e8m0:
      // Exact for powers of two, which is all that a scale of this type may be.
      for (int64_t i = 0; i < n; ++i) {
        const uint32_t bits = std::bit_cast<uint32_t>(src[i]);
        const uint32_t exponent = (bits >> 23) & 0xffu;
        store(dst, i, static_cast<uint8_t>(src[i] != src[i] ? 0xffu : exponent));
      }
      return;
    case DType::f64:
    case DType::i8:
    case DType::u8:
    case DType::i16:
    case DType::i32:
    case DType::i64:
      return;
  }
}

}  // namespace nbl

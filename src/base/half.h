// Scalar conversions between float and the 16- and 8-bit floating-point formats. Round to nearest, ties to even.
#pragma once

#include <cstdint>

namespace nbl {

float f16_to_f32(uint16_t bits) noexcept;
uint16_t f32_to_f16(float value) noexcept;

/// bfloat16: the upper half of a float.
float bf16_to_f32(uint16_t bits) noexcept;
/// NaN stays NaN (quieted).
uint16_t f32_to_bf16(float value) noexcept;
/// `count` of them, to memory of any alignment.
void f32_to_bf16(const float* values, int64_t count, void* out) noexcept;

/// OCP E4M3 ("fn"): bias 7, no infinities, 0x7f and 0xff are NaN, largest finite value 448.
float e4m3_to_f32(uint8_t bits) noexcept;
/// Saturates to +-448; NaN becomes 0x7f.
uint8_t f32_to_e4m3(float value) noexcept;

/// E8M0: 2^(bits - 127); 0xff is NaN. The scale of the MX formats.
float e8m0_to_f32(uint8_t bits) noexcept;

}  // namespace nbl

// Element types of dense arrays.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/status.h"

namespace nbl {

enum class DType : uint8_t { f32, f16, bf16, e4m3, f64, i8, u8, i16, i32, i64, e8m0 };

int64_t dtype_bytes(DType dtype) noexcept;
const char* dtype_name(DType dtype) noexcept;  ///< "f32", "bf16", ...

/// Converts n elements of `dtype` at `src` (any alignment) to float. Integers convert by value.
void convert_to_f32(DType dtype, const void* src, int64_t n, float* dst) noexcept;
/// Converts n floats to `dtype` (f32, f16, bf16, e4m3), rounding to nearest even.
void convert_from_f32(const float* src, int64_t n, DType dtype, void* dst) noexcept;

}  // namespace nbl

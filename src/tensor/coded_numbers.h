// Quantized scales in the form that kernels read: a byte each and a float for several groups, instead of a float each.
#pragma once

#include <cstdint>

#include "base/buffer.h"
#include "base/status.h"
#include "kernels/simd/segment_view.h"
#include "tensor/scale_codes.h"

namespace nbl {

/// The numbers of one segment; `codes` points into the buffers.
struct CodedNumbers {
  Buffer bytes;   ///< [row tile][group][16]
  Buffer supers;  ///< f32 [row tile][block][16]
  kernels::NumberCodes codes;
  int64_t size() const noexcept { return static_cast<int64_t>(bytes.size() + supers.size()); }
};

/// Whether the kernels can read these: codes of a row's own super-scales, a power of two of groups each, whole ones of a row,
/// nothing added and no table. K-quants are so.
bool has_kernel_form(const ScaleCodes& codes, int64_t groups) noexcept;
/// n rows of `groups` groups. The codes must be valid and have that form.
Result<CodedNumbers> kernel_form(const ScaleCodes& codes, int64_t n, int64_t groups);

}  // namespace nbl

// The element types that safetensors names.
#pragma once

#include <optional>
#include <string_view>

#include "tensor/dtype.h"

namespace nbl::io {

/// Bits an element; 0 for a name that the format does not have.
int safetensors_type_bits(std::string_view type) noexcept;
/// Our dtype of that name, when there is one ("BOOL" and "U8" are both u8).
std::optional<DType> safetensors_dtype(std::string_view type) noexcept;
/// The format's name of a dtype of ours.
const char* safetensors_type_name(DType dtype) noexcept;

}  // namespace nbl::io

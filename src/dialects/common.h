// What several dialects need: from QTensors to arrays and back, texts beside the weights, names of files.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "base/bounds.h"
#include "base/json.h"
#include "base/status.h"
#include "io/container.h"
#include "tensor/array.h"
#include "tensor/qtensor.h"

namespace nbl::dialects {

/// A 2-D floating-point tensor as a dense QTensor of the same type. The message names file and tensor.
Result<QTensor> dense_matrix(const io::RawTensor& tensor);
/// An array as a dense QTensor.
Result<QTensor> dense_matrix(const Array& array, std::string_view name);
/// All values in original order. A tensor of one dense segment keeps its type, everything else becomes f32.
Result<Array> to_array(const QTensor& tensor);
/// One dense segment and nothing besides: the values are those of an array.
bool is_plain_dense(const QTensor& tensor) noexcept;
/// The element type to_array() gives.
DType array_type(const QTensor& tensor) noexcept;

/// "rank", "shape" errors in one form: file, tensor, found, expected.
Status unexpected_shape(const io::RawTensor& tensor, std::string_view expected);

/// Bits an element takes in the file.
double bits_per_element(int64_t bytes, int64_t elements) noexcept;

/// A name that cannot leave its directory: not empty, no separators, not "." or "..".
bool is_plain_file_name(std::string_view name) noexcept;
/// Shortened for a message.
std::string shown(std::string_view name);

/// Buffers that some checkpoints save and every reader makes anew (causal masks, rotary frequencies).
bool is_buffer(std::string_view name) noexcept;

inline constexpr BoundOf<int64_t> kMaxAssetBytes{Bound::asset_bytes};
inline constexpr BoundOf<int64_t> kMaxConfigBytes{Bound::config_bytes};

Status not_found(std::string_view origin, std::string_view tensor);

}  // namespace nbl::dialects

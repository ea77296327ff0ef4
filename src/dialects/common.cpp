#include "dialects/common.h"

#include <fmt/format.h>

#include "base/checked.h"
#include "tensor/tiles.h"

namespace nbl::dialects {
namespace {

bool is_float(DType type) noexcept {
  return type == DType::f32 || type == DType::f16 || type == DType::bf16 || type == DType::e4m3;
}

}  // namespace

bool is_plain_dense(const QTensor& t) noexcept {
  return t.segments.size() == 1 && t.segments[0].encoding == Encoding::dense && t.column_order.empty() &&
         t.input_scale.empty() && !t.outliers && !t.segments[0].scaled && !t.input_rounding;
}

std::string shown(std::string_view name) {
  return name.size() <= 120 ? std::string(name)
                            : fmt::format("{}... ({} characters)", name.substr(0, 100), name.size());
}

Status not_found(std::string_view origin, std::string_view tensor) {
  return Status(Code::not_found, fmt::format("{}: no tensor {}", origin, shown(tensor)));
}

Status unexpected_shape(const io::RawTensor& tensor, std::string_view expected) {
  return Status(Code::mismatch, fmt::format("{}: tensor {} is {} of shape {} where {} was expected", tensor.file,
                                            shown(tensor.name), tensor.type, shape_string(tensor.shape), expected));
}

Result<QTensor> dense_matrix(const Array& array, std::string_view name) {
  if (array.shape.size() != 2 || array.shape[0] <= 0 || array.shape[1] <= 0) {
    return Status(Code::mismatch,
                  fmt::format("tensor {} of shape {} is no matrix", shown(name), shape_string(array.shape)));
  }
  if (!is_float(array.dtype)) {
    return Status(Code::mismatch,
                  fmt::format("tensor {} of type {} is no weight matrix", shown(name), dtype_name(array.dtype)));
  }
  auto segment = pack_dense(array.shape[0], array.shape[1], array.dtype, array.storage.data());
  if (!segment.ok()) return segment.status().with_context(fmt::format("tensor {}", shown(name)));
  return make_qtensor(array.shape[0], array.shape[1], std::move(segment).value());
}

Result<QTensor> dense_matrix(const io::RawTensor& tensor) {
  NBL_ASSIGN(const Array array, io::to_array(tensor));
  auto result = dense_matrix(array, tensor.name);
  if (!result.ok()) return result.status().with_context(tensor.file);
  return result;
}

DType array_type(const QTensor& tensor) noexcept {
  return is_plain_dense(tensor) ? tensor.segments[0].value_type : DType::f32;
}

Result<Array> to_array(const QTensor& tensor) {
  const DType type = array_type(tensor);
  const int64_t size = dtype_bytes(type);
  int64_t bytes = 0;
  if (!checked_mul(tensor.n, tensor.k, &bytes) || !checked_mul(bytes, size, &bytes)) {
    return Status(Code::limit, "an array larger than 64 bits can count");
  }
  NBL_ASSIGN(Buffer buffer, Buffer::create(static_cast<std::size_t>(bytes)));
  if (is_plain_dense(tensor)) {
    const Segment& s = tensor.segments[0];
    const int64_t tile_bytes = s.column_tiles() * kTileCols * size * kTileRows;
    for (int64_t row = 0; row < tensor.n; ++row) {
      unpack_dense_row(size, s.codes.data() + row / kTileRows * tile_bytes, row % kTileRows, tensor.k,
                       buffer.data() + row * tensor.k * size);
    }
  } else {
    auto values = buffer.as<float>();
    for (int64_t row = 0; row < tensor.n; ++row) tensor.dequantize_row(row, values.data() + row * tensor.k);
  }
  return Array{type, {tensor.n, tensor.k}, Storage::own(std::move(buffer))};
}

double bits_per_element(int64_t bytes, int64_t elements) noexcept {
  return elements == 0 ? 0 : 8.0 * static_cast<double>(bytes) / static_cast<double>(elements);
}

bool is_buffer(std::string_view name) noexcept {
  return name.ends_with(".rotary_emb.inv_freq") || name.ends_with(".attention.bias") || name.ends_with(".attn.bias") ||
         name.ends_with(".masked_bias");
}

bool is_plain_file_name(std::string_view name) noexcept {
  return !name.empty() && name.size() <= 255 && name != "." && name != ".." &&
         name.find('/') == std::string_view::npos && name.find('\\') == std::string_view::npos &&
         name.find('\0') == std::string_view::npos;
}

}  // namespace nbl::dialects

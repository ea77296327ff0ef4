#include "tensor/array.h"

#include <fmt/format.h>

#include <cstring>
#include <new>

#include "base/checked.h"

namespace nbl {

std::string shape_string(const Shape& shape) {
  std::string text = "[";
  for (std::size_t i = 0; i < shape.size(); ++i) text += fmt::format("{}{}", i == 0 ? "" : ", ", shape[i]);
  return text + "]";
}

Result<int64_t> element_count(const Shape& shape) {
  int64_t count = 1;
  bool zero = false;
  for (const int64_t dimension : shape) {
    if (dimension < 0)
      return Status(Code::corrupt, fmt::format("shape {} has a negative dimension", shape_string(shape)));
    if (dimension == 0) {
      zero = true;
    } else if (!checked_mul(count, dimension, &count)) {
      return Status(Code::corrupt,
                    fmt::format("shape {} has more elements than 64 bits can count", shape_string(shape)));
    }
  }
  return zero ? 0 : count;
}

int64_t Array::size() const noexcept {
  int64_t count = 1;
  for (const int64_t dimension : shape) count *= dimension;
  return count;
}

Result<std::vector<float>> Array::to_f32() const {
  NBL_ASSIGN(const int64_t count, element_count(shape));
  int64_t bytes = 0;
  if (!checked_mul(count, dtype_bytes(dtype), &bytes) || bytes != static_cast<int64_t>(storage.size())) {
    return Status(Code::internal, fmt::format("an array of shape {} and type {} stands on {} bytes",
                                              shape_string(shape), dtype_name(dtype), storage.size()));
  }
  std::vector<float> values;
  try {
    values.resize(static_cast<std::size_t>(count));
  } catch (const std::exception&) {
    return Status(Code::out_of_memory, fmt::format("no memory for {} floats", count));
  }
  convert_to_f32(dtype, storage.data(), count, values.data());
  return values;
}

Result<Array> Array::from_f32(std::vector<float> values, Shape shape) {
  NBL_ASSIGN(const int64_t count, element_count(shape));
  if (count != static_cast<int64_t>(values.size())) {
    return Status(Code::invalid_argument,
                  fmt::format("{} values do not fill shape {}", values.size(), shape_string(shape)));
  }
  NBL_ASSIGN(Storage storage, Storage::copy(std::as_bytes(std::span(values))));
  return Array{DType::f32, std::move(shape), std::move(storage)};
}

}  // namespace nbl

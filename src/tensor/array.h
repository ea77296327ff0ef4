// A dense row-major array of up to four dimensions: norm weights, biases, embeddings on their way in, statistics.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tensor/dtype.h"
#include "tensor/storage.h"

namespace nbl {

using Shape = std::vector<int64_t>;

std::string shape_string(const Shape& shape);  ///< "[512, 1408]"
/// The product of the dimensions; Code::corrupt when it overflows or a dimension is negative.
Result<int64_t> element_count(const Shape& shape);

struct Array {
  DType dtype = DType::f32;
  Shape shape;
  Storage storage;  ///< exactly element_count * dtype_bytes bytes; may be unaligned when mapped

  int64_t size() const noexcept;  ///< number of elements
  /// All elements as floats, in order.
  Result<std::vector<float>> to_f32() const;
  static Result<Array> from_f32(std::vector<float> values, Shape shape);
};

}  // namespace nbl

// A QTensor put together from QTensors of some of its rows.
#pragma once

#include <cstdint>

#include "tensor/qtensor.h"

namespace nbl {

/// Different rows may be put by different threads.
class RowJoiner {
 public:
  /// For a tensor of n rows, encoded like `part`. Code::unsupported for what does not lie row tile by row tile: several segments,
  /// outliers, coded scales, a column order or an input scale.
  static Result<RowJoiner> create(int64_t n, const QTensor& part);

  /// `part` becomes the rows from `row` on, which is a multiple of 16; so is part.n, but for the last rows. False, and nothing is
  /// changed, when it is encoded in another way.
  bool put(int64_t row, const QTensor& part) noexcept;

  /// When all rows were put.
  QTensor finish() &&;

 private:
  RowJoiner() = default;
  QTensor tensor_;  ///< without its arrays
  Buffer codes_, scales_, zeros_;
};

}  // namespace nbl

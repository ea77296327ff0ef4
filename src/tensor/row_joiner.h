// A QTensor put together from QTensors of some of its rows.
#pragma once

#include <cstdint>
#include <mutex>
#include <vector>

#include "tensor/qtensor.h"

namespace nbl {

/// Buffers that have done their work, for others of the same size: fresh memory is cleared by the system page by page, which took an
/// eighth of the processor's time of an int8 job. Holds 64 MB at most, and may be used by any thread.
class SpareBuffers {
 public:
  /// One that was given back, with what it held, or a new one.
  Result<Buffer> take(std::size_t bytes);
  void give(Buffer buffer);

 private:
  std::mutex mutex_;
  std::vector<Buffer> kept_;  ///< the oldest first
  std::size_t bytes_ = 0;
};

/// Different rows may be put by different threads.
class RowJoiner {
 public:
  /// For a tensor of n rows, encoded like `part`. Code::unsupported for what does not lie row tile by row tile: several segments,
  /// outliers, coded scales, a column order or an input scale.
  /// `spare` (may be null) gives the memory of the codes.
  static Result<RowJoiner> create(int64_t n, const QTensor& part, SpareBuffers* spare);

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

// The input of a linear that adds to the residual stream, of all calibration tokens: with it the stream behind that linear is one
// product away, and nothing before it has to run again once its weight is quantized.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "model/block.h"
#include "pipeline/dense_products.h"

namespace nbl::pipeline {

class KeptInput {
 public:
  KeptInput() = default;
  /// Of `batches` batches of at most `batch_rows` rows, the last one of `last_rows`.
  KeptInput(Team& team, int64_t batches, int64_t batch_rows, int64_t last_rows, Compute compute);

  /// From now on the input [rows, k] of `part`.
  Status start(const model::Part& part, int64_t k);
  void store(int64_t batch, const float* x, int64_t ldx, int64_t rows);
  void drop() noexcept { part_.reset(); }
  bool holds(model::Part part) const noexcept { return part_ == part; }

  /// The weight that the part's linear has now; add() needs it.
  Status set(const model::LayerWeights::Matrix& matrix);
  bool ready() const noexcept { return part_.has_value() && ready_; }
  /// stream [rows, n] += the linear's output for a batch, to the bit what the layer would add.
  Status add(int64_t batch, float* stream);

 private:
  int64_t rows(int64_t batch) const noexcept { return batch + 1 < batches_ ? batch_rows_ : last_rows_; }

  Team* team_ = nullptr;
  int64_t batches_ = 0, batch_rows_ = 0, last_rows_ = 0, k_ = 0;
  bool half_ = false;  ///< kept as bfloat16, to which products round it anyway
  bool ready_ = false;
  std::optional<model::Part> part_;
  std::vector<uint16_t> halves_;
  std::vector<float> floats_, input_, output_;
  DenseProducts products_;
  DenseProducts::Pair linear_;
};

}  // namespace nbl::pipeline

// What learned rounding makes small: how far a block's output is from what the original has there.
#pragma once

#include <cstdint>
#include <vector>

namespace nbl::pipeline {

/// Squared errors, of which those of tokens far larger than most count less: the next norm divides them by their size.
/// (In Gemma 3, 1 % of the tokens are a hundred times as large as the others and have nine tenths of some layers'
/// squared error, in one channel.)
class BlockLoss {
 public:
  /// The stream's width.
  explicit BlockLoss(int64_t width) : width_(width) {}

  /// The sum over y [rows, width] against its target.
  double sum(const float* target, int64_t rows, const float* y) const;
  /// Half the gradient of that sum with respect to y, in y's place.
  void slope(const float* target, int64_t rows, float* y) const;

 private:
  std::vector<double> row_weights(const float* target, int64_t rows) const;
  int64_t width_;
};

}  // namespace nbl::pipeline

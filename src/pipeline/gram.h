// Statistics of a layer's inputs, accumulated block by block: the Hessian X^T X and the mean, square and largest magnitude of each column.
#pragma once

#include <cstdint>
#include <vector>

#include "base/buffer.h"
#include "base/parallel.h"
#include "base/status.h"
#include "quant/method.h"

namespace nbl::pipeline {

/// Sums over any number of add() calls. The result depends on the order and sizes of the calls but not on the threads.
class StatsAccumulator {
 public:
  /// needs: bits of quant::Need.
  static Result<StatsAccumulator> create(int64_t k, uint32_t needs);

  /// x [m, k] row-major, ldx floats a row.
  void add(const float* x, int64_t ldx, int64_t m, Team& team);

  /// The statistics; the accumulator must not be used afterwards. An error when a sum is not finite: then some
  /// activation was not.
  Result<quant::InputStats> finish(Team& team);

 private:
  void add_block(const float* x, int64_t ldx, int64_t m, Team& team);

  uint32_t needs_ = 0;
  int64_t k_ = 0, panels_ = 0, tokens_ = 0;
  std::vector<double> abs_sum_, square_sum_;
  std::vector<float> abs_max_;
  std::vector<float> hessian_;  ///< blocks of the upper triangle, each kGramPanel x kGramPanel, row of blocks by row
  Buffer packed_;               ///< [panels][kBlockTokens][kGramPanel]
};

}  // namespace nbl::pipeline

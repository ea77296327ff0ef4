// Statistics of a layer's inputs, accumulated block by block: the Hessian X^T X, the mean magnitude, square and largest
// magnitude of each column, and how far the inputs and the residual stream have drifted from the unquantized model's.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/buffer.h"
#include "base/parallel.h"
#include "base/status.h"
#include "quant/method.h"
#include "tensor/linear.h"

namespace nbl::pipeline {

/// What add() sums over: m tokens.
struct Sample {
  const float* x = nullptr;  ///< [m, k], ldx floats a row: the input as the quantized model has it
  int64_t ldx = 0, m = 0;
  const float* original = nullptr;  ///< [m, k]: the same of the unquantized model; with kNeedCross
  int64_t ld_original = 0;
  const float* stream = nullptr;           ///< [m, n]: the residual stream of the quantized model; with kNeedEvenTokens too
  const float* original_stream = nullptr;  ///< [m, n]: and of the unquantized one; with kNeedResidual
};

/// Columns of some inputs in panels, ready to multiply.
class Panels {
 public:
  /// Tokens packed at a time: enough to hide the walk over the result's blocks.
  static constexpr int64_t kBlockTokens = 1024;
  static Result<Panels> create(int64_t columns, bool bf16);
  /// x - minus (null: nothing to subtract), at most kBlockTokens rows, each times its factor (null: 1).
  void pack(const float* x, int64_t ldx, const float* minus, int64_t ld_minus, const float* factor, int64_t m, Team& team);

 private:
  friend class BlockSum;
  int64_t columns_ = 0, count_ = 0, rows_ = 0;
  bool bf16_ = false;
  Buffer packed_;
};

/// A sum of outer products of panels, in blocks.
class BlockSum {
 public:
  BlockSum() = default;
  /// left x right; symmetric: of one set of panels, of which only blocks on and above the diagonal are kept.
  static Result<BlockSum> create(int64_t left, int64_t right, bool symmetric);
  bool empty() const noexcept { return sums_.empty(); }
  void add(const Panels& left, const Panels& right, Team& team);
  /// [left, right] row-major.
  Status finish(Team& team, std::vector<float>* out);

 private:
  int64_t left_ = 0, right_ = 0;  ///< columns
  bool symmetric_ = false;
  std::vector<float> sums_;
};

/// Sums over any number of add() calls. The result depends on the order and sizes of the calls but not on the threads.
class StatsAccumulator {
 public:
  /// needs: bits of quant::Need. n: width of the residual stream, with kNeedResidual and kNeedEvenTokens. Fast: products of inputs rounded to
  /// bfloat16 where the processor has them, summed in float32.
  static Result<StatsAccumulator> create(int64_t k, uint32_t needs, int64_t n = 0, Compute compute = Compute::exact);

  void add(const Sample& sample, Team& team);

  /// The statistics. Where only some samples were compared with an original, those sums are those of all tokens as these are
  /// estimated by them. The accumulator must not be used afterwards. An error when a sum is not finite: then some
  /// activation was not.
  Result<quant::InputStats> finish(Team& team);

 private:
  void add_block(const Sample& sample, int64_t first, int64_t m, Team& team);
  /// Fills factor_ for m tokens of the residual stream.
  void find_factors(const float* stream, int64_t m, Team& team);

  uint32_t needs_ = 0;
  int64_t k_ = 0, n_ = 0, tokens_ = 0, compared_tokens_ = 0;
  std::vector<double> abs_sum_, square_sum_;
  std::vector<float> abs_max_;
  std::vector<float> factor_;  ///< [kBlockTokens], with kNeedEvenTokens
  BlockSum hessian_, cross_, residual_;
  Panels inputs_, drift_, stream_;
};

}  // namespace nbl::pipeline

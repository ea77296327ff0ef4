// Products with changeable dense weights, forward and back: what gradients are made of.
#pragma once

#include <cstdint>
#include <vector>

#include "base/buffer.h"
#include "base/parallel.h"
#include "base/status.h"
#include "model/block.h"
#include "tensor/linear.h"

namespace nbl::pipeline {

class DenseProducts {
 public:
  struct Pair {
    Linear forward, backward;  ///< W, and its transpose
  };
  DenseProducts() = default;
  /// Of `tokens` rows at a time. Fast: weights and inputs are rounded to bfloat16 where the processor multiplies that.
  DenseProducts(Team& team, int64_t tokens, Compute compute);

  Status set(const model::LayerWeights::Matrix& matrix, bool with_backward, Pair* pair) const;
  /// Whether weights and inputs are rounded to bfloat16.
  bool rounds() const noexcept { return bf16_; }
  /// Columns of a wider matrix: `ld` floats from one row to the next.
  template <class Float>
  struct Columns {
    Float* data = nullptr;
    int64_t ld = 0;
  };
  /// out [tokens, n] = in [tokens, k] W^T.
  Status apply(const Linear& linear, Columns<const float> in, Columns<float> out) { return apply(linear, in, out, tokens_); }
  Status apply(const Linear& linear, const float* in, float* out) { return apply(linear, in, out, tokens_); }
  /// The same for fewer rows.
  Status apply(const Linear& linear, const float* in, float* out, int64_t rows) {
    return apply(linear, {in, linear.k()}, {out, linear.n()}, rows);
  }
  Status apply(const Linear& linear, Columns<const float> in, Columns<float> out, int64_t rows);
  /// From now on outer() gives dy^T dy [n, n], whatever is read: second moments of gradients in place of gradients.
  void take_output_moments() noexcept { output_moments_ = true; }
  /// dy^T in: [n, k], summed over the tokens, or over so many rows.
  Result<std::vector<float>> outer(Columns<const float> dy, int64_t n, Columns<const float> in, int64_t k) const {
    return outer(dy, n, in, k, tokens_);
  }
  Result<std::vector<float>> outer(Columns<const float> dy, int64_t n, Columns<const float> in, int64_t k, int64_t rows) const;

 private:
  Team* team_ = nullptr;
  int64_t tokens_ = 0;
  ComputeOptions compute_;
  bool bf16_ = false, output_moments_ = false;
  Buffer prepared_;
};

}  // namespace nbl::pipeline

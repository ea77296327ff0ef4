// The end of a model and the loss behind it: last norm, output projection, divergence from the original's predictions.
#pragma once

#include <cstdint>
#include <vector>

#include "base/parallel.h"
#include "base/status.h"
#include "model/arch.h"
#include "pipeline/dense_products.h"
#include "tensor/checkpoint.h"

namespace nbl::pipeline {

class OutputGradient {
 public:
  /// Whether a model of this description ends in a norm and one projection, whose scores are the logits times at most a factor.
  static bool supports(const model::Architecture& arch, const model::Config& config);

  /// For `tokens` tokens at a time; the logits of at most 128 of them are in memory together.
  static Result<OutputGradient> create(const Checkpoint& input, const model::Architecture& arch, const model::Config& config,
                                       Team& team, int64_t tokens, Compute compute);

  /// hidden, original [tokens, hidden]: what the last block gives in the model at hand and in the original. Returns the mean over
  /// tokens of KL(original || at hand) in nats. dx [tokens, hidden]: that mean's gradient with respect to `hidden`; null: not wanted.
  /// Adds to norm_gradient() with respect to the last norm's weight.
  Result<double> run(const float* hidden, const float* original, float* dx);
  /// dx [tokens, hidden]: with respect to `hidden`, the gradient of a random function of each token's scores whose second moments over
  /// chance are those of the gradient of a prediction's log-likelihood, diag(p) - p p^T: what is to come then costs a divergence
  /// of e F e / 2 for an error e of `hidden`, F the second moments of dx.
  Status probe(const float* hidden, uint64_t seed, float* dx);
  std::vector<float>& norm_gradient() noexcept { return norm_gradient_; }
  std::vector<float>& norm() noexcept { return norm_; }  ///< of the model at hand; may be changed

 private:
  OutputGradient() = default;
  model::Config config_;
  Team* team_ = nullptr;
  int64_t tokens_ = 0, rows_ = 0;  ///< in all; at a time, a divisor
  DenseProducts products_;
  DenseProducts::Pair head_;
  std::vector<float> norm_, original_norm_, norm_bias_, norm_gradient_;
};

}  // namespace nbl::pipeline

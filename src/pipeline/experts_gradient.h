// A mixture of experts in the place of a block's MLP, forward and back. Which experts a token goes to is held fixed on the
// way back; with what weight is not.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "base/parallel.h"
#include "model/arch.h"
#include "model/expert_routing.h"
#include "pipeline/dense_products.h"
#include "pipeline/mlp_gradient.h"

namespace nbl::pipeline {

class ExpertsGradient {
 public:
  using Products = std::map<model::Part, DenseProducts::Pair>;
  using Gradients = std::map<model::Part, std::vector<float>>;

  /// What forward() leaves for backward(); rows of experts lie expert by expert.
  struct Kept {
    std::vector<float> scores;           ///< [tokens, experts]: probabilities
    model::ExpertChoices choices;
    std::vector<float> hidden, act, y;   ///< [tokens * per_token, 2 * ffn], [.., ffn], [.., hidden] before their weights
    std::vector<float> shared_hidden, shared_act, shared_y, shared_weight;  ///< of a shared MLP, [tokens, ...]
  };

  ExpertsGradient() = default;
  /// shared_router: the shared MLP's output is multiplied by a weight of its own.
  ExpertsGradient(const model::Config& config, bool shared_router, Team& team, int64_t tokens);

  /// Floats that are kept a token.
  static int64_t kept_width(const model::Config& config) noexcept;
  void reserve(Kept* kept) const;
  void set_bias(std::vector<float> bias) { bias_ = std::move(bias); }

  /// in [tokens, hidden] to out of the same shape. routing: products that are not rounded, so that rounding sends no token
  /// elsewhere.
  Status forward(DenseProducts& dense, DenseProducts& routing, const Products& products, const float* in, Kept* kept, float* out) const;
  /// d_out: with respect to out. d_in: with respect to in, written; null: not wanted. (*gradients)[part]: to each matrix.
  Status backward(DenseProducts& dense, DenseProducts& routing, const Products& products, const float* in, const Kept& kept,
                  const float* d_out, float* d_in, Gradients* gradients) const;

 private:
  Status forward_shared(DenseProducts& dense, DenseProducts& routing, const Products& products, const float* in, Kept* kept,
                        float* out) const;
  Status backward_shared(DenseProducts& dense, DenseProducts& routing, const Products& products, const float* in, const Kept& kept,
                         const float* d_out, float* d_in, Gradients* gradients) const;
  /// Back through down, activation, gate and up of `rows` rows; d_in [rows, hidden]: written; null: not wanted.
  struct Mlp {
    model::Part gate, up, down;
    int64_t rows = 0, ffn = 0;
    const float *in = nullptr, *hidden = nullptr, *act = nullptr;
  };
  Status mlp_backward(DenseProducts& dense, const Products& products, const Mlp& mlp, const float* d_y, float* d_in,
                      Gradients* gradients) const;
  void gather(const Kept& kept, int64_t expert, const float* in, std::vector<float>* rows) const;

  model::ExpertsConfig config_;
  model::Activation activation_ = model::Activation::silu;
  bool shared_router_ = false;
  Team* team_ = nullptr;
  int64_t tokens_ = 0, hidden_ = 0;
  std::vector<float> bias_;
};

}  // namespace nbl::pipeline

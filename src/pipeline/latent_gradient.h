// Multi-head latent attention (DeepSeek-V2, 2024, section 2.1), from what the block's norm makes to what the output
// projection reads, forward and back. Keys and values are made of the latents here; the model's own pass never does.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "base/parallel.h"
#include "base/status.h"
#include "model/arch.h"
#include "model/block.h"
#include "pipeline/block_attention.h"
#include "pipeline/dense_products.h"
#include "pipeline/norm_gradient.h"
#include "pipeline/rotary.h"

namespace nbl::pipeline {

class LatentGradient {
 public:
  using Products = std::map<model::Part, DenseProducts::Pair>;
  using Gradients = std::map<model::Part, std::vector<float>>;
  using NormGradients = std::map<model::Role, std::vector<float>>;

  /// What forward() leaves for backward(), [tokens, ...].
  struct Kept {
    std::vector<float> q_latent, q_normed;    ///< [q_rank]; empty where queries are projected directly
    std::vector<float> kv_latent, kv_normed;  ///< [kv_rank]
    std::vector<float> queries, keys;         ///< [heads * head_dim], turned
    std::vector<float> up;                    ///< [heads * (nope_dim + value_dim)]: a head's part of its key, its value
    std::vector<float> out;                   ///< [heads * value_dim]
    std::vector<float> weights;               ///< [windows][heads][length][padded_keys(length)]
    std::vector<NormStats> q_stats, kv_stats;
  };

  LatentGradient() = default;
  LatentGradient(const model::Config& config, int64_t layer, Team& team, int64_t windows, int64_t length);

  /// Floats that are kept a token.
  static int64_t kept_width(const model::Config& config, int64_t length) noexcept;
  void reserve(Kept* kept) const;
  void set_norms(const model::LayerWeights& weights);

  /// in [tokens, hidden]: what the projections to latents read. Makes kept->out.
  Status forward(DenseProducts& dense, const Products& products, const float* in, Kept* kept) const;
  /// d_out of kept.out's shape. (*gradients)[role]: to each matrix; (*norm_gradients)[role]: to the latents' norms,
  /// null: not wanted. d_in: with respect to in, written; null: not wanted.
  Status backward(DenseProducts& dense, const Products& products, const float* in, const Kept& kept, const float* d_out,
                  float* d_in, Gradients* gradients, NormGradients* norm_gradients) const;

 private:
  HeadShape head_shape() const;
  void attend(Kept* kept) const;
  void attend_backward(const Kept& kept, const float* d_out, std::vector<float>* d_queries, std::vector<float>* d_up,
                       std::vector<float>* d_key) const;

  Team* team_ = nullptr;
  int64_t windows_ = 0, length_ = 0, tokens_ = 0, hidden_ = 0;
  int64_t heads_ = 0, q_rank_ = 0, rank_ = 0, nope_ = 0, rope_ = 0, dim_ = 0, value_dim_ = 0;
  int64_t up_ = 0;  ///< of one head: nope + value_dim
  int64_t window_ = 0;
  float scale_ = 1, cap_ = 0;
  Rotary rotary_;
  NormRule norm_;
  std::map<model::Role, std::vector<float>> norms_;
};

}  // namespace nbl::pipeline

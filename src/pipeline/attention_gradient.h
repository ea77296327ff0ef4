// What lies between a block's attention projections: norms of queries and keys, rotation, the heads; forward and back.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "base/parallel.h"
#include "model/block.h"
#include "model/model.h"
#include "pipeline/block_attention.h"
#include "pipeline/norm_gradient.h"
#include "pipeline/rotary.h"

namespace nbl::pipeline {

class AttentionGradient {
 public:
  /// What forward() leaves for backward().
  struct Kept {
    std::vector<float>
        projected;               ///< [tokens, width]: qkv before norms and clamps; empty where there are none
    std::vector<float> qkv;      ///< [tokens, width]: a token's queries, keys and values as they attend
    std::vector<float> out;      ///< [tokens, heads * head_dim]
    std::vector<float> weights;  ///< [windows][heads][length][padded_keys(length)]
    std::vector<NormStats> stats;  ///< [tokens][norms]
  };

  AttentionGradient() = default;
  AttentionGradient(const model::Config& config, int64_t layer, Team& team, int64_t windows, int64_t length);

  /// Floats of a token's queries, keys and values: where each head has its own is as the fused projection's
  /// Config::qkv_order says.
  int64_t width() const noexcept { return width_; }
  void reserve(Kept* kept) const;
  void set_norms(const model::LayerWeights& weights);

  /// kept->qkv as the projections left it; changes it and makes kept->out.
  void forward(Kept* kept) const;
  /// d_out of kept.out's shape; d_qkv of kept.qkv's: with respect to what the projections left.
  /// (*norm_gradients)[role]: to the weights of norms of queries and keys; null: not wanted.
  void backward(const Kept& kept, const float* d_out, float* d_qkv,
                std::map<model::Role, std::vector<float>>* norm_gradients) const;

 private:
  /// Components of a token's row that are normed together.
  struct Normed {
    model::Role role = model::Role::q_norm;
    int64_t column = 0, width = 0;
    std::size_t weight = 0;  ///< where its weights begin
  };
  void rotate(float* rows, bool back) const;
  HeadShape head_shape(int64_t head) const;
  std::vector<float> norm_gradient(const Kept& kept, const float* d_qkv, model::Role role) const;

  Team* team_ = nullptr;
  int64_t windows_ = 0, length_ = 0, tokens_ = 0, width_ = 0;
  int64_t heads_ = 0, kv_heads_ = 0, dim_ = 0;
  int64_t window_ = 0;
  float scale_ = 1, cap_ = 0;
  float clip_ = 0;             ///< queries, keys and values are clamped to +- this; 0: not
  std::vector<float> slopes_;  ///< ALiBi, [heads] or empty
  std::vector<int64_t> q_, k_, v_;  ///< columns where heads begin
  Rotary rotary_;
  NormRule norm_;
  model::QkNorm qk_norm_ = model::QkNorm::none;
  std::vector<Normed> normed_;
  std::map<model::Role, model::LayerWeights::NormWeights> norms_;
};

}  // namespace nbl::pipeline

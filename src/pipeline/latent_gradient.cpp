#include "pipeline/latent_gradient.h"

#include <algorithm>

namespace nbl::pipeline {

using model::Role;
using Floats = std::vector<float>;

LatentGradient::LatentGradient(const model::Config& c, int64_t layer, Team& team, int64_t windows, int64_t length)
    : team_(&team),
      windows_(windows),
      length_(length),
      tokens_(windows * length),
      hidden_(c.hidden),
      heads_(c.heads),
      q_rank_(c.latent.q_rank),
      rank_(c.latent.kv_rank),
      nope_(c.latent.nope_dim),
      rope_(c.latent.rope_dim),
      dim_(c.head_dim),
      value_dim_(c.v_dim()),
      up_(c.latent.nope_dim + c.v_dim()),
      window_(c.layer[static_cast<std::size_t>(layer)].window),
      scale_(c.attention_scale * c.layer[static_cast<std::size_t>(layer)].score_factor),
      cap_(c.score_cap),
      rotary_(c, layer, length),
      norm_{model::Norm::rms, c.latent.norm_eps} {}

int64_t LatentGradient::kept_width(const model::Config& c, int64_t length) noexcept {
  const model::LatentConfig& l = c.latent;
  return 2 * (l.q_rank + l.kv_rank) + c.heads * (2 * c.head_dim + l.nope_dim + 2 * c.v_dim() + padded_keys(length));
}

void LatentGradient::reserve(Kept* kept) const {
  const auto size = [&](Floats& f, int64_t width) { f.resize(static_cast<std::size_t>(tokens_ * width)); };
  for (Floats* f : {&kept->q_latent, &kept->q_normed}) size(*f, q_rank_);
  for (Floats* f : {&kept->kv_latent, &kept->kv_normed}) size(*f, rank_);
  for (Floats* f : {&kept->queries, &kept->keys}) size(*f, heads_ * dim_);
  size(kept->up, heads_ * up_);
  size(kept->out, heads_ * value_dim_);
  size(kept->weights, heads_ * padded_keys(length_));
  kept->q_stats.resize(static_cast<std::size_t>(q_rank_ > 0 ? tokens_ : 0));
  kept->kv_stats.resize(static_cast<std::size_t>(tokens_));
}

void LatentGradient::set_norms(const model::LayerWeights& weights) {
  norms_[Role::kv_latent_norm] = weights.norms.at(Role::kv_latent_norm).w;
  if (q_rank_ > 0) norms_[Role::q_latent_norm] = weights.norms.at(Role::q_latent_norm).w;
}

HeadShape LatentGradient::head_shape() const { return {length_, dim_, value_dim_, window_, scale_, cap_, 0}; }

Status LatentGradient::forward(DenseProducts& dense, const Products& products, const float* in, Kept* kept) const {
  const float* q_in = in;
  if (q_rank_ > 0) {
    NBL_TRY(dense.apply(products.at(Role::q_latent).forward, in, kept->q_latent.data()));
    norm_rows(*team_, norm_, tokens_, norms_.at(Role::q_latent_norm), {}, kept->q_latent.data(), kept->q_normed.data(),
              kept->q_stats.data());
    q_in = kept->q_normed.data();
  }
  NBL_TRY(dense.apply(products.at(Role::q).forward, q_in, kept->queries.data()));
  const int64_t width = rank_ + rope_;
  Floats kv(static_cast<std::size_t>(tokens_ * width));  // a token's latent and the part of its key that all heads share
  NBL_TRY(dense.apply(products.at(Role::kv_latent).forward, in, kv.data()));
  for (int64_t t = 0; t < tokens_; ++t) std::copy_n(kv.data() + t * width, rank_, kept->kv_latent.data() + t * rank_);
  norm_rows(*team_, norm_, tokens_, norms_.at(Role::kv_latent_norm), {}, kept->kv_latent.data(), kept->kv_normed.data(),
            kept->kv_stats.data());
  NBL_TRY(dense.apply(products.at(Role::kv_up).forward, kept->kv_normed.data(), kept->up.data()));
  team_->parallel_for(tokens_, 16, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      float* shared = kv.data() + t * width + rank_;
      if (rotary_.any()) rotary_.turn(shared, t % length_, false);
      for (int64_t h = 0; h < heads_; ++h) {
        const int64_t at = (t * heads_ + h) * dim_;
        std::copy_n(kept->up.data() + (t * heads_ + h) * up_, nope_, kept->keys.data() + at);
        std::copy_n(shared, rope_, kept->keys.data() + at + nope_);
        if (rotary_.any()) rotary_.turn(kept->queries.data() + at + nope_, t % length_, false);
      }
    }
  });
  attend(kept);
  return {};
}

void LatentGradient::attend(Kept* kept) const {
  const int64_t ld = heads_ * dim_, ld_up = heads_ * up_, ld_out = heads_ * value_dim_, map = length_ * padded_keys(length_);
  team_->parallel_for(windows_ * heads_, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t h = i % heads_, first = i / heads_ * length_;
      attend_head(head_shape(), {kept->queries.data() + first * ld + h * dim_, ld},
                  {kept->keys.data() + first * ld + h * dim_, ld},
                  {kept->up.data() + first * ld_up + h * up_ + nope_, ld_up}, kept->weights.data() + i * map,
                  kept->out.data() + first * ld_out + h * value_dim_, ld_out);
    }
  });
}

/// d_queries and d_up: with respect to what the projections left. d_key [tokens, rope_dim]: to the shared part of keys.
void LatentGradient::attend_backward(const Kept& kept, const float* d_out, Floats* d_queries, Floats* d_up,
                                     Floats* d_key) const {
  const int64_t ld = heads_ * dim_, ld_up = heads_ * up_, ld_out = heads_ * value_dim_, map = length_ * padded_keys(length_);
  Floats d_keys(kept.keys.size());
  d_queries->assign(kept.queries.size(), 0.0f);
  d_up->assign(kept.up.size(), 0.0f);
  d_key->assign(static_cast<std::size_t>(tokens_ * rope_), 0.0f);
  team_->parallel_for(windows_ * heads_, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t h = i % heads_, first = i / heads_ * length_, at = first * ld + h * dim_, value = first * ld_up + h * up_ + nope_;
      attend_head_backward(head_shape(), {kept.queries.data() + at, ld}, {kept.keys.data() + at, ld},
                           {kept.up.data() + value, ld_up}, {d_out + first * ld_out + h * value_dim_, ld_out},
                           kept.weights.data() + i * map, {d_queries->data() + at, ld}, {d_keys.data() + at, ld},
                           {d_up->data() + value, ld_up});
    }
  });
  team_->parallel_for(tokens_, 16, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      float* shared = d_key->data() + t * rope_;
      for (int64_t h = 0; h < heads_; ++h) {
        const float* d = d_keys.data() + (t * heads_ + h) * dim_;
        std::copy_n(d, nope_, d_up->data() + (t * heads_ + h) * up_);
        for (int64_t i = 0; i < rope_; ++i) shared[i] += d[nope_ + i];
        if (rotary_.any()) rotary_.turn(d_queries->data() + (t * heads_ + h) * dim_ + nope_, t % length_, true);
      }
      if (rotary_.any()) rotary_.turn(shared, t % length_, true);
    }
  });
}

Status LatentGradient::backward(DenseProducts& dense, const Products& products, const float* in, const Kept& kept,
                                const float* d_out, float* d_in, Gradients* gradients, NormGradients* norm_gradients) const {
  const auto sized = [&](int64_t width) { return Floats(static_cast<std::size_t>(tokens_ * width)); };
  auto& out = *gradients;
  const int64_t queries = heads_ * dim_, ups = heads_ * up_, width = rank_ + rope_;
  Floats d_queries, d_up, d_key;
  attend_backward(kept, d_out, &d_queries, &d_up, &d_key);

  // Keys and values, their latents, and the shared part beside those.
  NBL_ASSIGN(out[Role::kv_up], dense.outer({d_up.data(), ups}, ups, {kept.kv_normed.data(), rank_}, rank_));
  Floats d_normed = sized(rank_), d_latent = sized(rank_), d_kv = sized(width);
  NBL_TRY(dense.apply(products.at(Role::kv_up).backward, d_up.data(), d_normed.data()));
  if (norm_gradients != nullptr)
    (*norm_gradients)[Role::kv_latent_norm] =
        norm_weight_gradient(*team_, tokens_, rank_, kept.kv_latent.data(), kept.kv_stats.data(), d_normed.data());
  norm_rows_backward(*team_, norm_, tokens_, norms_.at(Role::kv_latent_norm), kept.kv_latent.data(), kept.kv_stats.data(),
                     d_normed.data(), d_latent.data());
  for (int64_t t = 0; t < tokens_; ++t) {
    std::copy_n(d_latent.data() + t * rank_, rank_, d_kv.data() + t * width);
    std::copy_n(d_key.data() + t * rope_, rope_, d_kv.data() + t * width + rank_);
  }
  NBL_ASSIGN(out[Role::kv_latent], dense.outer({d_kv.data(), width}, width, {in, hidden_}, hidden_));
  if (d_in != nullptr) NBL_TRY(dense.apply(products.at(Role::kv_latent).backward, d_kv.data(), d_in));

  // Queries.
  Role first = Role::q;
  Floats d_first = std::move(d_queries);
  if (q_rank_ > 0) {
    NBL_ASSIGN(out[Role::q], dense.outer({d_first.data(), queries}, queries, {kept.q_normed.data(), q_rank_}, q_rank_));
    d_normed = sized(q_rank_);
    NBL_TRY(dense.apply(products.at(Role::q).backward, d_first.data(), d_normed.data()));
    if (norm_gradients != nullptr)
      (*norm_gradients)[Role::q_latent_norm] =
          norm_weight_gradient(*team_, tokens_, q_rank_, kept.q_latent.data(), kept.q_stats.data(), d_normed.data());
    d_first = sized(q_rank_);
    norm_rows_backward(*team_, norm_, tokens_, norms_.at(Role::q_latent_norm), kept.q_latent.data(), kept.q_stats.data(),
                       d_normed.data(), d_first.data());
    first = Role::q_latent;
  }
  const int64_t n = q_rank_ > 0 ? q_rank_ : queries;
  NBL_ASSIGN(out[first], dense.outer({d_first.data(), n}, n, {in, hidden_}, hidden_));
  if (d_in == nullptr) return {};
  Floats part = sized(hidden_);
  NBL_TRY(dense.apply(products.at(first).backward, d_first.data(), part.data()));
  for (std::size_t i = 0; i < part.size(); ++i) d_in[i] += part[i];
  return {};
}

}  // namespace nbl::pipeline

#include "pipeline/attention_gradient.h"

#include <algorithm>
#include <cmath>

namespace nbl::pipeline {

using model::Role;

AttentionGradient::AttentionGradient(const model::Config& c, int64_t layer, Team& team, int64_t windows, int64_t length)
    : team_(&team),
      windows_(windows),
      length_(length),
      tokens_(windows * length),
      width_((c.heads + 2 * c.kv_heads) * c.head_dim),
      heads_(c.heads),
      kv_heads_(c.kv_heads),
      dim_(c.head_dim),
      cap_(c.score_cap),
      clip_(c.clip_qkv),
      slopes_(c.slopes),
      rotary_(c, layer, length),
      norm_{c.norm, c.norm_eps},
      qk_norm_(c.qk_norm) {
  const model::LayerConfig& lc = c.layer[static_cast<std::size_t>(layer)];
  window_ = lc.window;
  scale_ = c.attention_scale * lc.score_factor;
  const int64_t group = heads_ / kv_heads_;
  const bool blocks = c.qkv_order == model::QkvOrder::blocks;
  for (int64_t h = 0; h < heads_; ++h) q_.push_back((blocks ? h : h / group * (group + 2) + h % group) * dim_);
  for (int64_t h = 0; h < kv_heads_; ++h) {
    k_.push_back((blocks ? heads_ + h : h * (group + 2) + group) * dim_);
    v_.push_back((blocks ? heads_ + kv_heads_ + h : h * (group + 2) + group + 1) * dim_);
  }
}

void AttentionGradient::reserve(Kept* kept) const {
  const auto size = [&](std::vector<float>& f, int64_t width) { f.resize(static_cast<std::size_t>(tokens_ * width)); };
  if (qk_norm_ != model::QkNorm::none || clip_ > 0) size(kept->projected, width_);
  size(kept->qkv, width_);
  size(kept->out, heads_ * dim_);
  size(kept->weights, heads_ * padded_keys(length_));
}

void AttentionGradient::set_norms(const model::LayerWeights& weights) {
  if (qk_norm_ == model::QkNorm::none) return;
  normed_.clear();
  for (const Role role : {Role::q_norm, Role::k_norm}) {
    norms_[role] = weights.norms.at(role);
    const std::vector<int64_t>& columns = role == Role::q_norm ? q_ : k_;
    if (qk_norm_ == model::QkNorm::whole) {
      normed_.push_back({role, columns.front(), static_cast<int64_t>(columns.size()) * dim_, 0});
      continue;
    }
    const std::size_t d = static_cast<std::size_t>(dim_);
    const bool shared = norms_[role].w.size() == d;
    for (std::size_t h = 0; h < columns.size(); ++h) normed_.push_back({role, columns[h], dim_, shared ? 0 : h * d});
  }
}

void AttentionGradient::rotate(float* rows, bool back) const {
  if (!rotary_.any()) return;
  team_->parallel_for(tokens_, 16, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      for (const std::vector<int64_t>* columns : {&q_, &k_})
        for (const int64_t column : *columns) rotary_.turn(rows + t * width_ + column, t % length_, back);
    }
  });
}

HeadShape AttentionGradient::head_shape(int64_t head) const {
  return {length_, dim_, dim_, window_, scale_, cap_, slopes_.empty() ? 0.0f : slopes_[static_cast<std::size_t>(head)]};
}

void AttentionGradient::forward(Kept* kept) const {
  float* qkv = kept->qkv.data();
  const std::size_t norms = normed_.size();
  if (norms > 0 || clip_ > 0) kept->projected = kept->qkv;
  if (norms > 0) {
    kept->stats.resize(static_cast<std::size_t>(tokens_) * norms);
    team_->parallel_for(tokens_, 16, [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t) {
        for (std::size_t i = 0; i < norms; ++i) {
          const Normed& n = normed_[i];
          const model::LayerWeights::NormWeights& weights = norms_.at(n.role);
          float* row = qkv + t * width_ + n.column;
          kept->stats[static_cast<std::size_t>(t) * norms + i] =
              norm_row(norm_, row, weights.w.data() + n.weight,
                       weights.bias.empty() ? nullptr : weights.bias.data() + n.weight, n.width, row);
        }
      }
    });
  }
  if (clip_ > 0) {
    team_->parallel_for(tokens_ * width_, 4096, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) qkv[i] = std::clamp(qkv[i], -clip_, clip_);
    });
  }
  rotate(qkv, false);
  const int64_t map = length_ * padded_keys(length_), group = heads_ / kv_heads_, ld_out = heads_ * dim_;
  team_->parallel_for(windows_ * heads_, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t h = i % heads_, first = i / heads_ * length_;
      const float* rows = qkv + first * width_;
      const std::size_t kv = static_cast<std::size_t>(h / group);
      attend_head(head_shape(h), {rows + q_[static_cast<std::size_t>(h)], width_}, {rows + k_[kv], width_},
                  {rows + v_[kv], width_}, kept->weights.data() + i * map, kept->out.data() + first * ld_out + h * dim_,
                  ld_out);
    }
  });
}

void AttentionGradient::backward(const Kept& kept, const float* d_out, float* d_qkv,
                                 std::map<Role, std::vector<float>>* norm_gradients) const {
  std::fill_n(d_qkv, tokens_ * width_, 0.0f);
  const int64_t map = length_ * padded_keys(length_), group = heads_ / kv_heads_, ld_out = heads_ * dim_;
  // A task is a key-value head: the query heads that share it add to the same gradients.
  team_->parallel_for(windows_ * kv_heads_, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t w = i / kv_heads_, head = i % kv_heads_, first = w * length_;
      const float* rows = kept.qkv.data() + first * width_;
      float* d_rows = d_qkv + first * width_;
      const int64_t k = k_[static_cast<std::size_t>(head)], v = v_[static_cast<std::size_t>(head)];
      for (int64_t h = head * group; h < (head + 1) * group; ++h) {
        const int64_t q = q_[static_cast<std::size_t>(h)];
        attend_head_backward(head_shape(h), {rows + q, width_}, {rows + k, width_}, {rows + v, width_},
                             {d_out + first * ld_out + h * dim_, ld_out}, kept.weights.data() + (w * heads_ + h) * map,
                             {d_rows + q, width_}, {d_rows + k, width_}, {d_rows + v, width_});
      }
    }
  });
  rotate(d_qkv, true);
  if (clip_ > 0) {
    team_->parallel_for(tokens_ * width_, 4096, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i)
        if (std::fabs(kept.projected[static_cast<std::size_t>(i)]) > clip_) d_qkv[i] = 0;
    });
  }
  const std::size_t norms = normed_.size();
  if (norms == 0) return;
  if (norm_gradients != nullptr)
    for (const Role role : {Role::q_norm, Role::k_norm}) (*norm_gradients)[role] = norm_gradient(kept, d_qkv, role);
  team_->parallel_for(tokens_, 16, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      for (std::size_t i = 0; i < norms; ++i) {
        const Normed& n = normed_[i];
        float* d_row = d_qkv + t * width_ + n.column;
        norm_row_backward(norm_, kept.stats[static_cast<std::size_t>(t) * norms + i],
                          kept.projected.data() + t * width_ + n.column, norms_.at(n.role).w.data() + n.weight, d_row,
                          n.width, d_row);
      }
    }
  });
}

/// d_qkv: with respect to queries and keys behind their norms.
std::vector<float> AttentionGradient::norm_gradient(const Kept& kept, const float* d_qkv, Role role) const {
  std::vector<float> sum(norms_.at(role).w.size());
  const std::size_t norms = normed_.size();
  for (std::size_t i = 0; i < norms; ++i) {
    const Normed& n = normed_[i];
    if (n.role != role) continue;
    team_->parallel_for(n.width, 16, [&](int64_t begin, int64_t end) {
      for (int64_t t = 0; t < tokens_; ++t) {
        const NormStats& stats = kept.stats[static_cast<std::size_t>(t) * norms + i];
        const int64_t at = t * width_ + n.column;
        for (int64_t c = begin; c < end; ++c)
          sum[n.weight + static_cast<std::size_t>(c)] +=
              d_qkv[at + c] * (kept.projected[static_cast<std::size_t>(at + c)] - stats.mean) * stats.inverse;
      }
    });
  }
  return sum;
}

}  // namespace nbl::pipeline

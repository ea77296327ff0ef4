#include "pipeline/experts_gradient.h"

#include <algorithm>
#include <cmath>

namespace nbl::pipeline {

using model::Part;
using model::Role;
using Floats = std::vector<float>;

namespace {

int32_t index_of(int64_t expert) { return static_cast<int32_t>(expert); }

float dot(const float* a, const float* b, int64_t n) {
  float sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

}  // namespace

ExpertsGradient::ExpertsGradient(const model::Config& config, bool shared_router, Team& team, int64_t tokens)
    : config_(config.experts),
      activation_(config.activation),
      shared_router_(shared_router),
      team_(&team),
      tokens_(tokens),
      hidden_(config.hidden) {}

int64_t ExpertsGradient::kept_width(const model::Config& config) noexcept {
  const model::ExpertsConfig& x = config.experts;
  const int64_t shared = x.shared_ffn > 0 ? 3 * x.shared_ffn + config.hidden + 1 : 0;
  return x.count + x.per_token * (3 * x.ffn + config.hidden + 4) + shared;
}

void ExpertsGradient::reserve(Kept* kept) const {
  const std::size_t tokens = static_cast<std::size_t>(tokens_), choices = tokens * static_cast<std::size_t>(config_.per_token);
  const auto size = [](Floats& f, std::size_t rows, int64_t width) { f.resize(rows * static_cast<std::size_t>(width)); };
  size(kept->scores, tokens, config_.count);
  size(kept->hidden, choices, 2 * config_.ffn);
  size(kept->act, choices, config_.ffn);
  size(kept->y, choices, hidden_);
  model::ExpertChoices& e = kept->choices;
  e.chosen.resize(choices);
  e.weight.resize(choices);
  e.row.resize(choices);
  e.row_weight.resize(choices);
  e.first.resize(static_cast<std::size_t>(config_.count) + 1);
  if (config_.shared_ffn == 0) return;
  size(kept->shared_hidden, tokens, 2 * config_.shared_ffn);
  size(kept->shared_act, tokens, config_.shared_ffn);
  size(kept->shared_y, tokens, hidden_);
  size(kept->shared_weight, tokens, 1);
}

/// The rows of `in` that go to an expert.
void ExpertsGradient::gather(const Kept& kept, int64_t expert, const float* in, Floats* rows) const {
  const std::size_t e = static_cast<std::size_t>(expert);
  const int64_t first = kept.choices.first[e], count = kept.choices.first[e + 1] - first;
  rows->resize(static_cast<std::size_t>(count * hidden_));
  team_->parallel_for(count, 16, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r)
      std::copy_n(in + kept.choices.row[static_cast<std::size_t>(first + r)] * hidden_, hidden_, rows->data() + r * hidden_);
  });
}

Status ExpertsGradient::forward(DenseProducts& dense, DenseProducts& routing, const Products& products, const float* in, Kept* kept,
                                float* out) const {
  const int64_t count = config_.count, per = config_.per_token, ffn = config_.ffn;
  model::ExpertChoices& e = kept->choices;
  NBL_TRY(routing.apply(products.at(Role::router).forward, in, kept->scores.data()));
  std::vector<int32_t> order(kept->scores.size());  // here, not in a worker, where running out of memory could not be told
  team_->parallel_for(tokens_, 16, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t)
      model::choose_experts(config_, bias_, kept->scores.data() + t * count, order.data() + t * count, e.chosen.data() + t * per,
                            e.weight.data() + t * per);
  });
  model::sort_rows(config_, tokens_, &e);
  std::fill_n(out, tokens_ * hidden_, 0.0f);
  Floats rows;
  for (int64_t x = 0; x < count; ++x) {
    const int64_t first = e.first[static_cast<std::size_t>(x)], own = e.first[static_cast<std::size_t>(x) + 1] - first;
    if (own == 0) continue;
    gather(*kept, x, in, &rows);
    float *hidden = kept->hidden.data() + first * 2 * ffn, *act = kept->act.data() + first * ffn, *y = kept->y.data() + first * hidden_;
    const int32_t expert = index_of(x);
    NBL_TRY(dense.apply(products.at({Role::expert_gate, expert}).forward, {rows.data(), hidden_}, {hidden, 2 * ffn}, own));
    NBL_TRY(dense.apply(products.at({Role::expert_up, expert}).forward, {rows.data(), hidden_}, {hidden + ffn, 2 * ffn}, own));
    activate(*team_, {activation_, true, own, ffn}, hidden, act);
    NBL_TRY(dense.apply(products.at({Role::expert_down, expert}).forward, act, y, own));
    team_->parallel_for(own, 16, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        const std::size_t at = static_cast<std::size_t>(first + r);
        float* to = out + e.row[at] * hidden_;
        for (int64_t i = 0; i < hidden_; ++i) to[i] += e.row_weight[at] * y[r * hidden_ + i];
      }
    });
  }
  return config_.shared_ffn > 0 ? forward_shared(dense, routing, products, in, kept, out) : Status();
}

Status ExpertsGradient::forward_shared(DenseProducts& dense, DenseProducts& routing, const Products& products, const float* in,
                                       Kept* kept, float* out) const {
  const int64_t ffn = config_.shared_ffn;
  float* hidden = kept->shared_hidden.data();
  NBL_TRY(dense.apply(products.at(Role::shared_gate).forward, {in, hidden_}, {hidden, 2 * ffn}));
  NBL_TRY(dense.apply(products.at(Role::shared_up).forward, {in, hidden_}, {hidden + ffn, 2 * ffn}));
  activate(*team_, {activation_, true, tokens_, ffn}, hidden, kept->shared_act.data());
  NBL_TRY(dense.apply(products.at(Role::shared_down).forward, kept->shared_act.data(), kept->shared_y.data()));
  Floats& weight = kept->shared_weight;
  std::fill(weight.begin(), weight.end(), 1.0f);
  if (shared_router_) {
    NBL_TRY(routing.apply(products.at(Role::shared_router).forward, in, weight.data()));
    for (float& w : weight) w = 1.0f / (1.0f + std::exp(-w));
  }
  team_->parallel_for(tokens_, 16, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t)
      for (int64_t i = t * hidden_; i < (t + 1) * hidden_; ++i)
        out[i] += weight[static_cast<std::size_t>(t)] * kept->shared_y[static_cast<std::size_t>(i)];
  });
  return {};
}

Status ExpertsGradient::mlp_backward(DenseProducts& dense, const Products& products, const Mlp& mlp, const float* d_y, float* d_in,
                                     Gradients* gradients) const {
  const int64_t rows = mlp.rows, ffn = mlp.ffn;
  NBL_ASSIGN((*gradients)[mlp.down], dense.outer({d_y, hidden_}, hidden_, {mlp.act, ffn}, ffn, rows));
  Floats d_act(static_cast<std::size_t>(rows * ffn)), d_hidden(2 * d_act.size());
  NBL_TRY(dense.apply(products.at(mlp.down).backward, d_y, d_act.data(), rows));
  activate_backward(*team_, {activation_, true, rows, ffn}, mlp.hidden, d_act.data(), d_hidden.data());
  const float* d_up = d_hidden.data() + ffn;
  NBL_ASSIGN((*gradients)[mlp.gate], dense.outer({d_hidden.data(), 2 * ffn}, ffn, {mlp.in, hidden_}, hidden_, rows));
  NBL_ASSIGN((*gradients)[mlp.up], dense.outer({d_up, 2 * ffn}, ffn, {mlp.in, hidden_}, hidden_, rows));
  if (d_in == nullptr) return {};
  Floats part(static_cast<std::size_t>(rows * hidden_));
  NBL_TRY(dense.apply(products.at(mlp.gate).backward, {d_hidden.data(), 2 * ffn}, {d_in, hidden_}, rows));
  NBL_TRY(dense.apply(products.at(mlp.up).backward, {d_up, 2 * ffn}, {part.data(), hidden_}, rows));
  for (std::size_t i = 0; i < part.size(); ++i) d_in[i] += part[i];
  return {};
}

Status ExpertsGradient::backward(DenseProducts& dense, DenseProducts& routing, const Products& products, const float* in,
                                 const Kept& kept, const float* d_out, float* d_in, Gradients* gradients) const {
  const int64_t count = config_.count, per = config_.per_token, ffn = config_.ffn;
  const model::ExpertChoices& e = kept.choices;
  if (d_in != nullptr) std::fill_n(d_in, tokens_ * hidden_, 0.0f);
  Floats rows, d_y, d_rows;
  Floats d_score(static_cast<std::size_t>(tokens_ * count));  // with respect to the chosen ones' weights, then to what the router says
  for (int64_t x = 0; x < count; ++x) {
    const int64_t first = e.first[static_cast<std::size_t>(x)], own = e.first[static_cast<std::size_t>(x) + 1] - first;
    const int32_t expert = index_of(x);
    if (own == 0) {
      for (const Role role : {Role::expert_gate, Role::expert_up, Role::expert_down}) {
        const int64_t n = role == Role::expert_down ? hidden_ : ffn, k = hidden_ + ffn - n;
        NBL_ASSIGN((*gradients)[(model::Part{role, expert})], dense.outer({nullptr, n}, n, {nullptr, k}, k, 0));
      }
      continue;
    }
    gather(kept, x, in, &rows);
    gather(kept, x, d_out, &d_y);
    const float* y = kept.y.data() + first * hidden_;
    team_->parallel_for(own, 16, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        const std::size_t at = static_cast<std::size_t>(first + r);
        float* d = d_y.data() + r * hidden_;
        d_score[static_cast<std::size_t>(e.row[at] * count + x)] = dot(d, y + r * hidden_, hidden_);
        for (int64_t i = 0; i < hidden_; ++i) d[i] *= e.row_weight[at];
      }
    });
    d_rows.resize(d_y.size());
    const Mlp mlp{{Role::expert_gate, expert}, {Role::expert_up, expert}, {Role::expert_down, expert}, own, ffn, rows.data(),
                  kept.hidden.data() + first * 2 * ffn, kept.act.data() + first * ffn};
    NBL_TRY(mlp_backward(dense, products, mlp, d_y.data(), d_in != nullptr ? d_rows.data() : nullptr, gradients));
    if (d_in == nullptr) continue;
    team_->parallel_for(own, 16, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        float* to = d_in + e.row[static_cast<std::size_t>(first + r)] * hidden_;
        for (int64_t i = 0; i < hidden_; ++i) to[i] += d_rows[static_cast<std::size_t>(r * hidden_ + i)];
      }
    });
  }

  // Through the weights: scale * s / sum of the chosen s, or scale * s; s a softmax over all experts or a sigmoid each.
  team_->parallel_for(tokens_, 16, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      const float* score = kept.scores.data() + t * count;
      float* d = d_score.data() + t * count;
      const int32_t* chosen = e.chosen.data() + t * per;
      float sum = 1, through = 0;
      if (config_.normalize) {
        sum = 1e-20f;
        for (int64_t i = 0; i < per; ++i) {
          sum += score[chosen[i]];
          through += d[chosen[i]] * score[chosen[i]];
        }
        through /= sum;
      }
      for (int64_t i = 0; i < per; ++i) d[chosen[i]] = config_.scale * (d[chosen[i]] - through) / sum;
      const float mean = config_.sigmoid ? 0.0f : dot(d, score, count);
      for (int64_t i = 0; i < count; ++i) d[i] = score[i] * (config_.sigmoid ? d[i] * (1.0f - score[i]) : d[i] - mean);
    }
  });
  NBL_ASSIGN((*gradients)[Role::router], routing.outer({d_score.data(), count}, count, {in, hidden_}, hidden_));
  if (d_in != nullptr) {
    rows.resize(static_cast<std::size_t>(tokens_ * hidden_));
    NBL_TRY(routing.apply(products.at(Role::router).backward, d_score.data(), rows.data()));
    for (std::size_t i = 0; i < rows.size(); ++i) d_in[i] += rows[i];
  }
  return config_.shared_ffn > 0 ? backward_shared(dense, routing, products, in, kept, d_out, d_in, gradients) : Status();
}

Status ExpertsGradient::backward_shared(DenseProducts& dense, DenseProducts& routing, const Products& products, const float* in,
                                        const Kept& kept, const float* d_out, float* d_in, Gradients* gradients) const {
  Floats d_y(static_cast<std::size_t>(tokens_ * hidden_)), d_weight(static_cast<std::size_t>(tokens_)), part(d_in != nullptr ? d_y.size() : 0);
  team_->parallel_for(tokens_, 16, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      const float weight = kept.shared_weight[static_cast<std::size_t>(t)];
      d_weight[static_cast<std::size_t>(t)] =
          dot(d_out + t * hidden_, kept.shared_y.data() + t * hidden_, hidden_) * weight * (1.0f - weight);
      for (int64_t i = t * hidden_; i < (t + 1) * hidden_; ++i) d_y[static_cast<std::size_t>(i)] = weight * d_out[i];
    }
  });
  const auto add_part = [&] {
    for (std::size_t i = 0; i < part.size(); ++i) d_in[i] += part[i];
  };
  const Mlp mlp{Role::shared_gate, Role::shared_up, Role::shared_down, tokens_, config_.shared_ffn, in, kept.shared_hidden.data(),
                kept.shared_act.data()};
  NBL_TRY(mlp_backward(dense, products, mlp, d_y.data(), d_in != nullptr ? part.data() : nullptr, gradients));
  add_part();
  if (!shared_router_) return {};
  NBL_ASSIGN((*gradients)[Role::shared_router], routing.outer({d_weight.data(), 1}, 1, {in, hidden_}, hidden_));
  if (d_in == nullptr) return {};
  NBL_TRY(routing.apply(products.at(Role::shared_router).backward, d_weight.data(), part.data()));
  add_part();
  return {};
}

}  // namespace nbl::pipeline

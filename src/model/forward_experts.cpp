// Mixtures of experts: each token's MLP is a weighed sum of a few of many, chosen by a router. The rows of a step are
// sorted among the experts, and each expert multiplies its rows together. A row's sum runs over its experts in
// ascending order, whatever rows are beside it.
#include <algorithm>
#include <cmath>

#include "model/forward.h"

namespace nbl::model {

void Pass::route(const Layer& layer) {
  const ExpertsConfig& x = c_.experts;
  ExpertRows& e = w_.experts_;
  const Target targets[] = {{layer.linear(Role::router), e.scores, x.count}};
  project(targets, h_, c_.hidden, s_.rows);
  int32_t* order = e.group_order.data() + static_cast<int64_t>(worker_.index()) * x.count;
  for (int64_t row = mine_.begin; row < mine_.end; ++row)
    choose_experts(x, layer.norm(Role::router_bias).w, e.scores + row * x.count, order, e.chosen.data() + row * x.per_token,
                   e.weight.data() + row * x.per_token);
  std::fill(w_.y_ + mine_.begin * c_.hidden, w_.y_ + mine_.end * c_.hidden, 0.0f);
  worker_.barrier();
  if (worker_.index() == 0) sort_rows(x, s_.rows, &e);  // one does it for all
  worker_.barrier();
}

void Pass::expert_hidden(const Expert& expert, int64_t index, bool all) {
  ExpertRows& e = w_.experts_;
  const int64_t first = e.first[static_cast<std::size_t>(index)], n = c_.hidden, ffn = c_.experts.ffn;
  const int64_t rows = all ? s_.rows : e.first[static_cast<std::size_t>(index) + 1] - first;
  if (rows == 0) return;
  const Range share = worker_.share(rows);
  if (!all) {
    for (int64_t r = share.begin; r < share.end; ++r) {
      const float* from = h_ + e.row[static_cast<std::size_t>(first + r)] * n;
      std::copy(from, from + n, e.x + r * n);
    }
    worker_.barrier();
  }
  const Target targets[] = {{&expert.gate, e.hidden, 2 * ffn}, {&expert.up, e.hidden + ffn, 2 * ffn}};
  project(targets, all ? h_ : e.x, n, rows);
  activate_rows(share, e.hidden, 2 * ffn, e.hidden, 2 * ffn, ffn);
  worker_.barrier();
}

void Pass::expert_output(const Expert& expert, int64_t index, bool all) {
  ExpertRows& e = w_.experts_;
  const int64_t first = e.first[static_cast<std::size_t>(index)], n = c_.hidden;
  const int64_t own = e.first[static_cast<std::size_t>(index) + 1] - first;
  if (own == 0) return;
  const Target targets[] = {{&expert.down, e.y, n}};
  project(targets, e.hidden, 2 * c_.experts.ffn, all ? s_.rows : own);
  const Range share = worker_.share(own);
  for (int64_t r = share.begin; r < share.end; ++r) {
    const std::size_t at = static_cast<std::size_t>(first + r);
    float* y = e.y + (all ? e.row[at] : r) * n;
    el_.scale(y, e.row_weight[at], n);
    el_.add(w_.y_ + e.row[at] * n, y, n);
  }
  // Others' rows of this expert may be this worker's rows of the next: they are added to after its products only,
  // behind barriers of theirs; without a next one mixture_output() meets.
}

void Pass::shared_hidden(const Layer& layer) {
  if (c_.experts.shared_ffn == 0) return;
  const int64_t ffn = c_.experts.shared_ffn, ld = w_.mlp_width_;
  const Target targets[] = {{layer.linear(Role::shared_gate), w_.mlp_, ld},
                            {layer.linear(Role::shared_up), w_.mlp_ + ffn, ld}};
  project(targets, h_, c_.hidden, s_.rows);
  activate_rows(mine_, w_.mlp_, ld, w_.mlp_, ld, ffn);
  worker_.barrier();
}

void Pass::shared_output(const Layer& layer) {
  if (c_.experts.shared_ffn == 0) return;
  ExpertRows& e = w_.experts_;
  const int64_t n = c_.hidden;
  if (const Linear* router = layer.linear(Role::shared_router)) {
    const Target targets[] = {{router, e.scores, 1}};
    project(targets, h_, n, s_.rows);
  }
  worker_.barrier();  // the experts' last sums are added before e.y is written again
  const Target targets[] = {{layer.linear(Role::shared_down), e.y, n}};
  project(targets, w_.mlp_, w_.mlp_width_, s_.rows);
  const bool weighed = layer.linear(Role::shared_router) != nullptr;
  for (int64_t r = mine_.begin; r < mine_.end; ++r) {
    if (weighed) el_.scale(e.y + r * n, 1.0f / (1.0f + std::exp(-e.scores[r])), n);
    el_.add(w_.y_ + r * n, e.y + r * n, n);
  }
}

void Pass::mixture_output(const Layer& layer) {
  worker_.barrier();
  add_residual(layer, Role::mlp_post_norm, Role::mlp_norm);
  mark(Profile::mlp_out);
}

void Pass::mixture(const Layer& layer) {
  route(layer);
  for (std::size_t e = 0; e < layer.experts.size(); ++e) {
    expert_hidden(layer.experts[e], static_cast<int64_t>(e));
    expert_output(layer.experts[e], static_cast<int64_t>(e));
  }
  shared_hidden(layer);
  shared_output(layer);
  mixture_output(layer);
}

}  // namespace nbl::model

// Layers whose linears need no statistics wait for nothing: several at a time, each on its own threads, from reading the weights to
// packing the codes. What is written, and its order, is the same as one by one.
#include <new>

#include "model/block.h"
#include "pipeline/job.h"

namespace nbl::pipeline {

using model::LayerWeights;

bool Job::independent(int64_t layer) const {
  const LayerPlan& plan = layers_[static_cast<std::size_t>(layer)];
  return plan.needs == 0 && last_stats_layer_ < 0 && plan.learning.iterations == 0 && model_learning_.epochs <= 0;
}

Result<std::vector<Job::Linear>> Job::quantize_layer(int64_t layer, Team& team) const {
  const LayerPlan& plan = layers_[static_cast<std::size_t>(layer)];
  NBL_ASSIGN(LayerWeights weights, model::load_layer(input_, *arch_, config_, layer));
  NBL_TRY(check_finite(weights, plan, team));
  std::vector<Linear> linears;
  for (const auto& group : plan.groups) {
    for (const Plan& p : group) {
      if (p.recipe == nullptr) continue;
      LayerWeights::Matrix& m = weights.matrices.at(p.role);
      NBL_ASSIGN(Linear linear, quantize_linear(m, p, nullptr, team, {}));
      linears.push_back(std::move(linear));
      m.w = {};
    }
  }
  return linears;
}

Status Job::process_independent(int64_t first, int64_t count) {
  NBL_TRY(tick("quantize", layers_[static_cast<std::size_t>(first)].groups.front().front().name));
  std::vector<Status> status(static_cast<std::size_t>(count));
  std::vector<std::vector<Linear>> linears(static_cast<std::size_t>(count));
  const int threads = static_cast<int>(std::max<int64_t>(1, team_.size() / count));
  team_.parallel_for(count, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const std::size_t at = static_cast<std::size_t>(i);
      try {
        Team team(threads);
        auto done = quantize_layer(first + i, team);
        if (done.ok()) {
          linears[at] = std::move(done).value();
        } else {
          status[at] = done.status();
        }
      } catch (const std::bad_alloc&) {
        status[at] = {Code::out_of_memory, "memory is exhausted"};
      }
    }
  });
  for (int64_t i = 0; i < count; ++i) {
    const std::size_t at = static_cast<std::size_t>(i);
    NBL_TRY(status[at]);
    finished_ = {};
    finished_.layer = first + i;
    const std::size_t first_report = report_.layers.size();
    for (Linear& linear : linears[at]) {
      NBL_TRY(tick("quantize", linear.plan->name));
      NBL_TRY(finish_linear(*linear.plan, first + i, linear.tensor, std::move(linear.report)));
    }
    linears[at].clear();
    if (!journal_) continue;
    finished_.reports.assign(report_.layers.begin() + static_cast<std::ptrdiff_t>(first_report), report_.layers.end());
    NBL_TRY(journal_->add(finished_));
    finished_ = {};
  }
  return {};
}

}  // namespace nbl::pipeline

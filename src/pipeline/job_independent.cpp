// Layers whose linears need no statistics wait for nothing. Where each row is a matter of its own, some rows at a time on all threads;
// else several layers at a time, each on its own threads, from reading the weights to packing the codes. What is written, and its
// order, is the same as one by one.
#include <new>

#include "base/file.h"
#include "kernels/rounding/rounding.h"
#include "model/block.h"
#include "pipeline/job.h"
#include "quant/row_bands.h"

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
      NBL_ASSIGN(Linear linear, quantize_linear(m, p, -1, nullptr, team, {}));
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

bool Job::by_rows(int64_t layer) const {
  int64_t linears = 0;
  for (const auto& group : layers_[static_cast<std::size_t>(layer)].groups) {
    for (const Plan& p : group) {
      if (p.recipe == nullptr) continue;
      const std::optional<Array> plain = input_.plain_matrix(p.name);
      if (!plain || !p.recipe->method->by_rows(p.recipe->options, plain->shape[1])) return false;
      ++linears;
    }
  }
  return linears > 0;
}

/// Some rows at a time, read from where they lie in the file; one linear is written while the next one is rounded.
Status Job::process_by_rows(int64_t first, int64_t count) {
  struct Done {
    int64_t layer = 0;
    bool begins = false, ends = false;  ///< its layer
    Linear linear;
  };
  std::optional<Done> done;
  SpareBuffers spare;
  std::size_t first_report = report_.layers.size();
  const auto write = [&]() -> Status {
    if (!done) return {};
    Done d = std::move(*done);
    done.reset();
    if (d.begins) {
      finished_ = {};
      finished_.layer = d.layer;
      first_report = report_.layers.size();
    }
    NBL_TRY(finish_linear(*d.linear.plan, d.layer, d.linear.tensor, d.linear.report));
    // What a memory limit was planned for has no room for spares.
    if (options_.max_memory_bytes <= 0 && d.linear.tensor.segments.size() == 1)
      spare.give(std::move(d.linear.tensor.segments.front().codes).release());
    if (!d.ends || !journal_) return {};
    finished_.reports.assign(report_.layers.begin() + static_cast<std::ptrdiff_t>(first_report), report_.layers.end());
    NBL_TRY(journal_->add(finished_));
    finished_ = {};
    return {};
  };
  Status written;
  const auto write_beside = [&] {
    try {
      written = write();
    } catch (const std::bad_alloc&) {
      written = {Code::out_of_memory, "memory is exhausted"};
    }
  };
  const FunctionRef<void()> alongside(write_beside);
  quant::MethodContext context;
  context.team = &team_;
  context.seed = options_.seed;
  for (int64_t l = first; l < first + count; ++l) {
    const LayerPlan& plan = layers_[static_cast<std::size_t>(l)];
    NBL_ASSIGN(LayerWeights weights, model::load_layer(input_, *arch_, config_, l, true));
    std::vector<const Plan*> linears;
    for (const auto& group : plan.groups)
      for (const Plan& p : group)
        if (p.recipe != nullptr) linears.push_back(&p);
    for (const Plan* p : linears) {
      NBL_TRY(tick("quantize", p->name));
      const auto start = JobClock::now();
      LayerWeights::Matrix& m = weights.matrices.at(p->role);
      Linear linear;
      std::optional<quant::LinearResult> result;
      if (m.plain) {
        const int64_t size = dtype_bytes(m.plain->dtype);
        const auto read = [&](int64_t row, int64_t rows, float* out) {
          const std::byte* from = m.plain->storage.data() + row * m.k * size;
          if (m.plain->dtype == DType::bf16) {
            kernels::rounding_kernels(context.isa).widen_bf16(from, rows * m.k, out);
          } else {
            convert_to_f32(m.plain->dtype, from, rows * m.k, out);
          }
        };
        result = quant::quantize_by_rows(*p->recipe, p->name, m.n, m.k, read, context, done ? &alongside : nullptr, &spare);
        NBL_TRY(written);
      }
      if (result) {
        linear.plan = p;
        linear.tensor = std::move(result->tensor);
        linear.report.name = p->name;
        linear.report.error = result->error;
        linear.report.seconds = seconds_since(start);
      } else {
        if (m.plain) {
          NBL_ASSIGN(m.w, m.plain->to_f32());
          m.plain.reset();
        }
        NBL_TRY(check_finite(m, *p, team_));
        NBL_ASSIGN(linear, quantize_linear(m, *p, -1, nullptr, team_, {}));
        m.w = {};
      }
      NBL_TRY(write());
      done = Done{l, p == linears.front(), p == linears.back(), std::move(linear)};
    }
    if (options_.max_memory_bytes > 0) MappedFile::release_pages();
  }
  return write();
}

}  // namespace nbl::pipeline

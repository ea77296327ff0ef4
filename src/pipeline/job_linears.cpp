#include "pipeline/job.h"

#include <fmt/format.h>

#include <algorithm>

#include "pipeline/block_gradient.h"
#include "pipeline/block_tuner.h"
#include "pipeline/folding.h"

namespace nbl::pipeline {

using model::LayerWeights;
using model::Part;
using model::TensorSpec;

void restore(const QTensor& tensor, Team& team, LayerWeights::Matrix* m) {
  const auto scale = tensor.input_scale.as<float>();
  team.parallel_for(m->n, 16, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      float* row = m->w.data() + r * m->k;
      tensor.dequantize_row(r, row);
      if (scale.empty()) continue;
      for (int64_t c = 0; c < m->k; ++c) row[c] *= scale[static_cast<std::size_t>(c)];
    }
  });
}

Status Job::add_matrix(const std::string& name, const QTensor& tensor) {
  written_.insert(name);
  if (journal_) finished_.matrices.emplace_back(name, tensor);
  return writer_->add_matrix(name, tensor);
}

Status Job::add_array(const std::string& name, const Array& array) {
  written_.insert(name);
  if (journal_) finished_.arrays.emplace_back(name, array);
  return writer_->add_array(name, array);
}

Result<Job::Linear> Job::quantize_linear(const LayerWeights::Matrix& m, const Plan& plan, int64_t layer, const quant::InputStats* stats, Team& team,
                                         const ProgressFn& progress) const {
  const auto start = JobClock::now();
  quant::LinearTask task;
  task.name = plan.name;
  task.n = m.n;
  task.k = m.k;
  task.weight = m.w;
  task.place = plan.place;
  task.stats = plan.needs != 0 ? stats : nullptr;
  std::vector<float> moments;
  if (output_moments_ && layer >= 0 && plan.output_tokens > 0) {
    NBL_ASSIGN(moments, output_moments_->load(layer, plan.role));
    task.output_moments = moments;
    task.output_gradients = output_moments_->gradients();
  }
  quant::MethodContext context;
  context.team = &team;
  context.seed = options_.seed;
  context.progress = progress;
  auto quantized = plan.recipe->method->quantize(task, plan.recipe->options, context);
  if (!quantized.ok()) {
    const Status& status = quantized.status();
    return status.message().find(plan.name) != std::string::npos ? status : status.with_context(plan.name);
  }
  quant::LinearResult result = std::move(quantized).value();
  Linear linear{&plan, std::move(result.tensor), {}, std::move(result.affine)};
  linear.report.name = plan.name;
  linear.report.error = result.error;
  linear.report.notes = std::move(result.notes);
  linear.report.seconds = seconds_since(start);
  return linear;
}

Status Job::quantize_group(LayerWeights& weights, std::size_t group, const LayerPlan& plan, int64_t layer,
                           const quant::InputStats* stats, std::span<const float> input_scale) {
  for (const Plan& p : plan.groups[group]) {
    if (p.recipe == nullptr) continue;
    NBL_TRY(tick("quantize", p.name));
    const auto start = JobClock::now();
    LayerWeights::Matrix& m = weights.matrices.at(p.role);
    NBL_ASSIGN(Linear linear, quantize_linear(m, p, layer, stats, team_, progress_));
    if (!input_scale.empty()) {
      NBL_ASSIGN(linear.tensor.input_scale, Storage::copy(std::as_bytes(input_scale)));
    }
    if (streams_) {
      // From here on the layer computes with what was stored.
      restore(linear.tensor, team_, &m);
      NBL_TRY(streams_->replace(p.role, m));
    }
    linear.report.seconds = seconds_since(start);
    if (plan.learning.iterations > 0) {
      pending_.push_back(std::move(linear));
    } else {
      NBL_TRY(finish_linear(p, layer, linear.tensor, std::move(linear.report)));
    }
  }
  return {};
}

Status Job::finish_linear(const Plan& plan, int64_t layer, const QTensor& tensor, LayerReport report) {
  if (model_learning_.epochs > 0) {
    written_.insert(plan.name);
    if (journal_) finished_.matrices.emplace_back(plan.name, tensor);
    held_.push_back({layer, plan.role, plan.name, tensor});
  } else {
    NBL_TRY(add_matrix(plan.name, tensor));
  }
  report.encoding = tensor.description();
  report.bits = tensor.bits_per_weight();
  report_.layers.push_back(std::move(report));
  stored_bytes_ += static_cast<double>(tensor.stored_bytes());
  weights_ += static_cast<double>(tensor.n) * static_cast<double>(tensor.k);
  ++done_;
  return {};
}

/// Learns the codes of the layer's pending linears together, then writes them.
Status Job::learn(int64_t l, const LayerPlan& plan, const LayerWeights& original, LayerWeights& weights) {
  const Calibration& c = options_.calibration;
  std::map<Part, quant::AffineCodes> codes;
  std::string note;
  for (const Linear& p : pending_)
    if (p.codes != nullptr) codes.emplace(p.plan->role, *p.codes);
  if (!BlockGradient::supports(*arch_, config_, l)) {
    note = fmt::format("not learned: no backward pass for blocks of {}; gptq's codes are kept", arch_->id);
  } else if (codes.empty()) {
    note = "not learned: the block has no codes to start from";
  } else {
    const auto start = JobClock::now();
    TuneOptions tune;
    tune.iterations = plan.learning.iterations;
    tune.rate = plan.learning.rate;
    tune.scale_rate = plan.learning.scale_rate;
    tune.seed = options_.seed;
    tune.compute = options_.compute;
    TuneData data;
    data.batch_windows = streams_->batch_windows(0);
    // A last batch that is not full is left out.
    data.batches = streams_->batches() - (streams_->batch_windows(streams_->batches() - 1) < data.batch_windows ? 1 : 0);
    data.length = c.length;
    data.hidden = config_.hidden;
    data.load = [&](int64_t batch, float* input, float* target) { return streams_->load_pair(batch, input, target); };
    tune.batches = std::max<int64_t>(1, plan.learning.batch_tokens / (data.batch_windows * c.length));
    NBL_ASSIGN(const TuneResult result,
               tune_block(*arch_, config_, l, data, tune, team_,
                          [&](int64_t i) { return tick("learn", fmt::format("layer {}, step {} of {}", l, i, tune.iterations)); },
                          original, &weights, &codes));
    note = result.note;
    const double seconds = seconds_since(start) / static_cast<double>(pending_.size());
    for (Linear& p : pending_) {
      p.report.seconds += seconds;
      if (!result.changed || p.codes == nullptr) continue;
      NBL_ASSIGN(Segment segment, codes.at(p.plan->role).pack());
      p.tensor = make_qtensor(p.tensor.n, p.tensor.k, std::move(segment));
    }
    if (result.changed) {
      NBL_TRY(streams_->reload(weights));
      NBL_TRY(streams_->rewind());
    }
  }
  for (Linear& p : pending_) {
    // An expert that too few tokens reached, say: the others are learned around it.
    p.report.notes.push_back(p.codes != nullptr || codes.empty() ? note : "not learned: no codes to start from");
    NBL_TRY(finish_linear(*p.plan, l, p.tensor, std::move(p.report)));
  }
  pending_.clear();
  return {};
}

/// Scales first, for the whole layer: they may change weights that another group quantizes.
Status Job::scale(LayerWeights& weights, const LayerPlan& plan, std::vector<quant::InputStats>& stats,
                  std::vector<std::vector<float>>& input_scales) {
  bool changed = false;
  for (std::size_t g = 0; g < plan.groups.size(); ++g) {
    const std::vector<Plan>& linears = plan.groups[g];
    if (linears.empty() || linears.front().recipe == nullptr) continue;
    const quant::Recipe* recipe = linears.front().recipe;
    // Linears share their input, so scales suit them all or none.
    if (!std::all_of(linears.begin(), linears.end(),
                     [&](const Plan& p) { return p.recipe != nullptr && p.recipe->text == recipe->text; })) {
      continue;
    }
    const std::vector<int64_t> rows = producing_rows(weights, plan.inputs[g], config_);
    std::vector<quant::LinearTask> tasks;
    for (const Plan& p : linears) {
      const LayerWeights::Matrix& m = weights.matrices.at(p.role);
      tasks.push_back({p.name, m.n, m.k, m.w, p.needs != 0 ? &stats[g] : nullptr, rows});
    }
    NBL_TRY(tick("scale", linears.front().name));
    quant::MethodContext context;
    context.team = &team_;
    context.seed = options_.seed;
    context.progress = progress_;
    NBL_ASSIGN(const std::vector<float> s, recipe->method->input_scales(tasks, recipe->options, context));
    if (s.empty()) continue;
    changed = true;
    NBL_ASSIGN(const FoldResult folded, fold_input_scales(weights, config_, plan.inputs[g], s, stats[g]));
    if (folded.where == Folded::input_scale) {
      input_scales[g].resize(s.size());
      for (std::size_t c = 0; c < s.size(); ++c) input_scales[g][c] = 1.0f / s[c];
    } else {
      scaled_.insert(folded.changed);
    }
  }
  if (changed && streams_) NBL_TRY(streams_->reload(weights));
  return {};
}

/// Parameters that took scales but were not quantized: norms (in float32: rounding the quotient again would undo part
/// of what the scales gained), biases, and linears that an override keeps.
Status Job::write_kept(const LayerWeights& weights, const LayerPlan& plan, int64_t l) {
  const auto put = [&](const TensorSpec& spec, std::string_view suffix, const std::vector<float>& values,
                       Shape shape, int32_t expert = -1) -> Status {
    const std::string name = model::tensor_name(spec, l, suffix, expert);
    if (values.empty() || written_.contains(name)) return {};
    NBL_ASSIGN(const Array array, Array::from_f32(values, std::move(shape)));
    return add_array(name, array);
  };
  for (const auto& [role, norm] : weights.norms) {
    const TensorSpec* spec = arch_->find(role, config_);
    if (spec == nullptr || !scaled_.contains(role)) continue;
    std::vector<float> stored = norm.w;
    for (float& w : stored) w -= config_.norm_offset;
    NBL_TRY(put(*spec, "weight", stored, {static_cast<int64_t>(stored.size())}));
    NBL_TRY(put(*spec, "bias", norm.bias, {static_cast<int64_t>(norm.bias.size())}));
  }
  for (const auto& group : plan.groups) {
    for (const Plan& p : group) {
      const LayerWeights::Matrix& m = weights.matrices.at(p.role);
      const TensorSpec* spec = arch_->find(p.role.role, config_);
      if (!scaled_.contains(p.role)) continue;
      NBL_TRY(put(*spec, "bias", m.bias, {m.n}, p.role.expert));
      if (p.recipe != nullptr) continue;
      NBL_ASSIGN(Segment segment, pack_dense(m.n, m.k, DType::f32, m.w.data()));
      NBL_TRY(add_matrix(p.name, make_qtensor(m.n, m.k, std::move(segment))));
    }
  }
  return {};
}

}  // namespace nbl::pipeline

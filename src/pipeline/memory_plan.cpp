#include "pipeline/memory_plan.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/cpu.h"
#include "pipeline/experts_gradient.h"
#include "pipeline/model_tuner.h"
#include "pipeline/output_moments.h"
#include "pipeline/streams.h"

namespace nbl::pipeline {
namespace {

// What no term of the plan names: thread stacks, the allocator's slack, the journal's record, the writer's buffers.
constexpr int64_t kSlack = int64_t{16} << 20;

std::string megabytes(int64_t bytes) { return fmt::format("{} MB", (bytes + 999999) / 1000000); }

}  // namespace

int64_t MemoryPlan::peak() const noexcept {
  // Tables are read before the first layer and after the last, when there are neither statistics nor weights.
  return process + kSlack + activations + moments + std::max({weights + work + statistics, tables, gradients});
}

Json MemoryPlan::to_json() const {
  Json j = Json::object();
  j.set("cap_bytes", cap);
  j.set("peak_bytes", peak());
  j.set("process_bytes", process);
  j.set("weights_bytes", weights);
  j.set("activations_bytes", activations);
  j.set("work_bytes", work);
  j.set("statistics_bytes", statistics);
  j.set("tables_bytes", tables);
  j.set("gradients_bytes", gradients);
  j.set("moments_bytes", moments);
  j.set("spill", spill);
  j.set("spilled_bytes", spilled);
  return j;
}

std::string MemoryPlan::text() const {
  std::string line = fmt::format("memory plan: at most {} ({} held now, weights of a layer {}, activations {}, work {}, "
                                 "Hessians and factors {}, tables {})",
                                 megabytes(peak()), megabytes(process), megabytes(weights), megabytes(activations),
                                 megabytes(work), megabytes(statistics), megabytes(tables));
  if (gradients > 0) line += fmt::format("; {} while gradients are taken, of which {} stay", megabytes(gradients + moments), megabytes(moments));
  if (spill) line += fmt::format("; up to {} of activations go to disk, compressed", megabytes(spilled - spilled_moments));
  if (spilled_moments > 0) line += fmt::format("; {} of the gradients' moments go to disk", megabytes(spilled_moments));
  if (cap > 0) line += fmt::format("; cap {}", megabytes(cap));
  return line;
}

Result<MemoryPlan> plan_memory(const Checkpoint& input, const model::Architecture& arch, const model::Config& config,
                               const JobShape& shape, int64_t cap) {
  MemoryPlan plan;
  plan.cap = cap;
  plan.process = current_rss_bytes();
  const bool calibrated = shape.needs != 0;
  const bool learned = shape.learned_tokens > 0;
  const bool original = learned || shape.whole_model || (shape.needs & (quant::kNeedCross | quant::kNeedResidual)) != 0;

  int64_t layer = 0, largest = 0, mlp = 1, outputs = 0, most_outputs = 0;  // the last two: squares of widths
  for (const model::TensorSpec& spec : arch.tensors) {
    if (spec.cols.empty() || (spec.when & ~config.variant) != 0) continue;
    NBL_ASSIGN(const int64_t rows, model::dimension(spec.rows, config));
    NBL_ASSIGN(const int64_t cols, model::dimension(spec.cols, config));
    if (!model::is_layer_role(spec.role)) {
      // As stored, as packed and as a copy on its way out.
      plan.tables = std::max(plan.tables, rows * cols * 3 * 4);
      continue;
    }
    const int64_t copies = model::is_expert_role(spec.role) ? config.experts.count : 1;
    layer += rows * cols * copies;
    outputs += rows * rows * copies;
    most_outputs = std::max(most_outputs, rows * rows);
    largest = std::max(largest, rows * cols);
    mlp = std::max(mlp, spec.role == model::Role::gate_up ? 2 * config.ffn : config.ffn);
  }
  // Floats, the stored bytes they came from, the quantized tensors until the layer is written; the runners' copies and the
  // largest matrix on its way into one.
  const int64_t runners = calibrated ? (original ? 2 : 1) : 0, element = shape.compute == Compute::fast ? 2 : 4;
  plan.weights = layer * (4 + 2 + 1) + runners * layer * element + largest * (4 + 2 * element);

  const auto spill_moments = [&plan] {
    plan.spilled_moments += plan.moments;
    plan.spilled += plan.moments;
    plan.moments = 0;
  };

  int64_t statistics = 0, all = 0, widest = 0, adding = 0;  // adding: the widest input of a linear that adds to the stream
  for (const model::InputGroup& group : arch.groups) {
    int64_t k = 0, n = 0;
    for (const model::Part& part : group.linears) {
      const model::TensorSpec* spec = arch.find(part.role, config);
      if (spec == nullptr) continue;
      NBL_ASSIGN(const int64_t rows, model::dimension(spec->rows, config));
      NBL_ASSIGN(k, model::dimension(spec->cols, config));
      n = std::max(n, rows);
    }
    const model::Role role = group.linears.front().role;
    if (role == model::Role::attn_out || role == model::Role::down) adding = std::max(adding, k);
    const int64_t square = k * k * 4;
    const int64_t cross = shape.needs & quant::kNeedCross ? square : 0;
    const int64_t residual = shape.needs & quant::kNeedResidual ? config.hidden * k * 4 : 0;
    // While it is summed: half a square of blocks, then the square itself beside it; panels of packed inputs.
    const int64_t panels = (k + (cross > 0 ? k : 0) + (residual > 0 ? config.hidden : 0)) * 1024 * 4;
    const int64_t gathered = square + square / 2 + 2 * cross + 2 * residual + panels;
    // While it is used: the sums, a factor in double and in single precision, the matrix that refinement reads, the errors.
    const int64_t used = square * (1 + 2 + 1 + 1) + cross + residual + n * k * 8 + shape.threads * k * 32 * 4 * 12;
    widest = std::max(widest, k);
    statistics = std::max(statistics, std::max(calibrated ? gathered : 0, used));
    all += gathered;
  }
  plan.statistics = calibrated && !shape.sequential ? std::max(all, statistics) : calibrated ? statistics : 8 * largest;
  if (calibrated) {
    // Trellis codes: the survivors of each thread's paths, and the factors of all column tiles. Threads' allocators keep what they held.
    const int64_t paths = shape.threads * (int64_t{5} << 18) + widest * 1600;
    plan.statistics += paths;
    plan.tables += paths;
  }

  if (calibrated) {
    const int64_t rows = Streams::together(shape.windows, shape.length) * shape.length;
    const int64_t heads = (config.heads + 2 * config.kv_heads) * config.head_dim;
    const int64_t width = 3 * config.hidden + 2 * heads + (config.gated_mlp ? 2 : 1) * config.ffn;
    const int64_t prepared = std::max({config.hidden, mlp, config.heads * config.head_dim}) * 2;
    plan.work = runners * rows * (width + prepared + 2 * config.rotary_dim + 2 * config.kv_heads * config.head_dim) * 4;
    if (learned) {
      // The block before, its codes as real numbers, their gradients, both directions' copies; activations kept for the way back.
      plan.weights += layer * (4 + 4 + 4 + 2 + 2 * element) + largest * 8;
      const model::ExpertsConfig& x = config.experts;
      const int64_t dense = 7 * config.ffn, shared = 4 * x.shared_ffn + 2 * config.hidden;
      // Experts: what is kept, the gradients of one expert's rows (which may be all) and of the scores, and of a shared MLP.
      const int64_t experts = x.count > 0 ? ExpertsGradient::kept_width(config) + 4 * config.hidden + 3 * x.ffn + x.count + shared : 0;
      plan.work += shape.learned_tokens * ((18 * config.hidden + std::max(dense, experts) + 5 * heads) * 4 + config.heads * (shape.length + 32) * 4) +
                   shape.threads * shape.length * shape.length * 8;
    }
    if (shape.whole_model) {
      // Codes as they are and as real numbers, two means of their gradients, both directions' copies, of every layer; what is kept for
      // the way back; the output projection and its logits.
      const int64_t kept = std::min(ModelTuneOptions{}.activation_bytes, config.layers * tuned_activation_bytes(config, rows / shape.length, shape.length));
      const int64_t learned_weights = config.layers * layer * (1 + 12 + 2 * element) + layer * 8;
      const int64_t end = config.vocab * (config.hidden * (4 + 2 * element) + 256 * 4);
      plan.weights = std::max(plan.weights, learned_weights);
      plan.work = std::max(plan.work, kept + end + (config.layers + 8) * rows * config.hidden * 4);
    }
    const int64_t output_stream = shape.output_tokens * config.hidden * 4 * (config.layers + OutputMoments::kProbes);
    if (shape.output_tokens > 0) {
      // A layer with both directions' copies and what its way back keeps; its moments, those of a batch and of one output as they are
      // summed; the output projection and its scores.
      const int64_t kept = tuned_activation_bytes(config, rows / shape.length, shape.length);
      const int64_t block = layer * (4 + 2 * element) + largest * 8 + 3 * kept + outputs * 8 + most_outputs * 6;
      const int64_t end = config.vocab * (config.hidden * (4 + 2 * element) + (256 + 2 * shape.threads) * 4);
      plan.gradients = std::max(block, end) + 4 * rows * config.hidden * 4 + output_stream;
      plan.moments = config.layers * outputs * 2;
      constexpr int64_t kMostMoments = int64_t{1} << 30;
      if (plan.moments > kMostMoments) spill_moments();
      // A linear's moments, damped and factored; what is kept of its rows, and their weights in that order.
      plan.statistics += most_outputs * (4 + 4 + 4 + 8 + 4 + 2) + largest * 20;
    }
    const int64_t copies = runners + (learned ? 1 : 0);
    const int64_t stream = shape.windows * shape.length * config.hidden * 4, batch = rows * config.hidden * 4;
    plan.tables += std::min(stream, int64_t{32} << 20);  // embeddings on their way to their batches
    plan.activations = copies * stream;
    if (cap > 0 && plan.peak() > cap) {
      plan.spill = true;
      plan.spilled += copies * stream;
      plan.activations = copies * batch * 3;
      if (shape.output_tokens > 0) {
        plan.spilled += output_stream;
        plan.gradients += 3 * batch * (config.layers + OutputMoments::kProbes) - output_stream;
        spill_moments();
      }
    }
    // Keeping them saves a third of the forward passes and takes more than the stream itself: where there is room.
    constexpr int64_t kMostKept = int64_t{1} << 30;
    // As float32, which half of the processors and all short batches keep.
    const int64_t kept = (shape.windows * shape.length * adding + rows * (adding + 2 * config.hidden)) * 4;
    if (shape.sequential && !plan.spill && kept <= kMostKept && (cap == 0 || plan.peak() + kept <= cap)) {
      plan.keep = true;
      plan.activations += kept;
    }
  }
  if (cap > 0 && plan.peak() > cap) {
    // What the process takes before the work begins is part of it, and differs a little from run to run.
    constexpr int64_t kMegabyte = 1000000, kRunToRun = kMegabyte;
    return Status(Code::limit, fmt::format("quantizing {} takes {} of memory and the cap is {}; the smallest cap that works is {}",
                                           input.origin(), megabytes(plan.peak()), megabytes(cap),
                                           megabytes(((plan.peak() + kRunToRun) / kMegabyte + 1) * kMegabyte)));
  }
  return plan;
}

}  // namespace nbl::pipeline

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <optional>
#include <set>

#include "base/cpu.h"
#include "dialects/dialects.h"
#include "model/arch.h"
#include "model/block.h"
#include "pipeline/folding.h"
#include "pipeline/gram.h"
#include "pipeline/overrides.h"
#include "pipeline/pipeline.h"
#include "pipeline/quantize_report.h"

namespace nbl::pipeline {
namespace {

using model::Architecture;
using model::Config;
using model::InputGroup;
using model::LayerWeights;
using model::Part;
using model::TensorSpec;
using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

/// Bytes of a file, or of all the files in a directory.
int64_t size_of(const std::filesystem::path& path) {
  std::error_code ec;
  if (!std::filesystem::is_directory(path, ec)) {
    const auto size = std::filesystem::file_size(path, ec);
    return ec ? 0 : static_cast<int64_t>(size);
  }
  int64_t total = 0;
  for (const auto& entry : std::filesystem::directory_iterator(path, ec)) {
    const auto size = entry.file_size(ec);
    if (!ec) total += static_cast<int64_t>(size);
  }
  return total;
}

/// Tokens that go through a layer at a time: bounds the activations of its inside, whatever the calibration's size.
constexpr int64_t kChunkTokens = 4096;

/// One linear of one layer and what is to happen to it.
struct Plan {
  Part role;
  std::string name;                       ///< of the tensor, with ".weight"
  const quant::Recipe* recipe = nullptr;  ///< null: kept
  uint32_t needs = 0;
};

/// The linears of one layer, by input group.
struct LayerPlan {
  std::vector<InputGroup> inputs;  ///< of this layer, in the order of `groups`
  std::vector<std::vector<Plan>> groups;
  uint32_t needs = 0;
};

class Job {
 public:
  Job(const Checkpoint& input, const QuantizeOptions& options, Team& team, const ProgressFn& progress)
      : input_(input), options_(options), team_(team), progress_(progress) {}

  Result<QuantizeReport> run(const std::filesystem::path& output);

 private:
  Status plan();
  Status prepare_calibration();
  Status process_layer(int64_t layer);
  Status check_finite(const LayerWeights& weights, const LayerPlan& plan);
  Status gather(const LayerWeights& weights, const LayerPlan& plan, int64_t layer,
                std::vector<quant::InputStats>& stats);
  Status advance(const LayerWeights& weights, int64_t layer);
  Status quantize_group(LayerWeights& weights, std::size_t group, const LayerPlan& plan, const quant::InputStats* stats,
                        std::span<const float> input_scale);
  Status write_kept(const LayerWeights& weights, const LayerPlan& plan, int64_t layer);
  Status copy_rest();
  Status copy_assets();
  Status tick(std::string_view stage, std::string_view detail) {
    return report_progress(progress_, {std::string(stage), std::string(detail), done_, total_});
  }

  const Checkpoint& input_;
  const QuantizeOptions& options_;
  Team& team_;
  const ProgressFn& progress_;
  const Architecture* arch_ = nullptr;
  Config config_;
  std::optional<Overrides> overrides_;
  std::vector<LayerPlan> layers_;
  int64_t last_stats_layer_ = -1;  ///< the last layer whose inputs must be known
  std::vector<float> hidden_;      ///< [windows * length, hidden]: inputs of the layer at hand
  std::unique_ptr<CheckpointWriter> writer_;
  std::set<std::string> written_;
  std::set<Part> scaled_;  ///< producers of the layer at hand that took another input's scales
  int64_t done_ = 0, total_ = 0;
  double stored_bytes_ = 0, weights_ = 0;
  QuantizeReport report_;
};

Status Job::plan() {
  NBL_ASSIGN(arch_, model::find_architecture(input_.config(), input_.origin()));
  NBL_ASSIGN(config_, arch_->read_config(input_.config(), input_.origin()));
  NBL_ASSIGN(overrides_, Overrides::create(options_.overrides, options_.recipe));
  for (int64_t l = 0; l < config_.layers; ++l) {
    LayerPlan layer;
    layer.inputs = model::layer_groups(*arch_, config_, l);
    for (const InputGroup& group : layer.inputs) {
      std::vector<Plan> plans;
      for (const Part& part : group.linears) {
        const TensorSpec* spec = arch_->find(part.role, config_);
        if (spec == nullptr) continue;
        Plan p;
        p.role = part;
        p.name = model::tensor_name(*spec, l, "weight", part.expert);
        if (!input_.has(p.name)) continue;  // a fused or an optional variant; load_layer names what is truly missing
        NBL_ASSIGN(p.recipe, overrides_->find(p.name));
        if (p.recipe != nullptr) {
          p.needs = p.recipe->method->needs(p.recipe->options);
          ++total_;
        }
        layer.needs |= p.needs;
        plans.push_back(std::move(p));
      }
      layer.groups.push_back(std::move(plans));
    }
    if (layer.needs != 0) last_stats_layer_ = l;
    layers_.push_back(std::move(layer));
  }
  const std::vector<std::string> unused = overrides_->unused();
  if (!unused.empty()) {
    return Status(Code::invalid_argument,
                  fmt::format("override \"{}\" matches no linear layer of {}; a name is like {}", unused.front(),
                              input_.origin(), layers_.front().groups.front().front().name));
  }
  return {};
}

Status Job::prepare_calibration() {
  if (last_stats_layer_ < 0) return {};
  const Calibration& c = options_.calibration;
  if (c.windows < 1 || c.length < 1) {
    return Status(Code::invalid_argument,
                  fmt::format("{} needs calibration, and no calibration text was given", options_.recipe.text));
  }
  if (static_cast<int64_t>(c.ids.size()) != c.windows * c.length) {
    return Status(Code::invalid_argument, fmt::format("calibration holds {} tokens, expected {} windows of {}",
                                                      c.ids.size(), c.windows, c.length));
  }
  if (config_.max_positions > 0 && c.length > config_.max_positions) {
    return Status(Code::invalid_argument,
                  fmt::format("calibration windows of {} tokens are longer than the {} positions of {}", c.length,
                              config_.max_positions, input_.origin()));
  }
  for (text::TokenId id : c.ids) {
    if (id < 0 || id >= config_.vocab) {
      return Status(
          Code::invalid_argument,
          fmt::format(
              "calibration holds the token id {}, but {} has a vocabulary of {}: were they made for each other?", id,
              input_.origin(), config_.vocab));
    }
  }
  try {
    hidden_.resize(c.ids.size() * static_cast<std::size_t>(config_.hidden));
  } catch (const std::bad_alloc&) {
    return Status(Code::out_of_memory,
                  fmt::format("no memory for the activations of {} calibration tokens", c.ids.size()));
  }
  return model::embed(input_, *arch_, config_, c.ids, c.length, hidden_.data());
}

/// One weight that is no number would spread through every activation after it and be blamed on them.
Status Job::check_finite(const LayerWeights& weights, const LayerPlan& plan) {
  for (const auto& group : plan.groups) {
    for (const Plan& p : group) {
      const LayerWeights::Matrix& m = weights.matrices.at(p.role);
      std::atomic<int64_t> bad = m.n;  // the first bad row
      team_.parallel_for(m.n, 16, [&](int64_t begin, int64_t end) {
        for (int64_t r = begin; r < end; ++r) {
          const float* row = m.w.data() + r * m.k;
          bool finite = true;
          for (int64_t c = 0; c < m.k; ++c) finite &= std::isfinite(row[c]);
          if (finite) continue;
          int64_t seen = bad.load();
          while (r < seen && !bad.compare_exchange_weak(seen, r)) {
          }
          break;
        }
      });
      if (bad == m.n) continue;
      const float* row = m.w.data() + bad * m.k;
      const int64_t column = std::find_if(row, row + m.k, [](float w) { return !std::isfinite(w); }) - row;
      return Status(Code::corrupt, fmt::format("{}: {} holds {} at row {}, column {}; expected finite weights",
                                               input_.origin(), p.name, row[column], bad.load(), column));
    }
  }
  return {};
}

Status Job::gather(const LayerWeights& weights, const LayerPlan& plan, int64_t layer,
                   std::vector<quant::InputStats>& stats) {
  const Calibration& c = options_.calibration;
  std::vector<std::optional<StatsAccumulator>> sums(plan.groups.size());
  for (std::size_t g = 0; g < plan.groups.size(); ++g) {
    uint32_t needs = 0;
    for (const Plan& p : plan.groups[g]) needs |= p.needs;
    if (needs == 0) continue;
    const auto it = weights.matrices.find(plan.groups[g].front().role);
    if (it == weights.matrices.end()) return Status(Code::internal, "a planned linear was not loaded");
    NBL_ASSIGN(sums[g], StatsAccumulator::create(it->second.k, needs));
  }

  // The layer is not run to its end: what follows the last input that is asked for changes nothing here.
  std::vector<int64_t> missing(sums.size());
  bool complete = false;
  const model::InputObserver observer = [&](std::size_t group, const float* x, int64_t ldx, int64_t m,
                                            int64_t) -> Status {
    if (group >= sums.size() || !sums[group]) return {};
    sums[group]->add(x, ldx, m, team_);
    missing[group] -= m;
    complete = std::all_of(missing.begin(), missing.end(), [](int64_t rows) { return rows == 0; });
    return complete ? Status(Code::cancelled, "nothing more is needed") : Status();
  };

  const int64_t step = std::max<int64_t>(1, kChunkTokens / c.length);
  std::vector<float> chunk;
  for (int64_t w = 0; w < c.windows; w += step) {
    NBL_TRY(tick("calibrate", fmt::format("window {} of {}", w, c.windows)));
    const int64_t count = std::min(step, c.windows - w);
    const auto first = hidden_.begin() + w * c.length * config_.hidden;
    chunk.assign(first, first + count * c.length * config_.hidden);
    for (std::size_t g = 0; g < sums.size(); ++g) missing[g] = sums[g] ? count * c.length : 0;
    complete = false;
    const Status status =
        model::run_layer(weights, *arch_, config_, team_, count, c.length, chunk.data(), observer, layer);
    if (!status.ok() && !complete) return status;
  }
  stats.resize(plan.groups.size());
  for (std::size_t g = 0; g < sums.size(); ++g) {
    if (!sums[g]) continue;
    auto finished = sums[g]->finish(team_);
    if (!finished.ok()) {
      return finished.status().with_context(fmt::format("calibration, input of {}", plan.groups[g].front().name));
    }
    stats[g] = std::move(finished).value();
    sums[g].reset();
  }
  return {};
}

Status Job::advance(const LayerWeights& weights, int64_t layer) {
  const Calibration& c = options_.calibration;
  const int64_t step = std::max<int64_t>(1, kChunkTokens / c.length);
  for (int64_t w = 0; w < c.windows; w += step) {
    NBL_TRY(tick("propagate", fmt::format("window {} of {}", w, c.windows)));
    const int64_t count = std::min(step, c.windows - w);
    NBL_TRY(model::run_layer(weights, *arch_, config_, team_, count, c.length,
                             hidden_.data() + w * c.length * config_.hidden, nullptr, layer));
  }
  return {};
}

Status Job::quantize_group(LayerWeights& weights, std::size_t group, const LayerPlan& plan,
                           const quant::InputStats* stats, std::span<const float> input_scale) {
  for (const Plan& p : plan.groups[group]) {
    if (p.recipe == nullptr) continue;
    NBL_TRY(tick("quantize", p.name));
    const auto start = Clock::now();
    LayerWeights::Matrix& m = weights.matrices.at(p.role);
    quant::LinearTask task;
    task.name = p.name;
    task.n = m.n;
    task.k = m.k;
    task.weight = m.w;
    task.stats = p.needs != 0 ? stats : nullptr;
    quant::MethodContext context;
    context.team = &team_;
    context.seed = options_.seed;
    context.progress = progress_;
    auto quantized = p.recipe->method->quantize(task, p.recipe->options, context);
    if (!quantized.ok()) {
      const Status& status = quantized.status();
      return status.message().find(p.name) != std::string::npos ? status : status.with_context(p.name);
    }
    quant::LinearResult result = std::move(quantized).value();
    if (!input_scale.empty()) {
      NBL_ASSIGN(result.tensor.input_scale, Storage::copy(std::as_bytes(input_scale)));
    }
    NBL_TRY(writer_->add_matrix(p.name, result.tensor));
    written_.insert(p.name);

    // From here on the layer computes with what was stored.
    team_.parallel_for(m.n, 16, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        float* row = m.w.data() + r * m.k;
        result.tensor.dequantize_row(r, row);
        if (!input_scale.empty()) {
          for (int64_t c = 0; c < m.k; ++c) row[c] *= input_scale[static_cast<std::size_t>(c)];
        }
      }
    });

    LayerReport layer;
    layer.name = p.name;
    layer.encoding = result.tensor.description();
    layer.bits = result.tensor.bits_per_weight();
    layer.error = result.error;
    layer.notes = std::move(result.notes);
    layer.seconds = seconds_since(start);
    report_.layers.push_back(std::move(layer));
    stored_bytes_ += static_cast<double>(result.tensor.stored_bytes());
    weights_ += static_cast<double>(m.n) * static_cast<double>(m.k);
    ++done_;
  }
  return {};
}

Status Job::process_layer(int64_t l) {
  const LayerPlan& plan = layers_[static_cast<std::size_t>(l)];
  NBL_ASSIGN(LayerWeights weights, model::load_layer(input_, *arch_, config_, l));
  NBL_TRY(check_finite(weights, plan));
  std::vector<quant::InputStats> stats(plan.groups.size());
  if (plan.needs != 0) NBL_TRY(gather(weights, plan, l, stats));

  // Scales first, for the whole layer: they may change weights that another group quantizes.
  scaled_.clear();
  std::vector<std::vector<float>> input_scales(plan.groups.size());
  for (std::size_t g = 0; g < plan.groups.size(); ++g) {
    const std::vector<Plan>& linears = plan.groups[g];
    if (linears.empty() || linears.front().recipe == nullptr) continue;
    const quant::Recipe* recipe = linears.front().recipe;
    // Linears share their input, so scales suit them all or none.
    if (!std::all_of(linears.begin(), linears.end(),
                     [&](const Plan& p) { return p.recipe != nullptr && p.recipe->text == recipe->text; })) {
      continue;
    }
    std::vector<quant::LinearTask> tasks;
    for (const Plan& p : linears) {
      const LayerWeights::Matrix& m = weights.matrices.at(p.role);
      tasks.push_back({p.name, m.n, m.k, m.w, p.needs != 0 ? &stats[g] : nullptr});
    }
    NBL_TRY(tick("scale", linears.front().name));
    quant::MethodContext context;
    context.team = &team_;
    context.seed = options_.seed;
    context.progress = progress_;
    NBL_ASSIGN(const std::vector<float> s, recipe->method->input_scales(tasks, recipe->options, context));
    if (s.empty()) continue;
    NBL_ASSIGN(const FoldResult folded, fold_input_scales(weights, config_, plan.inputs[g], s, stats[g]));
    if (folded.where == Folded::input_scale) {
      input_scales[g].resize(s.size());
      for (std::size_t c = 0; c < s.size(); ++c) input_scales[g][c] = 1.0f / s[c];
    } else {
      scaled_.insert(folded.changed);
    }
  }

  for (std::size_t g = 0; g < plan.groups.size(); ++g) {
    NBL_TRY(quantize_group(weights, g, plan, &stats[g], input_scales[g]));
    stats[g] = {};
  }
  NBL_TRY(write_kept(weights, plan, l));
  if (l < last_stats_layer_) NBL_TRY(advance(weights, l));
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
    written_.insert(name);
    return writer_->add_array(name, array);
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
      NBL_TRY(writer_->add_matrix(p.name, make_qtensor(m.n, m.k, std::move(segment))));
      written_.insert(p.name);
    }
  }
  return {};
}

Status Job::copy_rest() {
  for (const TensorInfo& info : input_.tensors()) {
    if (written_.contains(info.name)) continue;
    NBL_TRY(tick("write", info.name));
    const bool matrix = info.shape.size() == 2 && info.name.ends_with(".weight");
    if (matrix) {
      NBL_ASSIGN(const QTensor tensor, input_.matrix(info.name));
      NBL_TRY(writer_->add_matrix(info.name, tensor));
    } else {
      NBL_ASSIGN(const Array array, input_.array(info.name));
      NBL_TRY(writer_->add_array(info.name, array));
    }
  }
  return {};
}

Status Job::copy_assets() {
  for (const std::string& name : input_.asset_names()) {
    if (name == "manifest.json" || name == "config.json" || name == "quantize_config.json") continue;
    NBL_ASSIGN(const std::string bytes, input_.asset(name));
    NBL_TRY(writer_->add_asset(name, bytes));
  }
  return {};
}

Result<QuantizeReport> Job::run(const std::filesystem::path& output) {
  const auto start = Clock::now();
  if (options_.recipe.method == nullptr) return Status(Code::invalid_argument, "no quantization recipe was given");
  report_.method = options_.recipe.method->id();
  report_.options = Json::object();
  for (const auto& [name, value] : options_.recipe.options.all()) report_.options.set(name, value);

  NBL_TRY(plan());
  // The writer comes before the work: an output that cannot be written is said so now, not in an hour.
  NBL_ASSIGN(writer_, dialects::create(options_.format, output));
  // First of all, because the config may decide how a weight is stored.
  Json config = input_.config();
  config.erase("quantization_config");  // described the input's encoding; the manifest describes the output's
  NBL_TRY(writer_->set_config(config));
  NBL_TRY(prepare_calibration());
  for (int64_t l = 0; l < config_.layers; ++l) NBL_TRY(process_layer(l));
  hidden_ = {};
  NBL_TRY(copy_rest());
  NBL_TRY(copy_assets());
  report_.bits_per_weight = weights_ > 0 ? 8.0 * stored_bytes_ / weights_ : 0.0;
  NBL_TRY(writer_->set_manifest(make_manifest(input_, options_, report_, last_stats_layer_ >= 0)));
  NBL_TRY(tick("write", output.filename().string()));
  NBL_ASSIGN(report_.output_sha256, writer_->finish());
  report_.file_bytes = size_of(output);
  report_.peak_rss_bytes = peak_rss_bytes();
  report_.seconds = seconds_since(start);
  return std::move(report_);
}

}  // namespace

Result<QuantizeReport> quantize(const Checkpoint& input, const std::filesystem::path& output,
                                const QuantizeOptions& options, Team& team, const ProgressFn& progress) {
  Job job(input, options, team, progress);
  auto report = job.run(output);
  if (!report.ok() && (report.status().code() == Code::io || report.status().code() == Code::limit) &&
      report.status().message().find(output.string()) == std::string::npos) {
    return report.status().with_context(output.string());  // a temporary file's trouble is the output's
  }
  return report;
}

}  // namespace nbl::pipeline

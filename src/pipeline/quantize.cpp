#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <optional>
#include <set>

#include "base/cpu.h"
#include "base/file.h"
#include "base/hash.h"
#include "dialects/dialects.h"
#include "model/arch.h"
#include "model/block.h"
#include "pipeline/carry.h"
#include "pipeline/folding.h"
#include "pipeline/journal.h"
#include "pipeline/memory_plan.h"
#include "pipeline/overrides.h"
#include "pipeline/pipeline.h"
#include "pipeline/quantize_report.h"
#include "pipeline/streams.h"

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
  bool sequential = false;  ///< statistics of a group are gathered when the groups before it are quantized
};

class Job {
 public:
  Job(const Checkpoint& input, const QuantizeOptions& options, Team& team, const ProgressFn& progress)
      : input_(input), options_(options), team_(team), progress_(progress) {}

  Result<QuantizeReport> run(const std::filesystem::path& output);

 private:
  Status plan();
  Status plan_memory_use(const std::filesystem::path& output);
  Status check_calibration();
  Status start_streams();
  Result<std::string> identity() const;
  Status open_journal(const std::filesystem::path& output);
  Status repeat(const FinishedLayer& done);
  Status work(const std::filesystem::path& output);
  Status add_matrix(const std::string& name, const QTensor& tensor);
  Status add_array(const std::string& name, const Array& array);
  Status process_layer(int64_t layer);
  Status check_finite(const LayerWeights& weights, const LayerPlan& plan);
  Status gather(const LayerPlan& plan, std::span<const std::size_t> groups, std::size_t next,
                std::vector<quant::InputStats>& stats);
  Status scale(LayerWeights& weights, const LayerPlan& plan, std::vector<quant::InputStats>& stats,
               std::vector<std::vector<float>>& input_scales);
  Status quantize_group(LayerWeights& weights, std::size_t group, const LayerPlan& plan, const quant::InputStats* stats,
                        std::span<const float> input_scale);
  Status write_kept(const LayerWeights& weights, const LayerPlan& plan, int64_t layer);
  Status copy_rest();
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
  uint32_t needs_ = 0;
  std::optional<Streams> streams_;
  MemoryPlan memory_;
  std::optional<std::filesystem::path> spill_;
  std::optional<Journal> journal_;
  FinishedLayer finished_;  ///< what the layer at hand has written, for the journal
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
    bool at_once = false;
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
        if (p.needs != 0 && !p.recipe->method->sequential(p.recipe->options)) at_once = true;
        plans.push_back(std::move(p));
      }
      layer.groups.push_back(std::move(plans));
    }
    if (layer.needs != 0) last_stats_layer_ = l;
    needs_ |= layer.needs;
    layer.sequential = !at_once;
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

Status Job::plan_memory_use(const std::filesystem::path& output) {
  JobShape shape;
  shape.windows = options_.calibration.windows;
  shape.length = options_.calibration.length;
  shape.needs = needs_;
  shape.sequential = std::all_of(layers_.begin(), layers_.end(), [](const LayerPlan& l) { return l.sequential; });
  shape.compute = options_.compute;
  shape.threads = team_.size();
  NBL_ASSIGN(memory_, plan_memory(input_, *arch_, config_, shape, options_.max_memory_bytes));
  if (memory_.spill) spill_ = output.has_parent_path() ? output.parent_path() : std::filesystem::path(".");
  report_.memory_plan = memory_.to_json();
  if (options_.log) options_.log(memory_.text());
  return {};
}

Status Job::check_calibration() {
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
  return {};
}

Status Job::start_streams() {
  if (last_stats_layer_ < 0) return {};
  Streams::Options streams;
  streams.windows = options_.calibration.windows;
  streams.length = options_.calibration.length;
  streams.compute = options_.compute;
  streams.original = (needs_ & (quant::kNeedCross | quant::kNeedResidual)) != 0;
  streams.spill = spill_;
  NBL_ASSIGN(streams_, Streams::create(input_, *arch_, config_, team_, options_.calibration.ids, streams));
  return {};
}

/// Everything that decides the output's bytes, in one text.
Result<std::string> Job::identity() const {
  const bool calibrated = last_stats_layer_ >= 0;
  Json job = make_manifest(input_, options_, report_, calibrated);
  job.set("format", options_.format);
  job.set("lm_head", options_.include_lm_head);
  Sha256 hash;
  const auto add = [&](std::string_view text) { hash.update(std::as_bytes(std::span(text.data(), text.size()))); };
  add(input_.config().dump());
  for (const TensorInfo& info : input_.tensors())
    add(fmt::format("{} {} {} {}\n", info.name, shape_string(info.shape), info.encoding, info.bytes));
  // The weights themselves would take long to hash: when the files were last changed stands for them.
  std::error_code ec;
  const std::filesystem::path origin(input_.origin());
  const auto changed = [&](const std::filesystem::path& file) {
    const auto time = std::filesystem::last_write_time(file, ec);
    if (!ec) add(fmt::format("{} {}\n", file.filename().string(), time.time_since_epoch().count()));
  };
  if (std::filesystem::is_directory(origin, ec)) {
    std::set<std::filesystem::path> files;
    for (const auto& entry : std::filesystem::directory_iterator(origin, ec)) files.insert(entry.path());
    for (const auto& file : files) changed(file);
  } else {
    changed(origin);
  }
  job.set("input_sha256", hash.finish_hex());
  return job.dump();
}

Status Job::open_journal(const std::filesystem::path& output) {
  if (last_stats_layer_ < 0 && !options_.resume) return {};  // quicker to do again than to write twice
  NBL_ASSIGN(const std::string job, identity());
  if (options_.resume) remove_stale_temporaries(output);
  NBL_ASSIGN(journal_, Journal::open(output, job, options_.resume));
  return {};
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

namespace {
/// The stored values of a tensor, as the layer multiplies its input.
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
}  // namespace

/// A layer that an earlier run finished: written again, and its calibration tokens sent through it.
Status Job::repeat(const FinishedLayer& done) {
  NBL_TRY(tick("resume", fmt::format("layer {}", done.layer)));
  const bool running = streams_ && done.layer < last_stats_layer_;
  LayerWeights weights;
  if (running) {
    NBL_ASSIGN(weights, model::load_layer(input_, *arch_, config_, done.layer));
    NBL_TRY(streams_->begin_layer(weights, done.layer));
  }
  std::set<std::string> quantized;
  for (const LayerReport& r : done.reports) quantized.insert(r.name);
  for (const auto& [name, tensor] : done.matrices) {
    NBL_TRY(writer_->add_matrix(name, tensor));
    written_.insert(name);
    if (quantized.contains(name)) {
      stored_bytes_ += static_cast<double>(tensor.stored_bytes());
      weights_ += static_cast<double>(tensor.n) * static_cast<double>(tensor.k);
      ++done_;
    }
  }
  for (const auto& [name, array] : done.arrays) {
    NBL_TRY(writer_->add_array(name, array));
    written_.insert(name);
  }
  report_.layers.insert(report_.layers.end(), done.reports.begin(), done.reports.end());
  ++report_.resumed_layers;
  if (!running) return {};
  const auto stored_array = [&](const std::string& name, std::vector<float>* to) -> Status {
    for (const auto& [stored, array] : done.arrays) {
      if (stored != name) continue;
      NBL_ASSIGN(*to, array.to_f32());
    }
    return {};
  };
  for (auto& [part, matrix] : weights.matrices) {
    const TensorSpec* spec = arch_->find(part.role, config_);
    const std::string weight = model::tensor_name(*spec, done.layer, "weight", part.expert);
    for (const auto& [name, tensor] : done.matrices)
      if (name == weight) restore(tensor, team_, &matrix);
    NBL_TRY(stored_array(model::tensor_name(*spec, done.layer, "bias", part.expert), &matrix.bias));
  }
  for (auto& [role, norm] : weights.norms) {
    const TensorSpec* spec = arch_->find(role, config_);
    std::vector<float> stored;
    NBL_TRY(stored_array(model::tensor_name(*spec, done.layer, "weight"), &stored));
    if (!stored.empty()) {
      for (float& w : stored) w += config_.norm_offset;
      norm.w = std::move(stored);
    }
    NBL_TRY(stored_array(model::tensor_name(*spec, done.layer, "bias"), &norm.bias));
  }
  NBL_TRY(streams_->reload(weights));
  return streams_->end_layer([&](int64_t w) {
    return tick("resume", fmt::format("layer {}, window {} of {}", done.layer, w, options_.calibration.windows));
  });
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

Status Job::gather(const LayerPlan& plan, std::span<const std::size_t> groups, std::size_t next,
                   std::vector<quant::InputStats>& stats) {
  std::vector<uint32_t> needs;
  for (std::size_t g : groups) {
    needs.push_back(0);
    for (const Plan& p : plan.groups[g]) needs.back() |= p.needs;
  }
  const std::string& first = plan.groups[groups.front()].front().name;
  const Status status = streams_->gather(
      groups, needs, next,
      [&](int64_t w) {
        return tick("calibrate", fmt::format("{}, window {} of {}", first, w, options_.calibration.windows));
      },
      &stats);
  return status.code() == Code::corrupt ? status.with_context(fmt::format("calibration, input of {}", first)) : status;
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
    NBL_TRY(add_matrix(p.name, result.tensor));

    // From here on the layer computes with what was stored.
    restore(result.tensor, team_, &m);
    if (streams_) NBL_TRY(streams_->replace(p.role, m));

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

Status Job::process_layer(int64_t l) {
  const LayerPlan& plan = layers_[static_cast<std::size_t>(l)];
  NBL_ASSIGN(LayerWeights weights, model::load_layer(input_, *arch_, config_, l));
  NBL_TRY(check_finite(weights, plan));
  finished_ = {};
  finished_.layer = l;
  const std::size_t first_report = report_.layers.size();
  if (l > last_stats_layer_) streams_.reset();
  if (streams_) NBL_TRY(streams_->begin_layer(weights, l));

  std::vector<quant::InputStats> stats(plan.groups.size());
  std::vector<std::vector<float>> input_scales(plan.groups.size());
  std::vector<std::size_t> calibrated;
  for (std::size_t g = 0; g < plan.groups.size(); ++g) {
    if (std::any_of(plan.groups[g].begin(), plan.groups[g].end(), [](const Plan& p) { return p.needs != 0; }))
      calibrated.push_back(g);
  }
  scaled_.clear();
  if (!plan.sequential || calibrated.empty()) {
    if (!calibrated.empty()) NBL_TRY(gather(plan, calibrated, plan.groups.size(), stats));
    NBL_TRY(scale(weights, plan, stats, input_scales));
  }
  std::size_t round = 0;
  for (std::size_t g = 0; g < plan.groups.size(); ++g) {
    if (plan.sequential && round < calibrated.size() && calibrated[round] == g) {
      ++round;
      const std::size_t next = round < calibrated.size() ? calibrated[round] : plan.groups.size();
      NBL_TRY(gather(plan, {&g, 1}, next, stats));
    }
    NBL_TRY(quantize_group(weights, g, plan, &stats[g], input_scales[g]));
    stats[g] = {};
  }
  NBL_TRY(write_kept(weights, plan, l));
  if (journal_) {
    finished_.reports.assign(report_.layers.begin() + static_cast<std::ptrdiff_t>(first_report), report_.layers.end());
    NBL_TRY(journal_->add(finished_));
    finished_ = {};
  }
  if (options_.max_memory_bytes > 0) MappedFile::release_pages();
  if (l < last_stats_layer_) NBL_TRY(streams_->end_layer([&](int64_t w) {
    return tick("propagate", fmt::format("layer {}, window {} of {}", l, w, options_.calibration.windows));
  }));
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
    if (options_.max_memory_bytes > 0) MappedFile::release_pages();
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
  NBL_TRY(check_calibration());
  NBL_TRY(plan_memory_use(output));
  // The writer comes before the work: an output that cannot be written is said so now, not in an hour.
  NBL_ASSIGN(writer_, dialects::create(options_.format, output));
  writer_->set_rounding(true);  // the weights are rounded anyway
  NBL_TRY(carry_texts(input_, *writer_));
  NBL_TRY(open_journal(output));
  Status status = work(output);
  if (journal_ && (status.ok() || !options_.resume)) {
    const Status removed = journal_->remove();
    if (status.ok()) status = removed;
  }
  NBL_TRY(status);
  report_.file_bytes = bytes_at(output);
  report_.peak_rss_bytes = peak_rss_bytes();
  report_.seconds = seconds_since(start);
  return std::move(report_);
}

Status Job::work(const std::filesystem::path& output) {
  NBL_TRY(start_streams());
  if (options_.max_memory_bytes > 0) MappedFile::release_pages();
  int64_t next = 0;
  while (journal_) {
    NBL_ASSIGN(const std::optional<FinishedLayer> done, journal_->next());
    if (!done) break;
    if (done->layer != next)
      return {Code::corrupt, fmt::format("the journal beside {} holds layer {} where {} was expected; delete it to begin anew",
                                         output.string(), done->layer, next)};
    NBL_TRY(repeat(*done));
    ++next;
  }
  if (next > 0 && options_.log) options_.log(fmt::format("resumed: {} of {} layers were finished", next, config_.layers));
  for (int64_t l = next; l < config_.layers; ++l) NBL_TRY(process_layer(l));
  streams_.reset();
  NBL_TRY(copy_rest());
  report_.bits_per_weight = weights_ > 0 ? 8.0 * stored_bytes_ / weights_ : 0.0;
  NBL_TRY(writer_->set_manifest(make_manifest(input_, options_, report_, last_stats_layer_ >= 0)));
  NBL_TRY(tick("write", output.filename().string()));
  NBL_ASSIGN(report_.output_sha256, writer_->finish());
  return {};
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

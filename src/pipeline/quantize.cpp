#include "pipeline/job.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cmath>

#include "base/cpu.h"
#include "base/file.h"
#include "dialects/dialects.h"
#include "model/arch.h"
#include "model/block.h"
#include "pipeline/carry.h"
#include "pipeline/model_tuner.h"
#include "pipeline/quantize_report.h"
#include "quant/calibrated.h"

namespace nbl::pipeline {

using model::InputGroup;
using model::LayerWeights;
using model::Part;
using model::TensorSpec;

namespace {

quant::LinearPlace place_of(model::Role role, int64_t layer, int64_t layers) {
  using Kind = quant::LinearPlace::Kind;
  switch (role) {
    case model::Role::v:
      return {Kind::value, layer, layers};
    case model::Role::qkv:
      return {Kind::query_key_value, layer, layers};
    case model::Role::attn_out:
      return {Kind::attention_output, layer, layers};
    case model::Role::down:
      return {Kind::down, layer, layers};
    default:
      return {Kind::other, layer, layers};
  }
}

}  // namespace

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
        p.place = place_of(part.role, l, config_.layers);
        p.name = model::tensor_name(*spec, l, "weight", part.expert);
        if (!input_.has(p.name)) continue;  // a fused or an optional variant; load_layer names what is truly missing
        NBL_ASSIGN(p.recipe, overrides_->find(p.name));
        if (p.recipe != nullptr) {
          p.needs = p.recipe->method->needs(p.recipe->options);
          if ((p.needs & (quant::kNeedCross | quant::kNeedResidual)) != 0)
            original_share_ = std::max(original_share_, p.recipe->method->original_share(p.recipe->options));
          p.output_tokens = p.recipe->method->output_tokens(p.recipe->options);
          output_tokens_ = std::max(output_tokens_, p.output_tokens);
          ++total_;
        }
        layer.needs |= p.needs;
        if (p.needs != 0 && !p.recipe->method->sequential(p.recipe->options)) at_once = true;
        plans.push_back(std::move(p));
      }
      layer.groups.push_back(std::move(plans));
    }
    const quant::Recipe* first = layer.groups.front().empty() ? nullptr : layer.groups.front().front().recipe;
    bool alike = first != nullptr;
    for (const auto& plans : layer.groups)
      for (const Plan& p : plans) alike = alike && p.recipe != nullptr && p.recipe->text == first->text;
    if (alike) layer.learning = first->method->block_learning(first->options);
    learning_ = learning_ || layer.learning.iterations > 0;
    if (layer.needs != 0) last_stats_layer_ = l;
    needs_ |= layer.needs;
    layer.sequential = !at_once;
    layers_.push_back(std::move(layer));
  }
  model_learning_ = options_.recipe.method->model_learning(options_.recipe.options);
  if (last_stats_layer_ != config_.layers - 1) model_learning_.epochs = 0;  // nothing to learn from behind the last layer
  if (model_learning_.epochs > 0 && !can_tune_model(*arch_, config_)) {
    model_learning_.epochs = 0;
    if (options_.log) options_.log(fmt::format("the whole model is not learned: no backward pass for models of {}", arch_->id));
  }
  if (output_tokens_ > 0 && !can_tune_model(*arch_, config_)) {
    output_tokens_ = 0;
    if (options_.log) options_.log(fmt::format("rows are rounded on their own: no backward pass for models of {}", arch_->id));
  }
  if (const int64_t length = options_.calibration.length; output_tokens_ > 0 && length > 0) {
    output_tokens_ = std::clamp<int64_t>(output_tokens_ / length, 1, std::max<int64_t>(1, options_.calibration.windows)) * length;
  }
  NBL_ASSIGN(outer_, outer_recipes(input_, *arch_, config_, *overrides_, options_));
  total_ += static_cast<int64_t>(outer_.size());
  const std::vector<std::string> unused = overrides_->unused();
  if (!unused.empty()) {
    return Status(Code::invalid_argument,
                  fmt::format("override \"{}\" matches no linear layer of {}; it has to match a whole name, like {}", unused.front(),
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
  const int64_t batch = shape.windows > 0 ? Streams::together(shape.windows, shape.length) * shape.length : 0;
  for (const LayerPlan& l : layers_) {
    if (l.learning.iterations > 0) shape.learned_tokens = std::max({shape.learned_tokens, batch, l.learning.batch_tokens});
  }
  shape.whole_model = model_learning_.epochs > 0;
  shape.output_tokens = output_tokens_;
  shape.compute = options_.compute;
  shape.threads = team_.size();
  NBL_ASSIGN(memory_, plan_memory(input_, *arch_, config_, shape, options_.max_memory_bytes));
  if (needs_ == 0 && options_.max_memory_bytes == 0) {
    constexpr int64_t kMost = int64_t{4} << 30;
    together_ = std::clamp<int64_t>(kMost / std::max<int64_t>(1, memory_.weights + memory_.statistics), 1, team_.size());
    memory_.weights *= together_;
    memory_.statistics *= together_;
  }
  const std::filesystem::path folder = output.has_parent_path() ? output.parent_path() : std::filesystem::path(".");
  if (memory_.spill) spill_ = folder;
  if (memory_.spilled_moments > 0) spill_moments_ = folder;
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
  streams.original = learning_ || model_learning_.epochs > 0 || (needs_ & (quant::kNeedCross | quant::kNeedResidual)) != 0;
  streams.keep_input = learning_;
  streams.keep_adding = memory_.keep;
  // Learning compares with the original everywhere; of few windows none can be spared.
  constexpr int64_t kFewBatches = 16;
  const int64_t batches = streams.windows / Streams::together(streams.windows, streams.length);
  streams.original_share = learning_ || model_learning_.epochs > 0 || batches < kFewBatches ? 1.0 : original_share_;
  streams.spill = spill_;
  NBL_ASSIGN(streams_, Streams::create(input_, *arch_, config_, team_, options_.calibration.ids, streams));
  return {};
}

/// Of the layers from `first_layer` on.
Status Job::measure_outputs(int64_t first_layer) {
  if (output_tokens_ == 0 || first_layer > last_stats_layer_) return {};
  for (int64_t l = 0; l < config_.layers; ++l) {  // a weight that is no number would spread into every layer's moments
    NBL_ASSIGN(const LayerWeights weights, model::load_layer(input_, *arch_, config_, l));
    NBL_TRY(check_finite(weights, layers_[static_cast<std::size_t>(l)], team_));
  }
  const Calibration& c = options_.calibration;
  OutputMoments::Options moments;
  moments.windows = output_tokens_ / c.length;
  moments.length = c.length;
  moments.seed = options_.seed;
  moments.compute = options_.compute;
  moments.first_layer = first_layer;
  moments.spill = spill_;
  moments.spill_moments = spill_moments_;
  NBL_ASSIGN(output_moments_, OutputMoments::measure(input_, *arch_, config_, team_, std::span(c.ids).first(static_cast<std::size_t>(output_tokens_)),
                                                     moments, [&](int64_t l, bool back) {
                                                       return tick("gradients", fmt::format("layer {}, {}", l, back ? "back" : "forward"));
                                                     }));
  return {};
}

/// One weight that is no number would spread through every activation after it and be blamed on them.
Status Job::check_finite(const LayerWeights& weights, const LayerPlan& plan, Team& team) const {
  for (const auto& group : plan.groups)
    for (const Plan& p : group) NBL_TRY(check_finite(weights.matrices.at(p.role), p, team));
  return {};
}

Status Job::check_finite(const LayerWeights::Matrix& m, const Plan& plan, Team& team) const {
  std::atomic<int64_t> bad = m.n;  // the first bad row
  team.parallel_for(m.n, 16, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      if (quant::first_not_finite({m.w.data() + r * m.k, static_cast<std::size_t>(m.k)}) == m.k) continue;
      int64_t seen = bad.load();
      while (r < seen && !bad.compare_exchange_weak(seen, r)) {
      }
      break;
    }
  });
  if (bad == m.n) return {};
  const float* row = m.w.data() + bad * m.k;
  const int64_t column = std::find_if(row, row + m.k, [](float w) { return !std::isfinite(w); }) - row;
  return Status(Code::corrupt, fmt::format("{}: {} holds {} at row {}, column {}; expected finite weights", input_.origin(), plan.name,
                                           row[column], bad.load(), column));
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

Status Job::process_layer(int64_t l) {
  const LayerPlan& plan = layers_[static_cast<std::size_t>(l)];
  NBL_ASSIGN(LayerWeights weights, model::load_layer(input_, *arch_, config_, l));
  NBL_TRY(check_finite(weights, plan, team_));
  const LayerWeights original = plan.learning.iterations > 0 ? weights : LayerWeights{};
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
    NBL_TRY(quantize_group(weights, g, plan, l, &stats[g], input_scales[g]));
    stats[g] = {};
  }
  if (!pending_.empty()) NBL_TRY(learn(l, plan, original, weights));
  NBL_TRY(write_kept(weights, plan, l));
  if (journal_) {
    finished_.reports.assign(report_.layers.begin() + static_cast<std::ptrdiff_t>(first_report), report_.layers.end());
    NBL_TRY(journal_->add(finished_));
    finished_ = {};
  }
  if (options_.max_memory_bytes > 0) MappedFile::release_pages();
  if (leaves_layer(l)) NBL_TRY(streams_->end_layer([&](int64_t w) {
    return tick("propagate", fmt::format("layer {}, window {} of {}", l, w, options_.calibration.windows));
  }));
  return {};
}

Status Job::write_outer(const std::string& name, const quant::Recipe& recipe) {
  const auto start = JobClock::now();
  NBL_ASSIGN(quant::LinearResult result, quantize_outer(input_, name, recipe, options_.seed, team_));
  NBL_TRY(writer_->add_matrix(name, result.tensor));
  report_.layers.push_back({name, result.tensor.description(), result.tensor.bits_per_weight(), result.error,
                            seconds_since(start), std::move(result.notes)});
  stored_bytes_ += static_cast<double>(result.tensor.stored_bytes());
  weights_ += static_cast<double>(result.tensor.n) * static_cast<double>(result.tensor.k);
  ++done_;
  return {};
}

Status Job::copy_rest() {
  for (const TensorInfo& info : input_.tensors()) {
    if (written_.contains(info.name)) continue;
    NBL_TRY(tick("write", info.name));
    const bool matrix = info.shape.size() == 2 && info.name.ends_with(".weight");
    if (const auto outer = outer_.find(info.name); outer != outer_.end()) {
      NBL_TRY(write_outer(outer->first, *outer->second));
    } else if (matrix) {
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
  const auto start = JobClock::now();
  if (options_.recipe.method == nullptr) return Status(Code::invalid_argument, "no quantization recipe was given");
  report_.method = options_.recipe.method->id();
  report_.options = Json::object();
  for (const auto& [name, value] : options_.recipe.options.all()) report_.options.set(name, value);

  NBL_TRY(plan());
  NBL_TRY(check_calibration());
  NBL_TRY(spare_input(input_, output));
  NBL_TRY(plan_memory_use(output));
  // The writer comes before the work: an output that cannot be written is said so now, not in an hour.
  NBL_ASSIGN(writer_, dialects::create(options_.format, output));
  writer_->set_rounding(true);  // the weights are rounded anyway
  writer_->set_threads(team_.size());
  NBL_TRY(carry_texts(input_, *writer_));
  NBL_TRY(open_journal(output));
  Status status;
  try {
    status = work(output);
  } catch (const std::bad_alloc&) {  // the journal must go all the same
    status = {Code::out_of_memory, "memory is exhausted"};
  }
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
  NBL_TRY(measure_outputs(next));
  if (next > 0 && options_.log) options_.log(fmt::format("resumed: {} of {} layers were finished", next, config_.layers));
  for (int64_t l = next; l < config_.layers;) {
    int64_t count = 0;
    while (l + count < config_.layers && independent(l + count) && by_rows(l + count)) ++count;
    if (count > 0) {
      NBL_TRY(process_by_rows(l, count));
      l += count;
      continue;
    }
    while (count < together_ && l + count < config_.layers && independent(l + count) && !by_rows(l + count)) ++count;
    NBL_TRY(count > 1 ? process_independent(l, count) : process_layer(l));
    l += std::max<int64_t>(1, count);
  }
  output_moments_.reset();
  if (model_learning_.epochs > 0) NBL_TRY(learn_model());
  streams_.reset();
  NBL_TRY(copy_rest());
  report_.bits_per_weight = weights_ > 0 ? 8.0 * stored_bytes_ / weights_ : 0.0;
  Json manifest = make_manifest(input_, options_, report_, last_stats_layer_ >= 0);
  if (!options_.measured.is_null()) manifest.set("measured", options_.measured);
  NBL_TRY(writer_->set_manifest(manifest));
  NBL_TRY(tick("write", output.filename().string()));
  NBL_ASSIGN(report_.output_sha256, writer_->finish());
  return {};
}

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

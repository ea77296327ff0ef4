#include "pipeline/allocation.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <iterator>
#include <map>
#include <optional>
#include <sstream>

#include "base/file.h"
#include "model/arch.h"
#include "model/block.h"
#include "pipeline/gram.h"
#include "pipeline/output_gradient.h"
#include "pipeline/overrides.h"
#include "quant/affine.h"

namespace nbl::pipeline {
namespace {

constexpr int kWidths[] = {2, 3, 4, 5, 6, 8};
constexpr int64_t kGroups[] = {128, 64, 32};
constexpr int64_t kMostTokens = 2048;
constexpr const char* kProbe = "rtn:bits=3,group_size=64,mse=10";

/// Mean square difference of two hidden states whose rows are first brought to mean square 1, as the last norm does.
double hidden_change(const std::vector<float>& a, const std::vector<float>& b, int64_t width) {
  double sum = 0;
  const std::size_t w = static_cast<std::size_t>(width);
  for (std::size_t row = 0; row + w <= a.size(); row += w) {
    double aa = 0, bb = 0, ab = 0;
    for (std::size_t i = row; i < row + w; ++i) {
      const double x = static_cast<double>(a[i]), y = static_cast<double>(b[i]);
      aa += x * x;
      bb += y * y;
      ab += x * y;
    }
    if (aa > 0 && bb > 0) sum += 2 - 2 * ab / std::sqrt(aa * bb);
  }
  return sum / (static_cast<double>(a.size()) / static_cast<double>(width));
}

class Measurement {
 public:
  Measurement(const Checkpoint& input, const QuantizeOptions& options, Team& team, const ProgressFn& progress)
      : input_(input), options_(options), team_(team), progress_(progress) {}

  Result<Sensitivities> run() {
    NBL_ASSIGN(arch_, model::find_architecture(input_.config(), input_.origin()));
    NBL_ASSIGN(config_, arch_->read_config(input_.config(), input_.origin()));
    NBL_ASSIGN(Overrides overrides, Overrides::create(options_.overrides, options_.recipe));
    const Calibration& c = options_.calibration;
    if (c.windows < 1 || c.length < 1 || static_cast<int64_t>(c.ids.size()) != c.windows * c.length) {
      return Status(Code::invalid_argument, "measuring sensitivities needs calibration, and no calibration text was given");
    }
    length_ = std::min<int64_t>(c.length, 512);
    windows_ = std::clamp<int64_t>(kMostTokens / length_, 1, c.windows);
    std::vector<text::TokenId> ids;
    for (int64_t w = 0; w < windows_; ++w) {
      const auto first = c.ids.begin() + w * (c.windows / windows_) * c.length;
      ids.insert(ids.end(), first, first + length_);
    }
    std::vector<float> hidden(ids.size() * static_cast<std::size_t>(config_.hidden));
    NBL_TRY(model::embed(input_, *arch_, config_, ids, length_, hidden.data()));

    // The original's states before every layer, and after the last.
    std::vector<std::vector<float>> states = {hidden};
    std::vector<std::vector<quant::InputStats>> stats;
    for (int64_t l = 0; l < config_.layers; ++l) {
      NBL_TRY(tick("measure", fmt::format("layer {}", l), l, config_.layers));
      NBL_ASSIGN(const model::LayerWeights weights, model::load_layer(input_, *arch_, config_, l));
      NBL_ASSIGN(auto layer_stats, run_original(weights, hidden, l));
      stats.push_back(std::move(layer_stats));
      states.push_back(hidden);
    }
    NBL_ASSIGN(const quant::Recipe probe, quant::parse_recipe(kProbe));
    Sensitivities out;
    out.model = fmt::format("{} {} {}", arch_->id, config_.layers, config_.hidden);
    out.tokens = static_cast<int64_t>(ids.size());
    out.unit = OutputGradient::supports(*arch_, config_) ? "kl" : "hidden";
    if (out.unit == "kl") {
      NBL_ASSIGN(output_, OutputGradient::create(input_, *arch_, config_, team_, out.tokens, Compute::exact));
    }
    for (int64_t l = 0; l < config_.layers; ++l) {
      NBL_ASSIGN(model::LayerWeights weights, model::load_layer(input_, *arch_, config_, l));
      const std::vector<model::InputGroup> groups = model::layer_groups(*arch_, config_, l);
      for (std::size_t g = 0; g < groups.size(); ++g) {
        for (const model::Part& role : groups[g].linears) {
          const model::TensorSpec* spec = arch_->find(role.role, config_);
          const auto matrix = weights.matrices.find(role);
          if (spec == nullptr || matrix == weights.matrices.end()) continue;
          const std::string name = model::tensor_name(*spec, l, "weight", role.expert);
          if (!input_.has(name)) continue;
          NBL_ASSIGN(const quant::Recipe* recipe, overrides.find(name));
          if (recipe == nullptr || recipe->text != options_.recipe.text) continue;  // the user has decided
          NBL_TRY(tick("measure", name, l, config_.layers));
          const quant::LinearTask task{name, matrix->second.n, matrix->second.k, matrix->second.w,
                                       &stats[static_cast<std::size_t>(l)][g]};
          TensorSensitivity t{name, task.n, task.k, 0, {}};
          NBL_TRY(measure_choices(task, &t));
          NBL_ASSIGN(const double error, change(probe, task, weights, role, l, states, &t.sensitivity));
          t.sensitivity = error > 0 ? t.sensitivity / error : 0.0;
          out.tensors.push_back(std::move(t));
        }
      }
    }
    return out;
  }

 private:
  Status tick(std::string_view stage, std::string_view detail, int64_t done, int64_t total) {
    return report_progress(progress_, {std::string(stage), std::string(detail), done, total});
  }

  Result<std::vector<quant::InputStats>> run_original(const model::LayerWeights& weights, std::vector<float>& hidden, int64_t l) {
    std::vector<quant::InputStats> stats(model::layer_groups(*arch_, config_, l).size());
    const model::InputObserver observer = [&](std::size_t group, const float* x, int64_t ldx, int64_t m, int64_t k) -> Status {
      if (group >= stats.size()) return {};
      quant::InputStats& s = stats[group];
      s.k = k;
      s.tokens += m;
      s.square.resize(static_cast<std::size_t>(k));
      for (int64_t t = 0; t < m; ++t) {
        for (int64_t c = 0; c < k; ++c) s.square[static_cast<std::size_t>(c)] += x[t * ldx + c] * x[t * ldx + c];
      }
      return {};
    };
    NBL_TRY(model::run_layer(weights, *arch_, config_, team_, windows_, length_, hidden.data(), observer, l));
    return stats;
  }

  quant::MethodContext context() const {
    quant::MethodContext c;
    c.team = &team_;
    return c;
  }

  Status measure_choices(const quant::LinearTask& task, TensorSensitivity* t) const {
    for (const int64_t group : kGroups) {
      for (const int bits : kWidths) {
        NBL_ASSIGN(const quant::Recipe recipe, quant::parse_recipe(fmt::format("rtn:bits={},group_size={},mse=8", bits, group)));
        NBL_ASSIGN(const quant::LinearResult result, recipe.method->quantize(task, recipe.options, context()));
        t->choices.push_back({bits, group, result.tensor.bits_per_weight(), result.error});
      }
    }
    return {};
  }

  /// Rounds the tensor with the probe and runs on to the end; returns the tensor's own relative error.
  Result<double> change(const quant::Recipe& probe, const quant::LinearTask& task, model::LayerWeights& weights, model::Part role,
                        int64_t layer, const std::vector<std::vector<float>>& states, double* out) {
    NBL_ASSIGN(const quant::LinearResult result, probe.method->quantize(task, probe.options, context()));
    std::vector<float>& w = weights.matrices.at(role).w;
    std::vector<float> kept = w;
    for (int64_t r = 0; r < task.n; ++r) result.tensor.dequantize_row(r, w.data() + r * task.k);
    std::vector<float> hidden = states[static_cast<std::size_t>(layer)];
    Status status = model::run_layer(weights, *arch_, config_, team_, windows_, length_, hidden.data(), nullptr, layer);
    w = std::move(kept);
    NBL_TRY(status);
    for (int64_t l = layer + 1; l < config_.layers; ++l) {
      NBL_ASSIGN(const model::LayerWeights next, model::load_layer(input_, *arch_, config_, l));
      NBL_TRY(model::run_layer(next, *arch_, config_, team_, windows_, length_, hidden.data(), nullptr, l));
    }
    if (output_) {
      NBL_ASSIGN(*out, output_->run(hidden.data(), states.back().data(), nullptr));
    } else {
      *out = hidden_change(states.back(), hidden, config_.hidden);
    }
    return result.error;
  }

  const Checkpoint& input_;
  const QuantizeOptions& options_;
  Team& team_;
  const ProgressFn& progress_;
  const model::Architecture* arch_ = nullptr;
  model::Config config_;
  int64_t windows_ = 0, length_ = 0;
  std::optional<OutputGradient> output_;
};

std::string escaped(std::string_view name) {
  std::string out;
  for (const char c : name) {
    if (std::string_view("\\^$.|?*+()[]{}").find(c) != std::string_view::npos) out += '\\';
    out += c;
  }
  return out;
}

}  // namespace

Json to_json(const Sensitivities& measured) {
  Json j = Json::object();
  j.set("format", "nibble-sensitivities");
  j.set("model", measured.model);
  j.set("tokens", measured.tokens);
  j.set("unit", measured.unit);
  Json tensors = Json::array();
  for (const TensorSensitivity& t : measured.tensors) {
    Json entry = Json::object();
    entry.set("name", t.name);
    entry.set("n", t.n);
    entry.set("k", t.k);
    entry.set("sensitivity", t.sensitivity);
    Json choices = Json::array();
    for (const Choice& c : t.choices) {
      choices.push_back(Json::object({{"bits", static_cast<int64_t>(c.bits)}, {"group", c.group}, {"stored_bits", c.stored_bits}, {"error", c.error}}));
    }
    entry.set("choices", std::move(choices));
    tensors.push_back(std::move(entry));
  }
  j.set("tensors", std::move(tensors));
  return j;
}

Result<Sensitivities> sensitivities_from_json(const Json& json, std::string_view where) {
  const auto bad = [&](std::string_view what) { return Status(Code::corrupt, fmt::format("{}: {}", where, what)); };
  const Json* format = json.find("format");
  if (format == nullptr || format->as_string() != "nibble-sensitivities") return bad("no saved measurement of sensitivities");
  Sensitivities out;
  NBL_ASSIGN(out.model, json.get_string("model"));
  NBL_ASSIGN(out.tokens, json.get_int("tokens"));
  const Json* unit = json.find("unit");  // a measurement of an earlier version has none
  out.unit = unit != nullptr && unit->as_string() == "kl" ? "kl" : "hidden";
  const Json* tensors = json.find("tensors");
  if (tensors == nullptr || !tensors->is_array()) return bad("tensors is no array");
  for (const Json& entry : tensors->elements()) {
    TensorSensitivity t;
    NBL_ASSIGN(t.name, entry.get_string("name"));
    NBL_ASSIGN(t.n, entry.get_int("n"));
    NBL_ASSIGN(t.k, entry.get_int("k"));
    NBL_ASSIGN(t.sensitivity, entry.get_double("sensitivity"));
    const Json* choices = entry.find("choices");
    if (t.n < 1 || t.k < 1 || choices == nullptr || !choices->is_array() || choices->size() == 0) {
      return bad(fmt::format("tensor {} has no shape or no choices", t.name));
    }
    for (const Json& c : choices->elements()) {
      Choice choice;
      NBL_ASSIGN(const int64_t bits, c.get_int("bits"));
      NBL_ASSIGN(choice.group, c.get_int("group"));
      NBL_ASSIGN(choice.stored_bits, c.get_double("stored_bits"));
      NBL_ASSIGN(choice.error, c.get_double("error"));
      if (bits < 1 || bits > 8 || !(choice.stored_bits > 0) || !(choice.error >= 0)) return bad(fmt::format("tensor {} has an impossible choice", t.name));
      choice.bits = static_cast<int>(bits);
      t.choices.push_back(choice);
    }
    out.tensors.push_back(std::move(t));
  }
  return out;
}

Result<Sensitivities> measure_sensitivities(const Checkpoint& input, const QuantizeOptions& options, Team& team,
                                            const ProgressFn& progress) {
  Measurement measurement(input, options, team, progress);
  return measurement.run();
}

namespace {

/// A step from one choice of a tensor to its next dearer one.
struct Step {
  double gain = 0, bits = 0, change = 0;  ///< expected change less, a bit; bits more; expected change less
  std::size_t tensor = 0;
  Choice to;
};
/// Each tensor's choices on the lower convex hull of (bits, expected change): the cheapest of all, and the steps along the hulls by
/// falling gain a bit.
struct Ladder {
  std::vector<Choice> chosen;
  std::vector<Step> steps;
  double total = 0, used = 0, change = 0;  ///< weights; bits and expected change of `chosen`
};

Result<Ladder> make_ladder(const Sensitivities& measured, const std::vector<int>& widths) {
  Ladder ladder;
  for (std::size_t i = 0; i < measured.tensors.size(); ++i) {
    const TensorSensitivity& t = measured.tensors[i];
    const double size = static_cast<double>(t.n) * static_cast<double>(t.k);
    std::vector<Choice> usable;
    for (const Choice& c : t.choices) {
      if (std::find(widths.begin(), widths.end(), c.bits) != widths.end()) usable.push_back(c);
    }
    if (usable.empty()) return Status(Code::invalid_argument, fmt::format("the measurement of {} has none of the method's widths", t.name));
    std::sort(usable.begin(), usable.end(), [](const Choice& a, const Choice& b) {
      return a.stored_bits != b.stored_bits ? a.stored_bits < b.stored_bits : a.error < b.error;
    });
    std::vector<Choice> hull;
    for (const Choice& c : usable) {
      if (!hull.empty() && c.error >= hull.back().error) continue;
      while (hull.size() >= 2) {
        const Choice &a = hull[hull.size() - 2], &b = hull.back();
        const double before = (a.error - b.error) / (b.stored_bits - a.stored_bits);
        if ((b.error - c.error) / (c.stored_bits - b.stored_bits) < before) break;
        hull.pop_back();
      }
      hull.push_back(c);
    }
    ladder.chosen.push_back(hull.front());
    ladder.total += size;
    ladder.used += size * hull.front().stored_bits;
    ladder.change += t.sensitivity * hull.front().error;
    for (std::size_t s = 1; s < hull.size(); ++s) {
      const double bits = size * (hull[s].stored_bits - hull[s - 1].stored_bits), change = t.sensitivity * (hull[s - 1].error - hull[s].error);
      ladder.steps.push_back({change / bits, bits, change, i, hull[s]});
    }
  }
  std::stable_sort(ladder.steps.begin(), ladder.steps.end(), [](const Step& a, const Step& b) { return a.gain > b.gain; });
  return ladder;
}

}  // namespace

Result<std::vector<Choice>> allocate(const Sensitivities& measured, double target, const std::vector<int>& widths) {
  NBL_ASSIGN(Ladder ladder, make_ladder(measured, widths));
  if (ladder.used > target * ladder.total) {
    return Status(Code::invalid_argument, fmt::format("a target of {} bits a weight is too small; {:.3f} is the smallest that works", target, ladder.used / ladder.total));
  }
  std::vector<bool> ended(ladder.chosen.size());
  for (const Step& step : ladder.steps) {
    if (ended[step.tensor]) continue;
    if (ladder.used + step.bits > target * ladder.total) {
      ended[step.tensor] = true;  // a later step of this tensor would skip one
      continue;
    }
    ladder.used += step.bits;
    ladder.chosen[step.tensor] = step.to;
  }
  return std::move(ladder.chosen);
}

Result<std::vector<Choice>> allocate_to_change(const Sensitivities& measured, double target, const std::vector<int>& widths) {
  NBL_ASSIGN(Ladder ladder, make_ladder(measured, widths));
  for (const Step& step : ladder.steps) {
    if (ladder.change <= target) break;
    ladder.change -= step.change;
    ladder.chosen[step.tensor] = step.to;
  }
  if (ladder.change > target) {
    return Status(Code::invalid_argument, fmt::format("a divergence of {} cannot be had; {:.3g} is the smallest that is expected", target, ladder.change));
  }
  return std::move(ladder.chosen);
}

namespace {

/// What the output holds besides the measured tensors, about: other tensors as they are, texts, room for headers and manifest.
int64_t other_bytes(const Checkpoint& input, const Sensitivities& measured) {
  int64_t bytes = int64_t{64} << 10;
  for (const TensorInfo& info : input.tensors()) {
    bytes += 1024;
    const bool quantized = std::any_of(measured.tensors.begin(), measured.tensors.end(), [&](const TensorSensitivity& t) { return t.name == info.name; });
    if (!quantized) bytes += info.bytes;
  }
  for (const std::string& name : input.asset_names()) {
    if (const auto text = input.asset(name); text.ok()) bytes += static_cast<int64_t>(text->size());
  }
  return bytes;
}

}  // namespace

Status allocate_to_target(const Checkpoint& input, const SizeTarget& target, const std::filesystem::path& saved, Team& team,
                          const ProgressFn& progress, QuantizeOptions* options) {
  const quant::Recipe& recipe = options->recipe;
  const quant::OptionSpec* bits = nullptr;
  bool groups = false;
  for (const quant::OptionSpec& spec : recipe.method->options()) {
    if (spec.name == "bits") bits = &spec;
    groups = groups || spec.name == "group_size";
  }
  if (bits == nullptr || !groups) {
    return Status(Code::invalid_argument,
                  fmt::format("{} has no bits and group_size to give out for a target size; gptq, awq, rtn and hqq have", recipe.method->id()));
  }
  std::vector<int> widths;
  for (const int width : kWidths) {
    if (width >= bits->min && width <= bits->max) widths.push_back(width);
  }
  Sensitivities measured;
  std::error_code ec;
  if (!saved.empty() && std::filesystem::exists(saved, ec)) {
    std::ifstream file(saved, std::ios::binary);
    const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
    NBL_ASSIGN(const Json json, Json::parse(text, saved.string()));
    NBL_ASSIGN(measured, sensitivities_from_json(json, saved.string()));
    for (const TensorSensitivity& t : measured.tensors) {
      if (input.has(t.name)) continue;
      return Status(Code::mismatch, fmt::format("{} was measured on another model: {} has no tensor {}", saved.string(), input.origin(), t.name));
    }
  } else {
    NBL_ASSIGN(measured, measure_sensitivities(input, *options, team, progress));
    if (!saved.empty()) {
      NBL_TRY(write_text_file(saved, to_json(measured).dump(1) + "\n"));
    }
  }
  // What else the recipe says goes with every tensor.
  std::string rest;
  const std::size_t colon = recipe.text.find(':');
  if (colon != std::string::npos) {
    std::stringstream pairs(recipe.text.substr(colon + 1));
    for (std::string pair; std::getline(pairs, pair, ',');) {
      if (!pair.starts_with("bits=") && !pair.starts_with("group_size=")) rest += "," + pair;
    }
  }
  const auto recipe_of = [&](const Choice& c) {
    return fmt::format("{}:bits={},group_size={}{}", recipe.method->id(), c.bits, c.group, rest);
  };
  // Choices were measured with rtn: what the method keeps beside its codes may take more or less, and some of its codes err less.
  struct Difference {
    bool usable = false;
    double bits = 0, error_share = 1;
  };
  std::map<std::pair<int, int64_t>, Difference> differences;
  for (TensorSensitivity& t : measured.tensors) {
    std::vector<Choice> usable;
    for (Choice c : t.choices) {
      if (std::find(widths.begin(), widths.end(), c.bits) == widths.end()) continue;
      const auto [at, fresh] = differences.try_emplace({c.bits, c.group});
      if (fresh) {
        if (const Result<quant::Recipe> own = quant::parse_recipe(recipe_of(c)); own.ok()) {
          at->second = {true, own->method->nominal_bits(own->options) - quant::nominal_affine_bits(c.bits, false, c.group),
                        own->method->error_share(own->options)};
        }
      }
      if (!at->second.usable) continue;  // a group that the method's codes of this width do not come in
      c.stored_bits += at->second.bits;
      c.error *= at->second.error_share;
      usable.push_back(c);
    }
    t.choices = std::move(usable);
  }
  std::vector<Choice> chosen;
  if (target.kl > 0) {
    if (measured.unit != "kl") return Status(Code::unsupported, fmt::format("a divergence cannot be aimed at: no gradient for the end of {}", input.origin()));
    NBL_ASSIGN(chosen, allocate_to_change(measured, target.kl, widths));
  } else {
    double bits = target.bits, weights = 0;
    for (const TensorSensitivity& t : measured.tensors) weights += static_cast<double>(t.n) * static_cast<double>(t.k);
    if (target.bytes > 0) {
      const int64_t other = other_bytes(input, measured);
      bits = 8.0 * static_cast<double>(target.bytes - other) / weights;
      if (!(bits > 0))
        return Status(Code::invalid_argument, fmt::format("a file of {} bytes is too small: what is not quantized takes {}", target.bytes, other));
    }
    NBL_ASSIGN(chosen, allocate(measured, bits, widths));
  }
  for (std::size_t i = 0; i < chosen.size(); ++i) {
    options->overrides.emplace_back(escaped(measured.tensors[i].name), recipe_of(chosen[i]));
  }
  return {};
}

}  // namespace nbl::pipeline

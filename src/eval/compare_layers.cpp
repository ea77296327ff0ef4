// Which layer costs how much: the reference with one layer at a time taken from the candidate.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <set>

#include "eval/eval.h"
#include "eval/lockstep.h"
#include "eval/windows.h"
#include "model/arch.h"
#include "model/block.h"

namespace nbl::eval {
namespace {

/// The first all-digit part of a name: "model.layers.3.mlp.up_proj.weight" is of layer 3.
std::optional<int64_t> layer_of(std::string_view name) {
  for (std::size_t at = 0; at < name.size();) {
    const std::size_t end = std::min(name.find('.', at), name.size());
    const std::string_view part = name.substr(at, end - at);
    if (!part.empty() && part.size() < 9 && part.find_first_not_of("0123456789") == std::string_view::npos)
      return std::stoll(std::string(part));
    at = end + 1;
  }
  return std::nullopt;
}

/// One layer (or, without a number, all that is in no layer) of `candidate`, the rest of `reference`.
class Hybrid final : public Checkpoint {
 public:
  Hybrid(const Checkpoint& reference, const Checkpoint& candidate, std::optional<int64_t> layer)
      : reference_(reference), candidate_(candidate), layer_(layer) {}
  std::string format() const override { return "hybrid"; }
  std::string origin() const override { return reference_.origin() + " with a layer of " + candidate_.origin(); }
  const Json& config() const override { return reference_.config(); }
  std::vector<TensorInfo> tensors() const override {
    std::vector<TensorInfo> list;
    for (const Checkpoint* from : {&reference_, &candidate_})
      for (TensorInfo& info : from->tensors())
        if (&source(info.name) == from) list.push_back(std::move(info));
    return list;
  }
  bool has(std::string_view name) const override { return source(name).has(name); }
  Result<QTensor> matrix(std::string_view name) const override { return source(name).matrix(name); }
  Result<Array> array(std::string_view name) const override { return source(name).array(name); }
  bool has_asset(std::string_view name) const override { return reference_.has_asset(name); }
  Result<std::string> asset(std::string_view name) const override { return reference_.asset(name); }
  std::vector<std::string> asset_names() const override { return reference_.asset_names(); }
  int64_t file_bytes() const override { return reference_.file_bytes(); }

 private:
  const Checkpoint& source(std::string_view name) const { return layer_of(name) == layer_ ? candidate_ : reference_; }
  const Checkpoint& reference_;
  const Checkpoint& candidate_;
  std::optional<int64_t> layer_;
};

constexpr int64_t kErrorTokens = 4096;

/// LayerCost::layer_error of every layer.
Result<std::vector<double>> layer_errors(const Checkpoint& reference, const Checkpoint& candidate, const model::Config& config,
                                         Team& team, const WindowSet& set, const ProgressFn& progress) {
  NBL_ASSIGN(const model::Architecture* arch, model::find_architecture(reference.config(), reference.origin()));
  const int64_t length = std::min(set.longest, kErrorTokens);
  std::vector<text::TokenId> ids;
  for (const Window& w : set.windows) {
    if (static_cast<int64_t>(w.input.size()) < length || static_cast<int64_t>(ids.size()) + length > kErrorTokens) continue;
    ids.insert(ids.end(), w.input.begin(), w.input.begin() + length);
  }
  const auto windows = static_cast<int64_t>(ids.size()) / length;
  std::vector<float> before(ids.size() * static_cast<std::size_t>(config.hidden));
  NBL_TRY(model::embed(reference, *arch, config, ids, length, before.data()));
  std::vector<double> errors;
  for (int64_t l = 0; l < config.layers; ++l) {
    NBL_TRY(report_progress(progress, {"layers", fmt::format("output of layer {}", l), l, config.layers}));
    std::vector<float> after = before, other = before;
    NBL_ASSIGN(const model::LayerWeights own, model::load_layer(reference, *arch, config, l));
    NBL_TRY(model::run_layer(own, *arch, config, team, windows, length, after.data(), {}, l));
    NBL_ASSIGN(const model::LayerWeights theirs, model::load_layer(candidate, *arch, config, l));
    NBL_TRY(model::run_layer(theirs, *arch, config, team, windows, length, other.data(), {}, l));
    double difference = 0, added = 0;
    for (std::size_t i = 0; i < after.size(); ++i) {
      const double d = static_cast<double>(other[i]) - static_cast<double>(after[i]);
      const double a = static_cast<double>(after[i]) - static_cast<double>(before[i]);
      difference += d * d;
      added += a * a;
    }
    errors.push_back(added > 0 ? std::sqrt(difference / added) : 0.0);
    before = std::move(after);
  }
  return errors;
}

}  // namespace

Result<std::vector<LayerCost>> compare_layers(const Checkpoint& reference, const Checkpoint& candidate,
                                              const std::shared_ptr<const model::Model>& reference_model, Team& team,
                                              std::string_view text, const Protocol& protocol, const ProgressFn& progress) {
  std::set<std::optional<int64_t>> layers;
  for (const TensorInfo& info : reference.tensors()) layers.insert(layer_of(info.name));
  NBL_ASSIGN(const text::Tokenizer* tokenizer, tokenizer_of(*reference_model));
  NBL_ASSIGN(const WindowSet set, make_windows(*tokenizer, text, protocol, reference_model->config().max_positions));
  NBL_ASSIGN(const std::vector<double> errors,
             layer_errors(reference, candidate, reference_model->config(), team, set, progress));
  std::vector<LayerCost> costs;
  for (const std::optional<int64_t>& layer : layers) {
    const std::string name = layer ? fmt::format("layer {}", *layer) : std::string("other");
    const ProgressFn inner = [&](const ProgressEvent& event) {
      return !progress || progress({"layers", fmt::format("{}: {}", name, event.detail), static_cast<int64_t>(costs.size()),
                                    static_cast<int64_t>(layers.size())});
    };
    const Hybrid hybrid(reference, candidate, layer);
    NBL_ASSIGN(const std::shared_ptr<const model::Model> model,
               model::Model::load(hybrid, {reference_model->compute()}, team, inner));
    const std::vector<std::shared_ptr<const model::Model>> candidates = {model};
    const std::vector<std::string> names = {name};
    NBL_ASSIGN(const std::vector<Comparison> rows, compare(reference_model, candidates, names, team, text, protocol, inner));
    const bool known = layer && *layer < static_cast<int64_t>(errors.size());
    costs.push_back({name, rows[0].mean_kl, rows[0].kl_stderr, rows[0].top1_agreement, rows[0].output_error,
                     known ? errors[static_cast<std::size_t>(*layer)] : std::numeric_limits<double>::quiet_NaN()});
  }
  // What is in no layer comes last.
  if (!costs.empty() && costs.front().name == "other") std::rotate(costs.begin(), costs.begin() + 1, costs.end());
  return costs;
}

}  // namespace nbl::eval

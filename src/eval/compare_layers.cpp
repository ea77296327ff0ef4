// Which layer costs how much: the reference with one layer at a time taken from the candidate.
#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <set>

#include "eval/eval.h"

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

}  // namespace

Result<std::vector<LayerCost>> compare_layers(const Checkpoint& reference, const Checkpoint& candidate,
                                              const std::shared_ptr<const model::Model>& reference_model, Team& team,
                                              std::string_view text, const Protocol& protocol, const ProgressFn& progress) {
  std::set<std::optional<int64_t>> layers;
  for (const TensorInfo& info : reference.tensors()) layers.insert(layer_of(info.name));
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
    costs.push_back({name, rows[0].mean_kl, rows[0].kl_stderr, rows[0].top1_agreement, rows[0].output_error});
  }
  // What is in no layer comes last.
  if (!costs.empty() && costs.front().name == "other") std::rotate(costs.begin(), costs.begin() + 1, costs.end());
  return costs;
}

}  // namespace nbl::eval

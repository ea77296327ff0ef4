#include "model/arch/mixture.h"

#include <fmt/format.h>

namespace nbl::model::arch {

Status check_experts(const ConfigReader& r, const Config& c, std::string_view count_key) {
  const ExpertsConfig& x = c.experts;
  if (x.per_token > x.count)
    return r.error("num_experts_per_tok", std::to_string(x.per_token), fmt::format("at most {} {}", x.count, count_key));
  if (x.count % x.groups != 0) return r.error("n_group", std::to_string(x.groups), fmt::format("a divisor of {}", x.count));
  if (x.groups_per_token > x.groups)
    return r.error("topk_group", std::to_string(x.groups_per_token), fmt::format("at most n_group {}", x.groups));
  if (x.groups_per_token * (x.count / x.groups) < x.per_token)
    return r.error("topk_group", std::to_string(x.groups_per_token),
                   fmt::format("groups that hold {} experts together", x.per_token));
  return {};
}

Status read_qwen_experts(const ConfigReader& r, Config* c) {
  const std::string_view key = r.json().find_value("num_experts") != nullptr ? "num_experts" : "num_local_experts";
  NBL_ASSIGN(c->experts.count, r.count(key, 65536));
  NBL_ASSIGN(c->experts.per_token, r.count("num_experts_per_tok", 65536));
  NBL_ASSIGN(c->experts.ffn, r.count("moe_intermediate_size", kMaxDimension));
  NBL_ASSIGN(c->experts.normalize, r.flag_or("norm_topk_prob", false));
  NBL_TRY(check_experts(r, *c, key));
  NBL_ASSIGN(const int64_t step, r.count_or("decoder_sparse_step", 1, kMaxLayers));
  for (std::size_t i = 0; i < c->layer.size(); ++i) c->layer[i].experts = (static_cast<int64_t>(i) + 1) % step == 0;
  const Json* dense = r.json().find_value("mlp_only_layers");
  if (dense == nullptr) return {};
  if (!dense->is_array()) return r.error("mlp_only_layers", "no list", "a list of layers");
  for (const Json& layer : dense->elements())
    if (layer.is_int() && layer.as_int() >= 0 && layer.as_int() < c->layers)
      c->layer[static_cast<std::size_t>(layer.as_int())].experts = false;
  return {};
}

std::vector<TensorSpec> expert_tensors(std::string_view router, std::string_view gate, std::string_view up,
                                       std::string_view down) {
  return {linear(Role::router, router, "X", "H"), linear(Role::expert_gate, gate, "M", "H"),
          linear(Role::expert_up, up, "M", "H"), linear(Role::expert_down, down, "H", "M")};
}

std::vector<InputGroup> expert_groups() {
  using P = InputGroup::Producer;
  // All experts read the one norm's output, so its weights can take no expert's own scales.
  return {{"experts.in", {Role::expert_gate, Role::expert_up}, P::none, Role::mlp_norm},
          {"experts.down", {Role::expert_down}, P::linear, Role::expert_up},
          {"shared.in", {Role::shared_gate, Role::shared_up}, P::none, Role::mlp_norm},
          {"shared.down", {Role::shared_down}, P::linear, Role::shared_up}};
}

std::vector<InputGroup> with(std::vector<InputGroup> groups, std::vector<InputGroup> more) {
  groups.insert(groups.end(), more.begin(), more.end());
  return groups;
}

}  // namespace nbl::model::arch

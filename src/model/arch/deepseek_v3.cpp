// DeepSeek-V3 and R1: sigmoid scores, a bias that balances the choice, groups as good as their two best experts.
#include <fmt/format.h>

#include "model/arch/deepseek_family.h"

namespace nbl::model::arch {
namespace {

Result<Config> read_config(const Json& config, std::string_view origin) {
  const ConfigReader reader(config, origin);
  NBL_ASSIGN(Config c, read_deepseek_config(reader, "deepseek_v3", {"num_local_experts"},
                                            {.routed_scaling = 2.5, .dense_layers = 3, .shared_experts = 1}));
  NBL_ASSIGN(const std::string_view method, reader.text_or("topk_method", "noaux_tc"));
  NBL_ASSIGN(const std::string_view scoring, reader.text_or("scoring_func", "sigmoid"));
  if (method != "noaux_tc" || scoring != "sigmoid")
    return Status(Code::unsupported,
                  fmt::format("{}: config.json's topk_method \"{}\" with scoring_func \"{}\" is not implemented for "
                              "model_type \"deepseek_v3\"; implemented is noaux_tc with sigmoid",
                              origin, method.substr(0, 64), scoring.substr(0, 64)));
  NBL_ASSIGN(const bool interleave, reader.flag_or("rope_interleave", true));
  if (!interleave) c.rope = Rope::half_split;
  c.experts.sigmoid = true;
  NBL_ASSIGN(c.experts.normalize, reader.flag_or("norm_topk_prob", true));
  NBL_ASSIGN(c.experts.groups, reader.count_or("n_group", 8, 65536));
  NBL_ASSIGN(c.experts.groups_per_token, reader.count_or("topk_group", 4, 65536));
  c.experts.group_by_two = true;
  NBL_TRY(check_experts(reader, c, "n_routed_experts"));
  return c;
}

std::vector<TensorSpec> tensors() {
  TensorSpec bias = norm(Role::router_bias, "model.layers.{l}.mlp.gate.e_score_correction_bias", "X");
  bias.no_suffix = true;
  return with(deepseek_tensors(), {bias});
}

}  // namespace

extern const Architecture deepseek_v3;
const Architecture deepseek_v3 = {.id = "deepseek_v3",
                                  .model_types = {"deepseek_v3"},
                                  .tensors = tensors(),
                                  .groups = deepseek_groups(),
                                  .read_config = read_config};

}  // namespace nbl::model::arch

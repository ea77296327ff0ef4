// DeepSeek-V2: experts chosen by their probability, out of a few groups of them in the larger models.
#include <fmt/format.h>

#include "model/arch/deepseek_family.h"

namespace nbl::model::arch {
namespace {

Result<Config> read_config(const Json& config, std::string_view origin) {
  const ConfigReader reader(config, origin);
  NBL_ASSIGN(Config c, read_deepseek_config(reader, "deepseek_v2", {}));
  NBL_ASSIGN(const std::string_view method, reader.text_or("topk_method", "greedy"));
  NBL_ASSIGN(const std::string_view scoring, reader.text_or("scoring_func", "softmax"));
  if ((method != "greedy" && method != "group_limited_greedy") || scoring != "softmax")
    return Status(Code::unsupported,
                  fmt::format("{}: config.json's topk_method \"{}\" with scoring_func \"{}\" is not implemented for "
                              "model_type \"deepseek_v2\"; implemented are greedy and group_limited_greedy with softmax",
                              origin, method.substr(0, 64), scoring.substr(0, 64)));
  NBL_TRY(reader.refuse("norm_topk_prob"));
  NBL_TRY(reader.expect_flag("rope_interleave", true));
  if (method == "group_limited_greedy") {
    NBL_ASSIGN(c.experts.groups, reader.count("n_group", 65536));
    NBL_ASSIGN(c.experts.groups_per_token, reader.count("topk_group", 65536));
  }
  NBL_TRY(check_experts(reader, c, "n_routed_experts"));
  return c;
}

}  // namespace

extern const Architecture deepseek_v2;
const Architecture deepseek_v2 = {.id = "deepseek_v2",
                                  .model_types = {"deepseek_v2"},
                                  .tensors = deepseek_tensors(),
                                  .groups = deepseek_groups(),
                                  .read_config = read_config};

}  // namespace nbl::model::arch

// GPT-2: learned positions, LayerNorm, one fused projection.
#include <fmt/format.h>

#include <cmath>

#include "model/arch/gpt2_family.h"

namespace nbl::model::arch {
namespace {

Result<Config> read_config(const Json& config, std::string_view origin) {
  const ConfigReader reader(config, origin);
  NBL_ASSIGN(Config c, read_gpt2_config(reader, "gpt2", "gelu_new", {"scale_attn_by_inverse_layer_idx"}));
  NBL_TRY(reader.expect_count("num_key_value_heads", c.kv_heads));
  NBL_ASSIGN(const bool by_layer, reader.flag_or("scale_attn_by_inverse_layer_idx", false));
  if (by_layer)
    for (std::size_t i = 0; i < c.layer.size(); ++i) c.layer[i].score_factor = 1.0f / static_cast<float>(i + 1);
  return c;
}

}  // namespace

extern const Architecture gpt2;
const Architecture gpt2 = {.id = "gpt2",
                           .model_types = {"gpt2"},
                           .tensors = gpt2_tensors(),
                           .groups = gpt2_groups(InputGroup::Producer::linear),
                           .read_config = read_config};

}  // namespace nbl::model::arch

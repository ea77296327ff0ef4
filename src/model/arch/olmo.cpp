// OLMo: Llama with LayerNorms that have no parameters, and clamped queries, keys and values.
#include "model/arch/llama_family.h"

namespace nbl::model::arch {
namespace {

Result<Config> read_config(const Json& config, std::string_view origin) {
  const ConfigReader reader(config, origin);
  NBL_ASSIGN(Config c, read_llama_config(reader, "olmo", {.norm_eps = 1e-5, .norm = Norm::layer}, {"clip_qkv"}));
  c.norm_eps = 1e-5f;  // no key of the config says it
  NBL_ASSIGN(const double clip, reader.number_or("clip_qkv", 0));
  c.clip_qkv = static_cast<float>(clip);
  return c;
}

std::vector<TensorSpec> tensors() {
  std::vector<TensorSpec> all = llama_tensors(Bias::optional, Bias::optional);
  for (TensorSpec& spec : all)
    if (spec.cols.empty()) spec.pattern = {};
  return all;
}

}  // namespace

extern const Architecture olmo;
const Architecture olmo = {.id = "olmo",
                           .model_types = {"olmo"},
                           .tensors = tensors(),
                           .groups = llama_groups(),
                           .read_config = read_config};

}  // namespace nbl::model::arch

// Qwen3: Llama with a norm over each query and key head, and heads of a size of their own.
#include "model/arch/llama_family.h"

namespace nbl::model::arch {
namespace {

Result<Config> read_config(const Json& config, std::string_view origin) {
  const ConfigReader reader(config, origin);
  NBL_ASSIGN(Config c, read_llama_config(reader, "qwen3", {.head_dim = 128, .max_positions = 32768, .windows = true}));
  c.qk_norm = QkNorm::per_head;
  NBL_TRY(apply_qwen_windows(reader, &c));
  return c;
}

}  // namespace

extern const Architecture qwen3;
const Architecture qwen3 = {.id = "qwen3",
                            .model_types = {"qwen3"},
                            .tensors = with(llama_tensors(Bias::optional, Bias::optional),
                                            {norm(Role::q_norm, "model.layers.{l}.self_attn.q_norm", "D"),
                                             norm(Role::k_norm, "model.layers.{l}.self_attn.k_norm", "D")}),
                            .groups = llama_groups(),
                            .read_config = read_config};

}  // namespace nbl::model::arch

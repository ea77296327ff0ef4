// Qwen3-MoE: Qwen3 with a mixture of experts.
#include "model/arch/mixture.h"

namespace nbl::model::arch {
namespace {

Result<Config> read_config(const Json& config, std::string_view origin) {
  const ConfigReader reader(config, origin);
  NBL_ASSIGN(Config c, read_llama_config(reader, "qwen3_moe", {.max_positions = 32768, .windows = true},
                                         {"num_experts", "num_local_experts", "mlp_only_layers", "decoder_sparse_step"}));
  NBL_TRY(read_qwen_experts(reader, &c));
  c.qk_norm = QkNorm::per_head;
  NBL_ASSIGN(const bool use_window, reader.flag_or("use_sliding_window", false));
  int64_t window = 0;
  if (use_window) {
    NBL_ASSIGN(window, reader.count_or("sliding_window", 4096, kMaxPositions));
  }
  NBL_TRY(apply_windows(reader, &c, window, every_layer));
  return c;
}

}  // namespace

extern const Architecture qwen3_moe;
const Architecture qwen3_moe = {
    .id = "qwen3_moe",
    .model_types = {"qwen3_moe"},
    .tensors = with(with(llama_tensors(Bias::optional, Bias::optional),
                         expert_tensors("model.layers.{l}.mlp.gate", "model.layers.{l}.mlp.experts.{e}.gate_proj",
                                        "model.layers.{l}.mlp.experts.{e}.up_proj",
                                        "model.layers.{l}.mlp.experts.{e}.down_proj")),
                    {norm(Role::q_norm, "model.layers.{l}.self_attn.q_norm", "D"),
                     norm(Role::k_norm, "model.layers.{l}.self_attn.k_norm", "D")}),
    .groups = with(llama_groups(), expert_groups()),
    .read_config = read_config};

}  // namespace nbl::model::arch

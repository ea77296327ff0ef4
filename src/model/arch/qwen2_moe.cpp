// Qwen2-MoE: Qwen2 with a mixture of experts and a shared one that a gate of its own weighs.
#include "model/arch/mixture.h"

namespace nbl::model::arch {
namespace {

Result<Config> read_config(const Json& config, std::string_view origin) {
  const ConfigReader reader(config, origin);
  NBL_ASSIGN(Config c, read_llama_config(reader, "qwen2_moe", {.max_positions = 32768, .windows = true},
                                         {"num_experts", "num_local_experts", "shared_expert_intermediate_size",
                                          "mlp_only_layers", "decoder_sparse_step"}));
  NBL_TRY(read_qwen_experts(reader, &c));
  NBL_ASSIGN(c.experts.shared_ffn, reader.count("shared_expert_intermediate_size", kMaxDimension));
  // Windows: every other one of the lower layers, where the config asks for them.
  NBL_ASSIGN(const bool use_window, reader.flag_or("use_sliding_window", false));
  int64_t window = 0;
  if (use_window) {
    NBL_ASSIGN(window, reader.count_or("sliding_window", 4096, kMaxPositions));
  }
  NBL_TRY(apply_windows(reader, &c, window, [](const Json& json, int64_t layer) {
    const Json* last = json.find_value("max_window_layers");
    return layer % 2 == 0 && layer < (last == nullptr ? 28 : last->as_int(28));
  }));
  return c;
}

}  // namespace

extern const Architecture qwen2_moe;
const Architecture qwen2_moe = {
    .id = "qwen2_moe",
    .model_types = {"qwen2_moe"},
    .tensors = with(with(llama_tensors(Bias::optional, Bias::none),
                         expert_tensors("model.layers.{l}.mlp.gate", "model.layers.{l}.mlp.experts.{e}.gate_proj",
                                        "model.layers.{l}.mlp.experts.{e}.up_proj",
                                        "model.layers.{l}.mlp.experts.{e}.down_proj")),
                    {linear(Role::shared_gate, "model.layers.{l}.mlp.shared_expert.gate_proj", "S", "H"),
                     linear(Role::shared_up, "model.layers.{l}.mlp.shared_expert.up_proj", "S", "H"),
                     linear(Role::shared_down, "model.layers.{l}.mlp.shared_expert.down_proj", "H", "S"),
                     linear(Role::shared_router, "model.layers.{l}.mlp.shared_expert_gate", "1", "H")}),
    .groups = with(llama_groups(), expert_groups()),
    .read_config = read_config};

}  // namespace nbl::model::arch

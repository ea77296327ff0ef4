// Phi-3, 3.5 and 4: Llama with one projection for q, k and v, one for gate and up, and long rope.
#include "model/arch/llama_family.h"

namespace nbl::model::arch {
namespace {

Result<Config> read_config(const Json& config, std::string_view origin) {
  // Published configs call long rope "su" or, in the first releases, "yarn".
  Json renamed = config;
  for (std::string_view key : {"rope_scaling", "rope_parameters"}) {
    const Json* scaling = config.find_value(key);
    if (scaling == nullptr || !scaling->is_object()) continue;
    Json copy = *scaling;
    for (std::string_view type : {"type", "rope_type"})
      if (const Json* value = scaling->find_value(type); value != nullptr && value->as_string() == "yarn")
        copy.set(type, "longrope");
    renamed.set(key, std::move(copy));
  }
  const ConfigReader reader(renamed, origin);
  LlamaDefaults defaults = {.norm_eps = 1e-5, .max_positions = 4096, .windows = true};
  NBL_ASSIGN(Config c, read_llama_config(reader, "phi3", defaults));
  NBL_ASSIGN(const int64_t window, reader.count_or("sliding_window", 0, kMaxPositions));
  NBL_TRY(apply_windows(reader, &c, window, every_layer));
  return c;
}

using P = InputGroup::Producer;

}  // namespace

extern const Architecture phi3;
const Architecture phi3 = {.id = "phi3",
                           .model_types = {"phi3"},
                           .tensors = {linear(Role::embedding, "model.embed_tokens", "V", "H"),
                                       norm(Role::final_norm, "model.norm"),
                                       linear(Role::lm_head, "lm_head", "V", "H"),
                                       norm(Role::attn_norm, "model.layers.{l}.input_layernorm"),
                                       linear(Role::qkv, "model.layers.{l}.self_attn.qkv_proj", "Q+2K", "H"),
                                       linear(Role::attn_out, "model.layers.{l}.self_attn.o_proj", "H", "Q"),
                                       norm(Role::mlp_norm, "model.layers.{l}.post_attention_layernorm"),
                                       linear(Role::gate_up, "model.layers.{l}.mlp.gate_up_proj", "2F", "H"),
                                       linear(Role::down, "model.layers.{l}.mlp.down_proj", "H", "F")},
                           .groups = {{"attn.in", {Role::qkv}, P::norm, Role::attn_norm},
                                      {"attn.out", {Role::attn_out}, P::linear, Role::qkv},
                                      {"mlp.in", {Role::gate_up}, P::norm, Role::mlp_norm},
                                      {"mlp.down", {Role::down}, P::linear, Role::gate_up}},
                           .read_config = read_config};

}  // namespace nbl::model::arch

// Phi-1, 1.5 and 2: one LayerNorm feeds attention and MLP, which are added together; biases everywhere.
#include "model/arch/llama_family.h"

namespace nbl::model::arch {
namespace {

constexpr uint32_t kQkNorm = 1;

Result<Config> read_config(const Json& config, std::string_view origin) {
  const ConfigReader reader(config, origin);
  NBL_ASSIGN(Config c, read_llama_config(reader, "phi",
                                         {.rope = {.partial = 0.5},
                                          .norm_eps = 1e-5,
                                          .norm_eps_key = "layer_norm_eps",
                                          .norm = Norm::layer,
                                          .activation = "gelu_new"},
                                         {"qk_layernorm"}));
  c.gated_mlp = false;
  c.parallel_residual = true;
  NBL_ASSIGN(const bool qk_norm, reader.flag_or("qk_layernorm", false));
  if (qk_norm) {
    c.qk_norm = QkNorm::per_head;
    c.variant |= kQkNorm;
  }
  return c;
}

using P = InputGroup::Producer;

}  // namespace

extern const Architecture phi;
const Architecture phi = {
    .id = "phi",
    .model_types = {"phi"},
    .tensors = {linear(Role::embedding, "model.embed_tokens", "V", "H"),
                norm(Role::final_norm, "model.final_layernorm", "H", Bias::required),
                linear(Role::lm_head, "lm_head", "V", "H", Bias::required),
                norm(Role::attn_norm, "model.layers.{l}.input_layernorm", "H", Bias::required),
                linear(Role::q, "model.layers.{l}.self_attn.q_proj", "Q", "H", Bias::required),
                linear(Role::k, "model.layers.{l}.self_attn.k_proj", "K", "H", Bias::required),
                linear(Role::v, "model.layers.{l}.self_attn.v_proj", "K", "H", Bias::required),
                when(kQkNorm, norm(Role::q_norm, "model.layers.{l}.self_attn.q_layernorm", "D", Bias::required)),
                when(kQkNorm, norm(Role::k_norm, "model.layers.{l}.self_attn.k_layernorm", "D", Bias::required)),
                linear(Role::attn_out, "model.layers.{l}.self_attn.dense", "H", "Q", Bias::required),
                linear(Role::up, "model.layers.{l}.mlp.fc1", "F", "H", Bias::required),
                linear(Role::down, "model.layers.{l}.mlp.fc2", "H", "F", Bias::required)},
    .groups = {{"attn.in", {Role::q, Role::k, Role::v, Role::up}, P::norm, Role::attn_norm},
               {"attn.out", {Role::attn_out}, P::linear, Role::v},
               {"mlp.down", {Role::down}, P::none, Role::up}},
    .read_config = read_config};

}  // namespace nbl::model::arch

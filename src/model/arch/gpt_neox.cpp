// GPT-NeoX and Pythia: LayerNorm, a fused projection head by head, partial rope; attention and MLP added together or
// one after the other.
#include "model/arch/llama_family.h"

namespace nbl::model::arch {
namespace {

constexpr uint32_t kAttentionBias = 1;

Result<Config> read_config(const Json& config, std::string_view origin) {
  const ConfigReader reader(config, origin);
  NBL_ASSIGN(Config c,
             read_llama_config(
                 reader, "gpt_neox",
                 {.rope = {.partial = 0.25, .theta_key = "rotary_emb_base", .partial_key = "rotary_pct"},
                  .norm_eps = 1e-5,
                  .norm_eps_key = "layer_norm_eps",
                  .norm = Norm::layer,
                  .activation = "gelu"},
                 {"use_parallel_residual"}));
  c.gated_mlp = false;
  c.qkv_order = QkvOrder::groups;
  if (c.kv_heads != c.heads) return reader.error("num_key_value_heads", std::to_string(c.kv_heads), "no such key");
  NBL_ASSIGN(c.parallel_residual, reader.flag_or("use_parallel_residual", true));
  NBL_ASSIGN(const bool bias, reader.flag_or("attention_bias", true));
  if (bias) c.variant |= kAttentionBias;
  return c;
}

TensorSpec down() {
  TensorSpec spec = linear(Role::down, "gpt_neox.layers.{l}.mlp.dense_4h_to_h", "H", "F", Bias::required);
  spec.input_divisor = "gpt_neox.layers.{l}.mlp.act.scales";
  return spec;
}

using P = InputGroup::Producer;

}  // namespace

extern const Architecture gpt_neox;
const Architecture gpt_neox = {
    .id = "gpt_neox",
    .model_types = {"gpt_neox"},
    .tensors = {linear(Role::embedding, "gpt_neox.embed_in", "V", "H"),
                norm(Role::final_norm, "gpt_neox.final_layer_norm", "H", Bias::required),
                linear(Role::lm_head, "embed_out", "V", "H"),
                norm(Role::attn_norm, "gpt_neox.layers.{l}.input_layernorm", "H", Bias::required),
                linear_if(Role::qkv, "gpt_neox.layers.{l}.attention.query_key_value", "Q+2K", "H", kAttentionBias),
                linear_if(Role::attn_out, "gpt_neox.layers.{l}.attention.dense", "H", "Q", kAttentionBias),
                norm(Role::mlp_norm, "gpt_neox.layers.{l}.post_attention_layernorm", "H", Bias::required),
                linear(Role::up, "gpt_neox.layers.{l}.mlp.dense_h_to_4h", "F", "H", Bias::required), down()},
    .groups = {{"attn.in", {Role::qkv}, P::norm, Role::attn_norm},
               {"attn.out", {Role::attn_out}, P::linear, Role::qkv},
               {"mlp.in", {Role::up}, P::norm, Role::mlp_norm},
               {"mlp.down", {Role::down}, P::none, Role::up}},
    .read_config = read_config};

}  // namespace nbl::model::arch

// StarCoder2: rope, grouped queries and a window like Mistral, LayerNorm and a plain MLP like StarCoder.
#include "model/arch/llama_family.h"

namespace nbl::model::arch {
namespace {

constexpr uint32_t kBias = 1;

Result<Config> read_config(const Json& config, std::string_view origin) {
  const ConfigReader reader(config, origin);
  NBL_ASSIGN(Config c, read_llama_config(reader, "starcoder2",
                                         {.tied = true,
                                          .norm_eps = 1e-5,
                                          .norm_eps_key = "norm_epsilon",
                                          .norm = Norm::layer,
                                          .activation = "gelu_pytorch_tanh",
                                          .max_positions = 4096,
                                          .windows = true}));
  NBL_TRY(reader.expect_text("norm_type", {"layer_norm"}));
  NBL_TRY(reader.expect_text("mlp_type", {"default"}));
  c.gated_mlp = false;
  NBL_ASSIGN(const bool bias, reader.flag_or("use_bias", true));
  if (bias) c.variant |= kBias;
  NBL_ASSIGN(const int64_t window, reader.count_or("sliding_window", 0, kMaxPositions));
  NBL_TRY(apply_windows(reader, &c, window, every_layer));
  return c;
}

TensorSpec down() {
  TensorSpec spec = linear_if(Role::down, "model.layers.{l}.mlp.c_proj", "H", "F", kBias);
  spec.input_divisor = "model.layers.{l}.mlp.act.scales";
  return spec;
}

using P = InputGroup::Producer;

}  // namespace

extern const Architecture starcoder2;
const Architecture starcoder2 = {
    .id = "starcoder2",
    .model_types = {"starcoder2"},
    .tensors = {linear(Role::embedding, "model.embed_tokens", "V", "H"),
                norm(Role::final_norm, "model.norm", "H", Bias::required), linear(Role::lm_head, "lm_head", "V", "H"),
                norm(Role::attn_norm, "model.layers.{l}.input_layernorm", "H", Bias::required),
                linear_if(Role::q, "model.layers.{l}.self_attn.q_proj", "Q", "H", kBias),
                linear_if(Role::k, "model.layers.{l}.self_attn.k_proj", "K", "H", kBias),
                linear_if(Role::v, "model.layers.{l}.self_attn.v_proj", "K", "H", kBias),
                linear_if(Role::attn_out, "model.layers.{l}.self_attn.o_proj", "H", "Q", kBias),
                norm(Role::mlp_norm, "model.layers.{l}.post_attention_layernorm", "H", Bias::required),
                linear_if(Role::up, "model.layers.{l}.mlp.c_fc", "F", "H", kBias), down()},
    .groups = {{"attn.in", {Role::q, Role::k, Role::v}, P::norm, Role::attn_norm},
               {"attn.out", {Role::attn_out}, P::linear, Role::v},
               {"mlp.in", {Role::up}, P::norm, Role::mlp_norm},
               {"mlp.down", {Role::down}, P::none, Role::up}},
    .read_config = read_config};

}  // namespace nbl::model::arch

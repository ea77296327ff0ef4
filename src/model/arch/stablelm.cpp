// StableLM: Llama with LayerNorm and partial rope; optionally biased q, k, v, a norm for each head, and one norm for
// attention and MLP.
#include "model/arch/llama_family.h"

namespace nbl::model::arch {
namespace {

constexpr uint32_t kSequential = 1, kParallel = 2, kQkNorm = 4, kQkvBias = 8;

Result<Config> read_config(const Json& config, std::string_view origin) {
  const ConfigReader reader(config, origin);
  // The first releases spell two keys otherwise.
  const auto spelled = [&](std::string_view old, std::string_view now) { return config.find_value(old) != nullptr ? old : now; };
  NBL_ASSIGN(Config c, read_llama_config(reader, "stablelm",
                                         {.rope = {.partial = 0.25, .partial_key = spelled("rope_pct", "partial_rotary_factor")},
                                          .norm_eps = 1e-5,
                                          .norm_eps_key = spelled("norm_eps", "layer_norm_eps"),
                                          .norm = Norm::layer,
                                          .max_positions = 4096},
                                         {"qk_layernorm", "use_parallel_residual"}));
  NBL_ASSIGN(c.parallel_residual, reader.flag_or("use_parallel_residual", false));
  NBL_ASSIGN(const bool qk_norm, reader.flag_or("qk_layernorm", false));
  NBL_ASSIGN(const bool bias, reader.flag_or("use_qkv_bias", false));
  if (qk_norm) c.qk_norm = QkNorm::per_head;
  c.variant = (c.parallel_residual ? kParallel : kSequential) | (qk_norm ? kQkNorm : 0) | (bias ? kQkvBias : 0);
  return c;
}

TensorSpec head_norm(Role role, std::string_view pattern, std::string_view n) {
  TensorSpec spec = when(kQkNorm, norm(role, pattern, n));
  spec.per_head = true;
  return spec;
}

using P = InputGroup::Producer;

}  // namespace

extern const Architecture stablelm;
const Architecture stablelm = {
    .id = "stablelm",
    .model_types = {"stablelm", "stablelm_epoch"},
    .tensors = {linear(Role::embedding, "model.embed_tokens", "V", "H"),
                norm(Role::final_norm, "model.norm", "H", Bias::required), linear(Role::lm_head, "lm_head", "V", "H"),
                norm(Role::attn_norm, "model.layers.{l}.input_layernorm", "H", Bias::required),
                linear_if(Role::q, "model.layers.{l}.self_attn.q_proj", "Q", "H", kQkvBias),
                linear_if(Role::k, "model.layers.{l}.self_attn.k_proj", "K", "H", kQkvBias),
                linear_if(Role::v, "model.layers.{l}.self_attn.v_proj", "K", "H", kQkvBias),
                head_norm(Role::q_norm, "model.layers.{l}.self_attn.q_layernorm.norms.{h}", "Q"),
                head_norm(Role::k_norm, "model.layers.{l}.self_attn.k_layernorm.norms.{h}", "K"),
                linear(Role::attn_out, "model.layers.{l}.self_attn.o_proj", "H", "Q"),
                when(kSequential,
                     norm(Role::mlp_norm, "model.layers.{l}.post_attention_layernorm", "H", Bias::required)),
                linear(Role::gate, "model.layers.{l}.mlp.gate_proj", "F", "H"),
                linear(Role::up, "model.layers.{l}.mlp.up_proj", "F", "H"),
                linear(Role::down, "model.layers.{l}.mlp.down_proj", "H", "F")},
    .groups = {when(kSequential, {"attn.in", {Role::q, Role::k, Role::v}, P::norm, Role::attn_norm}),
               when(kParallel, {"attn.in", {Role::q, Role::k, Role::v, Role::gate, Role::up}, P::norm, Role::attn_norm}),
               {"attn.out", {Role::attn_out}, P::linear, Role::v},
               when(kSequential, {"mlp.in", {Role::gate, Role::up}, P::norm, Role::mlp_norm}),
               {"mlp.down", {Role::down}, P::linear, Role::up}},
    .read_config = read_config};

}  // namespace nbl::model::arch

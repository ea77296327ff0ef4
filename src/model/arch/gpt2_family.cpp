#include "model/arch/gpt2_family.h"

#include <fmt/format.h>

#include <cmath>

namespace nbl::model::arch {

Result<Config> read_gpt2_config(const ConfigReader& r, std::string_view id, std::string_view activation,
                                std::initializer_list<std::string_view> known) {
  Config c;
  c.architecture = id;
  NBL_ASSIGN(c.vocab, r.count("vocab_size", kMaxVocab));
  NBL_ASSIGN(c.hidden, r.count_of({"n_embd", "hidden_size"}, kMaxDimension));
  NBL_ASSIGN(c.layers, r.count_of({"n_layer", "num_hidden_layers"}, kMaxLayers));
  NBL_ASSIGN(c.heads, r.count_of({"n_head", "num_attention_heads"}, kMaxDimension));
  NBL_ASSIGN(c.max_positions, r.count_of({"n_positions", "max_position_embeddings"}, kMaxDimension));
  NBL_ASSIGN(c.ffn, r.count_or("n_inner", 4 * c.hidden, kMaxDimension));
  if (c.hidden % c.heads != 0)
    return r.error("n_head", std::to_string(c.heads), fmt::format("a divisor of n_embd {}", c.hidden));
  c.head_dim = c.hidden / c.heads;
  c.kv_heads = c.heads;
  NBL_ASSIGN(const double eps, r.epsilon_or("layer_norm_epsilon", 1e-5));
  c.norm = Norm::layer;
  c.norm_eps = static_cast<float>(eps);
  NBL_ASSIGN(c.activation, r.activation({"activation_function"}, activation));
  c.gated_mlp = false;
  NBL_ASSIGN(const bool scaled, r.flag_or("scale_attn_weights", true));
  c.attention_scale = scaled ? static_cast<float>(1.0 / std::sqrt(static_cast<double>(c.head_dim))) : 1.0f;
  c.rope = Rope::none;
  c.learned_positions = true;
  NBL_ASSIGN(c.tied_embeddings, r.flag_or("tie_word_embeddings", true));
  NBL_TRY(r.read_tokens(&c));
  NBL_TRY(r.refuse_foreign(known));
  NBL_TRY(r.refuse_rope_scaling());
  c.layer.assign(static_cast<std::size_t>(c.layers), LayerConfig{.rope = -1});
  return c;
}

std::vector<TensorSpec> gpt2_tensors() {
  std::vector<TensorSpec> tensors = {
      linear(Role::embedding, "transformer.wte", "V", "H"),
      linear(Role::position_embedding, "transformer.wpe", "P", "H"),
      norm(Role::final_norm, "transformer.ln_f", "H", Bias::required),
      linear(Role::lm_head, "lm_head", "V", "H"),
      norm(Role::attn_norm, "transformer.h.{l}.ln_1", "H", Bias::required),
      linear(Role::qkv, "transformer.h.{l}.attn.c_attn", "Q+2K", "H", Bias::required),
      linear(Role::attn_out, "transformer.h.{l}.attn.c_proj", "H", "Q", Bias::required),
      norm(Role::mlp_norm, "transformer.h.{l}.ln_2", "H", Bias::required),
      linear(Role::up, "transformer.h.{l}.mlp.c_fc", "F", "H", Bias::required),
      linear(Role::down, "transformer.h.{l}.mlp.c_proj", "H", "F", Bias::required)};
  tensors.back().input_divisor = "transformer.h.{l}.mlp.act.scales";
  return tensors;
}

std::vector<InputGroup> gpt2_groups(InputGroup::Producer values) {
  using P = InputGroup::Producer;
  return {{"attn.in", {Role::qkv}, P::norm, Role::attn_norm},
          {"attn.out", {Role::attn_out}, values, Role::qkv},
          {"mlp.in", {Role::up}, P::norm, Role::mlp_norm},
          {"mlp.down", {Role::down}, P::none, Role::up}};
}

}  // namespace nbl::model::arch

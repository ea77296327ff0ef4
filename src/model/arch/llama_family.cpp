#include "model/arch/llama_family.h"

#include <fmt/format.h>

#include <cmath>

#include "model/rope.h"

namespace nbl::model::arch {

std::vector<TensorSpec> llama_tensors(Bias qkv, Bias others) {
  const auto linear = [](Role role, std::string_view pattern, std::string_view rows, std::string_view cols, Bias bias) {
    return TensorSpec{.role = role,
                      .pattern = pattern,
                      .rows = rows,
                      .cols = cols,
                      .has_bias = bias != Bias::none,
                      .bias_optional = bias == Bias::optional};
  };
  return {
      {Role::embedding, "model.embed_tokens", "V", "H"},
      {Role::final_norm, "model.norm", "H", ""},
      {Role::lm_head, "lm_head", "V", "H"},
      {Role::attn_norm, "model.layers.{l}.input_layernorm", "H", ""},
      linear(Role::q, "model.layers.{l}.self_attn.q_proj", "Q", "H", qkv),
      linear(Role::k, "model.layers.{l}.self_attn.k_proj", "K", "H", qkv),
      linear(Role::v, "model.layers.{l}.self_attn.v_proj", "K", "H", qkv),
      linear(Role::attn_out, "model.layers.{l}.self_attn.o_proj", "H", "Q", others),
      {Role::mlp_norm, "model.layers.{l}.post_attention_layernorm", "H", ""},
      linear(Role::gate, "model.layers.{l}.mlp.gate_proj", "F", "H", others),
      linear(Role::up, "model.layers.{l}.mlp.up_proj", "F", "H", others),
      linear(Role::down, "model.layers.{l}.mlp.down_proj", "H", "F", others),
  };
}

std::vector<InputGroup> llama_groups() {
  using P = InputGroup::Producer;
  return {{"attn.in", {Role::q, Role::k, Role::v}, P::norm, Role::attn_norm},
          {"attn.out", {Role::attn_out}, P::linear, Role::v},
          {"mlp.in", {Role::gate, Role::up}, P::norm, Role::mlp_norm},
          {"mlp.down", {Role::down}, P::linear, Role::up}};
}

Result<Config> read_llama_config(const ConfigReader& r, std::string_view id, const LlamaDefaults& defaults) {
  Config c;
  c.architecture = id;
  NBL_ASSIGN(c.vocab, r.count("vocab_size", kMaxVocab));
  NBL_ASSIGN(c.hidden, r.count("hidden_size", kMaxDimension));
  NBL_ASSIGN(c.layers, r.count("num_hidden_layers", kMaxLayers));
  NBL_ASSIGN(c.heads, r.count("num_attention_heads", kMaxDimension));
  NBL_ASSIGN(c.kv_heads, r.count_or("num_key_value_heads", c.heads, kMaxDimension));
  NBL_ASSIGN(c.ffn, r.count("intermediate_size", kMaxDimension));
  NBL_ASSIGN(c.max_positions, r.count_or("max_position_embeddings", 2048, kMaxPositions));
  if (c.heads % c.kv_heads != 0)
    return r.error("num_key_value_heads", std::to_string(c.kv_heads), fmt::format("a divisor of {} heads", c.heads));
  if (r.json().find_value("head_dim") == nullptr && c.hidden % c.heads != 0)
    return r.error("num_attention_heads", std::to_string(c.heads),
                   fmt::format("a divisor of hidden_size {}", c.hidden));
  NBL_ASSIGN(c.head_dim, r.count_or("head_dim", c.hidden / c.heads, 1 << 16));

  NBL_ASSIGN(const double eps, r.number_or("rms_norm_eps", defaults.norm_eps));
  c.norm = Norm::rms;
  c.norm_eps = static_cast<float>(eps);
  NBL_ASSIGN(c.activation, r.activation({"hidden_act", "hidden_activation"}, defaults.activation));
  c.gated_mlp = true;
  c.attention_scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(c.head_dim)));
  NBL_ASSIGN(c.tied_embeddings, r.flag_or("tie_word_embeddings", defaults.tied));
  NBL_TRY(r.read_tokens(&c));
  NBL_TRY(r.refuse_foreign());

  NBL_ASSIGN(const RopeSettings rope, read_rope_settings(r.json(), r.origin(), defaults.rope_theta));
  c.rotary_dim = static_cast<int64_t>(static_cast<double>(c.head_dim) * rope.partial);
  if (c.rotary_dim < 2 || c.rotary_dim % 2 != 0)
    return r.error("head_dim", std::to_string(c.head_dim), "an even number of rotated components");
  NBL_ASSIGN(RopeTable table, make_rope_table(rope, r.json(), r.origin(), c.rotary_dim));
  c.rope = Rope::half_split;
  c.ropes.push_back(std::move(table));
  c.layer.resize(static_cast<std::size_t>(c.layers));
  return c;
}

Status apply_windows(const ConfigReader& r, Config* c, int64_t window, bool (*slides)(const Json&, int64_t)) {
  const Json* types = r.json().find_value("layer_types");
  if (types != nullptr && (!types->is_array() || types->size() != c->layer.size()))
    return r.error("layer_types", fmt::format("of {} entries", types->size()), fmt::format("{} entries", c->layers));
  for (std::size_t i = 0; i < c->layer.size(); ++i) {
    bool sliding = window > 0 && slides(r.json(), static_cast<int64_t>(i));
    if (types != nullptr) {
      const std::string_view type = types->elements()[i].as_string("?");
      if (type != "sliding_attention" && type != "full_attention")
        return Status(Code::unsupported,
                      fmt::format("{}: config.json's layer_types has \"{}\", which is not implemented", r.origin(),
                                  type.substr(0, 64)));
      sliding = type == "sliding_attention";
      if (sliding && window <= 0) return r.error("sliding_window", "missing", "a number, for its sliding layers");
    }
    c->layer[i].window = sliding ? window : 0;
  }
  return {};
}

}  // namespace nbl::model::arch

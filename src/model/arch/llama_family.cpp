#include "model/arch/llama_family.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace nbl::model::arch {

TensorSpec linear(Role role, std::string_view pattern, std::string_view rows, std::string_view cols, Bias bias) {
  return TensorSpec{.role = role,
                    .pattern = pattern,
                    .rows = rows,
                    .cols = cols,
                    .has_bias = bias != Bias::none,
                    .bias_optional = bias == Bias::optional};
}

TensorSpec linear_if(Role role, std::string_view pattern, std::string_view rows, std::string_view cols,
                     uint32_t bias_when) {
  TensorSpec spec = linear(role, pattern, rows, cols, Bias::required);
  spec.bias_when = bias_when;
  return spec;
}

TensorSpec norm(Role role, std::string_view pattern, std::string_view n, Bias bias) {
  return linear(role, pattern, n, "", bias);
}

TensorSpec when(uint32_t bits, TensorSpec spec) {
  spec.when = bits;
  return spec;
}

InputGroup when(uint32_t bits, InputGroup group) {
  group.when = bits;
  return group;
}

std::vector<TensorSpec> with(std::vector<TensorSpec> tensors, std::vector<TensorSpec> more) {
  tensors.insert(tensors.end(), more.begin(), more.end());
  return tensors;
}

std::vector<TensorSpec> llama_tensors(Bias qkv, Bias others) {
  return {
      linear(Role::embedding, "model.embed_tokens", "V", "H"),
      norm(Role::final_norm, "model.norm"),
      linear(Role::lm_head, "lm_head", "V", "H"),
      norm(Role::attn_norm, "model.layers.{l}.input_layernorm"),
      linear(Role::q, "model.layers.{l}.self_attn.q_proj", "Q", "H", qkv),
      linear(Role::k, "model.layers.{l}.self_attn.k_proj", "K", "H", qkv),
      linear(Role::v, "model.layers.{l}.self_attn.v_proj", "K", "H", qkv),
      linear(Role::attn_out, "model.layers.{l}.self_attn.o_proj", "H", "Q", others),
      norm(Role::mlp_norm, "model.layers.{l}.post_attention_layernorm"),
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

Result<Config> read_dimensions(const ConfigReader& r, std::string_view id, const LlamaDefaults& defaults) {
  Config c;
  c.architecture = id;
  const auto stated = [&](std::string_view key, int64_t silent, int64_t max) {
    return silent > 0 ? r.count_or(key, silent, max) : r.count(key, max);
  };
  NBL_ASSIGN(c.vocab, stated("vocab_size", defaults.vocab, kMaxVocab));
  NBL_ASSIGN(c.hidden, r.count("hidden_size", kMaxDimension));
  NBL_ASSIGN(c.layers, r.count("num_hidden_layers", kMaxLayers));
  NBL_ASSIGN(c.heads, stated("num_attention_heads", defaults.heads, kMaxDimension));
  NBL_ASSIGN(c.kv_heads, r.count_or("num_key_value_heads", defaults.kv_heads > 0 ? defaults.kv_heads : c.heads, kMaxDimension));
  NBL_ASSIGN(c.ffn, r.count("intermediate_size", kMaxDimension));
  NBL_ASSIGN(c.max_positions, r.count_or("max_position_embeddings", defaults.max_positions, kMaxPositions));
  if (c.heads % c.kv_heads != 0)
    return r.error("num_key_value_heads", std::to_string(c.kv_heads), fmt::format("a divisor of {} heads", c.heads));
  if (r.json().find_value("head_dim") == nullptr && defaults.head_dim == 0 && c.hidden % c.heads != 0)
    return r.error("num_attention_heads", std::to_string(c.heads),
                   fmt::format("a divisor of hidden_size {}", c.hidden));
  NBL_ASSIGN(c.head_dim,
             r.count_or("head_dim", defaults.head_dim > 0 ? defaults.head_dim : c.hidden / c.heads, 1 << 16));

  NBL_ASSIGN(const double eps, r.epsilon_or(defaults.norm_eps_key, defaults.norm_eps));
  c.norm = defaults.norm;
  c.norm_eps = static_cast<float>(eps);
  NBL_ASSIGN(c.activation, r.activation({"hidden_act", "hidden_activation"}, defaults.activation));
  c.gated_mlp = true;
  c.attention_scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(c.head_dim)));
  NBL_ASSIGN(c.tied_embeddings, r.flag_or("tie_word_embeddings", defaults.tied));
  NBL_TRY(r.read_tokens(&c));
  c.layer.resize(static_cast<std::size_t>(c.layers));
  return c;
}

Status read_rope(const ConfigReader& r, const RopeKeys& keys, Config* c, std::string_view layer_type) {
  NBL_ASSIGN(const RopeSettings rope, read_rope_settings(r.json(), r.origin(), keys, layer_type));
  c->rotary_dim = static_cast<int64_t>(static_cast<double>(c->head_dim) * rope.partial);
  if (c->rotary_dim < 2 || c->rotary_dim % 2 != 0)
    return r.error("head_dim", std::to_string(c->head_dim), "an even number of rotated components");
  NBL_ASSIGN(RopeTable table, make_rope_table(rope, r.json(), r.origin(), c->rotary_dim, c->max_positions));
  c->ropes.push_back(std::move(table));
  return {};
}

Result<Config> read_llama_config(const ConfigReader& r, std::string_view id, const LlamaDefaults& defaults,
                                 std::initializer_list<std::string_view> known) {
  NBL_ASSIGN(Config c, read_dimensions(r, id, defaults));
  if (defaults.windows)
    NBL_TRY(r.refuse_foreign(known, {defaults.rope.partial_key, "sliding_window", "use_sliding_window", "layer_types"}));
  else
    NBL_TRY(r.refuse_foreign(known, {defaults.rope.partial_key}));
  NBL_TRY(read_rope(r, defaults.rope, &c));
  return c;
}

Result<std::vector<std::string_view>> layer_types(const ConfigReader& r, int64_t layers,
                                                  std::initializer_list<std::string_view> known) {
  const Json* types = r.json().find_value("layer_types");
  std::vector<std::string_view> all;
  if (types == nullptr) return all;
  if (!types->is_array() || static_cast<int64_t>(types->size()) != layers)
    return r.error("layer_types", fmt::format("of {} entries", types->size()), fmt::format("{} entries", layers));
  for (const Json& entry : types->elements()) {
    const std::string_view type = entry.as_string("?");
    if (std::find(known.begin(), known.end(), type) == known.end())
      return Status(Code::unsupported, fmt::format("{}: config.json's layer_types has \"{}\", which is not implemented",
                                                   r.origin(), type.substr(0, 64)));
    all.push_back(type);
  }
  return all;
}

Status apply_windows(const ConfigReader& r, Config* c, int64_t window, bool (*slides)(const Json&, int64_t)) {
  NBL_ASSIGN(const std::vector<std::string_view> types,
             layer_types(r, c->layers, {"sliding_attention", "full_attention"}));
  for (std::size_t i = 0; i < c->layer.size(); ++i) {
    bool sliding = window > 0 && slides(r.json(), static_cast<int64_t>(i));
    if (!types.empty()) {
      sliding = types[i] == "sliding_attention";
      if (sliding && window <= 0) return r.error("sliding_window", "missing", "a number, for its sliding layers");
    }
    c->layer[i].window = sliding ? window : 0;
  }
  return {};
}

Status apply_qwen_windows(const ConfigReader& reader, Config* c) {
  NBL_ASSIGN(const bool use_window, reader.flag_or("use_sliding_window", false));
  int64_t window = 0;
  if (use_window) {
    NBL_ASSIGN(window, reader.count_or("sliding_window", 4096, kMaxPositions));
  }
  return apply_windows(reader, c, window, [](const Json& json, int64_t layer) {
    const Json* first = json.find_value("max_window_layers");
    return layer >= (first == nullptr ? 28 : first->as_int(28));
  });
}

}  // namespace nbl::model::arch

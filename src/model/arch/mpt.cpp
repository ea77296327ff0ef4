// MPT: ALiBi, LayerNorm without biases, one fused projection, no biases at all.
#include <fmt/format.h>

#include <cmath>

#include "model/arch/alibi.h"
#include "model/arch/llama_family.h"

namespace nbl::model::arch {
namespace {

Result<Config> read_config(const Json& config, std::string_view origin) {
  const ConfigReader r(config, origin);
  Config c;
  c.architecture = "mpt";
  NBL_ASSIGN(c.vocab, r.count("vocab_size", kMaxVocab));
  NBL_ASSIGN(c.hidden, r.count_of({"d_model", "hidden_size"}, kMaxDimension));
  NBL_ASSIGN(c.layers, r.count_of({"n_layers", "num_hidden_layers"}, kMaxLayers));
  NBL_ASSIGN(c.heads, r.count_of({"n_heads", "num_attention_heads"}, kMaxDimension));
  NBL_ASSIGN(c.max_positions, r.count_or("max_seq_len", 2048, kMaxPositions));
  NBL_ASSIGN(const int64_t ratio, r.count_or("expansion_ratio", 4, 1024));
  c.ffn = ratio * c.hidden;
  if (c.hidden % c.heads != 0)
    return r.error("n_heads", std::to_string(c.heads), fmt::format("a divisor of d_model {}", c.hidden));
  c.head_dim = c.hidden / c.heads;
  c.kv_heads = c.heads;
  NBL_ASSIGN(const double eps, r.epsilon_or("layer_norm_epsilon", 1e-5));
  c.norm = Norm::layer;
  c.norm_eps = static_cast<float>(eps);
  c.activation = Activation::gelu_erf;
  c.gated_mlp = false;
  NBL_ASSIGN(const bool no_bias, r.flag_or("no_bias", true));
  if (!no_bias)
    return Status(Code::unsupported,
                  fmt::format("{}: config.json's no_bias is false, which is not implemented for model_type \"mpt\"", origin));

  static const Json kNone = Json::object();
  const Json* attention = config.find_value("attn_config");
  const ConfigReader a(attention == nullptr ? kNone : *attention, origin);
  NBL_ASSIGN(const std::string_view type, a.text_or("attn_type", "multihead_attention"));
  NBL_ASSIGN(const bool alibi, a.flag_or("alibi", true));
  if (type != "multihead_attention" || !alibi)
    return Status(Code::unsupported,
                  fmt::format("{}: config.json's attn_config has attn_type \"{}\" and alibi {}; only multihead_attention "
                              "with alibi is implemented for model_type \"mpt\"",
                              origin, type.substr(0, 64), alibi));
  NBL_TRY(a.expect_count("kv_n_heads", c.heads));
  for (std::string_view key : {"qk_ln", "qk_gn", "prefix_lm", "attn_uses_sequence_id", "rope", "sliding_window_size"})
    if (const Json* value = a.json().find_value(key); value == nullptr || !(value->is_int() && value->as_int() == -1))
      NBL_TRY(a.refuse(key));
  NBL_ASSIGN(const double scale, a.positive_or("softmax_scale", 1.0 / std::sqrt(static_cast<double>(c.head_dim))));
  c.attention_scale = static_cast<float>(scale);
  NBL_ASSIGN(const double clip, a.number_or("clip_qkv", 0));
  c.clip_qkv = static_cast<float>(clip);
  NBL_ASSIGN(const double bias_max, a.positive_or("alibi_bias_max", 8));
  c.slopes = mpt_alibi_slopes(c.heads, bias_max);
  NBL_ASSIGN(c.tied_embeddings, r.flag_or("tie_word_embeddings", true));
  NBL_TRY(r.read_tokens(&c));
  NBL_TRY(r.refuse_foreign());
  NBL_TRY(r.refuse_rope_scaling());
  NBL_TRY(r.expect_count("num_key_value_heads", c.heads));
  NBL_TRY(r.expect_text("norm_type", {"low_precision_layernorm", "layernorm"}));
  if (const Json* ffn = config.find_value("ffn_config"); ffn != nullptr && ffn->is_object())
    NBL_TRY(ConfigReader(*ffn, origin).expect_text("ffn_type", {"mptmlp"}));
  c.rope = Rope::none;
  c.layer.assign(static_cast<std::size_t>(c.layers), LayerConfig{.rope = -1});
  return c;
}

TensorSpec down() {
  TensorSpec spec = linear(Role::down, "transformer.blocks.{l}.ffn.down_proj", "H", "F");
  spec.input_divisor = "transformer.blocks.{l}.ffn.act.scales";
  return spec;
}

using P = InputGroup::Producer;

}  // namespace

extern const Architecture mpt;
const Architecture mpt = {.id = "mpt",
                          .model_types = {"mpt"},
                          .tensors = {linear(Role::embedding, "transformer.wte", "V", "H"),
                                      norm(Role::final_norm, "transformer.norm_f"),
                                      linear(Role::lm_head, "lm_head", "V", "H"),
                                      norm(Role::attn_norm, "transformer.blocks.{l}.norm_1"),
                                      linear(Role::qkv, "transformer.blocks.{l}.attn.Wqkv", "Q+2K", "H"),
                                      linear(Role::attn_out, "transformer.blocks.{l}.attn.out_proj", "H", "Q"),
                                      norm(Role::mlp_norm, "transformer.blocks.{l}.norm_2"),
                                      linear(Role::up, "transformer.blocks.{l}.ffn.up_proj", "F", "H"), down()},
                          .groups = {{"attn.in", {Role::qkv}, P::norm, Role::attn_norm},
                                     {"attn.out", {Role::attn_out}, P::linear, Role::qkv},
                                     {"mlp.in", {Role::up}, P::norm, Role::mlp_norm},
                                     {"mlp.down", {Role::down}, P::none, Role::up}},
                          .read_config = read_config};

}  // namespace nbl::model::arch

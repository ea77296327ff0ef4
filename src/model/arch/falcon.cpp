// Falcon: the 7B shape (one norm, one key-value head), the new decoder (two norms, grouped queries) and the RefinedWeb
// models (one block after the other, ALiBi).
#include <fmt/format.h>

#include <cmath>

#include "model/arch/alibi.h"
#include "model/arch/llama_family.h"

namespace nbl::model::arch {
namespace {

constexpr uint32_t kOneNorm = 1, kTwoNorms = 2, kSequential = 4, kBias = 8, kParallel = 16;

Result<Config> read_config(const Json& config, std::string_view origin) {
  const ConfigReader r(config, origin);
  Config c;
  c.architecture = "falcon";
  NBL_ASSIGN(c.vocab, r.count("vocab_size", kMaxVocab));
  NBL_ASSIGN(c.hidden, r.count_of({"hidden_size", "n_embed"}, kMaxDimension));
  NBL_ASSIGN(c.layers, r.count_of({"num_hidden_layers", "n_layer"}, kMaxLayers));
  NBL_ASSIGN(c.heads, r.count_of({"num_attention_heads", "n_head"}, kMaxDimension));
  NBL_ASSIGN(c.max_positions, r.count_or("max_position_embeddings", 2048, kMaxPositions));
  NBL_ASSIGN(c.ffn, r.count_or("ffn_hidden_size", 4 * c.hidden, kMaxDimension));
  if (c.hidden % c.heads != 0)
    return r.error("num_attention_heads", std::to_string(c.heads),
                   fmt::format("a divisor of hidden_size {}", c.hidden));
  c.head_dim = c.hidden / c.heads;
  NBL_ASSIGN(const bool alibi, r.flag_or("alibi", false));
  // The 40B model's first release says so by its type alone.
  const Json* type = config.find_value("model_type");
  const bool first_wide = type != nullptr && type->as_string() == "RefinedWeb";
  NBL_ASSIGN(const bool new_decoder, r.flag_or("new_decoder_architecture", first_wide));
  NBL_ASSIGN(const bool multi_query, r.flag_or("multi_query", true));
  NBL_ASSIGN(const bool parallel, r.flag_or("parallel_attn", true));
  NBL_ASSIGN(const bool bias, r.flag_or("bias", false));
  if (new_decoder) {
    const bool old_key = config.find_value("num_kv_heads") == nullptr;
    NBL_ASSIGN(c.kv_heads, r.count_or(old_key ? "n_head_kv" : "num_kv_heads", c.heads, kMaxDimension));
    if (c.heads % c.kv_heads != 0)
      return r.error("num_kv_heads", std::to_string(c.kv_heads), fmt::format("a divisor of {} heads", c.heads));
    c.qkv_order = QkvOrder::groups;
  } else {
    c.kv_heads = multi_query ? 1 : c.heads;
    c.qkv_order = multi_query ? QkvOrder::blocks : QkvOrder::groups;
  }
  if (new_decoder && !parallel)
    return Status(Code::unsupported,
                  fmt::format("{}: config.json's parallel_attn is false together with new_decoder_architecture, which is "
                              "not implemented",
                              origin));
  NBL_ASSIGN(const int64_t norms, r.count_or("num_ln_in_parallel_attn", new_decoder ? 2 : 1, 2));
  if (norms == 2 && !new_decoder && parallel)
    return r.error("num_ln_in_parallel_attn", "2", "1 without new_decoder_architecture");
  c.parallel_residual = parallel;
  c.variant = !parallel ? kOneNorm | kSequential : norms == 2 ? kTwoNorms : kOneNorm | kParallel;
  if (bias) c.variant |= kBias;

  NBL_ASSIGN(const double eps, r.epsilon_or("layer_norm_epsilon", 1e-5));
  c.norm = Norm::layer;
  c.norm_eps = static_cast<float>(eps);
  NBL_ASSIGN(c.activation, r.activation({"activation"}, "gelu"));
  c.gated_mlp = false;
  const double scale = 1.0 / std::sqrt(static_cast<double>(c.head_dim));
  c.attention_scale = static_cast<float>(scale);
  NBL_ASSIGN(c.tied_embeddings, r.flag_or("tie_word_embeddings", true));
  NBL_TRY(r.read_tokens(&c));
  NBL_TRY(r.refuse_foreign({"parallel_attn", "alibi", "partial_rotary_factor"}));
  c.layer.resize(static_cast<std::size_t>(c.layers));
  if (alibi) {
    NBL_TRY(r.refuse_rope_scaling());
    // Added before the scores are scaled.
    c.rope = Rope::none;
    c.slopes = alibi_slopes(c.heads);
    for (float& slope : c.slopes) slope *= static_cast<float>(scale);
    for (LayerConfig& layer : c.layer) layer.rope = -1;
  } else {
    NBL_TRY(read_rope(r, {}, &c));
  }
  return c;
}

TensorSpec down() {
  TensorSpec spec = linear_if(Role::down, "transformer.h.{l}.mlp.dense_4h_to_h", "H", "F", kBias);
  spec.input_divisor = "transformer.h.{l}.mlp.act.scales";
  return spec;
}

using P = InputGroup::Producer;

}  // namespace

extern const Architecture falcon;
const Architecture falcon = {
    .id = "falcon",
    .model_types = {"falcon", "RefinedWeb", "RefinedWebModel"},
    .tensors = {linear(Role::embedding, "transformer.word_embeddings", "V", "H"),
                norm(Role::final_norm, "transformer.ln_f", "H", Bias::required),
                linear(Role::lm_head, "lm_head", "V", "H"),
                when(kOneNorm, norm(Role::attn_norm, "transformer.h.{l}.input_layernorm", "H", Bias::required)),
                when(kTwoNorms, norm(Role::attn_norm, "transformer.h.{l}.ln_attn", "H", Bias::required)),
                linear_if(Role::qkv, "transformer.h.{l}.self_attention.query_key_value", "Q+2K", "H", kBias),
                linear_if(Role::attn_out, "transformer.h.{l}.self_attention.dense", "H", "Q", kBias),
                when(kSequential, norm(Role::mlp_norm, "transformer.h.{l}.post_attention_layernorm", "H", Bias::required)),
                when(kTwoNorms, norm(Role::mlp_norm, "transformer.h.{l}.ln_mlp", "H", Bias::required)),
                linear_if(Role::up, "transformer.h.{l}.mlp.dense_h_to_4h", "F", "H", kBias), down()},
    .groups = {when(kOneNorm | kParallel, {"attn.in", {Role::qkv, Role::up}, P::norm, Role::attn_norm}),
               when(kOneNorm | kSequential, {"attn.in", {Role::qkv}, P::norm, Role::attn_norm}),
               when(kOneNorm | kSequential, {"mlp.in", {Role::up}, P::norm, Role::mlp_norm}),
               when(kTwoNorms, {"attn.in", {Role::qkv}, P::norm, Role::attn_norm}),
               when(kTwoNorms, {"mlp.in", {Role::up}, P::norm, Role::mlp_norm}),
               {"attn.out", {Role::attn_out}, P::linear, Role::qkv},
               {"mlp.down", {Role::down}, P::none, Role::up}},
    .read_config = read_config};

}  // namespace nbl::model::arch

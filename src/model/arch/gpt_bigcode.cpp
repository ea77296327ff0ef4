// GPTBigCode: SantaCoder and StarCoder. Learned positions, LayerNorm, one fused projection; one key-value head for all
// query heads (multi_query), or one each with the three parts of a head side by side.
#include <fmt/format.h>

#include <cmath>

#include "model/arch.h"
#include "model/config_reader.h"

namespace nbl::model::arch {
namespace {

Result<Config> read_config(const Json& config, std::string_view origin) {
  const ConfigReader r(config, origin);
  Config c;
  c.architecture = "gpt_bigcode";
  NBL_ASSIGN(c.vocab, r.count("vocab_size", kMaxVocab));
  NBL_ASSIGN(c.hidden, r.count("n_embd", kMaxDimension));
  NBL_ASSIGN(c.layers, r.count("n_layer", kMaxLayers));
  NBL_ASSIGN(c.heads, r.count("n_head", kMaxDimension));
  NBL_ASSIGN(c.max_positions, r.count("n_positions", kMaxDimension));
  NBL_ASSIGN(c.ffn, r.count_or("n_inner", 4 * c.hidden, kMaxDimension));
  if (c.hidden % c.heads != 0)
    return r.error("n_head", std::to_string(c.heads), fmt::format("a divisor of n_embd {}", c.hidden));
  c.head_dim = c.hidden / c.heads;
  NBL_ASSIGN(const bool multi_query, r.flag_or("multi_query", true));
  c.kv_heads = multi_query ? 1 : c.heads;
  c.qkv_order = multi_query ? QkvOrder::blocks : QkvOrder::groups;

  NBL_ASSIGN(const double eps, r.number_or("layer_norm_epsilon", 1e-5));
  c.norm = Norm::layer;
  c.norm_eps = static_cast<float>(eps);
  NBL_ASSIGN(c.activation, r.activation({"activation_function"}, "gelu_pytorch_tanh"));
  c.gated_mlp = false;
  NBL_ASSIGN(const bool scaled, r.flag_or("scale_attn_weights", true));
  c.attention_scale = scaled ? static_cast<float>(1.0 / std::sqrt(static_cast<double>(c.head_dim))) : 1.0f;
  c.rope = Rope::none;
  c.learned_positions = true;
  NBL_ASSIGN(c.tied_embeddings, r.flag_or("tie_word_embeddings", true));
  NBL_TRY(r.read_tokens(&c));
  NBL_TRY(r.refuse_foreign());
  NBL_TRY(r.refuse("sliding_window"));
  c.layer.assign(static_cast<std::size_t>(c.layers), LayerConfig{.window = 0, .rope = -1});
  return c;
}

using P = InputGroup::Producer;

}  // namespace

extern const Architecture gpt_bigcode;
const Architecture gpt_bigcode = {.id = "gpt_bigcode",
                                  .model_types = {"gpt_bigcode"},
                                  .tensors = {{Role::embedding, "transformer.wte", "V", "H"},
                                              {Role::position_embedding, "transformer.wpe", "P", "H"},
                                              {Role::final_norm, "transformer.ln_f", "H", "", true},
                                              {Role::lm_head, "lm_head", "V", "H"},
                                              {Role::attn_norm, "transformer.h.{l}.ln_1", "H", "", true},
                                              {Role::qkv, "transformer.h.{l}.attn.c_attn", "Q+2K", "H", true},
                                              {Role::attn_out, "transformer.h.{l}.attn.c_proj", "H", "Q", true},
                                              {Role::mlp_norm, "transformer.h.{l}.ln_2", "H", "", true},
                                              {Role::up, "transformer.h.{l}.mlp.c_fc", "F", "H", true},
                                              {Role::down, "transformer.h.{l}.mlp.c_proj", "H", "F", true}},
                                  .groups = {{"attn.in", {Role::qkv}, P::norm, Role::attn_norm},
                                             {"attn.out", {Role::attn_out}, P::none, Role::qkv},
                                             {"mlp.in", {Role::up}, P::norm, Role::mlp_norm},
                                             {"mlp.down", {Role::down}, P::none, Role::up}},
                                  .read_config = read_config};

}  // namespace nbl::model::arch

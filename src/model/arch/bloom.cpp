// Bloom: ALiBi, a norm behind the embeddings, a fused projection head by head, biases everywhere.
#include <fmt/format.h>

#include <cmath>

#include "model/arch/alibi.h"
#include "model/arch/llama_family.h"

namespace nbl::model::arch {
namespace {

constexpr uint32_t kPlainResidual = 1, kNormedResidual = 2;

Result<Config> read_config(const Json& config, std::string_view origin) {
  const ConfigReader r(config, origin);
  Config c;
  c.architecture = "bloom";
  NBL_ASSIGN(c.vocab, r.count("vocab_size", kMaxVocab));
  // The first releases write both names, and n_embed counts.
  NBL_ASSIGN(c.hidden, r.count_of({"n_embed", "hidden_size"}, kMaxDimension));
  NBL_ASSIGN(c.layers, r.count_of({"n_layer", "num_hidden_layers"}, kMaxLayers));
  NBL_ASSIGN(c.heads, r.count_of({"n_head", "num_attention_heads"}, kMaxDimension));
  NBL_ASSIGN(c.max_positions, r.count_or("seq_length", 2048, kMaxPositions));
  c.ffn = 4 * c.hidden;
  if (c.hidden % c.heads != 0)
    return r.error("n_head", std::to_string(c.heads), fmt::format("a divisor of hidden_size {}", c.hidden));
  c.head_dim = c.hidden / c.heads;
  c.kv_heads = c.heads;
  c.qkv_order = QkvOrder::groups;
  NBL_ASSIGN(const double eps, r.epsilon_or("layer_norm_epsilon", 1e-5));
  c.norm = Norm::layer;
  c.norm_eps = static_cast<float>(eps);
  c.activation = Activation::gelu_tanh;
  c.gated_mlp = false;
  c.attention_scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(c.head_dim)));
  NBL_ASSIGN(const bool normed, r.flag_or("apply_residual_connection_post_layernorm", false));
  if (normed) c.norm_place = NormPlace::residual_is_normed;
  c.variant = normed ? kNormedResidual : kPlainResidual;
  NBL_ASSIGN(c.tied_embeddings, r.flag_or("tie_word_embeddings", true));
  NBL_TRY(r.read_tokens(&c));
  NBL_TRY(r.refuse_foreign({"apply_residual_connection_post_layernorm"}));
  NBL_TRY(r.refuse_rope_scaling());
  NBL_TRY(r.expect_count("num_key_value_heads", c.heads));
  NBL_TRY(r.expect_count("n_inner", c.ffn));
  c.rope = Rope::none;
  c.slopes = alibi_slopes(c.heads);
  c.layer.assign(static_cast<std::size_t>(c.layers), LayerConfig{.rope = -1});
  return c;
}

TensorSpec down() {
  TensorSpec spec = linear(Role::down, "transformer.h.{l}.mlp.dense_4h_to_h", "H", "F", Bias::required);
  spec.input_divisor = "transformer.h.{l}.mlp.gelu_impl.scales";
  return spec;
}

using P = InputGroup::Producer;

}  // namespace

extern const Architecture bloom;
const Architecture bloom = {
    .id = "bloom",
    .model_types = {"bloom"},
    .tensors = {linear(Role::embedding, "transformer.word_embeddings", "V", "H"),
                norm(Role::embedding_norm, "transformer.word_embeddings_layernorm", "H", Bias::required),
                norm(Role::final_norm, "transformer.ln_f", "H", Bias::required),
                linear(Role::lm_head, "lm_head", "V", "H"),
                norm(Role::attn_norm, "transformer.h.{l}.input_layernorm", "H", Bias::required),
                linear(Role::qkv, "transformer.h.{l}.self_attention.query_key_value", "Q+2K", "H", Bias::required),
                linear(Role::attn_out, "transformer.h.{l}.self_attention.dense", "H", "Q", Bias::required),
                norm(Role::mlp_norm, "transformer.h.{l}.post_attention_layernorm", "H", Bias::required),
                linear(Role::up, "transformer.h.{l}.mlp.dense_h_to_4h", "F", "H", Bias::required), down()},
    // Where the normed stream is the residual one too, its norm cannot take scales.
    .groups = {when(kPlainResidual, {"attn.in", {Role::qkv}, P::norm, Role::attn_norm}),
               when(kNormedResidual, {"attn.in", {Role::qkv}, P::none, Role::attn_norm}),
               {"attn.out", {Role::attn_out}, P::linear, Role::qkv},
               when(kPlainResidual, {"mlp.in", {Role::up}, P::norm, Role::mlp_norm}),
               when(kNormedResidual, {"mlp.in", {Role::up}, P::none, Role::mlp_norm}),
               {"mlp.down", {Role::down}, P::none, Role::up}},
    .read_config = read_config};

}  // namespace nbl::model::arch

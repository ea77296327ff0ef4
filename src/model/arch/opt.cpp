// OPT: learned positions from the third row on; norms before each block or, in one size, after it; that size also has
// embeddings narrower than the model.
#include <fmt/format.h>

#include <cmath>

#include "model/arch/llama_family.h"

namespace nbl::model::arch {
namespace {

constexpr uint32_t kProjections = 1, kFinalNorm = 2, kBias = 4, kNormsBefore = 8, kNormsAfter = 16,
                   kAffine = 32, kPlain = 64;

Result<Config> read_config(const Json& config, std::string_view origin) {
  const ConfigReader r(config, origin);
  Config c;
  c.architecture = "opt";
  NBL_ASSIGN(c.vocab, r.count("vocab_size", kMaxVocab));
  NBL_ASSIGN(c.hidden, r.count("hidden_size", kMaxDimension));
  NBL_ASSIGN(c.layers, r.count("num_hidden_layers", kMaxLayers));
  NBL_ASSIGN(c.heads, r.count("num_attention_heads", kMaxDimension));
  NBL_ASSIGN(c.max_positions, r.count_or("max_position_embeddings", 2048, kMaxDimension));
  NBL_ASSIGN(c.ffn, r.count("ffn_dim", kMaxDimension));
  NBL_ASSIGN(c.embedding_dim, r.count_or("word_embed_proj_dim", c.hidden, kMaxDimension));
  if (c.hidden % c.heads != 0)
    return r.error("num_attention_heads", std::to_string(c.heads),
                   fmt::format("a divisor of hidden_size {}", c.hidden));
  c.head_dim = c.hidden / c.heads;
  c.kv_heads = c.heads;
  c.norm = Norm::layer;
  c.norm_eps = 1e-5f;
  NBL_ASSIGN(c.activation, r.activation({"activation_function"}, "relu"));
  c.gated_mlp = false;
  c.attention_scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(c.head_dim)));
  c.rope = Rope::none;
  c.learned_positions = true;
  c.position_offset = 2;
  NBL_ASSIGN(const bool before, r.flag_or("do_layer_norm_before", true));
  NBL_ASSIGN(const bool no_final, r.flag_or("_remove_final_layer_norm", false));
  NBL_ASSIGN(const bool bias, r.flag_or("enable_bias", true));
  NBL_ASSIGN(const bool affine, r.flag_or("layer_norm_elementwise_affine", true));
  if (!before) c.norm_place = NormPlace::after_residual;
  c.variant = (c.embedding_dim != c.hidden ? kProjections : 0) | (before && !no_final ? kFinalNorm : 0) |
              (bias ? kBias : 0) | (before ? kNormsBefore : kNormsAfter) | (affine ? kAffine : kPlain);
  NBL_ASSIGN(c.tied_embeddings, r.flag_or("tie_word_embeddings", true));
  NBL_TRY(r.read_tokens(&c));
  NBL_TRY(r.refuse_foreign());
  NBL_TRY(r.refuse_rope_scaling());
  NBL_TRY(r.expect_count("num_key_value_heads", c.heads));
  NBL_TRY(r.expect_flag("learned_embeddings", true));
  c.layer.assign(static_cast<std::size_t>(c.layers), LayerConfig{.rope = -1});
  return c;
}

using P = InputGroup::Producer;

}  // namespace

// up is followed by relu in all releases; through it a positive scale passes, but not through another activation, so the
// description does not fold there.
extern const Architecture opt;
const Architecture opt = {
    .id = "opt",
    .model_types = {"opt"},
    .tensors = {linear(Role::embedding, "model.decoder.embed_tokens", "V", "E"),
                linear(Role::position_embedding, "model.decoder.embed_positions", "P", "H"),
                when(kProjections, linear(Role::project_in, "model.decoder.project_in", "H", "E")),
                when(kProjections, linear(Role::project_out, "model.decoder.project_out", "E", "H")),
                when(kFinalNorm | kAffine, norm(Role::final_norm, "model.decoder.final_layer_norm", "H", Bias::required)),
                when(kFinalNorm | kPlain, norm(Role::final_norm, {}, "H")),
                linear(Role::lm_head, "lm_head", "V", "E"),
                when(kAffine, norm(Role::attn_norm, "model.decoder.layers.{l}.self_attn_layer_norm", "H", Bias::required)),
                when(kPlain, norm(Role::attn_norm, {}, "H")),
                linear_if(Role::q, "model.decoder.layers.{l}.self_attn.q_proj", "Q", "H", kBias),
                linear_if(Role::k, "model.decoder.layers.{l}.self_attn.k_proj", "K", "H", kBias),
                linear_if(Role::v, "model.decoder.layers.{l}.self_attn.v_proj", "K", "H", kBias),
                linear_if(Role::attn_out, "model.decoder.layers.{l}.self_attn.out_proj", "H", "Q", kBias),
                when(kAffine, norm(Role::mlp_norm, "model.decoder.layers.{l}.final_layer_norm", "H", Bias::required)),
                when(kPlain, norm(Role::mlp_norm, {}, "H")),
                linear_if(Role::up, "model.decoder.layers.{l}.fc1", "F", "H", kBias),
                linear_if(Role::down, "model.decoder.layers.{l}.fc2", "H", "F", kBias)},
    .groups = {when(kNormsBefore, {"attn.in", {Role::q, Role::k, Role::v}, P::norm, Role::attn_norm}),
               when(kNormsAfter, {"attn.in", {Role::q, Role::k, Role::v}, P::none, Role::attn_norm}),
               {"attn.out", {Role::attn_out}, P::linear, Role::v},
               when(kNormsBefore, {"mlp.in", {Role::up}, P::norm, Role::mlp_norm}),
               when(kNormsAfter, {"mlp.in", {Role::up}, P::none, Role::mlp_norm}),
               {"mlp.down", {Role::down}, P::linear, Role::up}},
    .read_config = read_config};

}  // namespace nbl::model::arch

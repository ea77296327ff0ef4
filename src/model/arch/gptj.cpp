// GPT-J: one LayerNorm feeds attention and MLP, adjacent pairs of the first components turn.
#include <fmt/format.h>

#include <cmath>

#include "model/arch/gpt2_family.h"

namespace nbl::model::arch {
namespace {

Result<Config> read_config(const Json& config, std::string_view origin) {
  const ConfigReader reader(config, origin);
  NBL_ASSIGN(Config c, read_gpt2_config(reader, "gptj", "gelu_new", {"rotary_dim", "rope_interleave"}));
  NBL_TRY(reader.expect_count("num_key_value_heads", c.kv_heads));
  NBL_TRY(reader.expect_flag("rotary", true));
  NBL_TRY(reader.expect_flag("rope_interleave", true));
  NBL_TRY(reader.expect_flag("scale_attn_weights", true));
  c.attention_scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(c.head_dim)));
  NBL_ASSIGN(c.tied_embeddings, reader.flag_or("tie_word_embeddings", false));
  c.learned_positions = false;
  c.parallel_residual = true;
  c.rope = Rope::adjacent;
  NBL_ASSIGN(c.rotary_dim, reader.count_or("rotary_dim", 64, c.head_dim));
  if (c.rotary_dim % 2 != 0) return reader.error("rotary_dim", std::to_string(c.rotary_dim), "an even number");
  NBL_ASSIGN(RopeTable table, make_rope_table({}, config, origin, c.rotary_dim, c.max_positions));
  c.ropes.push_back(std::move(table));
  for (LayerConfig& layer : c.layer) layer.rope = 0;
  return c;
}

TensorSpec down() {
  TensorSpec spec = linear(Role::down, "transformer.h.{l}.mlp.fc_out", "H", "F", Bias::required);
  spec.input_divisor = "transformer.h.{l}.mlp.act.scales";
  return spec;
}

using P = InputGroup::Producer;

}  // namespace

extern const Architecture gptj;
const Architecture gptj = {.id = "gptj",
                           .model_types = {"gptj"},
                           .tensors = {linear(Role::embedding, "transformer.wte", "V", "H"),
                                       norm(Role::final_norm, "transformer.ln_f", "H", Bias::required),
                                       linear(Role::lm_head, "lm_head", "V", "H", Bias::required),
                                       norm(Role::attn_norm, "transformer.h.{l}.ln_1", "H", Bias::required),
                                       linear(Role::q, "transformer.h.{l}.attn.q_proj", "Q", "H"),
                                       linear(Role::k, "transformer.h.{l}.attn.k_proj", "K", "H"),
                                       linear(Role::v, "transformer.h.{l}.attn.v_proj", "K", "H"),
                                       linear(Role::attn_out, "transformer.h.{l}.attn.out_proj", "H", "Q"),
                                       linear(Role::up, "transformer.h.{l}.mlp.fc_in", "F", "H", Bias::required),
                                       down()},
                           .groups = {{"attn.in", {Role::q, Role::k, Role::v, Role::up}, P::norm, Role::attn_norm},
                                      {"attn.out", {Role::attn_out}, P::linear, Role::v},
                                      {"mlp.down", {Role::down}, P::none, Role::up}},
                           .read_config = read_config};

}  // namespace nbl::model::arch

#include "model/arch/gemma_family.h"

#include <cmath>

namespace nbl::model::arch {

Result<Config> read_gemma_config(const ConfigReader& r, std::string_view id,
                                 std::initializer_list<std::string_view> known, const GemmaSizes& silent) {
  NBL_ASSIGN(Config c, read_dimensions(r, id,
                                       {.tied = true,
                                        .activation = "gelu_pytorch_tanh",
                                        .head_dim = 256,
                                        .max_positions = silent.max_positions,
                                        .vocab = silent.vocab,
                                        .heads = silent.heads,
                                        .kv_heads = silent.kv_heads}));
  NBL_TRY(r.refuse_foreign(known, {"partial_rotary_factor"}));
  // The first releases say hidden_act "gelu" and mean the tanh form; hidden_activation says what it means.
  if (r.json().find_value("hidden_activation") != nullptr) {
    NBL_ASSIGN(c.activation, r.activation({"hidden_activation"}, "gelu_pytorch_tanh"));
  } else if (c.activation == Activation::gelu_erf) {
    c.activation = Activation::gelu_tanh;
  }
  c.norm_offset = 1;
  c.embedding_scale = std::sqrt(static_cast<float>(c.hidden));
  return c;
}

Status read_gemma_caps(const ConfigReader& r, double score_cap, double logit_cap, Config* c) {
  NBL_ASSIGN(const double scores, r.cap("attn_logit_softcapping", score_cap));
  NBL_ASSIGN(const double logits, r.cap("final_logit_softcapping", logit_cap));
  c->score_cap = static_cast<float>(scores);
  c->logit_cap = static_cast<float>(logits);
  NBL_ASSIGN(const double scalar, r.positive_or("query_pre_attn_scalar", 256));
  c->attention_scale = static_cast<float>(1.0 / std::sqrt(scalar));
  return {};
}

std::vector<TensorSpec> gemma2_tensors() {
  std::vector<TensorSpec> tensors = llama_tensors(Bias::optional, Bias::optional);
  for (TensorSpec& spec : tensors)
    if (spec.role == Role::mlp_norm) spec.pattern = "model.layers.{l}.pre_feedforward_layernorm";
  return with(std::move(tensors), {norm(Role::attn_post_norm, "model.layers.{l}.post_attention_layernorm"),
                                   norm(Role::mlp_post_norm, "model.layers.{l}.post_feedforward_layernorm")});
}

}  // namespace nbl::model::arch

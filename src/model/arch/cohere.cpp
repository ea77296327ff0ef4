// Cohere's Command R: one LayerNorm without bias feeds attention and MLP, adjacent pairs turn, logits are scaled.
#include "model/arch/llama_family.h"

namespace nbl::model::arch {
namespace {

constexpr uint32_t kQkNorm = 1;

Result<Config> read_config(const Json& config, std::string_view origin) {
  const ConfigReader reader(config, origin);
  NBL_ASSIGN(Config c, read_llama_config(reader, "cohere",
                                         {.tied = true,
                                          .rope = {.theta = 500000},
                                          .norm_eps = 1e-5,
                                          .norm_eps_key = "layer_norm_eps",
                                          .norm = Norm::layer,
                                          .max_positions = 8192},
                                         {"use_qk_norm", "logit_scale", "rope_interleave"}));
  NBL_TRY(reader.expect_flag("rope_interleave", true));
  c.parallel_residual = true;
  c.rope = Rope::adjacent;
  NBL_ASSIGN(const double scale, reader.positive_or("logit_scale", 0.0625));
  c.logit_scale = static_cast<float>(scale);
  NBL_ASSIGN(const bool qk_norm, reader.flag_or("use_qk_norm", false));
  if (qk_norm) {
    c.qk_norm = QkNorm::per_head;
    c.variant |= kQkNorm;
  }
  return c;
}

TensorSpec head_norm(Role role, std::string_view pattern, std::string_view n) {
  TensorSpec spec = when(kQkNorm, norm(role, pattern, n));
  spec.per_head = true;
  return spec;
}

std::vector<TensorSpec> tensors() {
  std::vector<TensorSpec> all;
  for (const TensorSpec& spec : llama_tensors(Bias::optional, Bias::optional))
    if (spec.role != Role::mlp_norm) all.push_back(spec);
  return with(std::move(all), {head_norm(Role::q_norm, "model.layers.{l}.self_attn.q_norm", "Q"),
                               head_norm(Role::k_norm, "model.layers.{l}.self_attn.k_norm", "K")});
}

using P = InputGroup::Producer;

}  // namespace

extern const Architecture cohere;
const Architecture cohere = {
    .id = "cohere",
    .model_types = {"cohere"},
    .tensors = tensors(),
    .groups = {{"attn.in", {Role::q, Role::k, Role::v, Role::gate, Role::up}, P::norm, Role::attn_norm},
               {"attn.out", {Role::attn_out}, P::linear, Role::v},
               {"mlp.down", {Role::down}, P::linear, Role::up}},
    .read_config = read_config};

}  // namespace nbl::model::arch

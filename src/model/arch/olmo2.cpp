// OLMo 2: norms behind each block and none before, queries and keys normed over all heads of a token.
#include "model/arch/llama_family.h"

namespace nbl::model::arch {
namespace {

Result<Config> read_config(const Json& config, std::string_view origin) {
  const ConfigReader reader(config, origin);
  NBL_ASSIGN(Config c, read_llama_config(reader, "olmo2", {.norm_eps = 1e-5}));
  c.qk_norm = QkNorm::whole;
  return c;
}

std::vector<TensorSpec> tensors() {
  std::vector<TensorSpec> all;
  for (const TensorSpec& spec : llama_tensors(Bias::optional, Bias::optional))
    if (spec.role != Role::attn_norm && spec.role != Role::mlp_norm) all.push_back(spec);
  return with(std::move(all), {norm(Role::q_norm, "model.layers.{l}.self_attn.q_norm", "Q"),
                               norm(Role::k_norm, "model.layers.{l}.self_attn.k_norm", "K"),
                               norm(Role::attn_post_norm, "model.layers.{l}.post_attention_layernorm"),
                               norm(Role::mlp_post_norm, "model.layers.{l}.post_feedforward_layernorm")});
}

using P = InputGroup::Producer;

}  // namespace

extern const Architecture olmo2;
const Architecture olmo2 = {.id = "olmo2",
                            .model_types = {"olmo2"},
                            .tensors = tensors(),
                            .groups = {{"attn.in", {Role::q, Role::k, Role::v}, P::none, Role::attn_out},
                                       {"attn.out", {Role::attn_out}, P::linear, Role::v},
                                       {"mlp.in", {Role::gate, Role::up}, P::none, Role::attn_out},
                                       {"mlp.down", {Role::down}, P::linear, Role::up}},
                            .read_config = read_config};

}  // namespace nbl::model::arch

// Mixtral: Mistral with a mixture of experts in every layer.
#include "model/arch/mixture.h"

namespace nbl::model::arch {
namespace {

Result<Config> read_config(const Json& config, std::string_view origin) {
  const ConfigReader reader(config, origin);
  NBL_ASSIGN(Config c, read_llama_config(reader, "mixtral",
                                         {.rope = {.theta = 1e6}, .norm_eps = 1e-5, .max_positions = 131072, .windows = true},
                                         {"num_local_experts"}));
  NBL_ASSIGN(c.experts.count, reader.count("num_local_experts", 65536));
  NBL_ASSIGN(c.experts.per_token, reader.count_or("num_experts_per_tok", 2, 65536));
  c.experts.ffn = c.ffn;
  NBL_TRY(reader.expect_flag("norm_topk_prob", true));
  c.experts.normalize = true;
  NBL_TRY(check_experts(reader, c, "num_local_experts"));
  for (LayerConfig& layer : c.layer) layer.experts = true;
  NBL_ASSIGN(const int64_t window, reader.count_or("sliding_window", 0, kMaxPositions));
  NBL_TRY(apply_windows(reader, &c, window, every_layer));
  return c;
}

std::vector<TensorSpec> tensors() {
  std::vector<TensorSpec> all;
  for (const TensorSpec& spec : llama_tensors(Bias::none, Bias::none))
    if (spec.role != Role::gate && spec.role != Role::up && spec.role != Role::down) all.push_back(spec);
  return with(std::move(all), expert_tensors("model.layers.{l}.block_sparse_moe.gate",
                                             "model.layers.{l}.block_sparse_moe.experts.{e}.w1",
                                             "model.layers.{l}.block_sparse_moe.experts.{e}.w3",
                                             "model.layers.{l}.block_sparse_moe.experts.{e}.w2"));
}

using P = InputGroup::Producer;

}  // namespace

extern const Architecture mixtral;
const Architecture mixtral = {.id = "mixtral",
                              .model_types = {"mixtral"},
                              .tensors = tensors(),
                              .groups = with({{"attn.in", {Role::q, Role::k, Role::v}, P::norm, Role::attn_norm},
                                              {"attn.out", {Role::attn_out}, P::linear, Role::v}},
                                             expert_groups()),
                              .read_config = read_config};

}  // namespace nbl::model::arch

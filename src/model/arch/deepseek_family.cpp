#include "model/arch/deepseek_family.h"

#include <cmath>

namespace nbl::model::arch {
namespace {

constexpr uint32_t kDirectQueries = 1, kLatentQueries = 2, kAttentionBias = 4;

}  // namespace

Result<Config> read_deepseek_config(const ConfigReader& r, std::string_view id,
                                    std::initializer_list<std::string_view> known, const DeepseekDefaults& silent) {
  NBL_ASSIGN(Config c, read_dimensions(r, id, {.head_dim = 64, .max_positions = 4096}));
  NBL_TRY(r.refuse_foreign(known, {"n_routed_experts", "n_shared_experts", "kv_lora_rank", "q_lora_rank", "v_head_dim",
                                   "first_k_dense_replace", "moe_layer_freq", "routed_scaling_factor", "n_group", "topk_group",
                                   "scoring_func", "topk_method", "rope_interleave", "partial_rotary_factor"}));
  if (c.kv_heads != c.heads)
    return r.error("num_key_value_heads", std::to_string(c.kv_heads), "as many as heads, in latent attention");
  LatentConfig& latent = c.latent;
  NBL_ASSIGN(latent.kv_rank, r.count("kv_lora_rank", kMaxDimension));
  if (r.json().find_value("q_lora_rank") != nullptr) {
    NBL_ASSIGN(latent.q_rank, r.count("q_lora_rank", kMaxDimension));
  }
  NBL_ASSIGN(latent.nope_dim, r.count("qk_nope_head_dim", 1 << 16));
  NBL_ASSIGN(latent.rope_dim, r.count("qk_rope_head_dim", 1 << 16));
  NBL_ASSIGN(c.value_dim, r.count("v_head_dim", 1 << 16));
  NBL_ASSIGN(const bool bias, r.flag_or("attention_bias", false));
  c.variant = (latent.q_rank > 0 ? kLatentQueries : kDirectQueries) | (bias ? kAttentionBias : 0);

  // Rope turns a part of each head only, and its frequencies are counted over that part.
  c.head_dim = latent.rope_dim;
  NBL_TRY(read_rope(r, {}, &c));
  c.head_dim = latent.nope_dim + latent.rope_dim;
  c.rope = Rope::adjacent;
  double scale = 1.0 / std::sqrt(static_cast<double>(c.head_dim));
  NBL_ASSIGN(const RopeSettings rope, read_rope_settings(r.json(), r.origin(), {}));
  if (rope.scaling != nullptr && rope.type != "default") {
    auto all_dim = rope.scaling->double_or("mscale_all_dim", 0.0);
    auto factor = rope.scaling->double_or("factor", 1.0);
    if (!all_dim.ok()) return all_dim.status().with_context(std::string(r.origin()));
    if (!factor.ok()) return factor.status().with_context(std::string(r.origin()));
    if (*all_dim != 0) scale *= std::pow(yarn_mscale(*factor, *all_dim), 2);
  }
  c.attention_scale = static_cast<float>(scale);

  NBL_ASSIGN(c.experts.count, r.count("n_routed_experts", 65536));
  NBL_ASSIGN(c.experts.per_token, r.count("num_experts_per_tok", 65536));
  NBL_ASSIGN(c.experts.ffn, r.count("moe_intermediate_size", kMaxDimension));
  NBL_ASSIGN(const int64_t shared, r.count_or("n_shared_experts", silent.shared_experts, 1024));
  c.experts.shared_ffn = shared * c.experts.ffn;
  NBL_ASSIGN(const double factor, r.positive_or("routed_scaling_factor", silent.routed_scaling));
  c.experts.scale = static_cast<float>(factor);
  const Json* dense = r.json().find_value("first_k_dense_replace");
  const int64_t first = dense == nullptr ? silent.dense_layers : dense->as_int(-1);
  if (first < 0) return r.error("first_k_dense_replace", "no number of layers", "0 or more");
  NBL_ASSIGN(const int64_t frequency, r.count_or("moe_layer_freq", 1, kMaxLayers));
  if (frequency != 1) return r.refuse("moe_layer_freq", 1.0);
  for (std::size_t i = 0; i < c.layer.size(); ++i) c.layer[i].experts = static_cast<int64_t>(i) >= first;
  return c;
}

std::vector<TensorSpec> deepseek_tensors() {
  const auto biased = [](Role role, std::string_view pattern, std::string_view rows, std::string_view cols) {
    return linear_if(role, pattern, rows, cols, kAttentionBias);
  };
  std::vector<TensorSpec> attention = {
      when(kDirectQueries, linear(Role::q, "model.layers.{l}.self_attn.q_proj", "Q", "H")),
      when(kLatentQueries, biased(Role::q_latent, "model.layers.{l}.self_attn.q_a_proj", "A", "H")),
      when(kLatentQueries, norm(Role::q_latent_norm, "model.layers.{l}.self_attn.q_a_layernorm", "A")),
      when(kLatentQueries, linear(Role::q, "model.layers.{l}.self_attn.q_b_proj", "Q", "A")),
      biased(Role::kv_latent, "model.layers.{l}.self_attn.kv_a_proj_with_mqa", "C+R", "H"),
      norm(Role::kv_latent_norm, "model.layers.{l}.self_attn.kv_a_layernorm", "C"),
      linear(Role::kv_up, "model.layers.{l}.self_attn.kv_b_proj", "U", "C"),
      biased(Role::attn_out, "model.layers.{l}.self_attn.o_proj", "H", "O")};
  std::vector<TensorSpec> all;
  for (const TensorSpec& spec : llama_tensors(Bias::none, Bias::none))
    if (spec.role != Role::q && spec.role != Role::k && spec.role != Role::v && spec.role != Role::attn_out)
      all.push_back(spec);
  all = with(with(std::move(all), std::move(attention)),
             expert_tensors("model.layers.{l}.mlp.gate", "model.layers.{l}.mlp.experts.{e}.gate_proj",
                            "model.layers.{l}.mlp.experts.{e}.up_proj", "model.layers.{l}.mlp.experts.{e}.down_proj"));
  return with(std::move(all),
              {linear(Role::shared_gate, "model.layers.{l}.mlp.shared_experts.gate_proj", "S", "H"),
               linear(Role::shared_up, "model.layers.{l}.mlp.shared_experts.up_proj", "S", "H"),
               linear(Role::shared_down, "model.layers.{l}.mlp.shared_experts.down_proj", "H", "S")});
}

std::vector<InputGroup> deepseek_groups() {
  using P = InputGroup::Producer;
  return with({when(kDirectQueries, {"attn.in", {Role::q, Role::kv_latent}, P::norm, Role::attn_norm}),
               when(kLatentQueries, {"attn.in", {Role::q_latent, Role::kv_latent}, P::norm, Role::attn_norm}),
               when(kLatentQueries, {"attn.q_up", {Role::q}, P::norm, Role::q_latent_norm}),
               {"attn.kv_up", {Role::kv_up}, P::norm, Role::kv_latent_norm},
               {"attn.out", {Role::attn_out}, P::none, Role::kv_up},
               {"mlp.in", {Role::gate, Role::up}, P::norm, Role::mlp_norm},
               {"mlp.down", {Role::down}, P::linear, Role::up}},
              expert_groups());
}

}  // namespace nbl::model::arch

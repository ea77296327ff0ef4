// Architecture descriptions: data that says how a family of models is configured, named and wired. One file in arch/,
// one line in arch.inc.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/status.h"
#include "model/model.h"

namespace nbl::model {

/// What a tensor is to the forward pass. The roles that a description lists are the blocks its layers are made of:
/// fused or separate projections, gated or plain MLP, norms before or after.
enum class Role : uint8_t {
  embedding,
  embedding_norm,
  position_embedding,
  project_in,   // embedding width to hidden width
  project_out,  // and back
  final_norm,
  lm_head,  // once
  attn_norm,
  q,
  k,
  v,
  qkv,
  q_norm,
  k_norm,
  q_latent,  // latent attention: down, norm, up, for queries and for key-values
  q_latent_norm,
  kv_latent,
  kv_latent_norm,
  kv_up,
  attn_out,
  attn_post_norm,
  mlp_norm,
  gate,
  up,
  gate_up,
  down,
  mlp_post_norm,
  router,
  router_bias,  // added to the scores that choose, not to the weights
  expert_gate,
  expert_up,
  expert_down,
  shared_gate,
  shared_up,
  shared_down,
  shared_router,  // per layer; one row that weighs the shared MLP
};
inline constexpr std::size_t kRoles = static_cast<std::size_t>(Role::shared_router) + 1;
constexpr bool is_layer_role(Role role) { return role >= Role::attn_norm; }
/// One tensor for each expert.
constexpr bool is_expert_role(Role role) { return role >= Role::expert_gate && role <= Role::expert_down; }
constexpr std::size_t role_index(Role role) { return static_cast<std::size_t>(role); }

/// A parameter of a layer: its role and, where each expert has one, which expert's.
struct Part {
  Role role = Role::attn_norm;
  int32_t expert = -1;
  constexpr Part() = default;
  constexpr Part(Role r, int32_t e = -1) : role(r), expert(e) {}  // a role is a part where there are no experts
  auto operator<=>(const Part&) const = default;
};

/// One parameter. `pattern` holds "{l}" for the layer index, "{e}" for the expert's, and no ".weight"; an empty one says
/// that the weights are ones and nothing is stored. Shape in symbols: V vocab, H hidden, E embedding width, F ffn, Q
/// heads * head_dim, K kv_heads * head_dim, O heads * value_dim, P positions (with their offset), D head_dim, X experts,
/// M an expert's ffn, S the shared MLP's, A and C ranks of latent queries and key-values, R rotated part of a latent key, U heads * (its other
/// part + value_dim), 1 one; "Q+2K" sums.
struct TensorSpec {
  Role role;
  std::string_view pattern;
  std::string_view rows;
  std::string_view cols;  ///< empty for vectors
  bool has_bias = false;
  bool bias_optional = false;  ///< used when present
  /// Bits of Config::variant that must all be set; a model whose config sets others has no such tensor.
  uint32_t when = 0;
  uint32_t bias_when = 0;  ///< likewise for the bias
  /// A vector by which the input is divided when the checkpoint has it: AWQ's scaled activations. No suffix is appended.
  std::string_view input_divisor = {};
  /// A vector made of one stored tensor for each head, "{h}" in the pattern; or one stored as [heads, head_dim].
  bool per_head = false;
  bool no_suffix = false;  ///< the pattern is the whole name
};

/// Linears that read one input; the unit of calibration, and of scale folding. Linears that a layer does not have are
/// passed over.
struct InputGroup {
  std::string_view name;  ///< "attn.in", "attn.out", "mlp.in", "mlp.down"
  std::vector<Part> linears;
  /// What produces the input, for folding: a norm (divide weight and bias by s), a linear whose last rows produce it
  /// one to one (values before the output projection, up before down), or nothing foldable (an activation follows).
  enum class Producer : uint8_t { none, norm, linear } producer = Producer::none;
  Part producer_role = Role::attn_norm;
  uint32_t when = 0;  ///< as TensorSpec's
};

struct Architecture {
  std::string_view id;
  std::vector<std::string_view> model_types;  ///< config.json's model_type
  std::vector<TensorSpec> tensors;
  std::vector<InputGroup> groups;
  /// Reads config.json. Refuses what would change the maths and is not implemented, naming the key.
  Result<Config> (*read_config)(const Json& config, std::string_view origin);

  /// The parameter of that role, or null. With a config: the one that a model of this config has.
  const TensorSpec* find(Role role) const noexcept;
  const TensorSpec* find(Role role, const Config& config) const noexcept;
};

/// Whether layer `layer` of a model of this config has the parameter (any layer for those outside layers).
bool has_tensor(const TensorSpec& spec, const Config& config, int64_t layer) noexcept;
/// The description's groups as they are in this layer: without what it does not have, those of experts once an expert.
std::vector<InputGroup> layer_groups(const Architecture& arch, const Config& config, int64_t layer);

std::span<const Architecture* const> architectures();
/// By config.json's model_type; the message of an unknown one names the nearest known.
Result<const Architecture*> find_architecture(const Json& config, std::string_view origin);

/// The Hugging Face name of a parameter: pattern with the layer and the expert put in, and "." and the suffix ("weight",
/// "bias") appended.
std::string tensor_name(const TensorSpec& spec, int64_t layer, std::string_view suffix, int32_t expert = -1);
/// rows or cols of a TensorSpec as a number.
Result<int64_t> dimension(std::string_view symbols, const Config& config);

}  // namespace nbl::model

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
/// fused or separate projections, gated or plain MLP.
enum class Role : uint8_t {
  embedding,
  position_embedding,
  final_norm,
  lm_head,  // once
  attn_norm,
  q,
  k,
  v,
  qkv,
  attn_out,
  mlp_norm,
  gate,
  up,
  gate_up,
  down,  // per layer
};
inline constexpr std::size_t kRoles = static_cast<std::size_t>(Role::down) + 1;
constexpr bool is_layer_role(Role role) { return role >= Role::attn_norm; }
constexpr std::size_t role_index(Role role) { return static_cast<std::size_t>(role); }

/// One parameter. `pattern` holds "{l}" for the layer index and no ".weight"; shape in symbols: V vocab, H hidden, F
/// ffn, Q heads * head_dim, K kv_heads * head_dim, P positions; "Q+2K" sums.
struct TensorSpec {
  Role role;
  std::string_view pattern;
  std::string_view rows;
  std::string_view cols;  ///< empty for vectors
  bool has_bias = false;
  bool bias_optional = false;  ///< used when present
  bool transposed = false;     ///< stored [in, out] (GPT-2's Conv1D)
};

/// Linears that read one input; the unit of calibration, and of scale folding.
struct InputGroup {
  std::string_view name;  ///< "attn.in", "attn.out", "mlp.in", "mlp.down"
  std::vector<Role> linears;
  /// What produces the input, for folding: a norm (divide weight and bias by s), a linear whose last rows produce it
  /// one to one (values before the output projection, up before down), or nothing foldable (an activation follows).
  enum class Producer : uint8_t { none, norm, linear } producer = Producer::none;
  Role producer_role = Role::attn_norm;
};

struct Architecture {
  std::string_view id;
  std::vector<std::string_view> model_types;  ///< config.json's model_type
  std::vector<TensorSpec> tensors;
  std::vector<InputGroup> groups;
  /// Reads config.json. Refuses what would change the maths and is not implemented, naming the key.
  Result<Config> (*read_config)(const Json& config, std::string_view origin);

  /// The parameter of that role, or null.
  const TensorSpec* find(Role role) const noexcept;
};

std::span<const Architecture* const> architectures();
/// By config.json's model_type; the message of an unknown one names the nearest known.
Result<const Architecture*> find_architecture(const Json& config, std::string_view origin);

/// The Hugging Face name of a parameter: pattern with the layer put in, and "." and the suffix ("weight", "bias")
/// appended.
std::string tensor_name(const TensorSpec& spec, int64_t layer, std::string_view suffix);
/// rows or cols of a TensorSpec as a number.
Result<int64_t> dimension(std::string_view symbols, const Config& config);

}  // namespace nbl::model

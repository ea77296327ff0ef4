#include "model/config_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <cfloat>
#include <cmath>

namespace nbl::model {
namespace {

/// A JSON value short enough for a message.
std::string shown(const Json& value) {
  std::string text = value.dump();
  if (text.size() > 80) text = text.substr(0, 77) + "...";
  return text;
}

}  // namespace

Status ConfigReader::error(std::string_view key, std::string_view found, std::string_view expected) const {
  return Status(Code::corrupt, fmt::format("{}: config.json's {} is {}; expected {}", origin_, key, found, expected));
}

Result<int64_t> ConfigReader::count(std::string_view key, int64_t max) const {
  const Json* value = config_.find_value(key);
  if (value == nullptr) return error(key, "missing", fmt::format("an integer from 1 to {}", max));
  if (!value->is_int() || value->as_int() < 1 || value->as_int() > max)
    return error(key, shown(*value), fmt::format("an integer from 1 to {}", max));
  return value->as_int();
}

Result<int64_t> ConfigReader::count_or(std::string_view key, int64_t fallback, int64_t max) const {
  if (config_.find_value(key) == nullptr) return fallback;
  return count(key, max);
}

Result<bool> ConfigReader::flag_or(std::string_view key, bool fallback) const {
  const Json* value = config_.find_value(key);
  if (value == nullptr) return fallback;
  if (!value->is_bool()) return error(key, shown(*value), "true or false");
  return value->as_bool();
}

Result<double> ConfigReader::number_or(std::string_view key, double fallback) const {
  const Json* value = config_.find_value(key);
  if (value == nullptr) return fallback;
  if (!value->is_number()) return error(key, shown(*value), "a number");
  if (!(std::abs(value->as_double()) <= FLT_MAX)) return error(key, shown(*value), "a number that float32 can hold");
  return value->as_double();
}

Result<double> ConfigReader::epsilon_or(std::string_view key, double fallback) const {
  NBL_ASSIGN(const double value, number_or(key, fallback));
  if (!(value >= 0 && value < 1)) return error(key, fmt::format("{}", value), "a number from 0 to below 1");
  return value;
}

Result<int64_t> ConfigReader::count_of(std::initializer_list<std::string_view> keys, int64_t max) const {
  for (std::string_view key : keys)
    if (config_.find_value(key) != nullptr) return count(key, max);
  return count(*keys.begin(), max);
}

Result<double> ConfigReader::positive_or(std::string_view key, double fallback) const {
  NBL_ASSIGN(const double value, number_or(key, fallback));
  if (!(value > 0) || !std::isfinite(value)) return error(key, fmt::format("{}", value), "a positive number");
  return value;
}

Result<double> ConfigReader::cap(std::string_view key, double fallback) const {
  const Json* value = config_.find(key);
  if (value == nullptr) return fallback;
  if (value->is_null()) return 0.0;
  return positive_or(key, fallback);
}

Result<std::string_view> ConfigReader::text_or(std::string_view key, std::string_view fallback) const {
  const Json* value = config_.find_value(key);
  if (value == nullptr) return fallback;
  if (!value->is_string()) return error(key, shown(*value), "a string");
  return value->as_string();
}

Result<Activation> ConfigReader::activation(std::initializer_list<std::string_view> keys,
                                            std::string_view fallback) const {
  std::string_view key = *keys.begin(), name = fallback;
  for (std::string_view k : keys) {
    const Json* value = config_.find_value(k);
    if (value == nullptr) continue;
    if (!value->is_string()) return error(k, shown(*value), "the name of an activation");
    key = k;
    name = value->as_string();
    break;
  }
  struct Known {
    std::string_view name;
    Activation activation;
  };
  // The names of transformers' ACT2FN.
  static constexpr Known kKnown[] = {
      {"silu", Activation::silu},
      {"swish", Activation::silu},
      {"gelu", Activation::gelu_erf},
      {"gelu_python", Activation::gelu_erf},
      {"gelu_new", Activation::gelu_tanh},
      {"gelu_pytorch_tanh", Activation::gelu_tanh},
      {"gelu_python_tanh", Activation::gelu_tanh},
      {"gelu_fast", Activation::gelu_tanh},
      {"gelu_accurate", Activation::gelu_tanh},
      {"quick_gelu", Activation::quick_gelu},
      {"relu", Activation::relu},
      {"relu2", Activation::relu_squared},
      {"sigmoid", Activation::sigmoid},
      {"tanh", Activation::tanh},
      {"gelu_10", Activation::gelu_clipped},
      {"mish", Activation::mish},
      {"leaky_relu", Activation::leaky_relu},
      {"relu6", Activation::relu6},
      {"hardswish", Activation::hard_swish},
      {"linear", Activation::linear},
  };
  std::string all;
  for (const Known& known : kKnown) {
    if (known.name == name) return known.activation;
    all += fmt::format("{}{}", all.empty() ? "" : ", ", known.name);
  }
  return Status(Code::unsupported, fmt::format("{}: config.json's {} \"{}\" is not implemented; implemented are {}",
                                               origin_, key, name.substr(0, 64), all));
}

Status ConfigReader::refuse(std::string_view key, std::optional<double> neutral) const {
  const Json* value = config_.find_value(key);
  if (value == nullptr) return {};
  const bool harmless = (value->is_bool() && !value->as_bool()) || (value->is_number() && value->as_double() == 0) ||
                        (neutral && value->is_number() && value->as_double() == *neutral) ||
                        ((value->is_array() || value->is_object()) && value->size() == 0);
  return harmless ? Status() : refused(key);
}

Status ConfigReader::refused(std::string_view key) const {
  const Json *value = config_.find_value(key), *type = config_.find_value("model_type");
  return Status(
      Code::unsupported,
      fmt::format("{}: config.json's {} is {}, which changes the computation and is not implemented for model_type "
                  "\"{}\"",
                  origin_, key, value == nullptr ? "missing" : shown(*value), type == nullptr ? std::string_view() : type->as_string()));
}

namespace {

/// A key by which some family changes the maths, and what it may say without doing so (beside what refuse() lets pass).
struct Foreign {
  std::string_view key;
  std::optional<double> neutral = {};
  std::string_view text = {};
};
constexpr Foreign kForeign[] = {
    // Attention: scores, masks, heads, norms.
    {"attn_logit_softcapping"}, {"query_pre_attn_scalar"}, {"attention_multiplier"}, {"attn_temperature_tuning"},
    {"scale_attn_by_inverse_layer_idx"}, {"use_qk_norm"}, {"qk_norm"}, {"qk_layernorm"}, {"qk_ln"}, {"clip_qkv"},
    {"kv_lora_rank"}, {"q_lora_rank"}, {"v_head_dim"}, {"num_kv_shared_layers"}, {"sliding_window"}, {"use_sliding_window"},
    {"attention_chunk_size"}, {"attention_types"}, {"use_bidirectional_attention"}, {"add_cross_attention"},
    {"cross_attention_layers"}, {"is_encoder_decoder"},
    // Positions.
    {"alibi"}, {"use_alibi"}, {"no_rope_layers"}, {"rope_interleave"}, {"rotary_dim"}, {"rope_local_base_freq"},
    {"global_rope_theta"}, {"local_rope_theta"}, {"partial_rotary_factor", 1.0}, {"rotary_pct", 1.0}, {"rope_pct", 1.0},
    {"rope_ratio", 1.0}, {"rotary_scaling_factor", 1.0},
    // The residual stream.
    {"use_parallel_residual"}, {"parallel_attn"}, {"apply_residual_connection_post_layernorm"}, {"sandwich_norm"},
    {"scale_emb", 1.0}, {"scale_depth"}, {"dim_model_base"}, {"mup_enabled"}, {"use_mup"}, {"scale_embeddings"},
    {"residual_multiplier", 1.0}, {"embedding_multiplier", 1.0}, {"embedding_scale", 1.0},
    // Logits.
    {"final_logit_softcapping"}, {"logit_scale", 1.0}, {"logits_scaling", 1.0}, {"output_multiplier_alpha", 1.0},
    // Mixtures of experts.
    {"num_local_experts"}, {"num_experts"}, {"n_routed_experts"}, {"n_shared_experts"}, {"num_shared_experts"},
    {"shared_expert_intermediate_size"}, {"shared_intermediate_size"}, {"mlp_only_layers"}, {"decoder_sparse_step", 1.0},
    {"first_k_dense_replace"}, {"moe_layer_freq", 1.0}, {"routed_scaling_factor", 1.0}, {"n_group", 1.0}, {"topk_group", 1.0},
    {"scoring_func", {}, "softmax"}, {"topk_method", {}, "greedy"}, {"swiglu_limit"}};

}  // namespace

Status ConfigReader::refuse_foreign(std::initializer_list<std::string_view> known,
                                    std::initializer_list<std::string_view> more) const {
  const auto is_known = [&](std::string_view key) {
    return std::find(known.begin(), known.end(), key) != known.end() || std::find(more.begin(), more.end(), key) != more.end();
  };
  for (const Foreign& f : kForeign) {
    if (is_known(f.key)) continue;
    const Json* value = config_.find_value(f.key);
    if (value != nullptr && !f.text.empty() && value->is_string() && value->as_string() == f.text) continue;
    NBL_TRY(refuse(f.key, f.neutral));
  }
  const Json* causal = config_.find_value("is_causal");
  if (causal != nullptr && causal->is_bool() && !causal->as_bool()) return refused("is_causal");
  // Layers that all attend to everything are none of their own kind.
  const Json* types = config_.find_value("layer_types");
  if (types != nullptr && !is_known("layer_types"))
    for (const Json& type : types->elements())
      if (type.as_string("?") != "full_attention") return refuse("layer_types");
  return {};
}

Status ConfigReader::refuse_rope_scaling() const {
  for (std::string_view key : {"rope_parameters", "rope_scaling"}) {
    const Json* scaling = config_.find_value(key);
    if (scaling == nullptr || !scaling->is_object()) continue;
    const Json* type = scaling->find_value("rope_type");
    if (type == nullptr) type = scaling->find_value("type");
    if (type != nullptr && type->as_string("?") != "default") return refuse(key);
  }
  return {};
}

Status ConfigReader::expect_text(std::string_view key, std::initializer_list<std::string_view> implemented) const {
  const Json* value = config_.find_value(key);
  if (value == nullptr) return {};
  for (const std::string_view text : implemented)
    if (value->is_string() && value->as_string() == text) return {};
  return refused(key);
}

Status ConfigReader::expect_flag(std::string_view key, bool implemented) const {
  NBL_ASSIGN(const bool value, flag_or(key, implemented));
  return value == implemented ? Status() : refused(key);
}

Status ConfigReader::expect_count(std::string_view key, int64_t implemented) const {
  NBL_ASSIGN(const int64_t value, count_or(key, implemented, kMaxDimension));
  return value == implemented ? Status() : error(key, std::to_string(value), std::to_string(implemented));
}

Status ConfigReader::read_tokens(Config* config) const {
  const auto token = [&](std::string_view key, const Json& value, text::TokenId* out) -> Status {
    if (!value.is_int() || value.as_int() < -1 || value.as_int() > kMaxVocab)
      return error(key, shown(value), "a token id");
    *out = static_cast<text::TokenId>(value.as_int());
    return {};
  };
  if (const Json* bos = config_.find_value("bos_token_id")) {
    const Json& first = bos->is_array() && bos->size() > 0 ? bos->elements()[0] : *bos;
    NBL_TRY(token("bos_token_id", first, &config->bos));
  }
  if (const Json* eos = config_.find_value("eos_token_id")) {
    if (eos->is_array() && eos->size() > 1024) return error("eos_token_id", "a long array", "at most 1024 token ids");
    const std::span<const Json> all = eos->is_array() ? eos->elements() : std::span<const Json>(eos, 1);
    for (const Json& value : all) {
      text::TokenId id = -1;
      NBL_TRY(token("eos_token_id", value, &id));
      if (id >= 0) config->eos.push_back(id);
    }
  }
  return {};
}

}  // namespace nbl::model

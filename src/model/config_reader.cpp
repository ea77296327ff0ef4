#include "model/config_reader.h"

#include <fmt/format.h>

#include <array>

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
  return value->as_double();
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
  if (name == "silu" || name == "swish") return Activation::silu;
  if (name == "gelu_new" || name == "gelu_pytorch_tanh" || name == "gelu_fast") return Activation::gelu_tanh;
  if (name == "gelu") return Activation::gelu_erf;
  if (name == "relu") return Activation::relu;
  return Status(Code::unsupported,
                fmt::format("{}: config.json's {} \"{}\" is not implemented; implemented are silu, gelu, gelu_new, "
                            "gelu_pytorch_tanh, relu",
                            origin_, key, name.substr(0, 64)));
}

Status ConfigReader::refuse(std::string_view key, std::optional<double> neutral) const {
  const Json* value = config_.find_value(key);
  if (value == nullptr) return {};
  const bool harmless = (value->is_bool() && !value->as_bool()) || (value->is_number() && value->as_double() == 0) ||
                        (neutral && value->is_number() && value->as_double() == *neutral) ||
                        ((value->is_array() || value->is_object()) && value->size() == 0);
  if (harmless) return {};
  return Status(
      Code::unsupported,
      fmt::format("{}: config.json's {} is {}, which changes the computation and is not implemented for model_type "
                  "\"{}\"",
                  origin_, key, shown(*value),
                  config_.find_value("model_type") == nullptr ? std::string_view()
                                                              : config_.find_value("model_type")->as_string()));
}

Status ConfigReader::refuse_foreign() const {
  for (std::string_view key :
       {"attn_logit_softcapping", "final_logit_softcapping", "query_pre_attn_scalar", "use_parallel_residual",
        "parallel_attn", "alibi", "num_local_experts", "num_experts", "n_routed_experts", "use_qk_norm", "qk_layernorm",
        "no_rope_layers", "clip_qkv", "kv_lora_rank", "q_lora_rank", "add_cross_attention", "attention_chunk_size",
        "attn_temperature_tuning", "scale_attn_by_inverse_layer_idx"})
    NBL_TRY(refuse(key));
  for (std::string_view key : {"logit_scale", "logits_scaling", "residual_multiplier", "embedding_multiplier"})
    NBL_TRY(refuse(key, 1.0));
  return {};
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

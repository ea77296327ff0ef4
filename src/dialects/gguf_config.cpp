#include "dialects/gguf_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <string>
#include <vector>

namespace nbl::dialects {
namespace {

// GGUF stores reals as f32; the shortest decimal that reads back to the same f32 is what the original config said.
double decimal_of(double value) {
  const auto narrow = static_cast<float>(value);
  if (static_cast<double>(narrow) != value) return value;
  const std::string digits = fmt::format("{}", narrow);
  double shortest = value;
  std::from_chars(digits.data(), digits.data() + digits.size(), shortest);  // whatever the locale's decimal point
  return shortest;
}

class ConfigBuilder {
 public:
  ConfigBuilder(const io::Container& container, const GgufArch& arch) : container_(container), arch_(arch) {}

  Result<Json> build() {
    NBL_ASSIGN(config_, Json::parse(arch_.config, "built-in description"));
    for (const GgufKey& key : arch_.keys) NBL_TRY(copy(key));
    if (const Json* window = config_.find_value("sliding_window"); window != nullptr && !arch_.windowed.empty()) {
      NBL_ASSIGN(const Json instead, Json::parse(arch_.windowed, "built-in description"));
      for (const auto& [key, value] : instead.members()) config_.set(key, value);
    }
    NBL_TRY(heads());
    NBL_TRY(unread());
    NBL_TRY(vocabulary());
    NBL_TRY(rope());
    config_.set("tie_word_embeddings", container_.find("output.weight") == nullptr);
    special_ids();
    config_.set("torch_dtype", "float32");
    if (const Json* folded = container_.metadata().find("nibble.folded"); folded != nullptr && folded->is_string())
      config_.set("nibble", Json::object({{"folded", folded->as_string()}}));
    return std::move(config_);
  }

 private:
  Status bad(std::string what) const {
    return Status(Code::corrupt, fmt::format("{}: {}", container_.origin(), std::move(what)));
  }
  const Json* meta(std::string_view key) const {
    return container_.metadata().find(fmt::format("{}.{}", arch_.id, key));
  }
  Result<double> real(std::string_view key, double fallback) const {
    const Json* value = meta(key);
    if (value == nullptr) return fallback;
    if (!value->is_number() || !std::isfinite(value->as_double()))
      return bad(fmt::format("{}.{} is no number", arch_.id, key));
    return decimal_of(value->as_double());
  }

  Status copy(const GgufKey& key) {
    const Json* value = meta(key.gguf);
    if (value == nullptr || key.hf.starts_with('=')) return {};
    // Some keys may be an array with one value a layer; one value for all is what a config can say.
    if (value->is_array()) {
      const auto elements = value->elements();
      for (const Json& element : elements) {
        if (!(element == elements[0])) {
          return Status(Code::unsupported,
                        fmt::format("{}: {}.{} differs from layer to layer", container_.origin(), arch_.id, key.gguf));
        }
      }
      if (elements.empty()) return bad(fmt::format("{}.{} is an empty array", arch_.id, key.gguf));
      value = &elements[0];
    }
    if (const std::size_t dot = key.hf.find('.'); dot != std::string_view::npos) {
      const Json* outer = config_.find_value(key.hf.substr(0, dot));
      Json object = outer != nullptr && outer->is_object() ? *outer : Json::object();
      if (!value->is_number() || !std::isfinite(value->as_double()))
        return bad(fmt::format("{}.{} is no number", arch_.id, key.gguf));
      object.set(key.hf.substr(dot + 1), decimal_of(value->as_double()));
      config_.set(key.hf.substr(0, dot), std::move(object));
      return {};
    }
    if (value->is_bool()) {
      config_.set(key.hf, *value);
    } else if (value->is_int()) {
      if (value->as_int() < 0 || value->as_int() > INT32_MAX) {
        return bad(fmt::format("{}.{} is {}", arch_.id, key.gguf, value->as_int()));
      }
      config_.set(key.hf, *value);
    } else if (value->is_number() && std::isfinite(value->as_double())) {
      config_.set(key.hf, decimal_of(value->as_double()));
    } else {
      return bad(fmt::format("{}.{} is no number", arch_.id, key.gguf));
    }
    return {};
  }

  Status heads() {
    heads_ = meta("attention.head_count") != nullptr ? config_int("attention.head_count") : 0;
    hidden_ = config_int("embedding_length");
    if (heads_ <= 0 || hidden_ <= 0) {
      return bad(
          fmt::format("{} attention heads and a width of {}: attention.head_count or embedding_length is missing",
                      heads_, hidden_));
    }
    const int64_t stated = config_int("attention.key_length");
    head_dim_ = stated > 0 ? stated : hidden_ / heads_;
    if (const Json* turned = config_.find_value("qk_rope_head_dim")) {  // latent attention: a part of each head turns
      const Json* length = meta("attention.key_length");
      head_dim_ = turned->as_int();
      const int64_t rest = length == nullptr || !length->is_int() ? 0 : length->as_int() - head_dim_;
      if (rest <= 0 || rest > (1 << 16)) return bad(fmt::format("heads of {} with {} that turn", rest + head_dim_, head_dim_));
      if (meta("attention.key_length_mla") != nullptr) {
        return Status(Code::unsupported,
                      fmt::format("{}: keys and values are stored apart (attn_k_b and attn_v_b); files with attn_kv_b are read",
                                  container_.origin()));
      }
      config_.set("qk_nope_head_dim", rest);
    }
    if (head_dim_ <= 0) return bad(fmt::format("{} heads do not share a width of {}", heads_, hidden_));
    if (config_.find("num_attention_heads") != nullptr && config_.find("num_key_value_heads") == nullptr) {
      config_.set("num_key_value_heads", heads_);
    }
    for (const GgufKey& flag : arch_.flags) config_.set(flag.hf, container_.find(flag.gguf) != nullptr);
    if (arch_.wide_blocks > 0) {
      const bool wide = config_int("block_count") == arch_.wide_blocks;
      config_.set("query_pre_attn_scalar", wide ? hidden_ / heads_ : head_dim_);
    }
    return {};
  }

  // What would change the computation, and this architecture does not know.
  Status unread() const {
    struct Neutral {
      std::string_view key;
      double value;  // 0 says "off" for all of them
    };
    const Neutral kKeys[] = {{"attention.scale", 1 / std::sqrt(static_cast<double>(head_dim_))},
                             {"attention.causal", 1},
                             {"attention.clamp_kqv", 0},
                             {"attention.max_alibi_bias", 0},
                             {"attn_logit_softcapping", 0},
                             {"final_logit_softcapping", 0},
                             {"embedding_scale", 1},
                             {"residual_scale", 1},
                             {"logit_scale", 1}};
    for (const Neutral& row : kKeys) {
      const std::string_view key = row.key;
      const double neutral = row.value;
      const Json* value = meta(key);
      const bool known = std::any_of(arch_.keys.begin(), arch_.keys.end(), [&](const GgufKey& k) { return k.gguf == key; });
      if (value == nullptr || known) continue;
      const double number = value->is_bool() ? static_cast<double>(value->as_bool()) : value->as_double();
      const bool off = number == 0 && !value->is_bool();
      if (value->is_bool() == (key == "attention.causal") && (off || std::abs(number - neutral) <= 1e-6 * std::abs(neutral))) continue;
      return Status(Code::unsupported, fmt::format("{}: {}.{} is {}, which changes the computation and is not implemented for {}",
                                                   container_.origin(), arch_.id, key, value->dump().substr(0, 60), arch_.id));
    }
    return {};
  }

  // Long rope's divisors lie in two tensors.
  Status long_scaling(const io::RawTensor& long_list, const io::RawTensor& short_list) {
    Json scaling = Json::object();
    scaling.set("rope_type", "longrope");
    for (const auto& [key, tensor] : {std::pair{"long_factor", &long_list}, std::pair{"short_factor", &short_list}}) {
      NBL_ASSIGN(const Array array, io::to_array(*tensor));
      NBL_ASSIGN(const std::vector<float> values, array.to_f32());
      Json list = Json::array();
      for (const float value : values) list.push_back(decimal_of(static_cast<double>(value)));
      scaling.set(key, std::move(list));
    }
    if (const Json* original = meta("rope.scaling.original_context_length"))
      scaling.set("original_max_position_embeddings", *original);
    if (meta("rope.scaling.attn_factor") != nullptr) {
      NBL_ASSIGN(const double attention, real("rope.scaling.attn_factor", 1.0));
      scaling.set("attention_factor", attention);
    }
    config_.set("rope_scaling", std::move(scaling));
    return {};
  }

  // The configured value of a metadata key that the architecture copies.
  int64_t config_int(std::string_view gguf_key) const {
    for (const GgufKey& key : arch_.keys) {
      if (key.gguf != gguf_key) continue;
      const Json* value = config_.find(key.hf);
      return value == nullptr ? 0 : value->as_int();
    }
    return 0;
  }

  Status vocabulary() {
    const io::RawTensor* embedding = container_.find("token_embd.weight");
    if (embedding == nullptr) {
      return Status(Code::not_found, fmt::format("{}: no tensor token_embd.weight", container_.origin()));
    }
    if (embedding->shape.size() != 2)
      return bad(fmt::format("token_embd.weight is of shape {}", shape_string(embedding->shape)));
    config_.set("vocab_size", embedding->shape[0]);
    return {};
  }

  Status rope() {
    const bool has_rope = [&] {
      for (const GgufKey& key : arch_.keys) {
        if (key.gguf == "rope.freq_base") return true;
      }
      return false;
    }();
    if (!has_rope) return {};
    for (const GgufKey& key : arch_.keys) {
      if (key.gguf == "rope.freq_base" && config_.find(key.hf) == nullptr) config_.set(key.hf, 10000.0);
    }
    rotated_ = head_dim_;
    if (const Json* rotated = meta("rope.dimension_count")) {
      rotated_ = rotated->as_int();
      if (rotated_ <= 0 || rotated_ > head_dim_ || rotated_ % 2 != 0) {
        return bad(fmt::format("rope.dimension_count is {} with heads of {}", rotated_, head_dim_));
      }
    }
    if ((rotated_ != head_dim_ || arch_.share != 1) && !arch_.rotary_key.empty()) {
      const auto turned = static_cast<double>(rotated_), all = static_cast<double>(head_dim_);
      double share = turned / all;
      if (share * all < turned) share = std::nextafter(share, 1.0);  // whoever multiplies again takes the integer below
      config_.set(arch_.rotary_key, share);
    }
    if (const io::RawTensor* divisors = container_.find("rope_freqs.weight")) return llama3_scaling(*divisors);
    const io::RawTensor *long_list = container_.find("rope_factors_long.weight"),
                        *short_list = container_.find("rope_factors_short.weight");
    if (long_list != nullptr && short_list != nullptr) return long_scaling(*long_list, *short_list);
    const Json* type = meta("rope.scaling.type");
    if (type == nullptr || type->as_string() == "none") return {};
    Json scaling = Json::object();
    scaling.set("rope_type", type->as_string());
    NBL_ASSIGN(const double factor, real("rope.scaling.factor", 1.0));
    scaling.set("factor", factor);
    if (const Json* original = meta("rope.scaling.original_context_length")) {
      scaling.set("original_max_position_embeddings", *original);
    }
    if (meta("rope.scaling.attn_factor") != nullptr) {
      NBL_ASSIGN(const double attention, real("rope.scaling.attn_factor", 1.0));
      scaling.set("attention_factor", attention);
    }
    if (meta("rope.scaling.yarn_log_multiplier") != nullptr) {
      NBL_ASSIGN(const double multiplier, real("rope.scaling.yarn_log_multiplier", 0.1));
      const double mscale = decimal_of(static_cast<double>(static_cast<float>(multiplier * 10)));
      scaling.set("mscale", mscale);
      scaling.set("mscale_all_dim", mscale);
    }
    config_.set("rope_scaling", std::move(scaling));
    return {};
  }

  // rope_freqs.weight holds the divisors that Llama 3's scaling amounts to. The config names the rule, with parameters of published
  // models that give exactly these divisors; others are divisors of long rope, which needs no rule.
  Status llama3_scaling(const io::RawTensor& tensor) {
    NBL_ASSIGN(const Array array, io::to_array(tensor));
    NBL_ASSIGN(const std::vector<float> divisors, array.to_f32());
    NBL_ASSIGN(const double theta, real("rope.freq_base", 10000.0));
    const auto half = static_cast<std::size_t>(rotated_ / 2);
    if (divisors.size() != half)
      return bad(fmt::format("rope_freqs.weight has {} divisors for heads of which {} components turn", divisors.size(), rotated_));
    double factor = 1;
    for (const float d : divisors) {
      if (!(d > 0 && std::isfinite(d))) return bad(fmt::format("rope_freqs.weight divides by {}", d));
      factor = std::max(factor, static_cast<double>(d));
    }
    constexpr double kLow = 1, kHigh = 4;
    for (const double original : {8192.0, 4096.0, 16384.0, 32768.0, 131072.0}) {
      bool same = true;
      for (std::size_t i = 0; i < half && same; ++i) {
        const double wavelength =
            2 * M_PI * std::pow(theta, static_cast<double>(2 * i) / static_cast<double>(rotated_));
        double expected = 1;
        if (wavelength > original / kLow) {
          expected = factor;
        } else if (wavelength >= original / kHigh) {
          const double smooth = (original / wavelength - kLow) / (kHigh - kLow);
          expected = 1 / ((1 - smooth) / factor + smooth);
        }
        same = std::abs(static_cast<double>(divisors[i]) - expected) <= 1e-4 * expected;
      }
      if (!same) continue;
      Json scaling = Json::object();
      scaling.set("rope_type", "llama3");
      scaling.set("factor", factor);
      scaling.set("low_freq_factor", kLow);
      scaling.set("high_freq_factor", kHigh);
      scaling.set("original_max_position_embeddings", static_cast<int64_t>(original));
      config_.set("rope_scaling", std::move(scaling));
      return {};
    }
    Json scaling = Json::object(), list = Json::array();
    for (const float d : divisors) list.push_back(decimal_of(static_cast<double>(d)));
    scaling.set("rope_type", "longrope");
    scaling.set("short_factor", list);
    scaling.set("long_factor", std::move(list));
    scaling.set("attention_factor", 1.0);
    config_.set("rope_scaling", std::move(scaling));
    return {};
  }

  void special_ids() {
    for (const auto& [key, hf] : {std::pair{"tokenizer.ggml.bos_token_id", "bos_token_id"},
                                  std::pair{"tokenizer.ggml.eos_token_id", "eos_token_id"},
                                  std::pair{"tokenizer.ggml.padding_token_id", "pad_token_id"}}) {
      const Json* value = container_.metadata().find(key);
      if (value != nullptr && value->is_int() && value->as_int() <= INT32_MAX) config_.set(hf, *value);
    }
    // An answer in a chat ends with a token of its own, where the file names one.
    const Json* turn = container_.metadata().find("tokenizer.ggml.eot_token_id");
    const Json* eos = config_.find("eos_token_id");
    if (turn == nullptr || eos == nullptr || !turn->is_int() || turn->as_int() > INT32_MAX || *turn == *eos) return;
    Json both = Json::array();
    both.push_back(*eos);
    both.push_back(*turn);
    config_.set("eos_token_id", std::move(both));
  }

  const io::Container& container_;
  const GgufArch& arch_;
  Json config_;
  int64_t heads_ = 0, hidden_ = 0, head_dim_ = 0, rotated_ = 0;
};

}  // namespace

Result<Json> gguf_config(const io::Container& container, const GgufArch& arch) {
  return ConfigBuilder(container, arch).build();
}

Json gguf_tokenizer(const Json& metadata) {
  Json result = Json::object();
  for (const auto& [key, value] : metadata.members()) {
    if (key.starts_with("tokenizer.")) result.set(key, value);
  }
  return result;
}

}  // namespace nbl::dialects

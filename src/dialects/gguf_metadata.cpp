#include "dialects/gguf_metadata.h"

#include <fmt/format.h>

#include <cmath>
#include <utility>

#include "base/bounds.h"

namespace nbl::dialects {
namespace {

constexpr BoundOf<int64_t> kMaxWidth{Bound::model_dimension};

// Keys whose values are real numbers even when a config writes them as integers.
bool is_real(std::string_view key) {
  return key.find("epsilon") != std::string_view::npos || key.find("softcapping") != std::string_view::npos ||
         key.find("freq_base") != std::string_view::npos || key.find("scale") != std::string_view::npos ||
         key.find("clamp") != std::string_view::npos || key.find("alibi") != std::string_view::npos;
}

class MetadataBuilder {
 public:
  MetadataBuilder(const Json& config, const GgufArch& arch, io::GgufMetadata& out, std::vector<GgufExtra>& extras)
      : config_(config), arch_(arch), out_(out), extras_(extras) {
    // transformers 5 keeps everything about rope in rope_parameters, for some models one set a layer type.
    rope_ = config.find_value("rope_parameters");
    if (rope_ != nullptr) {
      if (const Json* full = rope_->find_value("full_attention")) rope_ = full;
    }
    // With both spellings rope_scaling counts, unless it says nothing.
    scaling_ = config.find_value("rope_scaling");
    if (scaling_ != nullptr && scaling_->size() > 0) rope_ = scaling_;
    scaling_ = rope_;
  }

  Status build() {
    out_.set_text("general.architecture", arch_.id);
    for (const GgufKey& key : arch_.keys) {
      if (key.hf == "=1e-5") {
        out_.set_f32(name(key.gguf), 1e-5f);
      } else if (const Json* value = lookup(key.hf)) {
        NBL_TRY(set(key.gguf, *value));
      }
    }
    NBL_TRY(shapes());
    return has_key("rope.freq_base") ? rope() : Status();
  }

 private:
  std::string name(std::string_view key) const { return fmt::format("{}.{}", arch_.id, key); }

  const Json* lookup(std::string_view hf) const {
    if (const std::size_t dot = hf.find('.'); dot != std::string_view::npos) {
      const Json* outer = config_.find_value(hf.substr(0, dot));
      return outer == nullptr ? nullptr : outer->find_value(hf.substr(dot + 1));
    }
    // What stands with the rest about rope goes before a key of its own.
    const bool theta = hf == "rope_theta" || hf == "rotary_emb_base";
    if (const Json* value = theta && rope_ != nullptr ? rope_->find_value("rope_theta") : nullptr) return value;
    if (const Json* value = config_.find_value(hf)) return value;
    // Keys that some configs write under another name.
    static constexpr std::pair<std::string_view, std::string_view> kAliases[] = {
        {"num_attention_heads", "n_head"}, {"num_hidden_layers", "n_layer"}, {"hidden_size", "n_embed"},
        {"num_experts", "num_local_experts"}, {"num_kv_heads", "n_head_kv"}};
    for (const auto& [name, alias] : kAliases) {
      const Json* value = hf == name ? config_.find_value(alias) : nullptr;
      if (value != nullptr) return value;
    }
    return nullptr;
  }

  bool has_key(std::string_view gguf) const {
    for (const GgufKey& key : arch_.keys) {
      if (key.gguf == gguf) return true;
    }
    return false;
  }

  // The config's value of a metadata key that the architecture copies.
  int64_t count(std::string_view gguf) const {
    for (const GgufKey& key : arch_.keys) {
      const Json* value = key.gguf == gguf ? lookup(key.hf) : nullptr;
      if (value != nullptr) return value->as_int();
    }
    return 0;
  }

  Status set(std::string_view key, const Json& value) {
    if (value.is_bool()) {
      out_.set_bool(name(key), value.as_bool());
    } else if (value.is_number() && is_real(key)) {
      out_.set_f32(name(key), static_cast<float>(value.as_double()));
    } else if (value.is_int() && value.as_int() >= 0 && value.as_int() <= INT32_MAX) {
      out_.set_u32(name(key), static_cast<uint32_t>(value.as_int()));
    } else {
      return Status(Code::unsupported, fmt::format("config.json has {} for {}, which GGUF cannot say",
                                                   value.dump().substr(0, 60), name(key)));
    }
    return {};
  }

  // What readers want to see and configs leave to defaults.
  Status shapes() {
    const int64_t hidden = count("embedding_length"), heads = count("attention.head_count");
    if (hidden <= 0 || heads <= 0 || hidden > kMaxWidth.get()) {
      return Status(Code::unsupported, "config.json does not say width and heads in the names of " + std::string(arch_.id));
    }
    head_dim_ = count("attention.key_length") > 0 ? count("attention.key_length") : hidden / heads;
    if (has_key("attention.key_length")) {
      if (!out_.has(name("attention.key_length"))) NBL_TRY(set("attention.key_length", head_dim_));
      NBL_TRY(set("attention.value_length", head_dim_));
    }
    if (has_key("attention.kv_lora_rank")) NBL_TRY(latent());
    if (has_key("attention.max_alibi_bias") && !out_.has(name("attention.max_alibi_bias"))) {
      out_.set_f32(name("attention.max_alibi_bias"), 8.0f);
    }
    if (!out_.has(name("attention.head_count_kv"))) {
      const Json* multi = config_.find_value("multi_query");
      NBL_TRY(set("attention.head_count_kv", multi != nullptr && multi->as_bool() ? int64_t{1} : heads));
    }
    if (!out_.has(name("feed_forward_length"))) NBL_TRY(set("feed_forward_length", 4 * hidden));
    if (!out_.has(name("context_length"))) NBL_TRY(set("context_length", int64_t{2048}));
    return {};
  }

  // Latent attention: heads have a part that turns and one that does not, and values a width of their own.
  Status latent() {
    const auto width = [&](std::string_view key) -> Result<int64_t> {
      const Json* value = config_.find_value(key);
      const int64_t found = value == nullptr ? 0 : value->as_int();
      if (found >= 0 && found <= kMaxWidth.get()) return found;
      return Status(Code::corrupt, fmt::format("config.json has {} for {}, outside 0 to {}", found, key, kMaxWidth.get()));
    };
    NBL_ASSIGN(head_dim_, width("qk_rope_head_dim"));
    NBL_ASSIGN(const int64_t still, width("qk_nope_head_dim"));
    NBL_TRY(set("attention.key_length", head_dim_ + still));
    const Json* scoring = config_.find_value("scoring_func");
    const bool sigmoid = scoring != nullptr ? scoring->as_string() == "sigmoid" : !arch_.marker.empty();
    return set("expert_gating_func", sigmoid ? int64_t{2} : int64_t{1});
  }

  double number(const Json& object, std::string_view key, double fallback) const {
    const Json* value = object.find_value(key);
    return value == nullptr ? fallback : value->as_double(fallback);
  }

  Status rope() {
    if (!out_.has(name("rope.freq_base"))) out_.set_f32(name("rope.freq_base"), 10000.0f);
    double share = number(config_, arch_.rotary_key, arch_.share);
    if (rope_ != nullptr) share = number(*rope_, "partial_rotary_factor", share);
    const double rotated = static_cast<double>(head_dim_) * share;
    if (!(rotated >= 0 && rotated <= static_cast<double>(kMaxWidth.get()))) {
      return Status(Code::corrupt, fmt::format("config.json makes {} of a head's {} numbers turn", rotated, head_dim_));
    }
    rotated_ = arch_.rotated > 0 ? arch_.rotated : static_cast<int64_t>(rotated);
    if (!out_.has(name("rope.dimension_count"))) NBL_TRY(set("rope.dimension_count", rotated_));
    if (scaling_ == nullptr) return {};
    const Json* type = scaling_->find_value("rope_type");
    if (type == nullptr) type = scaling_->find_value("type");
    const std::string_view kind = type == nullptr ? std::string_view("default") : type->as_string();
    if (kind == "default") return {};
    if (kind == "llama3") return llama3();
    if (kind == "longrope" || kind == "su") return longrope();
    if (kind != "linear" && kind != "yarn") {
      return Status(Code::unsupported, fmt::format("GGUF has no rope scaling of kind '{}'; the native format and huggingface "
                                                   "hold it",
                                                   kind.substr(0, 40)));
    }
    if (kind == "yarn") NBL_TRY(yarn());
    out_.set_text(name("rope.scaling.type"), kind);
    out_.set_f32(name("rope.scaling.factor"), static_cast<float>(number(*scaling_, "factor", 1.0)));
    return original_length();
  }

  // Readers of GGUF know yarn with its usual constants.
  Status yarn() {
    const double all_dim = number(*scaling_, "mscale_all_dim", 0), mscale = number(*scaling_, "mscale", all_dim == 0 ? 0 : 1);
    const Json* truncate = scaling_->find_value("truncate");
    const char* odd = number(*scaling_, "beta_fast", 32) != 32 ? "beta_fast"
                      : number(*scaling_, "beta_slow", 1) != 1 ? "beta_slow"
                      : truncate != nullptr && !truncate->as_bool() ? "truncate"
                      : mscale != all_dim || (all_dim != 0 && !has_key("attention.kv_lora_rank")) ? "mscale"
                                                                                                  : nullptr;
    if (odd != nullptr) {
      return Status(Code::unsupported, fmt::format("GGUF cannot say the {} of config.json's yarn scaling; the native format and "
                                                   "huggingface can", odd));
    }
    if (all_dim != 0) out_.set_f32(name("rope.scaling.yarn_log_multiplier"), static_cast<float>(0.1 * all_dim));
    return {};
  }

  Status original_length() {
    const Json* original = scaling_->find_value("original_max_position_embeddings");
    if (original == nullptr) original = config_.find_value("original_max_position_embeddings");
    if (original != nullptr) NBL_TRY(set("rope.scaling.original_context_length", *original));
    if (const Json* factor = scaling_->find_value("attention_factor"); factor != nullptr && factor->is_number()) {
      out_.set_f32(name("rope.scaling.attn_factor"), static_cast<float>(factor->as_double()));
    }
    return {};
  }

  // Llama 3's rule as the divisors that it amounts to (formats of GGUF: rope_freqs.weight).
  Status llama3() {
    const double factor = number(*scaling_, "factor", 8), low = number(*scaling_, "low_freq_factor", 1),
                 high = number(*scaling_, "high_freq_factor", 4),
                 original = number(*scaling_, "original_max_position_embeddings", 8192);
    const Json* theta = nullptr;
    for (const GgufKey& key : arch_.keys)
      if (key.gguf == "rope.freq_base") theta = lookup(key.hf);
    const double base = theta == nullptr ? 10000.0 : theta->as_double();
    GgufExtra extra{"rope_freqs.weight", {}};
    for (int64_t i = 0; i < rotated_; i += 2) {
      const double wavelength = 2 * M_PI * std::pow(base, static_cast<double>(i) / static_cast<double>(rotated_));
      double divisor = 1;
      if (wavelength > original / low) {
        divisor = factor;
      } else if (wavelength >= original / high) {
        const double smooth = (original / wavelength - low) / (high - low);
        divisor = 1 / ((1 - smooth) / factor + smooth);
      }
      extra.values.push_back(static_cast<float>(divisor));
    }
    extras_.push_back(std::move(extra));
    return {};
  }

  Status longrope() {
    for (const auto& [key, tensor] : {std::pair{"long_factor", "rope_factors_long.weight"},
                                      std::pair{"short_factor", "rope_factors_short.weight"}}) {
      const Json* factors = scaling_->find_value(key);
      if (factors == nullptr || static_cast<int64_t>(factors->size()) != rotated_ / 2) {
        return Status(Code::unsupported, fmt::format("config.json's rope scaling has no {} numbers as {}", rotated_ / 2, key));
      }
      GgufExtra extra{tensor, {}};
      for (const Json& factor : factors->elements()) extra.values.push_back(static_cast<float>(factor.as_double()));
      extras_.push_back(std::move(extra));
    }
    out_.set_text(name("rope.scaling.type"), "longrope");  // without it llama.cpp looks for the lists in Phi-3 alone
    NBL_TRY(original_length());
    const std::string attention = name("rope.scaling.attn_factor"), length = name("rope.scaling.original_context_length");
    const auto most = static_cast<double>(count("context_length"));
    const double original = number(*scaling_, "original_max_position_embeddings",
                                   number(config_, "original_max_position_embeddings", most));
    const double ratio = number(*scaling_, "factor", most / original);
    if (!out_.has(attention)) {
      const double factor = ratio > 1 ? std::sqrt(1 + std::log(ratio) / std::log(original)) : 1.0;
      out_.set_f32(attention, static_cast<float>(factor));
    }
    if (!(original >= 0 && original <= INT32_MAX)) {
      return Status(Code::corrupt, fmt::format("config.json has {} for original_max_position_embeddings", original));
    }
    if (!out_.has(length)) NBL_TRY(set("rope.scaling.original_context_length", static_cast<int64_t>(original)));
    return {};
  }

  const Json& config_;
  const GgufArch& arch_;
  io::GgufMetadata& out_;
  std::vector<GgufExtra>& extras_;
  const Json *rope_ = nullptr, *scaling_ = nullptr;
  int64_t head_dim_ = 0, rotated_ = 0;
};

}  // namespace

Status gguf_model_metadata(const Json& config, const GgufArch& arch, io::GgufMetadata& metadata,
                           std::vector<GgufExtra>& extras) {
  const Json* text = config.find_value("text_config");
  return MetadataBuilder(text != nullptr ? *text : config, arch, metadata, extras).build();
}

}  // namespace nbl::dialects

// Reading config.json for an architecture description: bounded numbers, and refusals that name the key.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>

#include "base/bounds.h"
#include "base/json.h"
#include "base/status.h"
#include "model/model.h"

namespace nbl::model {

/// Bounds of what a config may ask for, far beyond any model: they keep products of two within 64 bits.
inline constexpr BoundOf<int64_t> kMaxDimension{Bound::model_dimension};
inline constexpr BoundOf<int64_t> kMaxVocab{Bound::model_vocabulary};
inline constexpr BoundOf<int64_t> kMaxLayers{Bound::model_layers};
inline constexpr BoundOf<int64_t> kMaxPositions{Bound::model_positions};

class ConfigReader {
 public:
  /// Both must outlive the reader. `origin` names the model in messages.
  ConfigReader(const Json& config, std::string_view origin) : config_(config), origin_(origin) {}

  const Json& json() const { return config_; }
  std::string_view origin() const { return origin_; }

  /// A required integer in [1, max].
  Result<int64_t> count(std::string_view key, int64_t max) const;
  /// The same with a value for a key that is absent or null.
  Result<int64_t> count_or(std::string_view key, int64_t fallback, int64_t max) const;
  Result<bool> flag_or(std::string_view key, bool fallback) const;
  Result<double> number_or(std::string_view key, double fallback) const;
  /// A normalization's epsilon: a number from 0 to below 1.
  Result<double> epsilon_or(std::string_view key, double fallback) const;
  /// Likewise, for a key that some writers spell otherwise: the first of the keys that is there counts.
  Result<int64_t> count_of(std::initializer_list<std::string_view> keys, int64_t max) const;
  /// A number, neither zero nor negative; `fallback` when the key is absent or null.
  Result<double> positive_or(std::string_view key, double fallback) const;
  /// A cap: `fallback` when absent, 0 (none) when null.
  Result<double> cap(std::string_view key, double fallback) const;
  /// The string's value, or `fallback` when absent or null.
  Result<std::string_view> text_or(std::string_view key, std::string_view fallback) const;
  /// The first of the keys that is there names the activation.
  Result<Activation> activation(std::initializer_list<std::string_view> keys, std::string_view fallback) const;

  /// Errors unless the key is absent, null, false, zero, an empty array or object, or equal to `neutral`.
  Status refuse(std::string_view key, std::optional<double> neutral = {}) const;
  /// refuse() for the keys by which other families change the maths: a config that says one of them here means
  /// something that this description does not do. `known` and `more` are those that this one does.
  Status refuse_foreign(std::initializer_list<std::string_view> known = {},
                        std::initializer_list<std::string_view> more = {}) const;
  /// Errors when positions are to be stretched in a model whose positions cannot be.
  Status refuse_rope_scaling() const;
  /// Errors unless the key is absent, null or one of these.
  Status expect_text(std::string_view key, std::initializer_list<std::string_view> implemented) const;
  /// Errors unless the key is absent, null or this.
  Status expect_flag(std::string_view key, bool implemented) const;
  Status expect_count(std::string_view key, int64_t implemented) const;

  /// bos_token_id and eos_token_id.
  Status read_tokens(Config* config) const;

  Status error(std::string_view key, std::string_view found, std::string_view expected) const;

 private:
  Status refused(std::string_view key) const;

  const Json& config_;
  std::string_view origin_;
};

}  // namespace nbl::model

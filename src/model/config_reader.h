// Reading config.json for an architecture description: bounded numbers, and refusals that name the key.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>

#include "base/json.h"
#include "base/status.h"
#include "model/model.h"

namespace nbl::model {

/// Bounds of what a config may ask for, far beyond any model: they keep products of two within 64 bits.
inline constexpr int64_t kMaxDimension = int64_t{1} << 22;
inline constexpr int64_t kMaxVocab = int64_t{1} << 26;
inline constexpr int64_t kMaxLayers = 4096;
inline constexpr int64_t kMaxPositions = int64_t{1} << 31;

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
  /// The first of the keys that is there names the activation.
  Result<Activation> activation(std::initializer_list<std::string_view> keys, std::string_view fallback) const;

  /// Errors unless the key is absent, null, false, zero, an empty array or object, or equal to `neutral`.
  Status refuse(std::string_view key, std::optional<double> neutral = {}) const;
  /// refuse() for the keys by which other families change the maths: a config that says one of them here means
  /// something that this description does not do.
  Status refuse_foreign() const;

  /// bos_token_id and eos_token_id.
  Status read_tokens(Config* config) const;

  Status error(std::string_view key, std::string_view found, std::string_view expected) const;

 private:
  const Json& config_;
  std::string_view origin_;
};

}  // namespace nbl::model

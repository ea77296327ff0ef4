// Rotary positions: the frequencies that a config asks for.
#pragma once

#include <string_view>

#include "base/json.h"
#include "base/status.h"
#include "model/model.h"

namespace nbl::model {

/// What a family's config calls things, and what it means when silent.
struct RopeKeys {
  double theta = 10000;
  double partial = 1;
  std::string_view theta_key = "rope_theta";
  std::string_view partial_key = "partial_rotary_factor";
};

/// What config.json says about rope, in either of its spellings: rope_theta and rope_scaling (transformers 4), or
/// rope_parameters (transformers 5), the latter possibly with an object of its own for each type of layer.
struct RopeSettings {
  double theta = 10000;
  double partial = 1;             ///< share of a head that is rotated
  const Json* scaling = nullptr;  ///< the object that holds the scaling's parameters; null for none
  std::string_view type = "default";
};
/// `layer_type` ("full_attention"...) picks that type's object where there are several; without one, several are
/// refused.
Result<RopeSettings> read_rope_settings(const Json& config, std::string_view origin, const RopeKeys& keys,
                                        std::string_view layer_type = {});

/// Frequencies of rotary_dim components: default, linear, dynamic, llama3, yarn and longrope scaling as
/// transformers' modeling_rope_utils defines them. Refuses any other, by name. max_positions is what the config gives
/// as max_position_embeddings.
Result<RopeTable> make_rope_table(const RopeSettings& settings, const Json& config, std::string_view origin,
                                  int64_t rotary_dim, int64_t max_positions);

/// yarn's growth of attention: 0.1 * mscale * ln(scale) + 1, or 1 when nothing is stretched.
double yarn_mscale(double scale, double mscale) noexcept;

}  // namespace nbl::model

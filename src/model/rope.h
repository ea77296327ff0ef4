// Rotary positions: the frequencies that a config asks for.
#pragma once

#include <string_view>

#include "base/json.h"
#include "base/status.h"
#include "model/model.h"

namespace nbl::model {

/// What config.json says about rope, in either of its spellings: rope_theta and rope_scaling (transformers 4), or
/// rope_parameters (transformers 5).
struct RopeSettings {
  double theta = 10000;
  double partial = 1;             ///< share of a head that is rotated
  const Json* scaling = nullptr;  ///< the object that holds the scaling's parameters; null for none
  std::string_view type = "default";
};
Result<RopeSettings> read_rope_settings(const Json& config, std::string_view origin, double default_theta);

/// Frequencies of rotary_dim components. Refuses a scaling that is not implemented, by name.
Result<RopeTable> make_rope_table(const RopeSettings& settings, const Json& config, std::string_view origin,
                                  int64_t rotary_dim);

}  // namespace nbl::model

#include "model/rope.h"

#include <fmt/format.h>

#include <cmath>
#include <numbers>

namespace nbl::model {
namespace {

Status bad(std::string_view origin, std::string_view key, double value, std::string_view expected) {
  return Status(Code::corrupt, fmt::format("{}: config.json's {} is {}; expected {}", origin, key, value, expected));
}

/// A positive finite number of the scaling object.
Result<double> parameter(const RopeSettings& s, std::string_view origin, std::string_view key) {
  auto value = s.scaling->get_double(key);
  if (!value.ok())
    return value.status().with_context(fmt::format("{}: config.json's rope scaling \"{}\"", origin, s.type));
  if (!(std::isfinite(*value) && *value > 0)) return bad(origin, key, *value, "a positive number");
  return value;
}

/// Llama 3: long wavelengths are stretched by the factor, short ones kept, those between blended.
Status scale_llama3(const RopeSettings& s, std::string_view origin, std::vector<float>& inv_freq) {
  NBL_ASSIGN(const double factor, parameter(s, origin, "factor"));
  NBL_ASSIGN(const double low, parameter(s, origin, "low_freq_factor"));
  NBL_ASSIGN(const double high, parameter(s, origin, "high_freq_factor"));
  NBL_ASSIGN(const double original, parameter(s, origin, "original_max_position_embeddings"));
  if (!(high > low)) return bad(origin, "high_freq_factor", high, "more than low_freq_factor");
  for (float& f : inv_freq) {
    const double wavelength = 2 * std::numbers::pi / static_cast<double>(f);
    if (wavelength < original / high) continue;
    const double stretched = static_cast<double>(f) / factor;
    if (wavelength > original / low) {
      f = static_cast<float>(stretched);
      continue;
    }
    const double smooth = (original / wavelength - low) / (high - low);
    f = static_cast<float>((1 - smooth) * stretched + smooth * static_cast<double>(f));
  }
  return {};
}

}  // namespace

Result<RopeSettings> read_rope_settings(const Json& config, std::string_view origin, double default_theta) {
  const std::string context = fmt::format("{}: config.json", origin);
  RopeSettings s;
  auto theta = config.double_or("rope_theta", default_theta);
  if (!theta.ok()) return theta.status().with_context(context);
  s.theta = *theta;
  auto partial = config.double_or("partial_rotary_factor", 1.0);
  if (!partial.ok()) return partial.status().with_context(context);
  s.partial = *partial;

  const Json* scaling = config.find_value("rope_parameters");
  if (scaling == nullptr) scaling = config.find_value("rope_scaling");
  if (scaling != nullptr) {
    if (!scaling->is_object()) return Status(Code::corrupt, fmt::format("{}: rope scaling is not an object", context));
    for (const auto& [key, value] : scaling->members())
      if (value.is_object())
        return Status(
            Code::unsupported,
            fmt::format("{}: rope parameters of their own for \"{}\" layers are not implemented for this model_type",
                        context, std::string_view(key).substr(0, 64)));
    s.scaling = scaling;
    auto own_theta = scaling->double_or("rope_theta", s.theta);
    if (!own_theta.ok()) return own_theta.status().with_context(context);
    s.theta = *own_theta;
    auto own_partial = scaling->double_or("partial_rotary_factor", s.partial);
    if (!own_partial.ok()) return own_partial.status().with_context(context);
    s.partial = *own_partial;
    const Json* type = scaling->find_value("rope_type");
    if (type == nullptr) type = scaling->find_value("type");
    if (type != nullptr) s.type = type->as_string("?");
  }
  if (!(std::isfinite(s.theta) && s.theta > 1)) return bad(origin, "rope_theta", s.theta, "more than 1");
  if (!(s.partial > 0 && s.partial <= 1)) return bad(origin, "partial_rotary_factor", s.partial, "above 0, at most 1");
  return s;
}

Result<RopeTable> make_rope_table(const RopeSettings& s, const Json& config, std::string_view origin,
                                  int64_t rotary_dim) {
  (void)config;
  RopeTable table;
  table.inv_freq.resize(static_cast<std::size_t>(rotary_dim / 2));
  for (std::size_t i = 0; i < table.inv_freq.size(); ++i)
    table.inv_freq[i] =
        static_cast<float>(1.0 / std::pow(s.theta, 2.0 * static_cast<double>(i) / static_cast<double>(rotary_dim)));
  if (s.type == "default") return table;
  if (s.type == "linear") {
    NBL_ASSIGN(const double factor, parameter(s, origin, "factor"));
    for (float& f : table.inv_freq) f = static_cast<float>(static_cast<double>(f) / factor);
    return table;
  }
  if (s.type == "llama3") {
    NBL_TRY(scale_llama3(s, origin, table.inv_freq));
    return table;
  }
  return Status(
      Code::unsupported,
      fmt::format("{}: config.json's rope scaling \"{}\" is not implemented; implemented are default, linear, llama3",
                  origin, s.type.substr(0, 64)));
}

}  // namespace nbl::model

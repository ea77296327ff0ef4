#include "model/rope.h"

#include <fmt/format.h>

#include <algorithm>
#include <cfloat>
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
  if (!(*value > 0 && *value <= FLT_MAX)) return bad(origin, key, *value, "a positive number that float32 can hold");
  return value;
}

/// The same of a parameter that may be absent or null.
Result<double> parameter_or(const RopeSettings& s, std::string_view origin, std::string_view key, double fallback) {
  if (s.scaling->find_value(key) == nullptr) return fallback;
  return parameter(s, origin, key);
}

/// Positions the model was trained on before it was stretched: beside the scaling's parameters, among them, or
/// max_position_embeddings.
Result<double> original_positions(const RopeSettings& s, const Json& config, std::string_view origin,
                                  int64_t max_positions) {
  constexpr std::string_view kKey = "original_max_position_embeddings";
  if (const Json* value = config.find_value(kKey)) {
    if (!value->is_number() || !(value->as_double() >= 1)) return bad(origin, kKey, value->as_double(), "1 or more");
    return value->as_double();
  }
  NBL_ASSIGN(const double value, parameter_or(s, origin, kKey, static_cast<double>(max_positions)));
  if (!(value >= 1)) return bad(origin, kKey, value, "1 or more");
  return value;
}

/// Llama 3: long wavelengths are stretched by the factor, short ones kept, those between blended.
Status scale_llama3(const RopeSettings& s, const Json& config, std::string_view origin, int64_t max_positions,
                    std::vector<float>& inv_freq) {
  NBL_ASSIGN(const double factor, parameter(s, origin, "factor"));
  NBL_ASSIGN(const double low, parameter(s, origin, "low_freq_factor"));
  NBL_ASSIGN(const double high, parameter(s, origin, "high_freq_factor"));
  NBL_ASSIGN(const double original, original_positions(s, config, origin, max_positions));
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

/// YaRN (Peng et al. 2023): fast pairs keep their frequency, slow ones are stretched, those between are blended.
Status scale_yarn(const RopeSettings& s, const Json& config, std::string_view origin, int64_t max_positions,
                  RopeTable& table) {
  NBL_ASSIGN(const double original, original_positions(s, config, origin, max_positions));
  NBL_ASSIGN(const double factor, parameter_or(s, origin, "factor", static_cast<double>(max_positions) / original));
  NBL_ASSIGN(const double fast, parameter_or(s, origin, "beta_fast", 32));
  NBL_ASSIGN(const double slow, parameter_or(s, origin, "beta_slow", 1));
  bool truncate = true;
  if (const Json* value = s.scaling->find_value("truncate")) truncate = value->is_bool() ? value->as_bool() : true;
  const double pairs = static_cast<double>(table.inv_freq.size()), dim = 2 * pairs;
  const auto correction = [&](double rotations) {
    return dim * std::log(original / (rotations * 2 * std::numbers::pi)) / (2 * std::log(s.theta));
  };
  double low = correction(fast), high = correction(slow);
  if (truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, dim - 1);
  if (low == high) high += 0.001;
  for (std::size_t i = 0; i < table.inv_freq.size(); ++i) {
    const double ramp = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
    const double plain = static_cast<double>(table.inv_freq[i]);
    table.inv_freq[i] = static_cast<float>(plain / factor * ramp + plain * (1 - ramp));
  }
  NBL_ASSIGN(const double mscale, parameter_or(s, origin, "mscale", 0));
  NBL_ASSIGN(const double all_dim, parameter_or(s, origin, "mscale_all_dim", 0));
  const double attention = mscale > 0 && all_dim > 0 ? yarn_mscale(factor, mscale) / yarn_mscale(factor, all_dim)
                                                     : yarn_mscale(factor, 1);
  NBL_ASSIGN(const double magnitude, parameter_or(s, origin, "attention_factor", attention));
  table.magnitude = static_cast<float>(magnitude);
  return {};
}

/// A list of rotary_dim / 2 divisors.
Result<std::vector<double>> divisors(const RopeSettings& s, std::string_view origin, std::string_view key,
                                     std::size_t pairs) {
  const Json* list = s.scaling->find_value(key);
  if (list == nullptr || !list->is_array() || list->size() != pairs)
    return Status(Code::corrupt, fmt::format("{}: config.json's rope scaling needs {}, a list of {} numbers", origin,
                                             key, pairs));
  std::vector<double> values;
  for (const Json& value : list->elements()) {
    if (!value.is_number() || !(std::isfinite(value.as_double()) && value.as_double() > 0))
      return Status(Code::corrupt, fmt::format("{}: config.json's {} holds something that is not a positive number",
                                               origin, key));
    values.push_back(value.as_double());
  }
  return values;
}

/// LongRoPE: a divisor for each pair, one list up to the original length, another beyond.
Status scale_longrope(const RopeSettings& s, const Json& config, std::string_view origin, int64_t max_positions,
                      RopeTable& table) {
  NBL_ASSIGN(const double original, original_positions(s, config, origin, max_positions));
  NBL_ASSIGN(const auto short_list, divisors(s, origin, "short_factor", table.inv_freq.size()));
  NBL_ASSIGN(const auto long_list, divisors(s, origin, "long_factor", table.inv_freq.size()));
  NBL_ASSIGN(const double factor, parameter_or(s, origin, "factor", static_cast<double>(max_positions) / original));
  const double grown = factor <= 1 || original <= 1 ? 1.0 : std::sqrt(1 + std::log(factor) / std::log(original));
  NBL_ASSIGN(const double magnitude, parameter_or(s, origin, "attention_factor", grown));
  table.magnitude = static_cast<float>(magnitude);
  table.original = static_cast<int64_t>(original);
  table.long_inv_freq = table.inv_freq;
  for (std::size_t i = 0; i < table.inv_freq.size(); ++i) {
    table.long_inv_freq[i] = static_cast<float>(static_cast<double>(table.inv_freq[i]) / long_list[i]);
    table.inv_freq[i] = static_cast<float>(static_cast<double>(table.inv_freq[i]) / short_list[i]);
  }
  return {};
}

}  // namespace

double yarn_mscale(double scale, double mscale) noexcept { return scale <= 1 ? 1.0 : 0.1 * mscale * std::log(scale) + 1; }

float RopeTable::frequency(std::size_t i, int64_t length) const noexcept {
  if (original == 0 || length <= original) return inv_freq[i];
  if (!long_inv_freq.empty()) return long_inv_freq[i];
  const double dim = 2 * static_cast<double>(inv_freq.size());
  const double grown =
      dynamic_factor * static_cast<double>(length) / static_cast<double>(original) - (dynamic_factor - 1);
  const double base = theta * std::pow(grown, dim / (dim - 2));
  return static_cast<float>(1.0 / std::pow(base, 2.0 * static_cast<double>(i) / dim));
}

Result<RopeSettings> read_rope_settings(const Json& config, std::string_view origin, const RopeKeys& keys,
                                        std::string_view layer_type) {
  const std::string context = fmt::format("{}: config.json", origin);
  RopeSettings s;
  auto theta = config.double_or(keys.theta_key, keys.theta);
  if (!theta.ok()) return theta.status().with_context(context);
  s.theta = *theta;
  auto partial = config.double_or(keys.partial_key, keys.partial);
  if (!partial.ok()) return partial.status().with_context(context);
  s.partial = *partial;

  // With both spellings rope_scaling counts, as in transformers 5, unless it says nothing.
  const Json *scaling = config.find_value("rope_scaling"), *parameters = config.find_value("rope_parameters");
  if (scaling != nullptr && scaling->is_object() && scaling->size() == 0) scaling = nullptr;
  if (parameters != nullptr && parameters->is_object() && !layer_type.empty() && parameters->find_value(layer_type) != nullptr) {
    if (scaling != nullptr) {
      return Status(Code::unsupported,
                    fmt::format("{}: rope_scaling beside rope_parameters of each type of layer is not implemented", context));
    }
    parameters = parameters->find_value(layer_type);
  }
  if (scaling == nullptr) scaling = parameters;
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
  if (!(s.theta > 1 && s.theta <= FLT_MAX))
    return bad(origin, keys.theta_key, s.theta, "more than 1, and a number that float32 can hold");
  if (!(s.partial > 0 && s.partial <= 1)) return bad(origin, keys.partial_key, s.partial, "above 0, at most 1");
  return s;
}

Result<RopeTable> make_rope_table(const RopeSettings& s, const Json& config, std::string_view origin,
                                  int64_t rotary_dim, int64_t max_positions) {
  RopeTable table;
  table.theta = s.theta;
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
  if (s.type == "dynamic") {
    NBL_ASSIGN(table.dynamic_factor, parameter(s, origin, "factor"));
    if (rotary_dim <= 2) return bad(origin, "head_dim", static_cast<double>(rotary_dim), "more than 2 to be stretched");
    table.original = max_positions;
    return table;
  }
  if (s.type == "llama3") {
    NBL_TRY(scale_llama3(s, config, origin, max_positions, table.inv_freq));
    return table;
  }
  if (s.type == "yarn") {
    NBL_TRY(scale_yarn(s, config, origin, max_positions, table));
    return table;
  }
  if (s.type == "longrope" || s.type == "su") {
    NBL_TRY(scale_longrope(s, config, origin, max_positions, table));
    return table;
  }
  return Status(Code::unsupported, fmt::format("{}: config.json's rope scaling \"{}\" is not implemented; implemented "
                                               "are default, linear, dynamic, llama3, yarn, longrope",
                                               origin, s.type.substr(0, 64)));
}

}  // namespace nbl::model

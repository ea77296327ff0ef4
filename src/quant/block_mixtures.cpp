#include "quant/block_mixtures.h"

namespace nbl::quant {
namespace {

using Kind = LinearPlace::Kind;

constexpr BlockMixture kMixtures[] = {
    {"Q3_K_S", "Q3_K", "Q6_K", 3.44}, {"Q3_K_M", "Q3_K", "Q6_K", 3.8}, {"Q3_K_L", "Q3_K", "Q6_K", 4.2}, {"Q4_K_S", "Q4_K", "Q6_K", 4.6},
    {"Q4_K_M", "Q4_K", "Q6_K", 4.9},  {"Q5_K_S", "Q5_K", "Q6_K", 5.5}, {"Q5_K_M", "Q5_K", "Q6_K", 5.7},
};

bool more_bits(const LinearPlace& p) {
  const int64_t eighth = p.layers / 8;
  return p.layer < eighth || p.layer >= 7 * p.layers / 8 || (p.layer - eighth) % 3 == 2;
}

}  // namespace

const BlockMixture* find_mixture(std::string_view name) {
  for (const BlockMixture& mixture : kMixtures) {
    if (mixture.name == name) return &mixture;
  }
  return nullptr;
}

std::string_view type_in_mixture(const BlockMixture& mixture, const LinearPlace& place) {
  const std::string_view name = mixture.name;
  if (place.kind == Kind::output) return mixture.output;
  if (name == "Q3_K_M") {
    if (place.kind == Kind::value) return place.layer < 2 ? "Q5_K" : "Q4_K";
    if (place.kind == Kind::down) return place.layer < place.layers / 16 ? "Q5_K" : "Q4_K";
    if (place.kind == Kind::query_key_value || place.kind == Kind::attention_output) return "Q4_K";
  } else if (name == "Q3_K_L") {
    if (place.kind == Kind::query_key_value) return "Q4_K";
    if (place.kind != Kind::other) return "Q5_K";
  } else if (name == "Q4_K_S") {
    if (place.kind == Kind::value && place.layer < 4) return "Q5_K";
    if (place.kind == Kind::down && place.layer < place.layers / 8) return "Q5_K";
  } else if (name == "Q4_K_M" || name == "Q5_K_M") {
    if ((place.kind == Kind::value || place.kind == Kind::down) && more_bits(place)) return "Q6_K";
    if (place.kind == Kind::query_key_value) return name == "Q4_K_M" ? "Q5_K" : "Q6_K";
  }
  return mixture.most;
}

}  // namespace nbl::quant

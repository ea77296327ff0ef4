#include "pipeline/learned_codes.h"

#include <algorithm>
#include <cmath>

namespace nbl::pipeline {
namespace {

constexpr float kKeepMean = 0.9f, kKeepSquare = 0.95f;

}  // namespace

Adam::Adam(int64_t count)
    : mean_gain_(1.0f / (1.0f - std::pow(kKeepMean, static_cast<float>(count)))),
      square_gain_(1.0f / (1.0f - std::pow(kKeepSquare, static_cast<float>(count)))) {}

float Adam::direction(float slope, float& mean, float& square) const {
  mean = kKeepMean * mean + (1 - kKeepMean) * slope;
  square = kKeepSquare * square + (1 - kKeepSquare) * slope * slope;
  return square > 0 ? mean * mean_gain_ / std::sqrt(square * square_gain_) : 0.0f;
}

template <class F>
void LearnedCodes::each_group(Team& team, F&& f) const {
  const int64_t groups = codes_->groups();
  team.parallel_for(codes_->n, 8, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      for (int64_t g = 0; g < groups; ++g) {
        f(static_cast<std::size_t>(r * codes_->k + g * codes_->group),
          static_cast<std::size_t>(r * codes_->k + std::min(codes_->k, (g + 1) * codes_->group)),
          static_cast<std::size_t>(r * groups + g));
      }
    }
  });
}

void LearnedCodes::begin(quant::AffineCodes* codes, const std::vector<float>& original, Team& team) {
  codes_ = codes;
  scales_ = codes->scales;
  scale_mean_.assign(scales_.size(), 0.0f);
  scale_square_.assign(scales_.size(), 0.0f);
  if (original.empty()) return;
  latent_.resize(codes->codes.size());
  mean_.assign(latent_.size(), 0.0f);
  square_.assign(latent_.size(), 0.0f);
  each_group(team, [&](std::size_t first, std::size_t last, std::size_t g) {
    for (std::size_t i = first; i < last; ++i) latent_[i] = start(i, original[i], g);
  });
}

float LearnedCodes::start(std::size_t i, float value, std::size_t group) const {
  const float c = static_cast<float>(codes_->codes[i]);
  return std::clamp(value / codes_->scales[group] + zero(group), c - 0.45f, c + 0.45f);
}

void LearnedCodes::stretch(float share, const std::vector<float>& original, Team& team) {
  each_group(team, [&](std::size_t first, std::size_t last, std::size_t g) {
    scales_[g] = codes_->scales[g] + share * (scales_[g] - codes_->scales[g]);
    if (latent_.empty()) return;
    for (std::size_t i = first; i < last; ++i) {
      const float began = start(i, original[i], g);
      latent_[i] = began + share * (latent_[i] - began);
    }
  });
}

void LearnedCodes::materialize(Team& team, std::vector<float>* w) const {
  w->resize(codes_->codes.size());
  each_group(team, [&](std::size_t first, std::size_t last, std::size_t g) {
    const float s = quant::round_scale(scales_[g], codes_->scale_type), z = zero(g);
    for (std::size_t i = first; i < last; ++i) (*w)[i] = s * (code(i) - z);
  });
}

void LearnedCodes::step(const std::vector<float>& gradient, int64_t count, float rate, float scale_rate, Team& team) {
  const float top = max_code();
  const Adam adam(count);
  each_group(team, [&](std::size_t first, std::size_t last, std::size_t g) {
    const float z = zero(g);
    float along = 0;
    for (std::size_t i = first; i < last; ++i) along += gradient[i] * (code(i) - z);
    if (!latent_.empty()) {
      for (std::size_t i = first; i < last; ++i) {
        latent_[i] = std::clamp(latent_[i] - rate * adam.direction(gradient[i], mean_[i], square_[i]), -0.49f, top + 0.49f);
      }
    }
    scales_[g] *= 1 - scale_rate * std::clamp(adam.direction(along, scale_mean_[g], scale_square_[g]), -1.0f, 1.0f);
  });
}

void LearnedCodes::keep(Team& team) {
  each_group(team, [&](std::size_t first, std::size_t last, std::size_t g) {
    for (std::size_t i = first; i < last; ++i) codes_->codes[i] = static_cast<uint8_t>(code(i));
    codes_->scales[g] = quant::round_scale(scales_[g], codes_->scale_type);
  });
}

}  // namespace nbl::pipeline

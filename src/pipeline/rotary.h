// Rotary positions of calibration windows, forward and back.
#pragma once

#include <cstdint>
#include <vector>

#include "model/model.h"

namespace nbl::pipeline {

class Rotary {
 public:
  Rotary() = default;
  /// Of windows of `length` tokens, from position 0.
  Rotary(const model::Config& config, int64_t layer, int64_t length);

  /// Whether the layer turns anything.
  bool any() const noexcept { return turn_ != nullptr; }
  /// Turns the first rotary_dim components of a query or key at `position`; back: as a gradient goes through that.
  void turn(float* head, int64_t position, bool back) const {
    turn_(head, cos_.data() + position * pairs_, (back ? back_ : sin_).data() + position * pairs_, pairs_);
  }

 private:
  void (*turn_)(float* x, const float* cos, const float* sin, int64_t pairs) = nullptr;
  int64_t pairs_ = 0;
  std::vector<float> cos_, sin_, back_;  ///< [length][pairs]; back_ = -sin_
};

}  // namespace nbl::pipeline

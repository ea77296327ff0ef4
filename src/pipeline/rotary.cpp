#include "pipeline/rotary.h"

#include <cmath>

#include "base/cpu.h"
#include "kernels/elementwise/elementwise.h"

namespace nbl::pipeline {

Rotary::Rotary(const model::Config& config, int64_t layer, int64_t length) {
  const int32_t set = config.layer[static_cast<std::size_t>(layer)].rope;
  if (set < 0 || config.rope == model::Rope::none) return;
  const kernels::ElementwiseKernels& elementwise = kernels::elementwise_kernels(best_isa());
  turn_ = config.rope == model::Rope::adjacent ? elementwise.rope_adjacent : elementwise.rope_half;
  pairs_ = config.rotary_dim / 2;
  const model::RopeTable& table = config.ropes[static_cast<std::size_t>(set)];
  for (int64_t t = 0; t < length; ++t) {
    for (int64_t i = 0; i < pairs_; ++i) {
      const float angle = static_cast<float>(t) * table.frequency(static_cast<std::size_t>(i), length);
      cos_.push_back(std::cos(angle) * table.magnitude);
      sin_.push_back(std::sin(angle) * table.magnitude);
      back_.push_back(-sin_.back());
    }
  }
}

}  // namespace nbl::pipeline

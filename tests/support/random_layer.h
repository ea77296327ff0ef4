// A decoder layer of any architecture with random weights, made from its description alone.
#pragma once

#include <cmath>

#include "base/random.h"
#include "model/arch.h"
#include "model/block.h"

namespace nbl::test {

/// Biases wherever they may be. Weights are large enough for scores to differ and activations to bend.
inline model::LayerWeights random_layer(const model::Architecture& arch, const model::Config& config, int64_t layer,
                                        uint64_t seed) {
  Random random(seed);
  const auto numbers = [&](int64_t count, double mean, double spread) {
    std::vector<float> out(static_cast<std::size_t>(count));
    for (float& v : out) v = static_cast<float>(mean + spread * random.normal());
    return out;
  };
  model::LayerWeights weights;
  for (const model::TensorSpec& spec : arch.tensors) {
    if (!model::is_layer_role(spec.role) || !model::has_tensor(spec, config, layer)) continue;
    const bool bias = spec.has_bias && (spec.bias_when & ~config.variant) == 0;
    const int64_t n = *model::dimension(spec.rows, config);
    if (spec.cols.empty()) {
      weights.norms[spec.role] = {numbers(n, 1, 0.2), bias ? numbers(n, 0, 0.2) : std::vector<float>{}};
      continue;
    }
    const int64_t k = *model::dimension(spec.cols, config);
    const int64_t copies = model::is_expert_role(spec.role) ? config.experts.count : 1;
    for (int64_t i = 0; i < copies; ++i) {
      const model::Part part(spec.role, model::is_expert_role(spec.role) ? static_cast<int32_t>(i) : -1);
      weights.matrices[part] = {n,
                                k,
                                numbers(n * k, 0, 1.5 / std::sqrt(static_cast<double>(k))),
                                bias ? numbers(n, 0, 0.3) : std::vector<float>{},
                                {}};
    }
  }
  return weights;
}

}  // namespace nbl::test

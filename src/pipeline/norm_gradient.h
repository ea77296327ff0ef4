// RMS norms, forward and back. in, out, dy and dx are [tokens, width] with width = weight.size(), inverse is [tokens].
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/parallel.h"

namespace nbl::pipeline {

/// out = in * inverse * weight; inverse: one over each row's root mean square.
void rms_norm(Team& team, int64_t tokens, std::span<const float> weight, float eps, const float* in, float* out, float* inverse);
/// Adds to dx.
void rms_norm_backward(Team& team, int64_t tokens, std::span<const float> weight, const float* in, const float* inverse,
                       const float* dy, float* dx);
/// With respect to the weight: the sum over tokens of dy * in * inverse. The same bytes for any team.
std::vector<float> rms_norm_gradient(Team& team, int64_t tokens, int64_t width, const float* in, const float* inverse,
                                     const float* dy);

}  // namespace nbl::pipeline

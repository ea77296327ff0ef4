// RMS norms and LayerNorms, forward and back, of single rows (a head's) and of matrices.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/parallel.h"
#include "model/model.h"

namespace nbl::pipeline {

struct NormRule {
  model::Norm kind = model::Norm::rms;
  float eps = 0;
};

/// What a norm takes away from a row (0 in RMS norms) and multiplies the rest by: with it the way back needs no sums of
/// the row again.
struct NormStats {
  float mean = 0, inverse = 0;
};

/// y = (x - mean) * inverse * w + bias, bias [n] or null.
NormStats norm_row(const NormRule& rule, const float* x, const float* w, const float* bias, int64_t n, float* y);
/// dx: with respect to x. May be dy.
void norm_row_backward(const NormRule& rule, const NormStats& stats, const float* x, const float* w, const float* dy,
                       int64_t n, float* dx);

// in, out, dy and dx are [tokens, width] with width = weight.size(), stats is [tokens].

void norm_rows(Team& team, const NormRule& rule, int64_t tokens, std::span<const float> weight,
               std::span<const float> bias, const float* in, float* out, NormStats* stats);
/// Adds to dx.
void norm_rows_backward(Team& team, const NormRule& rule, int64_t tokens, std::span<const float> weight,
                        const float* in, const NormStats* stats, const float* dy, float* dx);
/// With respect to the weight: the sum over tokens of dy * (in - mean) * inverse. The same bytes for any team.
std::vector<float> norm_weight_gradient(Team& team, int64_t tokens, int64_t width, const float* in,
                                        const NormStats* stats, const float* dy);

}  // namespace nbl::pipeline

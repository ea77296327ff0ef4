#include "pipeline/folding.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace nbl::pipeline {
namespace {

using model::LayerWeights;
using model::Role;

/// Divides the last s.size() rows (those that make the input: a fused q|k|v ends with v, a fused gate|up with up).
void divide_last_rows(LayerWeights::Matrix& m, std::span<const float> s) {
  const int64_t count = static_cast<int64_t>(s.size()), first = m.n - count;
  for (int64_t r = 0; r < count; ++r) {
    const float d = s[static_cast<std::size_t>(r)];
    float* row = m.w.data() + (first + r) * m.k;
    for (int64_t c = 0; c < m.k; ++c) row[c] /= d;
    if (!m.bias.empty()) m.bias[static_cast<std::size_t>(first + r)] /= d;
  }
}

/// Whether each column of the group's input is made by exactly one row of the producer, in the same order.
bool one_row_a_column(const LayerWeights& layer, const LayerWeights::Matrix& producer, Role role, int64_t k) {
  if (role == Role::qkv) return producer.n == 3 * k;  // multi- or grouped-query rows serve several heads each
  if (role == Role::gate_up) return producer.n == 2 * k;
  (void)layer;
  return producer.n == k;
}

}  // namespace

Result<FoldResult> fold_input_scales(LayerWeights& layer, const model::InputGroup& group, std::span<const float> s,
                                     quant::InputStats& stats) {
  const int64_t k = static_cast<int64_t>(s.size());
  for (std::size_t c = 0; c < s.size(); ++c) {
    if (!(s[c] > 0) || !std::isfinite(s[c])) {
      return Status(Code::internal,
                    fmt::format("input scale {} of column {} of {} is not positive", s[c], c, group.name));
    }
  }
  for (Role role : group.linears) {
    const auto it = layer.matrices.find(role);
    if (it == layer.matrices.end()) continue;
    LayerWeights::Matrix& m = it->second;
    if (m.k != k) {
      return Status(Code::internal, fmt::format("{} scales for a linear of {} columns in {}", k, m.k, group.name));
    }
    for (int64_t r = 0; r < m.n; ++r) {
      float* row = m.w.data() + r * k;
      for (int64_t c = 0; c < k; ++c) row[c] *= s[static_cast<std::size_t>(c)];
    }
  }
  if (!stats.abs_mean.empty()) {
    for (int64_t c = 0; c < k; ++c) stats.abs_mean[static_cast<std::size_t>(c)] /= s[static_cast<std::size_t>(c)];
  }
  for (std::size_t c = 0; c < stats.square.size(); ++c) stats.square[c] /= s[c] * s[c];
  for (std::size_t c = 0; c < stats.abs_max.size(); ++c) stats.abs_max[c] /= s[c];
  if (!stats.hessian.empty()) {
    for (int64_t r = 0; r < k; ++r) {
      float* row = stats.hessian.data() + r * k;
      const float sr = s[static_cast<std::size_t>(r)];
      for (int64_t c = 0; c < k; ++c) row[c] /= sr * s[static_cast<std::size_t>(c)];
    }
  }

  FoldResult result;
  if (group.producer == model::InputGroup::Producer::norm) {
    const auto it = layer.norms.find(group.producer_role);
    if (it != layer.norms.end() && static_cast<int64_t>(it->second.w.size()) == k) {
      for (int64_t c = 0; c < k; ++c) {
        const std::size_t i = static_cast<std::size_t>(c);
        it->second.w[i] /= s[i];
        if (!it->second.bias.empty()) it->second.bias[i] /= s[i];
      }
      result.where = Folded::norm;
      result.changed = group.producer_role;
    }
  } else if (group.producer == model::InputGroup::Producer::linear) {
    const auto it = layer.matrices.find(group.producer_role);
    if (it != layer.matrices.end() && one_row_a_column(layer, it->second, group.producer_role, k)) {
      divide_last_rows(it->second, s);
      result.where = Folded::linear;
      result.changed = group.producer_role;
    }
  }
  return result;
}

}  // namespace nbl::pipeline

#include "pipeline/folding.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace nbl::pipeline {
namespace {

using model::LayerWeights;
using model::Role;

/// The row of the producer that makes each of the k columns, when every column has one of its own: all rows, the last
/// ones of a fused gate|up, the value rows of a fused projection. Empty when they do not (a key-value head serves
/// several query heads).
std::vector<int64_t> producing_rows(const LayerWeights::Matrix& producer, Role role, const model::Config& config,
                                    int64_t k) {
  std::vector<int64_t> rows;
  if (role == Role::qkv) {
    if (config.heads != config.kv_heads || config.heads * config.v_dim() != k) return rows;
    for (int64_t c = 0; c < k; ++c) {
      const int64_t head = c / config.v_dim(), d = config.head_dim;
      const int64_t first = config.qkv_order == model::QkvOrder::blocks ? 2 * config.heads * d + head * config.v_dim()
                                                                        : (3 * head + 2) * d;
      rows.push_back(first + c % config.v_dim());
    }
    return rows;
  }
  const int64_t first = role == Role::gate_up ? k : 0;
  if (producer.n != first + k) return rows;
  for (int64_t c = 0; c < k; ++c) rows.push_back(first + c);
  return rows;
}

void divide_rows(LayerWeights::Matrix& m, std::span<const int64_t> rows, std::span<const float> s) {
  for (std::size_t i = 0; i < rows.size(); ++i) {
    float* row = m.w.data() + rows[i] * m.k;
    for (int64_t c = 0; c < m.k; ++c) row[c] /= s[i];
    if (!m.bias.empty()) m.bias[static_cast<std::size_t>(rows[i])] /= s[i];
  }
}

}  // namespace

Result<FoldResult> fold_input_scales(LayerWeights& layer, const model::Config& config, const model::InputGroup& group,
                                     std::span<const float> s, quant::InputStats& stats) {
  const int64_t k = static_cast<int64_t>(s.size());
  for (std::size_t c = 0; c < s.size(); ++c) {
    if (!(s[c] > 0) || !std::isfinite(s[c])) {
      return Status(Code::internal,
                    fmt::format("input scale {} of column {} of {} is not positive", s[c], c, group.name));
    }
  }
  for (const model::Part& part : group.linears) {
    const auto it = layer.matrices.find(part);
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
    const auto it = layer.norms.find(group.producer_role.role);
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
    if (it != layer.matrices.end()) {
      const std::vector<int64_t> rows = producing_rows(it->second, group.producer_role.role, config, k);
      if (rows.empty()) return result;
      divide_rows(it->second, rows, s);
      result.where = Folded::linear;
      result.changed = group.producer_role;
    }
  }
  return result;
}

}  // namespace nbl::pipeline

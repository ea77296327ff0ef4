#include "pipeline/folding.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

namespace nbl::pipeline {
namespace {

using model::LayerWeights;
using model::Role;

/// Each producing row once, however many columns it makes; columns of one row have one scale.
void divide_rows(LayerWeights::Matrix& m, std::span<const int64_t> rows, std::span<const float> s) {
  std::vector<bool> done(static_cast<std::size_t>(m.n));
  for (std::size_t i = 0; i < rows.size(); ++i) {
    if (done[static_cast<std::size_t>(rows[i])]) continue;
    done[static_cast<std::size_t>(rows[i])] = true;
    float* row = m.w.data() + rows[i] * m.k;
    for (int64_t c = 0; c < m.k; ++c) row[c] /= s[i];
    if (!m.bias.empty()) m.bias[static_cast<std::size_t>(rows[i])] /= s[i];
  }
}

}  // namespace

std::vector<int64_t> producing_rows(const LayerWeights& layer, const model::InputGroup& group, const model::Config& config) {
  std::vector<int64_t> rows;
  if (group.producer != model::InputGroup::Producer::linear) return rows;
  const auto it = layer.matrices.find(group.producer_role);
  const auto reader = layer.matrices.find(group.linears.front());
  if (it == layer.matrices.end() || reader == layer.matrices.end()) return rows;
  const LayerWeights::Matrix& producer = it->second;
  const Role role = group.producer_role.role;
  const int64_t k = reader->second.k, dim = config.v_dim();
  if (role == Role::qkv) {
    if (config.heads * dim != k) return rows;
    const int64_t d = config.head_dim, shared = config.heads / config.kv_heads;
    if (shared != 1 && config.qkv_order != model::QkvOrder::blocks) return rows;
    for (int64_t c = 0; c < k; ++c) {
      const int64_t head = c / dim / shared;
      const int64_t first = config.qkv_order == model::QkvOrder::blocks ? (config.heads + config.kv_heads) * d + head * dim
                                                                        : (3 * head + 2) * d;
      rows.push_back(first + c % dim);
    }
    return rows;
  }
  if (role == Role::v && producer.n != k) {
    if (config.heads * dim != k || config.kv_heads * dim != producer.n) return rows;
    const int64_t shared = config.heads / config.kv_heads;
    for (int64_t c = 0; c < k; ++c) rows.push_back(c / dim / shared * dim + c % dim);
    return rows;
  }
  const int64_t first = role == Role::gate_up ? k : 0;
  if (producer.n != first + k) return rows;
  for (int64_t c = 0; c < k; ++c) rows.push_back(first + c);
  return rows;
}

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
  std::vector<int64_t> rows = producing_rows(layer, group, config);
  std::map<int64_t, float> of_row;
  for (std::size_t c = 0; c < rows.size(); ++c) {
    if (of_row.emplace(rows[c], s[c]).first->second == s[c]) continue;
    rows.clear();  // one row cannot be divided by two scales
    break;
  }
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
      if (rows.empty()) return result;
      divide_rows(it->second, rows, s);
      result.where = Folded::linear;
      result.changed = group.producer_role;
    }
  }
  return result;
}

}  // namespace nbl::pipeline

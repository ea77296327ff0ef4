#include "model/block.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "model/layer_runner.h"
#include "model/weights.h"

namespace nbl::model {
namespace {

/// Rows that go through the layer together: whole windows, as many as fit.
constexpr int64_t kRows = 1024;

}  // namespace

Result<LayerWeights> load_layer(const Checkpoint& checkpoint, const Architecture& arch, const Config& config,
                                int64_t layer) {
  LayerWeights out;
  for (const TensorSpec& spec : arch.tensors) {
    if (!is_layer_role(spec.role)) continue;
    if (spec.cols.empty()) {
      NBL_ASSIGN(const int64_t size, dimension(spec.rows, config));
      LayerWeights::NormWeights& norm = out.norms[spec.role];
      NBL_ASSIGN(norm.w, load_vector(checkpoint, tensor_name(spec, layer, "weight"), size));
      NBL_ASSIGN(norm.bias, load_bias(checkpoint, spec, config, layer));
      continue;
    }
    NBL_ASSIGN(const QTensor tensor, load_matrix(checkpoint, spec, config, layer));
    LayerWeights::Matrix& m = out.matrices[spec.role];
    m.n = tensor.n;
    m.k = tensor.k;
    m.w.resize(static_cast<std::size_t>(m.n) * static_cast<std::size_t>(m.k));
    for (int64_t r = 0; r < m.n; ++r) tensor.dequantize_row(r, m.w.data() + r * m.k);
    if (!tensor.input_scale.empty()) {
      // As one plain matrix the layer multiplies the unscaled input, so the scale goes into the columns.
      const auto scale = tensor.input_scale.as<float>();
      for (int64_t r = 0; r < m.n; ++r)
        for (int64_t c = 0; c < m.k; ++c)
          m.w[static_cast<std::size_t>(r * m.k + c)] *= scale[static_cast<std::size_t>(c)];
    }
    NBL_ASSIGN(m.bias, load_bias(checkpoint, spec, config, layer));
  }
  return out;
}

Status run_layer(const LayerWeights& weights, const Architecture& arch, const Config& config, Team& team,
                 int64_t windows, int64_t length, float* hidden, const InputObserver& observer, int64_t index) {
  if (windows <= 0 || length <= 0) return {};
  if (config.learned_positions && length > config.max_positions)
    return Status(Code::limit,
                  fmt::format("windows of {} tokens are longer than the {} positions that this model has learned",
                              length, config.max_positions));
  const int64_t together = std::clamp<int64_t>(kRows / length, 1, windows);
  NBL_ASSIGN(LayerRunner runner, LayerRunner::create(arch, config, team, together, length, Compute::exact));
  NBL_TRY(runner.load(weights, index));
  for (int64_t w = 0; w < windows; w += together) {
    const int64_t count = std::min(together, windows - w);
    float* part = hidden + w * length * config.hidden;
    NBL_TRY(runner.begin(runner.restart_point(0), part, count));
    for (std::size_t g = 0; observer && g < arch.groups.size(); ++g) {
      NBL_TRY(runner.advance(g));
      const GroupInput in = runner.input();
      NBL_TRY(observer(g, in.x, in.ldx, in.m, in.k));
    }
    NBL_TRY(runner.advance(runner.groups()));
    std::memcpy(part, runner.residual(), static_cast<std::size_t>(count * length * config.hidden) * sizeof(float));
  }
  return {};
}

Status embed(const Checkpoint& checkpoint, const Architecture& arch, const Config& config,
             std::span<const text::TokenId> ids, int64_t length, float* hidden) {
  const TensorSpec* spec = arch.find(Role::embedding);
  if (spec == nullptr || length <= 0) return Status(Code::internal, "embed() without embeddings or without a length");
  if (config.learned_positions && length > config.max_positions)
    return Status(Code::limit,
                  fmt::format("windows of {} tokens are longer than the {} positions that this model has learned",
                              length, config.max_positions));
  NBL_ASSIGN(const QTensor table, load_matrix(checkpoint, *spec, config, 0));
  NBL_ASSIGN(const std::vector<float> positions, load_positions(checkpoint, arch, config));
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0 || ids[i] >= config.vocab)
      return Status(Code::invalid_argument, fmt::format("token {} at index {} is outside the vocabulary of {} tokens",
                                                        ids[i], i, config.vocab));
    float* x = hidden + static_cast<int64_t>(i) * config.hidden;
    table.dequantize_row(ids[i], x);
    if (positions.empty()) continue;
    const float* p = positions.data() + (static_cast<int64_t>(i) % length) * config.hidden;
    for (int64_t c = 0; c < config.hidden; ++c) x[c] += p[c];
  }
  return {};
}

}  // namespace nbl::model

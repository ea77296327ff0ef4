#include "model/block.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "base/cpu.h"
#include "model/forward.h"
#include "model/layer_runner.h"
#include "model/weights.h"

namespace nbl::model {
namespace {

/// Rows that go through the layer together: whole windows, as many as fit.
constexpr int64_t kRows = 1024;

}  // namespace

Result<LayerWeights> load_layer(const Checkpoint& checkpoint, const Architecture& arch, const Config& config,
                                int64_t layer, bool in_place) {
  LayerWeights out;
  const auto load = [&](const TensorSpec& spec, int32_t expert) -> Status {
    if (in_place && spec.input_divisor.empty()) {
      NBL_ASSIGN(std::optional<Array> plain, plain_matrix(checkpoint, spec, config, layer, expert));
      if (plain) {
        LayerWeights::Matrix& m = out.matrices[Part(spec.role, expert)];
        m.n = plain->shape[0];
        m.k = plain->shape[1];
        m.plain = std::move(plain);
        NBL_ASSIGN(m.bias, load_bias(checkpoint, spec, config, layer, expert));
        return {};
      }
    }
    NBL_ASSIGN(const QTensor tensor, load_matrix(checkpoint, spec, config, layer, expert));
    LayerWeights::Matrix& m = out.matrices[Part(spec.role, expert)];
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
    NBL_ASSIGN(m.bias, load_bias(checkpoint, spec, config, layer, expert));
    return {};
  };
  for (const TensorSpec& spec : arch.tensors) {
    if (!is_layer_role(spec.role) || !has_tensor(spec, config, layer)) continue;
    if (spec.cols.empty()) {
      NBL_ASSIGN(NormWeights norm, load_norm(checkpoint, spec, config, layer));
      out.norms[spec.role] = {std::move(norm.w), std::move(norm.b)};
    } else if (is_expert_role(spec.role)) {
      for (int32_t e = 0; e < config.experts.count; ++e) NBL_TRY(load(spec, e));
    } else {
      NBL_TRY(load(spec, -1));
    }
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
    for (std::size_t g = 0; observer && g < runner.groups(); ++g) {
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
  const ComputeOptions compute{Compute::exact, best_isa()};
  for (std::size_t i = 0; i < ids.size(); ++i)
    if (ids[i] < 0 || ids[i] >= config.vocab)
      return Status(Code::invalid_argument, fmt::format("token {} at index {} is outside the vocabulary of {} tokens",
                                                        ids[i], i, config.vocab));
  NBL_ASSIGN(const Weights front, load_front(checkpoint, arch, config, compute));
  Workspace::Sizes sizes;
  sizes.max_rows = std::min<int64_t>(length, static_cast<int64_t>(ids.size()));
  if (front.project_in) sizes.prepared_bytes = front.project_in->prepared_bytes(sizes.max_rows);
  if (sizes.max_rows == 0) return {};
  NBL_ASSIGN(Workspace work, Workspace::create(config, sizes));
  Team alone(1);
  for (std::size_t first = 0; first < ids.size(); first += static_cast<std::size_t>(length)) {
    const std::size_t rows = std::min(static_cast<std::size_t>(length), ids.size() - first);
    const Span span{nullptr, 0, static_cast<int64_t>(rows), 0};
    Step step;
    step.config = &config;
    step.isa = compute.isa;
    step.work = &work;
    step.spans = {&span, 1};
    step.rows = static_cast<int64_t>(rows);
    step.shared_rows = true;
    alone.run([&](Worker& worker) { Pass(step, worker).embed(front, ids.subspan(first, rows)); });
    std::memcpy(hidden + static_cast<int64_t>(first) * config.hidden, Pass::residual(work),
                rows * static_cast<std::size_t>(config.hidden) * sizeof(float));
  }
  return {};
}

}  // namespace nbl::model

#include "model/block.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "base/cpu.h"
#include "model/forward.h"
#include "model/weights.h"

namespace nbl::model {
namespace {

/// Rows that go through the layer together: whole windows, as many as fit.
constexpr int64_t kRows = 1024;

Result<Layer> make_layer(const LayerWeights& weights, const ComputeOptions& compute) {
  Layer layer;
  for (const auto& [part, m] : weights.matrices) {
    NBL_ASSIGN(Segment segment, pack_dense(m.n, m.k, DType::f32, m.w.data()));
    NBL_ASSIGN(Linear linear, Linear::create(make_qtensor(m.n, m.k, std::move(segment)), m.bias, compute));
    layer.linears[role_index(part.role)] = std::move(linear);
  }
  for (const auto& [role, n] : weights.norms) layer.norms[role_index(role)] = {n.w, n.bias};
  return layer;
}

/// Which InputGroup holds one of these roles.
std::size_t group_of(const std::vector<InputGroup>& groups, std::initializer_list<Role> roles) {
  for (std::size_t g = 0; g < groups.size(); ++g)
    for (Role role : roles)
      if (std::find(groups[g].linears.begin(), groups[g].linears.end(), Part(role)) != groups[g].linears.end()) return g;
  return groups.size();
}

}  // namespace

Result<LayerWeights> load_layer(const Checkpoint& checkpoint, const Architecture& arch, const Config& config,
                                int64_t layer) {
  LayerWeights out;
  const auto load = [&](const TensorSpec& spec, int32_t expert) -> Status {
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
  const ComputeOptions compute{Compute::exact, best_isa()};
  NBL_ASSIGN(const Layer layer, make_layer(weights, compute));
  const int64_t together = std::clamp<int64_t>(kRows / length, 1, windows);
  std::vector<KvCache> caches;
  for (int64_t i = 0; i < together; ++i) {
    NBL_ASSIGN(KvCache cache, KvCache::create(config, 1, length, kernels::CacheType::f32));
    caches.push_back(std::move(cache));
  }
  Workspace::Sizes sizes;
  sizes.max_rows = together * length;
  sizes.workers = team.size();
  sizes.prepared_bytes = Workspace::prepared_bytes({&layer, 1}, nullptr, sizes.max_rows);
  NBL_ASSIGN(Workspace work, Workspace::create(config, sizes));

  const std::vector<InputGroup> groups = layer_groups(arch, config, index);
  const std::size_t attn_in = group_of(groups, {Role::q, Role::qkv}), attn_out = group_of(groups, {Role::attn_out}),
                    mlp_in = group_of(groups, {Role::up, Role::gate_up}), mlp_down = group_of(groups, {Role::down});
  std::vector<Span> spans;
  for (int64_t w = 0; w < windows; w += together) {
    const int64_t count = std::min(together, windows - w), rows = count * length;
    spans.clear();
    for (int64_t i = 0; i < count; ++i) spans.push_back({&caches[static_cast<std::size_t>(i)], i * length, length, 0});
    Step step;
    step.config = &config;
    step.isa = compute.isa;
    step.work = &work;
    step.spans = spans;
    step.rows = rows;
    step.shared_rows = true;
    float* part = hidden + w * length * config.hidden;
    const std::size_t part_bytes = static_cast<std::size_t>(rows * config.hidden) * sizeof(float);
    std::memcpy(Pass::residual(work), part, part_bytes);
    const auto see = [&](std::size_t group, const float* x, int64_t ldx, int64_t k) -> Status {
      return observer && group < groups.size() ? observer(group, x, ldx, rows, k) : Status();
    };
    team.run([&](Worker& worker) {
      Pass pass(step, worker);
      pass.positions();
      pass.attention_input(layer);
    });
    NBL_TRY(see(attn_in, Pass::normed(work), config.hidden, config.hidden));
    team.run([&](Worker& worker) { Pass(step, worker).attention(layer, index, 0); });
    const int64_t heads_width = config.heads * config.v_dim();
    NBL_TRY(see(attn_out, Pass::heads(work), heads_width, heads_width));
    team.run([&](Worker& worker) {
      Pass pass(step, worker);
      if (!config.parallel_residual) pass.attention_output(layer);
      pass.mlp_input(layer);
    });
    if (mlp_in != attn_in) NBL_TRY(see(mlp_in, Pass::normed(work), config.hidden, config.hidden));
    team.run([&](Worker& worker) { Pass(step, worker).mlp_hidden(layer); });
    NBL_TRY(see(mlp_down, Pass::hidden_activations(work), Pass::hidden_stride(work), config.ffn));
    team.run([&](Worker& worker) {
      Pass pass(step, worker);
      if (config.parallel_residual) pass.attention_output(layer);
      pass.mlp_output(layer);
    });
    std::memcpy(part, Pass::residual(work), part_bytes);
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

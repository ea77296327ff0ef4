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
  for (const auto& [role, m] : weights.matrices) {
    NBL_ASSIGN(Segment segment, pack_dense(m.n, m.k, DType::f32, m.w.data()));
    NBL_ASSIGN(Linear linear, Linear::create(make_qtensor(m.n, m.k, std::move(segment)), m.bias, compute));
    layer.linears[role_index(role)] = std::move(linear);
  }
  for (const auto& [role, n] : weights.norms) layer.norms[role_index(role)] = {n.w, n.bias};
  return layer;
}

/// Which InputGroup starts with one of these roles.
std::size_t group_of(const Architecture& arch, std::initializer_list<Role> roles) {
  for (std::size_t g = 0; g < arch.groups.size(); ++g)
    for (Role role : roles)
      if (std::find(arch.groups[g].linears.begin(), arch.groups[g].linears.end(), role) != arch.groups[g].linears.end())
        return g;
  return arch.groups.size();
}

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
  const ComputeOptions compute{Compute::exact, best_isa()};
  NBL_ASSIGN(const Layer layer, make_layer(weights, compute));
  const int64_t together = std::clamp<int64_t>(kRows / length, 1, windows);
  std::vector<KvCache> caches;
  for (int64_t i = 0; i < together; ++i) {
    NBL_ASSIGN(KvCache cache, KvCache::create(config, 1, length, KvType::f32, 1));
    caches.push_back(std::move(cache));
  }
  Workspace::Sizes sizes;
  sizes.max_rows = together * length;
  sizes.workers = team.size();
  sizes.prepared_bytes = Workspace::prepared_bytes({&layer, 1}, nullptr, sizes.max_rows);
  NBL_ASSIGN(Workspace work, Workspace::create(config, sizes));

  const std::size_t attn_in = group_of(arch, {Role::q, Role::qkv}), attn_out = group_of(arch, {Role::attn_out}),
                    mlp_in = group_of(arch, {Role::up, Role::gate_up}), mlp_down = group_of(arch, {Role::down});
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
      return observer && group < arch.groups.size() ? observer(group, x, ldx, rows, k) : Status();
    };
    team.run([&](Worker& worker) {
      Pass pass(step, worker);
      pass.positions();
      pass.attention_input(layer);
    });
    NBL_TRY(see(attn_in, Pass::normed(work), config.hidden, config.hidden));
    team.run([&](Worker& worker) { Pass(step, worker).attention(layer, index, 0); });
    NBL_TRY(see(attn_out, Pass::heads(work), config.heads * config.head_dim, config.heads * config.head_dim));
    team.run([&](Worker& worker) {
      Pass pass(step, worker);
      pass.attention_output(layer);
      pass.mlp_input(layer);
    });
    NBL_TRY(see(mlp_in, Pass::normed(work), config.hidden, config.hidden));
    team.run([&](Worker& worker) { Pass(step, worker).mlp_hidden(layer); });
    NBL_TRY(see(mlp_down, Pass::hidden_activations(work), Pass::hidden_stride(work, config), config.ffn));
    team.run([&](Worker& worker) { Pass(step, worker).mlp_output(layer); });
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

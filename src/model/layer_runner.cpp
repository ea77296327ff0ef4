#include "model/layer_runner.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "base/cpu.h"
#include "base/half.h"
#include "model/forward.h"
#include "model/weights.h"

namespace nbl::model {
namespace {

// The places where a run can stop. The phases between them are those of Pass.
enum Stop : int { kAttentionInput, kAttentionOutput, kMlpInput, kMlpDown, kEnd };

/// Which InputGroup holds one of these roles.
std::size_t group_of(const Architecture& arch, std::initializer_list<Role> roles) {
  for (std::size_t g = 0; g < arch.groups.size(); ++g)
    for (Role role : roles)
      if (std::find(arch.groups[g].linears.begin(), arch.groups[g].linears.end(), role) != arch.groups[g].linears.end())
        return g;
  return arch.groups.size();
}

}  // namespace

struct LayerRunner::Impl {
  const Architecture* arch = nullptr;
  Config config;
  Team* team = nullptr;
  int64_t together = 0, length = 0;
  ComputeOptions compute;
  bool bf16 = false;  ///< weights are kept in bfloat16
  Layer layer;
  int64_t index = 0;
  Workspace work;
  std::vector<KvCache> caches;
  std::vector<Span> spans;
  Step step;
  int at = kEnd;
  std::array<std::size_t, 4> group{};  ///< index of the group whose input is ready at each Stop
  int64_t positioned = 0;              ///< windows whose positions the workspace already holds

  Result<Linear> make_linear(const LayerWeights::Matrix& m) const;
  int stop_of(std::size_t g) const {
    for (int s = 0; s < kEnd; ++s)
      if (group[static_cast<std::size_t>(s)] == g) return s;
    return kEnd;
  }
};

Result<Linear> LayerRunner::Impl::make_linear(const LayerWeights::Matrix& m) const {
  Segment segment;
  if (bf16) {
    std::vector<uint16_t> rounded(m.w.size());
    team->parallel_for(m.n, 16, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin * m.k; i < end * m.k; ++i)
        rounded[static_cast<std::size_t>(i)] = f32_to_bf16(m.w[static_cast<std::size_t>(i)]);
    });
    NBL_ASSIGN(segment, pack_dense(m.n, m.k, DType::bf16, rounded.data()));
  } else {
    NBL_ASSIGN(segment, pack_dense(m.n, m.k, DType::f32, m.w.data()));
  }
  return Linear::create(make_qtensor(m.n, m.k, std::move(segment)), m.bias, compute);
}

LayerRunner::LayerRunner(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
LayerRunner::LayerRunner(LayerRunner&&) noexcept = default;
LayerRunner& LayerRunner::operator=(LayerRunner&&) noexcept = default;
LayerRunner::~LayerRunner() = default;

Result<LayerRunner> LayerRunner::create(const Architecture& arch, const Config& config, Team& team, int64_t windows,
                                        int64_t length, Compute compute) {
  auto impl = std::make_unique<Impl>();
  if (windows < 1 || length < 1) return Status(Code::internal, "a layer runner without room for a token");
  if (config.learned_positions && length > config.max_positions)
    return Status(Code::limit,
                  fmt::format("windows of {} tokens are longer than the {} positions that this model has learned",
                              length, config.max_positions));
  impl->arch = &arch;
  impl->config = config;
  impl->team = &team;
  impl->together = windows;
  impl->length = length;
  impl->compute = {compute, best_isa()};
  impl->bf16 = compute == Compute::fast && (impl->compute.isa == Isa::avx512bf16 || impl->compute.isa == Isa::amx);
  impl->group = {group_of(arch, {Role::q, Role::qkv}), group_of(arch, {Role::attn_out}),
                 group_of(arch, {Role::up, Role::gate_up}), group_of(arch, {Role::down})};
  for (int64_t i = 0; i < windows; ++i) {
    NBL_ASSIGN(KvCache cache, KvCache::create(config, 1, length, KvType::f32, 1));
    impl->caches.push_back(std::move(cache));
  }
  return LayerRunner(std::move(impl));
}

int64_t LayerRunner::windows() const noexcept { return impl_->together; }
std::size_t LayerRunner::groups() const noexcept { return impl_->arch->groups.size(); }

Status LayerRunner::load(const LayerWeights& weights, int64_t layer) {
  Impl& s = *impl_;
  s.layer = {};
  for (const auto& [role, m] : weights.matrices) {
    NBL_ASSIGN(s.layer.linears[role_index(role)], s.make_linear(m));
  }
  replace_norms(weights);
  s.index = layer;
  s.at = kEnd;
  Workspace::Sizes sizes;
  sizes.max_rows = s.together * s.length;
  sizes.workers = s.team->size();
  sizes.prepared_bytes = Workspace::prepared_bytes({&s.layer, 1}, nullptr, sizes.max_rows);
  if (s.work.max_rows() == 0) {
    NBL_ASSIGN(s.work, Workspace::create(s.config, sizes));
    s.positioned = 0;
  }
  return {};
}

Status LayerRunner::replace(Role role, const LayerWeights::Matrix& matrix) {
  NBL_ASSIGN(impl_->layer.linears[role_index(role)], impl_->make_linear(matrix));
  return {};
}

void LayerRunner::replace_norms(const LayerWeights& weights) {
  for (const auto& [role, n] : weights.norms) impl_->layer.norms[role_index(role)] = {n.w, n.bias};
}

std::size_t LayerRunner::restart_point(std::size_t group) const noexcept {
  const Impl& s = *impl_;
  if (group >= groups()) return groups();
  return s.group[static_cast<std::size_t>(s.stop_of(group) >= kMlpInput ? kMlpInput : kAttentionInput)];
}

Status LayerRunner::begin(std::size_t group, const float* hidden, int64_t windows) {
  Impl& s = *impl_;
  const int stop = s.stop_of(group);
  if (windows < 1 || windows > s.together || (stop != kAttentionInput && stop != kMlpInput))
    return Status(Code::internal, "a layer cannot begin there");
  s.spans.clear();
  for (int64_t i = 0; i < windows; ++i)
    s.spans.push_back({&s.caches[static_cast<std::size_t>(i)], i * s.length, s.length, 0});
  s.step = {};
  s.step.config = &s.config;
  s.step.isa = s.compute.isa;
  s.step.work = &s.work;
  s.step.spans = s.spans;
  s.step.rows = windows * s.length;
  s.step.shared_rows = true;
  std::memcpy(Pass::residual(s.work), hidden, static_cast<std::size_t>(s.step.rows * s.config.hidden) * sizeof(float));
  const bool new_positions = windows > s.positioned;
  s.team->run([&](Worker& worker) {
    Pass pass(s.step, worker);
    if (new_positions) pass.positions();
    if (stop == kAttentionInput)
      pass.attention_input(s.layer);
    else
      pass.mlp_input(s.layer);
  });
  s.positioned = std::max(s.positioned, windows);
  s.at = stop;
  return {};
}

Status LayerRunner::advance(std::size_t group) {
  Impl& s = *impl_;
  const int stop = s.stop_of(group);
  if (stop < s.at) return Status(Code::internal, "a layer cannot run backwards");
  const int from = s.at;
  s.team->run([&](Worker& worker) {
    Pass pass(s.step, worker);
    for (int at = from; at < stop; ++at) {
      if (at == kAttentionInput) pass.attention(s.layer, s.index, 0);
      if (at == kAttentionOutput) {
        pass.attention_output(s.layer);
        pass.mlp_input(s.layer);
      }
      if (at == kMlpInput) pass.mlp_hidden(s.layer);
      if (at == kMlpDown) pass.mlp_output(s.layer);
    }
  });
  s.at = stop;
  return {};
}

GroupInput LayerRunner::input() const noexcept {
  const Impl& s = *impl_;
  const Config& c = s.config;
  switch (s.at) {
    case kAttentionOutput:
      return {Pass::heads(s.work), c.heads * c.head_dim, s.step.rows, c.heads * c.head_dim};
    case kMlpDown:
      return {Pass::hidden_activations(s.work), Pass::hidden_stride(s.work, c), s.step.rows, c.ffn};
    case kAttentionInput:
    case kMlpInput:
      return {Pass::normed(s.work), c.hidden, s.step.rows, c.hidden};
    default:
      return {};
  }
}

const float* LayerRunner::residual() const noexcept { return Pass::residual(impl_->work); }

}  // namespace nbl::model

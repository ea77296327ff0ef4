#include "model/layer_runner.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "base/cpu.h"
#include "model/forward.h"
#include "model/weights.h"
#include "tensor/dense_pack.h"

namespace nbl::model {
namespace {

// The places where a run can stop, in the order of Pass's phases. Those of experts come once an expert, its two after
// each other.
enum class Place : uint8_t {
  attention_input,
  q_up,
  kv_up,
  attention_output,
  mlp_input,
  mlp_down,
  expert_input,
  expert_down,
  shared_input,
  shared_down,
  end,
};

struct Stop {
  Place place = Place::end;
  int32_t expert = -1;
  std::size_t group = 0;  ///< index into layer_groups(), or their number: nothing reads the input there
};

Place place_of(const InputGroup& group) {
  Place first = Place::end;
  for (const Part& part : group.linears) {
    Place place = Place::end;
    switch (part.role) {
      case Role::q:
        place = group.producer_role.role == Role::q_latent_norm ? Place::q_up : Place::attention_input;
        break;
      case Role::k:
      case Role::v:
      case Role::qkv:
      case Role::q_latent:
      case Role::kv_latent:
        place = Place::attention_input;
        break;
      case Role::kv_up:
        place = Place::kv_up;
        break;
      case Role::attn_out:
        place = Place::attention_output;
        break;
      case Role::gate:
      case Role::up:
      case Role::gate_up:
        place = Place::mlp_input;
        break;
      case Role::down:
        place = Place::mlp_down;
        break;
      case Role::expert_gate:
      case Role::expert_up:
        place = Place::expert_input;
        break;
      case Role::expert_down:
        place = Place::expert_down;
        break;
      case Role::shared_gate:
      case Role::shared_up:
        place = Place::shared_input;
        break;
      case Role::shared_down:
        place = Place::shared_down;
        break;
      default:
        break;
    }
    first = std::min(first, place);
  }
  return first;
}

/// The whole way through a layer.
std::vector<Stop> stops_of(const std::vector<InputGroup>& groups, const Config& config, int64_t layer) {
  std::vector<Stop> stops;
  const auto add = [&](Place place, int32_t expert = -1) {
    Stop stop{place, expert, groups.size()};
    for (std::size_t g = 0; g < groups.size(); ++g)
      if (place_of(groups[g]) == place && groups[g].linears.front().expert == expert) stop.group = g;
    stops.push_back(stop);
  };
  add(Place::attention_input);
  if (config.latent.kv_rank > 0) {
    add(Place::q_up);
    add(Place::kv_up);
  }
  add(Place::attention_output);
  if (config.layer[static_cast<std::size_t>(layer)].experts) {
    for (int32_t e = 0; e < config.experts.count; ++e) {
      add(Place::expert_input, e);
      add(Place::expert_down, e);
    }
    add(Place::shared_input);
    add(Place::shared_down);
  } else {
    add(Place::mlp_input);
    add(Place::mlp_down);
  }
  add(Place::end);
  return stops;
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
  std::size_t prepared_bytes = 0;  ///< that it has room for; layers may differ
  std::vector<KvCache> caches;
  std::vector<Span> spans;
  Step step;
  std::vector<Stop> stops;   ///< of the layer loaded, ascending groups
  std::size_t group_count = 0;
  std::size_t at = 0;        ///< index of the stop reached
  int64_t positioned = 0;    ///< windows whose positions the workspace already holds

  Result<Linear> make_linear(const LayerWeights::Matrix& m) const;
  /// Index of the stop at a group's input; the end's for any other.
  std::size_t stop_of(std::size_t g) const {
    std::size_t s = 0;
    while (s + 1 < stops.size() && !(stops[s].group == g && g < group_count)) ++s;
    return s;
  }
  /// Index of the stop where the MLP begins, if a run can begin there with the residual stream alone; else 0.
  std::size_t mlp_start() const {
    if (config.parallel_residual || config.norm_place == NormPlace::residual_is_normed) return 0;
    for (std::size_t s = 0; s < stops.size(); ++s)
      if ((stops[s].place == Place::mlp_input || stops[s].place == Place::expert_input) && stops[s].group < group_count)
        return s;
    return 0;
  }
  /// Experts that few rows chose see all rows.
  bool sees_all(int32_t expert) {
    const ExpertRows& rows = Pass::experts(work);
    const int64_t own = rows.first[static_cast<std::size_t>(expert) + 1] - rows.first[static_cast<std::size_t>(expert)];
    return 4 * own * config.experts.count < step.rows * config.experts.per_token;
  }
  void leave(Pass& pass, const Stop& stop, const Stop& next);
};

Result<Linear> LayerRunner::Impl::make_linear(const LayerWeights::Matrix& m) const {
  const auto rows = [&](int64_t row, int64_t count, float* out) { std::copy_n(m.w.data() + row * m.k, count * m.k, out); };
  NBL_ASSIGN(Segment segment, pack_dense_rows(*team, m.n, m.k, bf16 ? DType::bf16 : DType::f32, rows));
  return Linear::create(make_qtensor(m.n, m.k, std::move(segment)), m.bias, compute);
}

/// Runs from the input at `stop` to the input at the next one.
void LayerRunner::Impl::leave(Pass& pass, const Stop& stop, const Stop& next) {
  const auto enter_mlp = [&] {
    pass.mlp_input(layer);
    if (next.place == Place::expert_input) pass.route(layer);
  };
  switch (stop.place) {
    case Place::attention_input:
      pass.attention_latents(layer);
      if (next.place == Place::attention_output) pass.attention(layer, index, 0);
      break;
    case Place::q_up:
      break;
    case Place::kv_up:
      pass.attention(layer, index, 0);
      break;
    case Place::attention_output:
      // Parallel blocks both read the residual stream before either adds to it.
      if (!config.parallel_residual) pass.attention_output(layer);
      enter_mlp();
      break;
    case Place::mlp_input:
      pass.mlp_hidden(layer);
      break;
    case Place::mlp_down:
      if (config.parallel_residual) pass.attention_output(layer);
      pass.mlp_output(layer);
      break;
    case Place::expert_input:
      pass.expert_hidden(layer.experts[static_cast<std::size_t>(stop.expert)], stop.expert, sees_all(stop.expert));
      break;
    case Place::expert_down:
      pass.expert_output(layer.experts[static_cast<std::size_t>(stop.expert)], stop.expert, sees_all(stop.expert));
      break;
    case Place::shared_input:
      pass.shared_hidden(layer);
      break;
    case Place::shared_down:
      pass.shared_output(layer);
      pass.mixture_output(layer);
      break;
    case Place::end:
      break;
  }
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
  for (int64_t i = 0; i < windows; ++i) {
    NBL_ASSIGN(KvCache cache, KvCache::create(config, 1, length, KvType::f32, 1));
    impl->caches.push_back(std::move(cache));
  }
  return LayerRunner(std::move(impl));
}

int64_t LayerRunner::windows() const noexcept { return impl_->together; }
std::size_t LayerRunner::groups() const noexcept { return impl_->group_count; }

Status LayerRunner::load(const LayerWeights& weights, int64_t layer) {
  Impl& s = *impl_;
  s.layer = {};
  if (s.config.layer[static_cast<std::size_t>(layer)].experts)
    s.layer.experts.resize(static_cast<std::size_t>(s.config.experts.count));
  for (const auto& [part, m] : weights.matrices) NBL_TRY(replace(part, m));
  const std::vector<InputGroup> groups = layer_groups(*s.arch, s.config, layer);
  s.stops = stops_of(groups, s.config, layer);
  s.group_count = groups.size();
  replace_norms(weights);
  s.index = layer;
  s.at = s.stops.size() - 1;
  Workspace::Sizes sizes;
  sizes.max_rows = s.together * s.length;
  sizes.workers = s.team->size();
  sizes.prepared_bytes = Workspace::prepared_bytes({&s.layer, 1}, nullptr, sizes.max_rows);
  if (s.work.max_rows() == 0 || sizes.prepared_bytes > s.prepared_bytes) {
    s.prepared_bytes = sizes.prepared_bytes;
    NBL_ASSIGN(s.work, Workspace::create(s.config, sizes));
    s.positioned = 0;
  }
  return {};
}

Status LayerRunner::replace(Part part, const LayerWeights::Matrix& matrix) {
  NBL_ASSIGN(Linear linear, impl_->make_linear(matrix));
  Layer& layer = impl_->layer;
  if (!is_expert_role(part.role)) {
    layer.linears[role_index(part.role)] = std::move(linear);
    if (part.role == Role::kv_up) absorb_latents(impl_->config, layer);
    return {};
  }
  Expert& expert = layer.experts[static_cast<std::size_t>(part.expert)];
  (part.role == Role::expert_gate  ? expert.gate
   : part.role == Role::expert_up ? expert.up
                                  : expert.down) = std::move(linear);
  return {};
}

void LayerRunner::replace_norms(const LayerWeights& weights) {
  for (const auto& [role, n] : weights.norms) impl_->layer.norms[role_index(role)] = {n.w, n.bias};
}

std::size_t LayerRunner::restart_point(std::size_t group) const noexcept {
  const Impl& s = *impl_;
  if (group >= groups()) return groups();
  const std::size_t mlp = s.mlp_start();
  return s.stops[s.stop_of(group) >= mlp ? mlp : 0].group;
}

Status LayerRunner::begin(std::size_t group, const float* hidden, int64_t windows) {
  Impl& s = *impl_;
  const std::size_t stop = s.stop_of(group);
  if (windows < 1 || windows > s.together || (stop != 0 && stop != s.mlp_start()))
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
    if (stop == 0) {
      pass.attention_input(s.layer);
    } else {
      pass.mlp_input(s.layer);
      if (s.stops[stop].place == Place::expert_input) pass.route(s.layer);
    }
  });
  s.positioned = std::max(s.positioned, windows);
  s.at = stop;
  return {};
}

Status LayerRunner::advance(std::size_t group) {
  Impl& s = *impl_;
  const std::size_t stop = s.stop_of(group), from = s.at;
  if (stop < from) return Status(Code::internal, "a layer cannot run backwards");
  s.team->run([&](Worker& worker) {
    Pass pass(s.step, worker);
    for (std::size_t at = from; at < stop; ++at) s.leave(pass, s.stops[at], s.stops[at + 1]);
  });
  s.at = stop;
  return {};
}

GroupInput LayerRunner::input() const noexcept {
  Impl& s = *impl_;
  const Config& c = s.config;
  const Stop& stop = s.stops[s.at];
  const int64_t rows = s.step.rows, heads_width = c.heads * c.v_dim();
  switch (stop.place) {
    case Place::attention_input:
    case Place::mlp_input:
    case Place::shared_input:
      return {Pass::normed(s.work), c.hidden, rows, c.hidden};
    case Place::q_up:
      return {Pass::q_latent(s.work), c.latent.q_rank, rows, c.latent.q_rank};
    case Place::kv_up:
      return {Pass::kv_latent(s.work), c.latent.kv_rank + c.latent.rope_dim, rows, c.latent.kv_rank};
    case Place::attention_output:
      return {Pass::heads(s.work), heads_width, rows, heads_width};
    case Place::mlp_down:
      return {Pass::hidden_activations(s.work), Pass::hidden_stride(s.work), rows, c.ffn};
    case Place::shared_down:
      return {Pass::hidden_activations(s.work), Pass::hidden_stride(s.work), rows, c.experts.shared_ffn};
    case Place::expert_input:
    case Place::expert_down: {
      ExpertRows& e = Pass::experts(s.work);
      const bool all = s.sees_all(stop.expert);
      const std::size_t expert = static_cast<std::size_t>(stop.expert);
      const int64_t own = all ? rows : e.first[expert + 1] - e.first[expert];
      if (stop.place == Place::expert_down) return {e.hidden, 2 * c.experts.ffn, own, c.experts.ffn};
      if (all) return {Pass::normed(s.work), c.hidden, rows, c.hidden};
      // The rows lie apart; together they are what the expert will read.
      for (int64_t r = 0; r < own; ++r) {
        const float* from = Pass::normed(s.work) + e.row[static_cast<std::size_t>(e.first[expert] + r)] * c.hidden;
        std::copy(from, from + c.hidden, e.x + r * c.hidden);
      }
      return {e.x, c.hidden, own, c.hidden};
    }
    case Place::end:
      break;
  }
  return {};
}

const float* LayerRunner::residual() const noexcept { return Pass::residual(impl_->work); }

}  // namespace nbl::model

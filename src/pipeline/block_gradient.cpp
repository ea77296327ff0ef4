#include "pipeline/block_gradient.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "pipeline/attention_gradient.h"
#include "pipeline/dense_products.h"
#include "pipeline/experts_gradient.h"
#include "pipeline/latent_gradient.h"
#include "pipeline/mlp_gradient.h"
#include "pipeline/norm_gradient.h"

namespace nbl::pipeline {
namespace {

using model::Role;
using Floats = std::vector<float>;

std::set<Role> layer_roles(const model::Architecture& arch, const model::Config& config, int64_t layer) {
  std::set<Role> roles;
  for (const model::TensorSpec& spec : arch.tensors)
    if (model::is_layer_role(spec.role) && model::has_tensor(spec, config, layer)) roles.insert(spec.role);
  return roles;
}

/// A linear whose output is columns [column, column + n) of a row that it may share with others.
struct Projection {
  Role role = Role::q;
  int64_t column = 0, n = 0;
};

}  // namespace

/// What forward() leaves for backward(), [tokens, ...] all of them. h1, h2: inputs of the projections, where a norm
/// makes them. *_added: what attention and the MLP add to the stream, before a norm behind them. *_sum: the stream before
/// it is normed itself, where NormPlace::after_residual does that.
struct BlockGradient::Workspace {
  Floats x, h1, attn_added, attn_sum, mid, h2, mlp, act, mlp_added, mlp_sum;
  AttentionGradient::Kept attention;
  LatentGradient::Kept latents;
  ExpertsGradient::Kept experts;
  std::map<Role, std::vector<NormStats>> stats;
};

struct BlockGradient::Impl {
  Team* team = nullptr;
  int64_t tokens = 0, hidden = 0;
  bool whole = false;
  bool parallel = false;  ///< attention and MLP read the same stream
  bool mixture = false;   ///< the MLP is one of experts
  bool latent = false;    ///< attention is of latents
  model::NormPlace place = model::NormPlace::pre;
  float added_scale = 1;
  NormRule norm;
  std::vector<Projection> attention_in, mlp_in;
  std::set<Role> first;  ///< linears before which nothing is learned
  int64_t heads_width = 0;
  MlpShape mlp;
  AttentionGradient attention;
  LatentGradient latents;
  ExpertsGradient experts;
  DenseProducts dense, routing;  ///< the second of routers: not rounded
  std::map<model::Part, DenseProducts::Pair> products;
  std::set<Role> roles;
  std::map<Role, model::LayerWeights::NormWeights> norms;  ///< of whole rows
  std::shared_ptr<Workspace> space;

  bool has(Role role) const { return roles.contains(role); }
  /// Whether a norm stands between the stream and what reads it.
  bool enters_normed(Role role) const { return has(role) && place != model::NormPlace::after_residual; }
  bool stream_is_normed() const { return place == model::NormPlace::residual_is_normed; }
  void add(float* to, const float* from) const;
  void norm_by(Role role, const float* in, float* out);
  void norm_by_backward(Role role, const float* in, const float* d_out, float* d_in, std::map<Role, Floats>* norm_gradients);
  const float* enter(Role role, const float* in, Floats* normed);
  Status project(const std::vector<Projection>& projections, const float* in, float* out, int64_t width);
  Status mlp_forward(const float* in);
  Status mlp_backward(const float* in, const float* d_added, Floats* d_in, std::map<model::Part, Floats>* gradients);
  void leave(Role post, const float* stream, const Floats& added, float* out);
  const float* leave_backward(Role post, const Floats& added, const float* d_out, Floats* buffer,
                              std::map<Role, Floats>* norm_gradients);
  Status project_backward(const std::vector<Projection>& projections, const float* in, const Floats& d_out,
                          int64_t width, Floats* d_in, std::map<model::Part, Floats>* gradients);
  void enter_backward(Role role, const float* in, Floats& d_normed, float* d_in, std::map<Role, Floats>* norm_gradients);
  void settle(Role own, Floats* sum, float* stream);
  void settle_backward(Role own, const Floats& sum, Floats* d_stream, std::map<Role, Floats>* norm_gradients);
  const Floats& attended() const { return latent ? space->latents.out : space->attention.out; }
  Status attend(const float* in);
  Status attend_backward(const float* in, const Floats& d_out, Floats* d_in, std::map<model::Part, Floats>* gradients,
                         std::map<Role, Floats>* norm_gradients);
};

void BlockGradient::Impl::add(float* to, const float* from) const {
  team->parallel_for(tokens * hidden, 4096, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) to[i] += from[i];
  });
}

/// The block's norm of that role, of all tokens.
void BlockGradient::Impl::norm_by(Role role, const float* in, float* out) {
  const model::LayerWeights::NormWeights& weights = norms.at(role);
  std::vector<NormStats>& stats = space->stats[role];
  stats.resize(static_cast<std::size_t>(tokens));
  norm_rows(*team, norm, tokens, weights.w, weights.bias, in, out, stats.data());
}

/// Adds to d_in.
void BlockGradient::Impl::norm_by_backward(Role role, const float* in, const float* d_out, float* d_in,
                                           std::map<Role, Floats>* norm_gradients) {
  const NormStats* stats = space->stats.at(role).data();
  if (norm_gradients != nullptr) (*norm_gradients)[role] = norm_weight_gradient(*team, tokens, hidden, in, stats, d_out);
  norm_rows_backward(*team, norm, tokens, norms.at(role).w, in, stats, d_out, d_in);
}

/// What projections read of `in`: its norm, into *normed, or itself where the block has no such norm.
const float* BlockGradient::Impl::enter(Role role, const float* in, Floats* normed) {
  if (!enters_normed(role)) return in;
  norm_by(role, in, normed->data());
  return normed->data();
}

/// Adds to d_in what the gradient of enter()'s result says. Where the stream goes on as it was normed, d_in held the
/// gradient of that, and holds the one of the stream before it now; d_normed is spoilt.
void BlockGradient::Impl::enter_backward(Role role, const float* in, Floats& d_normed, float* d_in,
                                         std::map<Role, Floats>* norm_gradients) {
  if (!enters_normed(role)) return add(d_in, d_normed.data());
  if (stream_is_normed()) {
    add(d_normed.data(), d_in);
    std::fill_n(d_in, tokens * hidden, 0.0f);
  }
  norm_by_backward(role, in, d_normed.data(), d_in, norm_gradients);
}

/// Norms the stream behind what was added to it, where the architecture does so; *sum: as it was before.
void BlockGradient::Impl::settle(Role own, Floats* sum, float* stream) {
  if (!has(own) || enters_normed(own)) return;
  sum->assign(stream, stream + tokens * hidden);
  norm_by(own, sum->data(), stream);
}

/// *d_stream: of the normed stream in, of the sum out.
void BlockGradient::Impl::settle_backward(Role own, const Floats& sum, Floats* d_stream,
                                          std::map<Role, Floats>* norm_gradients) {
  if (!has(own) || enters_normed(own)) return;
  Floats d_sum(d_stream->size());
  norm_by_backward(own, sum.data(), d_stream->data(), d_sum.data(), norm_gradients);
  d_stream->swap(d_sum);
}

/// out = stream + what a half of the block adds: `added`, normed where a norm stands behind it.
void BlockGradient::Impl::leave(Role post, const float* stream, const Floats& added, float* out) {
  const float* from = added.data();
  if (has(post)) {
    norm_by(post, from, out);
    from = out;
  }
  team->parallel_for(tokens * hidden, 4096, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) out[i] = stream[i] + added_scale * from[i];
  });
}

/// The gradient with respect to `added`: d_out itself, or made in *buffer.
const float* BlockGradient::Impl::leave_backward(Role post, const Floats& added, const float* d_out, Floats* buffer,
                                                 std::map<Role, Floats>* norm_gradients) {
  if (added_scale != 1) {
    buffer->resize(static_cast<std::size_t>(tokens * hidden));
    for (std::size_t i = 0; i < buffer->size(); ++i) (*buffer)[i] = added_scale * d_out[i];
    d_out = buffer->data();
  }
  if (!has(post)) return d_out;
  Floats d_added(static_cast<std::size_t>(tokens * hidden));
  norm_by_backward(post, added.data(), d_out, d_added.data(), norm_gradients);
  buffer->swap(d_added);
  return buffer->data();
}

/// out [tokens, width]: all of the projections of in [tokens, hidden].
Status BlockGradient::Impl::project(const std::vector<Projection>& projections, const float* in, float* out,
                                    int64_t width) {
  for (const Projection& p : projections)
    NBL_TRY(dense.apply(products.at(p.role).forward, {in, hidden}, {out + p.column, width}));
  return {};
}

/// Gradients of the projections' matrices and, into *d_in [tokens, hidden] if that is wanted, of their input.
Status BlockGradient::Impl::project_backward(const std::vector<Projection>& projections, const float* in,
                                             const Floats& d_out, int64_t width, Floats* d_in,
                                             std::map<model::Part, Floats>* gradients) {
  Floats part;
  for (const Projection& p : projections) {
    NBL_ASSIGN((*gradients)[p.role], dense.outer({d_out.data() + p.column, width}, p.n, {in, hidden}, hidden));
    if (d_in == nullptr) continue;
    const bool first = d_in->empty();
    Floats& to = first ? *d_in : part;
    to.resize(static_cast<std::size_t>(tokens * hidden));
    NBL_TRY(dense.apply(products.at(p.role).backward, {d_out.data() + p.column, width}, {to.data(), hidden}));
    if (!first) add(d_in->data(), part.data());
  }
  return {};
}

/// attended() of what attention reads.
Status BlockGradient::Impl::attend(const float* in) {
  if (latent) return latents.forward(dense, products, in, &space->latents);
  NBL_TRY(project(attention_in, in, space->attention.qkv.data(), attention.width()));
  attention.forward(&space->attention);
  return {};
}

/// d_in: with respect to what attention reads; null: not wanted.
Status BlockGradient::Impl::attend_backward(const float* in, const Floats& d_out, Floats* d_in,
                                            std::map<model::Part, Floats>* gradients,
                                            std::map<Role, Floats>* norm_gradients) {
  if (latent) {
    if (d_in != nullptr) d_in->resize(static_cast<std::size_t>(tokens * hidden));
    return latents.backward(dense, products, in, space->latents, d_out.data(), d_in != nullptr ? d_in->data() : nullptr,
                            gradients, norm_gradients);
  }
  Floats d_qkv(static_cast<std::size_t>(tokens * attention.width()));
  attention.backward(space->attention, d_out.data(), d_qkv.data(), norm_gradients);
  return project_backward(attention_in, in, d_qkv, attention.width(), d_in, gradients);
}

/// space->mlp_added of what the MLP reads.
Status BlockGradient::Impl::mlp_forward(const float* in) {
  Workspace& b = *space;
  if (mixture) return experts.forward(dense, routing, products, in, &b.experts, b.mlp_added.data());
  NBL_TRY(project(mlp_in, in, b.mlp.data(), mlp.width()));
  activate(*team, mlp, b.mlp.data(), b.act.data());
  return dense.apply(products.at(Role::down).forward, b.act.data(), b.mlp_added.data());
}

/// d_in: with respect to what the MLP reads; null: not wanted.
Status BlockGradient::Impl::mlp_backward(const float* in, const float* d_added, Floats* d_in,
                                         std::map<model::Part, Floats>* gradients) {
  const Workspace& b = *space;
  if (mixture) {
    if (d_in != nullptr) d_in->resize(static_cast<std::size_t>(tokens * hidden));
    return experts.backward(dense, routing, products, in, b.experts, d_added, d_in != nullptr ? d_in->data() : nullptr, gradients);
  }
  NBL_ASSIGN((*gradients)[Role::down], dense.outer({d_added, hidden}, hidden, {b.act.data(), mlp.ffn}, mlp.ffn));
  Floats d_act(b.act.size()), d_mlp(b.mlp.size());
  NBL_TRY(dense.apply(products.at(Role::down).backward, d_added, d_act.data()));
  activate_backward(*team, mlp, b.mlp.data(), d_act.data(), d_mlp.data());
  return project_backward(mlp_in, in, d_mlp, mlp.width(), d_in, gradients);
}

BlockGradient::BlockGradient(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
BlockGradient::BlockGradient(BlockGradient&&) noexcept = default;
BlockGradient& BlockGradient::operator=(BlockGradient&&) noexcept = default;
BlockGradient::~BlockGradient() = default;

bool BlockGradient::supports(const model::Architecture& arch, const model::Config& config, int64_t layer) {
  std::set<Role> roles = layer_roles(arch, config, layer);
  const auto take = [&](std::initializer_list<Role> wanted) {
    if (!std::all_of(wanted.begin(), wanted.end(), [&](Role role) { return roles.contains(role); })) return false;
    for (const Role role : wanted) roles.erase(role);
    return true;
  };
  for (const Role role : {Role::attn_norm, Role::attn_post_norm, Role::mlp_norm, Role::mlp_post_norm})
    roles.erase(role);
  if (!take({Role::attn_out})) return false;
  const bool fused = roles.contains(Role::qkv);
  if (config.latent.kv_rank > 0) {
    if (!take({Role::q, Role::kv_latent, Role::kv_latent_norm, Role::kv_up})) return false;
    if (config.latent.q_rank > 0 && !take({Role::q_latent, Role::q_latent_norm})) return false;
    if (config.qk_norm != model::QkNorm::none || config.clip_qkv > 0 || !config.slopes.empty()) return false;
  } else if (!(fused ? take({Role::qkv}) : take({Role::q, Role::k, Role::v})) || config.v_dim() != config.head_dim) {
    return false;
  }
  if (config.layer[static_cast<std::size_t>(layer)].experts) {
    if (!take({Role::router, Role::expert_gate, Role::expert_up, Role::expert_down})) return false;
    if (config.experts.shared_ffn > 0 && !take({Role::shared_gate, Role::shared_up, Role::shared_down})) return false;
    roles.erase(Role::router_bias);
    roles.erase(Role::shared_router);
  } else if (!take({Role::down}) ||
             (config.gated_mlp ? !take({Role::gate_up}) && !take({Role::gate, Role::up}) : !take({Role::up}))) {
    return false;
  }
  if (config.qk_norm != model::QkNorm::none && !take({Role::q_norm, Role::k_norm})) return false;
  const bool blocks = config.qkv_order == model::QkvOrder::blocks;
  return roles.empty() &&  // nothing that is not known here
         (config.norm_place == model::NormPlace::pre || !config.parallel_residual) &&
         (blocks || (fused && config.qk_norm != model::QkNorm::whole)) &&
         (config.clip_qkv == 0 || config.qk_norm == model::QkNorm::none);
}

Result<BlockGradient> BlockGradient::create(const model::Architecture& arch, const model::Config& config, int64_t layer,
                                            Team& team, int64_t windows, int64_t length, Compute compute, bool whole,
                                            BlockGradient* room) {
  auto impl = std::make_unique<Impl>();
  Impl& s = *impl;
  s.team = &team;
  s.tokens = windows * length;
  s.hidden = config.hidden;
  s.whole = whole;
  s.parallel = config.parallel_residual;
  s.added_scale = config.residual_scale;
  s.norm = {config.norm, config.norm_eps};
  s.roles = layer_roles(arch, config, layer);
  s.heads_width = config.heads * config.v_dim();
  s.place = config.norm_place;
  s.latent = config.latent.kv_rank > 0;
  s.mixture = config.layer[static_cast<std::size_t>(layer)].experts;
  s.mlp = {config.activation, config.gated_mlp, s.tokens, config.ffn};
  if (s.mixture) s.experts = ExpertsGradient(config, s.has(Role::shared_router), team, s.tokens);
  if (s.latent) {
    s.latents = LatentGradient(config, layer, team, windows, length);
  } else {
    s.attention = AttentionGradient(config, layer, team, windows, length);
  }
  s.dense = DenseProducts(team, s.tokens, compute);
  s.routing = DenseProducts(team, s.tokens, Compute::exact);
  const int64_t queries = config.heads * config.head_dim, keys = config.kv_heads * config.head_dim, ffn = config.ffn;
  if (s.latent) {
    s.first = {Role::kv_latent, s.has(Role::q_latent) ? Role::q_latent : Role::q};
  } else if (s.has(Role::qkv)) {
    s.attention_in = {{Role::qkv, 0, queries + 2 * keys}};
  } else {
    s.attention_in = {{Role::q, 0, queries}, {Role::k, queries, keys}, {Role::v, queries + keys, keys}};
  }
  if (s.mixture) {
    s.mlp_in = {};
  } else if (s.has(Role::gate_up)) {
    s.mlp_in = {{Role::gate_up, 0, 2 * ffn}};
  } else if (config.gated_mlp) {
    s.mlp_in = {{Role::gate, 0, ffn}, {Role::up, ffn, ffn}};
  } else {
    s.mlp_in = {{Role::up, 0, ffn}};
  }
  for (const Projection& p : s.attention_in) s.first.insert(p.role);
  if (s.parallel)
    for (const Projection& p : s.mlp_in) s.first.insert(p.role);
  if (room != nullptr) {
    s.space = room->impl_->space;
    return BlockGradient(std::move(impl));
  }
  try {
    s.space = std::make_shared<Workspace>();
    Workspace& b = *s.space;
    const auto size = [&](Floats& f, int64_t width) { f.resize(static_cast<std::size_t>(s.tokens * width)); };
    for (Floats* f : {&b.x, &b.h1, &b.attn_added, &b.mid, &b.h2, &b.mlp_added}) size(*f, config.hidden);
    if (s.mixture) {
      s.experts.reserve(&b.experts);
    } else {
      size(b.mlp, s.mlp.width());
      size(b.act, config.ffn);
    }
    if (s.latent) {
      s.latents.reserve(&b.latents);
    } else {
      s.attention.reserve(&b.attention);
    }
  } catch (const std::bad_alloc&) {
    return Status(Code::out_of_memory, fmt::format("no memory for the gradients of {} tokens", s.tokens));
  }
  return BlockGradient(std::move(impl));
}

Status BlockGradient::set(model::Part part, const model::LayerWeights::Matrix& m) {
  Impl& s = *impl_;
  const Role role = part.role;
  const bool routes = role == Role::router || role == Role::shared_router;
  return (routes ? s.routing : s.dense).set(m, s.whole || !s.first.contains(role), &s.products[part]);
}

void BlockGradient::set_norms(const model::LayerWeights& weights) {
  Impl& s = *impl_;
  for (const Role role : {Role::attn_norm, Role::attn_post_norm, Role::mlp_norm, Role::mlp_post_norm})
    if (s.has(role)) s.norms[role] = weights.norms.at(role);
  if (s.latent) {
    s.latents.set_norms(weights);
  } else {
    s.attention.set_norms(weights);
  }
  if (const auto bias = weights.norms.find(Role::router_bias); s.mixture && bias != weights.norms.end())
    s.experts.set_bias(bias->second.w);
}

void BlockGradient::take_output_moments() {
  impl_->dense.take_output_moments();
  impl_->routing.take_output_moments();
}

Status BlockGradient::forward(const float* x, float* y) {
  Impl& s = *impl_;
  Workspace& b = *s.space;
  std::copy_n(x, s.tokens * s.hidden, b.x.data());
  const float* h1 = s.enter(Role::attn_norm, b.x.data(), &b.h1);
  NBL_TRY(s.attend(h1));
  NBL_TRY(s.dense.apply(s.products.at(Role::attn_out).forward, s.attended().data(), b.attn_added.data()));
  s.leave(Role::attn_post_norm, s.stream_is_normed() ? h1 : b.x.data(), b.attn_added, b.mid.data());
  s.settle(Role::attn_norm, &b.attn_sum, b.mid.data());

  // Of a parallel block without a norm of its own the MLP reads what attention does.
  const float* h2 = s.parallel ? (s.has(Role::mlp_norm) ? s.enter(Role::mlp_norm, b.x.data(), &b.h2) : h1)
                               : s.enter(Role::mlp_norm, b.mid.data(), &b.h2);
  NBL_TRY(s.mlp_forward(h2));
  s.leave(Role::mlp_post_norm, s.stream_is_normed() ? h2 : b.mid.data(), b.mlp_added, y);
  s.settle(Role::mlp_norm, &b.mlp_sum, y);
  return {};
}

Status BlockGradient::backward(const float* dy, std::map<model::Part, Floats>* gradients, float* dx,
                               std::map<Role, Floats>* norm_gradients) {
  Impl& s = *impl_;
  Workspace& b = *s.space;
  if (dx != nullptr && !s.whole) return {Code::internal, "this block was not made to pass gradients on"};
  const int64_t hidden = s.hidden;
  const float* h1 = s.enters_normed(Role::attn_norm) ? b.h1.data() : b.x.data();
  const float* read = s.parallel ? b.x.data() : b.mid.data();  // by the MLP's norm
  const bool shared = s.parallel && !s.has(Role::mlp_norm);
  const float* h2 = s.enters_normed(Role::mlp_norm) ? b.h2.data() : shared ? h1 : read;

  // d_stream: of the stream that the half at hand reads, so far what passes by that half.
  Floats d_stream(dy, dy + s.tokens * hidden), buffer, d_h2;
  s.settle_backward(Role::mlp_norm, b.mlp_sum, &d_stream, norm_gradients);
  {
    const float* d_added = s.leave_backward(Role::mlp_post_norm, b.mlp_added, d_stream.data(), &buffer, norm_gradients);
    const bool wanted = !s.parallel || dx != nullptr;
    NBL_TRY(s.mlp_backward(h2, d_added, wanted ? &d_h2 : nullptr, gradients));
  }
  if (!s.parallel) s.enter_backward(Role::mlp_norm, read, d_h2, d_stream.data(), norm_gradients);

  s.settle_backward(Role::attn_norm, b.attn_sum, &d_stream, norm_gradients);
  const float* d_added = s.leave_backward(Role::attn_post_norm, b.attn_added, d_stream.data(), &buffer, norm_gradients);
  NBL_ASSIGN((*gradients)[Role::attn_out],
             s.dense.outer({d_added, hidden}, hidden, {s.attended().data(), s.heads_width}, s.heads_width));
  Floats d_o(static_cast<std::size_t>(s.tokens * s.heads_width)), d_h1;
  NBL_TRY(s.dense.apply(s.products.at(Role::attn_out).backward, d_added, d_o.data()));
  NBL_TRY(s.attend_backward(h1, d_o, dx != nullptr ? &d_h1 : nullptr, gradients, norm_gradients));
  if (dx == nullptr) return {};

  if (shared) {
    s.add(d_h1.data(), d_h2.data());
  } else if (s.parallel) {
    s.enter_backward(Role::mlp_norm, read, d_h2, d_stream.data(), norm_gradients);
  }
  s.enter_backward(Role::attn_norm, b.x.data(), d_h1, d_stream.data(), norm_gradients);
  std::copy(d_stream.begin(), d_stream.end(), dx);
  return {};
}

}  // namespace nbl::pipeline

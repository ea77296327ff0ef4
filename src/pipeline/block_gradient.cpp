#include "pipeline/block_gradient.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "base/cpu.h"
#include "kernels/elementwise/elementwise.h"
#include "pipeline/block_attention.h"
#include "pipeline/dense_products.h"
#include "pipeline/norm_gradient.h"

namespace nbl::pipeline {
namespace {

using model::Role;
using Floats = std::vector<float>;

const kernels::ElementwiseKernels& elementwise() {
  static const kernels::ElementwiseKernels& chosen = kernels::elementwise_kernels(best_isa());
  return chosen;
}

}  // namespace

/// What forward() leaves for backward(), [tokens, ...] all of them; p: [window][head][length][padded_keys].
struct BlockGradient::Workspace {
  Floats x, h1, inverse1, q, k, v, o, mid, h2, inverse2, gate, up, act, p;
};

struct BlockGradient::Impl {
  model::Config config;
  Team* team = nullptr;
  int64_t windows = 0, length = 0, tokens = 0;
  ComputeOptions compute;
  bool whole = false;
  DenseProducts dense;
  std::map<Role, DenseProducts::Pair> products;
  Floats attn_norm, mlp_norm;
  Floats cos, sin;  ///< [length][pairs]
  std::shared_ptr<Workspace> space;

  void norm(const float* in, const Floats& weight, float* out, float* inverse) const;
  void norm_backward(const float* in, const Floats& weight, const float* inverse, const float* dy, float* dx) const;
  Floats norm_gradient(const float* in, const float* inverse, const float* dy) const;
  void rotate(float* rows, int64_t heads, bool back) const;
};

void BlockGradient::Impl::norm(const float* in, const Floats& weight, float* out, float* inverse) const {
  rms_norm(*team, tokens, weight, config.norm_eps, in, out, inverse);
}
void BlockGradient::Impl::norm_backward(const float* in, const Floats& weight, const float* inverse, const float* dy,
                                        float* dx) const {
  rms_norm_backward(*team, tokens, weight, in, inverse, dy, dx);
}
Floats BlockGradient::Impl::norm_gradient(const float* in, const float* inverse, const float* dy) const {
  return rms_norm_gradient(*team, tokens, config.hidden, in, inverse, dy);
}

void BlockGradient::Impl::rotate(float* rows, int64_t heads, bool back) const {
  const int64_t pairs = config.rotary_dim / 2, d = config.head_dim;
  team->parallel_for(tokens, 16, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      const float* c = cos.data() + t % length * pairs;
      const float* s = sin.data() + t % length * pairs;
      for (int64_t h = 0; h < heads; ++h) {
        float* head = rows + (t * heads + h) * d;
        for (int64_t i = 0; i < pairs; ++i) {
          float& a = config.rope == model::Rope::adjacent ? head[2 * i] : head[i];
          float& b = config.rope == model::Rope::adjacent ? head[2 * i + 1] : head[i + pairs];
          const float turn = back ? -s[i] : s[i], first = a * c[i] - b * turn;
          b = b * c[i] + a * turn;
          a = first;
        }
      }
    }
  });
}

BlockGradient::BlockGradient(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
BlockGradient::BlockGradient(BlockGradient&&) noexcept = default;
BlockGradient& BlockGradient::operator=(BlockGradient&&) noexcept = default;
BlockGradient::~BlockGradient() = default;

bool BlockGradient::supports(const model::Architecture& arch, const model::Config& config, int64_t layer) {
  std::set<Role> roles;
  for (const model::TensorSpec& spec : arch.tensors)
    if (model::is_layer_role(spec.role)) roles.insert(spec.role);
  const std::set<Role> wanted = {Role::attn_norm, Role::q,    Role::k,  Role::v,   Role::attn_out,
                                 Role::mlp_norm,  Role::gate, Role::up, Role::down};
  const model::LayerConfig& lc = config.layer[static_cast<std::size_t>(layer)];
  return roles == wanted && config.norm == model::Norm::rms && config.gated_mlp &&
         config.activation == model::Activation::silu && config.ropes.size() == 1 && lc.rope == 0 && lc.window == 0 &&
         lc.score_factor == 1 && config.rope == model::Rope::half_split && config.ropes.front().original == 0 &&
         config.norm_place == model::NormPlace::pre && !config.parallel_residual && config.qk_norm == model::QkNorm::none &&
         config.score_cap == 0 && config.residual_scale == 1 && config.clip_qkv == 0 && config.slopes.empty();
}

Result<BlockGradient> BlockGradient::create(const model::Config& config, int64_t layer, Team& team, int64_t windows,
                                            int64_t length, Compute compute, bool whole, BlockGradient* room) {
  (void)layer;
  auto impl = std::make_unique<Impl>();
  Impl& s = *impl;
  s.config = config;
  s.team = &team;
  s.windows = windows;
  s.length = length;
  s.tokens = windows * length;
  s.whole = whole;
  s.dense = DenseProducts(team, s.tokens, compute);
  const model::RopeTable& table = config.ropes.front();
  const int64_t pairs = config.rotary_dim / 2;
  for (int64_t t = 0; t < length; ++t) {
    for (int64_t i = 0; i < pairs; ++i) {
      const float angle = static_cast<float>(t) * table.inv_freq[static_cast<std::size_t>(i)];
      s.cos.push_back(std::cos(angle) * table.magnitude);
      s.sin.push_back(std::sin(angle) * table.magnitude);
    }
  }
  if (room != nullptr) {
    s.space = room->impl_->space;
    return BlockGradient(std::move(impl));
  }
  try {
    s.space = std::make_shared<Workspace>();
    Workspace& b = *s.space;
    const auto size = [&](Floats& f, int64_t width) { f.resize(static_cast<std::size_t>(s.tokens * width)); };
    const int64_t d = config.head_dim;
    for (Floats* f : {&b.x, &b.h1, &b.mid, &b.h2}) size(*f, config.hidden);
    for (Floats* f : {&b.inverse1, &b.inverse2}) size(*f, 1);
    for (Floats* f : {&b.gate, &b.up, &b.act}) size(*f, config.ffn);
    for (Floats* f : {&b.q, &b.o}) size(*f, config.heads * d);
    for (Floats* f : {&b.k, &b.v}) size(*f, config.kv_heads * d);
    b.p.resize(static_cast<std::size_t>(windows * config.heads * length * padded_keys(length)));
  } catch (const std::bad_alloc&) {
    return Status(Code::out_of_memory, fmt::format("no memory for the gradients of {} tokens", s.tokens));
  }
  return BlockGradient(std::move(impl));
}

Status BlockGradient::set(Role role, const model::LayerWeights::Matrix& m) {
  Impl& s = *impl_;
  const bool first = role == Role::q || role == Role::k || role == Role::v;
  return s.dense.set(m, s.whole || !first, &s.products[role]);  // nothing before the first is learned, unless all is
}

void BlockGradient::set_norms(const model::LayerWeights& weights) {
  impl_->attn_norm = weights.norms.at(Role::attn_norm).w;
  impl_->mlp_norm = weights.norms.at(Role::mlp_norm).w;
}

Status BlockGradient::forward(const float* x, float* y) {
  Impl& s = *impl_;
  Workspace& b = *s.space;
  const int64_t hidden = s.config.hidden, d = s.config.head_dim, heads = s.config.heads, kv = s.config.kv_heads;
  std::copy_n(x, s.tokens * hidden, b.x.data());
  s.norm(x, s.attn_norm, b.h1.data(), b.inverse1.data());
  NBL_TRY(s.dense.apply(s.products.at(Role::q).forward, b.h1.data(), b.q.data()));
  NBL_TRY(s.dense.apply(s.products.at(Role::k).forward, b.h1.data(), b.k.data()));
  NBL_TRY(s.dense.apply(s.products.at(Role::v).forward, b.h1.data(), b.v.data()));
  s.rotate(b.q.data(), heads, false);
  s.rotate(b.k.data(), kv, false);
  const int64_t map = s.length * padded_keys(s.length), group = heads / kv;
  s.team->parallel_for(s.windows * heads, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t w = i / heads, h = i % heads, first = w * s.length;
      attend_head({b.q.data() + (first * heads + h) * d, heads * d}, {b.k.data() + (first * kv + h / group) * d, kv * d},
                  {b.v.data() + (first * kv + h / group) * d, kv * d}, s.length, d, s.config.attention_scale,
                  b.p.data() + i * map, b.o.data() + (first * heads + h) * d, heads * d);
    }
  });
  NBL_TRY(s.dense.apply(s.products.at(Role::attn_out).forward, b.o.data(), b.mid.data()));
  s.team->parallel_for(s.tokens * hidden, 4096, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) b.mid[static_cast<std::size_t>(i)] += x[i];
  });
  s.norm(b.mid.data(), s.mlp_norm, b.h2.data(), b.inverse2.data());
  NBL_TRY(s.dense.apply(s.products.at(Role::gate).forward, b.h2.data(), b.gate.data()));
  NBL_TRY(s.dense.apply(s.products.at(Role::up).forward, b.h2.data(), b.up.data()));
  s.team->parallel_for(s.tokens * s.config.ffn, 4096, [&](int64_t begin, int64_t end) {
    elementwise().activate(kernels::Act::silu, b.gate.data() + begin, b.up.data() + begin, b.act.data() + begin, end - begin);
  });
  NBL_TRY(s.dense.apply(s.products.at(Role::down).forward, b.act.data(), y));
  s.team->parallel_for(s.tokens * hidden, 4096, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) y[i] += b.mid[static_cast<std::size_t>(i)];
  });
  return {};
}

Status BlockGradient::backward(const float* dy, std::map<Role, Floats>* gradients, float* dx,
                               std::map<Role, Floats>* norm_gradients) {
  Impl& s = *impl_;
  Workspace& b = *s.space;
  const int64_t hidden = s.config.hidden, ffn = s.config.ffn, d = s.config.head_dim, heads = s.config.heads;
  const int64_t kv = s.config.kv_heads;
  const auto sized = [&](int64_t width) { return Floats(static_cast<std::size_t>(s.tokens * width)); };
  auto& out = *gradients;

  NBL_ASSIGN(out[Role::down], s.dense.outer(dy, hidden, b.act.data(), ffn));
  Floats d_act = sized(ffn), d_up = sized(ffn), d_h2 = sized(hidden), d_mid(dy, dy + s.tokens * hidden), part = sized(hidden);
  NBL_TRY(s.dense.apply(s.products.at(Role::down).backward, dy, d_act.data()));
  s.team->parallel_for(s.tokens * ffn, 4096, [&](int64_t begin, int64_t end) {
    elementwise().activate(kernels::Act::sigmoid, b.gate.data() + begin, nullptr, d_up.data() + begin, end - begin);
    for (std::size_t i = static_cast<std::size_t>(begin); i < static_cast<std::size_t>(end); ++i) {
      const float sigmoid = d_up[i], gate = b.gate[i];
      d_up[i] = d_act[i] * gate * sigmoid;
      d_act[i] *= b.up[i] * sigmoid * (1.0f + gate * (1.0f - sigmoid));  // now of the gate
    }
  });
  NBL_ASSIGN(out[Role::gate], s.dense.outer(d_act.data(), ffn, b.h2.data(), hidden));
  NBL_ASSIGN(out[Role::up], s.dense.outer(d_up.data(), ffn, b.h2.data(), hidden));
  NBL_TRY(s.dense.apply(s.products.at(Role::gate).backward, d_act.data(), d_h2.data()));
  NBL_TRY(s.dense.apply(s.products.at(Role::up).backward, d_up.data(), part.data()));
  s.team->parallel_for(s.tokens * hidden, 4096, [&](int64_t begin, int64_t end) {
    for (std::size_t i = static_cast<std::size_t>(begin); i < static_cast<std::size_t>(end); ++i) d_h2[i] += part[i];
  });
  s.norm_backward(b.mid.data(), s.mlp_norm, b.inverse2.data(), d_h2.data(), d_mid.data());

  NBL_ASSIGN(out[Role::attn_out], s.dense.outer(d_mid.data(), hidden, b.o.data(), heads * d));
  Floats d_o = sized(heads * d), d_q = sized(heads * d), d_k = sized(kv * d), d_v = sized(kv * d);
  NBL_TRY(s.dense.apply(s.products.at(Role::attn_out).backward, d_mid.data(), d_o.data()));
  const int64_t map = s.length * padded_keys(s.length), group = heads / kv;
  // A task is a key-value head: the query heads that share it add to the same gradients.
  s.team->parallel_for(s.windows * kv, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t w = i / kv, head = i % kv, first = w * s.length;
      for (int64_t h = head * group; h < (head + 1) * group; ++h) {
        const int64_t at = (first * heads + h) * d, at_kv = (first * kv + head) * d;
        attend_head_backward({b.q.data() + at, heads * d}, {b.k.data() + at_kv, kv * d}, {b.v.data() + at_kv, kv * d},
                             {d_o.data() + at, heads * d}, s.length, d, s.config.attention_scale,
                             b.p.data() + (w * heads + h) * map, d_q.data() + at, d_k.data() + at_kv, d_v.data() + at_kv,
                             heads * d, kv * d);
      }
    }
  });
  s.rotate(d_q.data(), heads, true);
  s.rotate(d_k.data(), kv, true);
  NBL_ASSIGN(out[Role::q], s.dense.outer(d_q.data(), heads * d, b.h1.data(), hidden));
  NBL_ASSIGN(out[Role::k], s.dense.outer(d_k.data(), kv * d, b.h1.data(), hidden));
  NBL_ASSIGN(out[Role::v], s.dense.outer(d_v.data(), kv * d, b.h1.data(), hidden));
  if (norm_gradients != nullptr) (*norm_gradients)[Role::mlp_norm] = s.norm_gradient(b.mid.data(), b.inverse2.data(), d_h2.data());
  if (dx == nullptr) return {};
  if (!s.whole) return {Code::internal, "this block was not made to pass gradients on"};
  // The stream's gradient, and through the norm what the three projections ask for.
  Floats& d_h1 = d_h2;
  NBL_TRY(s.dense.apply(s.products.at(Role::q).backward, d_q.data(), d_h1.data()));
  for (const auto& [role, d_out] : {std::pair{Role::k, &d_k}, std::pair{Role::v, &d_v}}) {
    NBL_TRY(s.dense.apply(s.products.at(role).backward, d_out->data(), part.data()));
    s.team->parallel_for(s.tokens * hidden, 4096, [&](int64_t begin, int64_t end) {
      for (std::size_t i = static_cast<std::size_t>(begin); i < static_cast<std::size_t>(end); ++i) d_h1[i] += part[i];
    });
  }
  if (norm_gradients != nullptr) (*norm_gradients)[Role::attn_norm] = s.norm_gradient(b.x.data(), b.inverse1.data(), d_h1.data());
  std::copy(d_mid.begin(), d_mid.end(), dx);
  s.norm_backward(b.x.data(), s.attn_norm, b.inverse1.data(), d_h1.data(), dx);
  return {};
}

}  // namespace nbl::pipeline

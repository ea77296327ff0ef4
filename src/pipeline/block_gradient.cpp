#include "pipeline/block_gradient.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "base/buffer.h"
#include "base/cpu.h"
#include "base/half.h"
#include "pipeline/block_attention.h"
#include "pipeline/gram.h"

namespace nbl::pipeline {
namespace {

using model::Role;
using Floats = std::vector<float>;

float silu(float x) { return x / (1.0f + std::exp(-x)); }
float silu_slope(float x) {
  const float s = 1.0f / (1.0f + std::exp(-x));
  return s * (1.0f + x * (1.0f - s));
}

}  // namespace

struct BlockGradient::Impl {
  model::Config config;
  Team* team = nullptr;
  int64_t windows = 0, length = 0, tokens = 0;
  ComputeOptions compute;
  bool bf16 = false;
  struct Product {
    Linear forward, backward;  ///< W, and its transpose
  };
  std::map<Role, Product> products;
  Floats attn_norm, mlp_norm;
  Buffer prepared;
  Floats cos, sin;  ///< [length][pairs]
  // What forward() leaves for backward(), [tokens, ...] all of them; p: [window][head][length][padded_keys].
  Floats x, h1, inverse1, q, k, v, o, mid, h2, inverse2, gate, up, act, p;

  int64_t rows_of(Role role) const {
    const int64_t d = config.head_dim;
    if (role == Role::q) return config.heads * d;
    if (role == Role::k || role == Role::v) return config.kv_heads * d;
    return role == Role::gate || role == Role::up ? config.ffn : config.hidden;
  }
  Result<Linear> dense(const float* w, int64_t n, int64_t k, std::vector<float> bias) const;
  Status apply(const Linear& linear, const float* in, float* out);
  void norm(const float* in, const Floats& weight, float* out, float* inverse) const;
  void norm_backward(const float* in, const Floats& weight, const float* inverse, const float* dy, float* dx) const;
  void rotate(float* rows, int64_t heads, bool back) const;
  Result<Floats> outer(const float* dy, int64_t n, const float* in, int64_t k_count) const;
};

Result<Linear> BlockGradient::Impl::dense(const float* w, int64_t n, int64_t k_count, std::vector<float> bias) const {
  Segment segment;
  if (bf16) {
    std::vector<uint16_t> rounded(static_cast<std::size_t>(n * k_count));
    team->parallel_for(n, 16, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin * k_count; i < end * k_count; ++i) rounded[static_cast<std::size_t>(i)] = f32_to_bf16(w[i]);
    });
    NBL_ASSIGN(segment, pack_dense(n, k_count, DType::bf16, rounded.data()));
  } else {
    NBL_ASSIGN(segment, pack_dense(n, k_count, DType::f32, w));
  }
  return Linear::create(make_qtensor(n, k_count, std::move(segment)), std::move(bias), compute);
}

/// out [tokens, n] = in [tokens, k] W^T.
Status BlockGradient::Impl::apply(const Linear& linear, const float* in, float* out) {
  const std::size_t bytes = linear.prepared_bytes(tokens);
  if (prepared.size() < bytes) {
    NBL_ASSIGN(prepared, Buffer::create(bytes));
  }
  team->run([&](Worker& worker) {
    linear.prepare(worker, in, linear.k(), tokens, prepared.data());
    linear.multiply(worker, prepared.data(), tokens, out, linear.n());
  });
  return {};
}

void BlockGradient::Impl::norm(const float* in, const Floats& weight, float* out, float* inverse) const {
  const int64_t n = config.hidden;
  team->parallel_for(tokens, 16, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      const float* row = in + t * n;
      double sum = 0;
      for (int64_t i = 0; i < n; ++i) sum += static_cast<double>(row[i]) * static_cast<double>(row[i]);
      inverse[t] = static_cast<float>(1.0 / std::sqrt(sum / static_cast<double>(n) + static_cast<double>(config.norm_eps)));
      for (int64_t i = 0; i < n; ++i) out[t * n + i] = row[i] * inverse[t] * weight[static_cast<std::size_t>(i)];
    }
  });
}

/// Adds to dx.
void BlockGradient::Impl::norm_backward(const float* in, const Floats& weight, const float* inverse, const float* dy,
                                        float* dx) const {
  const int64_t n = config.hidden;
  team->parallel_for(tokens, 16, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      const float *row = in + t * n, *g = dy + t * n;
      double along = 0;
      for (int64_t i = 0; i < n; ++i) along += static_cast<double>(g[i] * weight[static_cast<std::size_t>(i)] * row[i]);
      const float r = inverse[t], shrink = static_cast<float>(along / static_cast<double>(n)) * r * r * r;
      for (int64_t i = 0; i < n; ++i) dx[t * n + i] += g[i] * weight[static_cast<std::size_t>(i)] * r - row[i] * shrink;
    }
  });
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

/// dy^T in: [n, k], summed over all tokens.
Result<Floats> BlockGradient::Impl::outer(const float* dy, int64_t n, const float* in, int64_t k_count) const {
  const bool fast = bf16;
  NBL_ASSIGN(Panels left, Panels::create(n, fast));
  NBL_ASSIGN(Panels right, Panels::create(k_count, fast));
  NBL_ASSIGN(BlockSum sum, BlockSum::create(n, k_count, false));
  for (int64_t t = 0; t < tokens; t += Panels::kBlockTokens) {
    const int64_t count = std::min(Panels::kBlockTokens, tokens - t);
    left.pack(dy + t * n, n, nullptr, 0, count, *team);
    right.pack(in + t * k_count, k_count, nullptr, 0, count, *team);
    sum.add(left, right, *team);
  }
  Floats out;
  NBL_TRY(sum.finish(*team, &out));
  return out;
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
                                            int64_t length, Compute compute) {
  (void)layer;
  auto impl = std::make_unique<Impl>();
  Impl& s = *impl;
  s.config = config;
  s.team = &team;
  s.windows = windows;
  s.length = length;
  s.tokens = windows * length;
  s.compute = {compute, best_isa()};
  s.bf16 = compute == Compute::fast && (s.compute.isa == Isa::avx512bf16 || s.compute.isa == Isa::amx);
  const model::RopeTable& table = config.ropes.front();
  const int64_t pairs = config.rotary_dim / 2;
  for (int64_t t = 0; t < length; ++t) {
    for (int64_t i = 0; i < pairs; ++i) {
      const float angle = static_cast<float>(t) * table.inv_freq[static_cast<std::size_t>(i)];
      s.cos.push_back(std::cos(angle) * table.magnitude);
      s.sin.push_back(std::sin(angle) * table.magnitude);
    }
  }
  try {
    const auto size = [&](Floats& f, int64_t width) { f.resize(static_cast<std::size_t>(s.tokens * width)); };
    const int64_t d = config.head_dim;
    for (Floats* f : {&s.x, &s.h1, &s.mid, &s.h2}) size(*f, config.hidden);
    for (Floats* f : {&s.inverse1, &s.inverse2}) size(*f, 1);
    for (Floats* f : {&s.gate, &s.up, &s.act}) size(*f, config.ffn);
    for (Floats* f : {&s.q, &s.o}) size(*f, config.heads * d);
    for (Floats* f : {&s.k, &s.v}) size(*f, config.kv_heads * d);
    s.p.resize(static_cast<std::size_t>(windows * config.heads * length * padded_keys(length)));
  } catch (const std::bad_alloc&) {
    return Status(Code::out_of_memory, fmt::format("no memory for the gradients of {} tokens", s.tokens));
  }
  return BlockGradient(std::move(impl));
}

Status BlockGradient::set(Role role, const model::LayerWeights::Matrix& m) {
  Impl& s = *impl_;
  Impl::Product& product = s.products[role];
  NBL_ASSIGN(product.forward, s.dense(m.w.data(), m.n, m.k, m.bias));
  if (role == Role::q || role == Role::k || role == Role::v) return {};  // nothing before them is learned
  Floats turned(m.w.size());
  s.team->parallel_for(m.k, 16, [&](int64_t begin, int64_t end) {
    for (int64_t c = begin; c < end; ++c)
      for (int64_t r = 0; r < m.n; ++r) turned[static_cast<std::size_t>(c * m.n + r)] = m.w[static_cast<std::size_t>(r * m.k + c)];
  });
  NBL_ASSIGN(product.backward, s.dense(turned.data(), m.k, m.n, {}));
  return {};
}

void BlockGradient::set_norms(const model::LayerWeights& weights) {
  impl_->attn_norm = weights.norms.at(Role::attn_norm).w;
  impl_->mlp_norm = weights.norms.at(Role::mlp_norm).w;
}

Status BlockGradient::forward(const float* x, float* y) {
  Impl& s = *impl_;
  const int64_t hidden = s.config.hidden, d = s.config.head_dim, heads = s.config.heads, kv = s.config.kv_heads;
  std::copy_n(x, s.tokens * hidden, s.x.data());
  s.norm(x, s.attn_norm, s.h1.data(), s.inverse1.data());
  NBL_TRY(s.apply(s.products.at(Role::q).forward, s.h1.data(), s.q.data()));
  NBL_TRY(s.apply(s.products.at(Role::k).forward, s.h1.data(), s.k.data()));
  NBL_TRY(s.apply(s.products.at(Role::v).forward, s.h1.data(), s.v.data()));
  s.rotate(s.q.data(), heads, false);
  s.rotate(s.k.data(), kv, false);
  const int64_t map = s.length * padded_keys(s.length), group = heads / kv;
  s.team->parallel_for(s.windows * heads, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t w = i / heads, h = i % heads, first = w * s.length;
      attend_head({s.q.data() + (first * heads + h) * d, heads * d}, {s.k.data() + (first * kv + h / group) * d, kv * d},
                  {s.v.data() + (first * kv + h / group) * d, kv * d}, s.length, d, s.config.attention_scale,
                  s.p.data() + i * map, s.o.data() + (first * heads + h) * d, heads * d);
    }
  });
  NBL_TRY(s.apply(s.products.at(Role::attn_out).forward, s.o.data(), s.mid.data()));
  s.team->parallel_for(s.tokens * hidden, 4096, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) s.mid[static_cast<std::size_t>(i)] += x[i];
  });
  s.norm(s.mid.data(), s.mlp_norm, s.h2.data(), s.inverse2.data());
  NBL_TRY(s.apply(s.products.at(Role::gate).forward, s.h2.data(), s.gate.data()));
  NBL_TRY(s.apply(s.products.at(Role::up).forward, s.h2.data(), s.up.data()));
  s.team->parallel_for(s.tokens * s.config.ffn, 4096, [&](int64_t begin, int64_t end) {
    for (std::size_t i = static_cast<std::size_t>(begin); i < static_cast<std::size_t>(end); ++i)
      s.act[i] = silu(s.gate[i]) * s.up[i];
  });
  NBL_TRY(s.apply(s.products.at(Role::down).forward, s.act.data(), y));
  s.team->parallel_for(s.tokens * hidden, 4096, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) y[i] += s.mid[static_cast<std::size_t>(i)];
  });
  return {};
}

Status BlockGradient::backward(const float* dy, std::map<Role, Floats>* gradients) {
  Impl& s = *impl_;
  const int64_t hidden = s.config.hidden, ffn = s.config.ffn, d = s.config.head_dim, heads = s.config.heads;
  const int64_t kv = s.config.kv_heads;
  const auto sized = [&](int64_t width) { return Floats(static_cast<std::size_t>(s.tokens * width)); };
  auto& out = *gradients;

  NBL_ASSIGN(out[Role::down], s.outer(dy, hidden, s.act.data(), ffn));
  Floats d_act = sized(ffn), d_up = sized(ffn), d_h2 = sized(hidden), d_mid(dy, dy + s.tokens * hidden), part = sized(hidden);
  NBL_TRY(s.apply(s.products.at(Role::down).backward, dy, d_act.data()));
  s.team->parallel_for(s.tokens * ffn, 4096, [&](int64_t begin, int64_t end) {
    for (std::size_t i = static_cast<std::size_t>(begin); i < static_cast<std::size_t>(end); ++i) {
      d_up[i] = d_act[i] * silu(s.gate[i]);
      d_act[i] *= s.up[i] * silu_slope(s.gate[i]);  // now of the gate
    }
  });
  NBL_ASSIGN(out[Role::gate], s.outer(d_act.data(), ffn, s.h2.data(), hidden));
  NBL_ASSIGN(out[Role::up], s.outer(d_up.data(), ffn, s.h2.data(), hidden));
  NBL_TRY(s.apply(s.products.at(Role::gate).backward, d_act.data(), d_h2.data()));
  NBL_TRY(s.apply(s.products.at(Role::up).backward, d_up.data(), part.data()));
  s.team->parallel_for(s.tokens * hidden, 4096, [&](int64_t begin, int64_t end) {
    for (std::size_t i = static_cast<std::size_t>(begin); i < static_cast<std::size_t>(end); ++i) d_h2[i] += part[i];
  });
  s.norm_backward(s.mid.data(), s.mlp_norm, s.inverse2.data(), d_h2.data(), d_mid.data());

  NBL_ASSIGN(out[Role::attn_out], s.outer(d_mid.data(), hidden, s.o.data(), heads * d));
  Floats d_o = sized(heads * d), d_q = sized(heads * d), d_k = sized(kv * d), d_v = sized(kv * d);
  NBL_TRY(s.apply(s.products.at(Role::attn_out).backward, d_mid.data(), d_o.data()));
  const int64_t map = s.length * padded_keys(s.length), group = heads / kv;
  // A task is a key-value head: the query heads that share it add to the same gradients.
  s.team->parallel_for(s.windows * kv, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t w = i / kv, head = i % kv, first = w * s.length;
      for (int64_t h = head * group; h < (head + 1) * group; ++h) {
        const int64_t at = (first * heads + h) * d, at_kv = (first * kv + head) * d;
        attend_head_backward({s.q.data() + at, heads * d}, {s.k.data() + at_kv, kv * d}, {s.v.data() + at_kv, kv * d},
                             {d_o.data() + at, heads * d}, s.length, d, s.config.attention_scale,
                             s.p.data() + (w * heads + h) * map, d_q.data() + at, d_k.data() + at_kv, d_v.data() + at_kv,
                             heads * d, kv * d);
      }
    }
  });
  s.rotate(d_q.data(), heads, true);
  s.rotate(d_k.data(), kv, true);
  NBL_ASSIGN(out[Role::q], s.outer(d_q.data(), heads * d, s.h1.data(), hidden));
  NBL_ASSIGN(out[Role::k], s.outer(d_k.data(), kv * d, s.h1.data(), hidden));
  NBL_ASSIGN(out[Role::v], s.outer(d_v.data(), kv * d, s.h1.data(), hidden));
  return {};
}

}  // namespace nbl::pipeline

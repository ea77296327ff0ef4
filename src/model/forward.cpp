#include "model/forward.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/checked.h"
#include "model/adapters.h"

namespace nbl::model {
namespace {

int64_t qkv_width(const Config& c) { return (c.heads + 2 * c.kv_heads) * c.head_dim; }

/// Floats rounded up to whole lines.
int64_t lines(int64_t floats) { return round_up(floats, 16); }

kernels::Act kernel_act(Activation a) {
  switch (a) {
    case Activation::silu:
      return kernels::Act::silu;
    case Activation::gelu_tanh:
      return kernels::Act::gelu_tanh;
    case Activation::gelu_erf:
      return kernels::Act::gelu_erf;
    case Activation::relu:
      return kernels::Act::relu;
  }
  return kernels::Act::silu;
}

}  // namespace

std::size_t Workspace::prepared_bytes(std::span<const Layer> layers, const Linear* head, int64_t max_rows) {
  std::size_t most = head == nullptr ? 0 : head->prepared_bytes(max_rows);
  for (const Layer& layer : layers)
    for (const auto& linear : layer.linears)
      if (linear) most = std::max(most, linear->prepared_bytes(max_rows));
  return most;
}

Result<Workspace> Workspace::create(const Config& c, const Sizes& sizes) {
  Workspace w;
  w.max_rows_ = sizes.max_rows;
  w.workers_ = sizes.workers;
  w.qkv_width_ = qkv_width(c);
  const int64_t heads_width = c.heads * c.head_dim;
  const int64_t mlp_width = c.gated_mlp ? 2 * c.ffn : c.ffn;
  const int64_t replicated = std::min(kReplicatedRows, sizes.max_rows);
  // Scratch serves attention and, before it, the lookup of quantized embeddings (five bytes a column at most).
  w.scratch_floats_ = lines(std::max(kernels::attention_scratch_floats(c.head_dim), 2 * c.hidden));
  w.own_prepared_floats_ = static_cast<int64_t>((sizes.own_prepared_bytes + 63) / 64 * 16);
  w.private_floats_ = w.scratch_floats_ + w.own_prepared_floats_ + replicated * (2 * lines(c.hidden) + lines(c.ffn));

  // One allocation, cut into pieces of whole lines.
  struct Piece {
    float** at;
    int64_t a, b;
  };
  const int64_t prepared_floats = static_cast<int64_t>((sizes.prepared_bytes + 63) / 64 * 16);
  float* prepared = nullptr;
  const int64_t m = sizes.max_rows;
  const Piece pieces[] = {{&w.x_, m, c.hidden},
                          {&w.h_, m, c.hidden},
                          {&w.qkv_, m, w.qkv_width_},
                          {&w.heads_, m, heads_width},
                          {&w.mlp_, m, mlp_width},
                          {&w.y_, m, c.hidden},
                          {&w.cos_, m, c.rotary_dim * std::max<int64_t>(1, static_cast<int64_t>(c.ropes.size()))},
                          {&w.sin_, m, c.rotary_dim * std::max<int64_t>(1, static_cast<int64_t>(c.ropes.size()))},
                          {&prepared, 1, prepared_floats},
                          {&w.private_, sizes.workers, w.private_floats_}};
  int64_t total = 0;
  for (const Piece& p : pieces) {
    int64_t size = 0;
    if (!checked_mul(p.a, p.b, &size) || !checked_add(size, 16, &size) || !checked_add(total, size / 16 * 16, &total) ||
        total > (int64_t{1} << 60))
      return Status(Code::limit, fmt::format("work memory for {} rows does not fit any memory", m));
  }
  NBL_ASSIGN(w.buffer_, Buffer::create(static_cast<std::size_t>(total) * sizeof(float)));
  float* next = w.buffer_.as<float>().data();
  for (const Piece& p : pieces) {
    *p.at = next;
    next += (p.a * p.b + 16) / 16 * 16;
  }
  w.prepared_ = reinterpret_cast<std::byte*>(prepared);

  const int64_t d = c.head_dim, group = c.heads / c.kv_heads;
  for (int64_t h = 0; h < c.heads; ++h)
    w.q_offset_.push_back(c.qkv_order == QkvOrder::blocks ? h * d : (h / group * (group + 2) + h % group) * d);
  for (int64_t h = 0; h < c.kv_heads; ++h) {
    w.k_offset_.push_back(c.qkv_order == QkvOrder::blocks ? (c.heads + h) * d : (h * (group + 2) + group) * d);
    w.v_offset_.push_back(c.qkv_order == QkvOrder::blocks ? (c.heads + c.kv_heads + h) * d
                                                          : (h * (group + 2) + group + 1) * d);
  }
  return w;
}

int64_t Pass::hidden_stride(const Workspace& w, const Config& c) {
  (void)w;
  return c.gated_mlp ? 2 * c.ffn : c.ffn;
}

Pass::Pass(const Step& step, Worker& worker)
    : s_(step),
      c_(*step.config),
      w_(*step.work),
      worker_(worker),
      el_(kernels::elementwise_kernels(step.isa)),
      at_(kernels::attention_kernels(step.isa)),
      replicated_(!step.shared_rows && step.rows <= Workspace::kReplicatedRows && worker.count() > 1),
      mine_(replicated_ ? Range{0, step.rows} : worker.share(step.rows)) {
  float* own = w_.private_ + worker.index() * w_.private_floats_;
  scratch_ = own;
  own += w_.scratch_floats_;
  prepared_ = replicated_ ? reinterpret_cast<std::byte*>(own) : w_.prepared_;
  own += w_.own_prepared_floats_;
  profile_ = worker.index() == 0 ? step.profile : nullptr;
  if (profile_ != nullptr) last_ = Clock::now();
  if (replicated_) {
    const int64_t rows = std::min(Workspace::kReplicatedRows, w_.max_rows_);
    x_ = own;
    h_ = x_ + rows * lines(c_.hidden);
    act_ = h_ + rows * lines(c_.hidden);
    act_stride_ = c_.ffn;
  } else {
    x_ = w_.x_;
    h_ = w_.h_;
    act_ = w_.mlp_;  // in place: the gate's columns
    act_stride_ = hidden_stride(w_, c_);
  }
}

void Pass::embed(const Weights& weights, std::span<const text::TokenId> tokens) {
  const int64_t hidden = c_.hidden;
  for (const Span& span : s_.spans) {
    const int64_t begin = std::max(mine_.begin, span.first_row);
    const int64_t end = std::min(mine_.end, span.first_row + span.rows);
    for (int64_t row = begin; row < end; ++row) {
      float* x = x_ + row * hidden;
      weights.embedding.dequantize_row(tokens[static_cast<std::size_t>(row)], x,
                                       reinterpret_cast<std::byte*>(scratch_));
      if (!weights.position_embedding.empty())
        el_.add(x, weights.position_embedding.data() + (span.position + row - span.first_row) * hidden, hidden);
    }
  }
}

void Pass::positions() {
  const int64_t pairs = c_.rotary_dim / 2, sets = static_cast<int64_t>(c_.ropes.size());
  for (const Span& span : s_.spans) {
    const Range share = worker_.share(span.rows);
    for (int64_t r = share.begin; r < share.end; ++r) {
      const int64_t row = span.first_row + r;
      const float position = static_cast<float>(span.position + r);
      for (int64_t set = 0; set < sets; ++set) {
        const RopeTable& table = c_.ropes[static_cast<std::size_t>(set)];
        float* cos = w_.cos_ + (row * sets + set) * pairs;
        float* sin = w_.sin_ + (row * sets + set) * pairs;
        for (int64_t i = 0; i < pairs; ++i) {
          // The angle is rounded to float32 before the sine is taken, as in training code.
          const float angle = position * table.inv_freq[static_cast<std::size_t>(i)];
          cos[i] = std::cos(angle) * table.magnitude;
          sin[i] = std::sin(angle) * table.magnitude;
        }
      }
    }
  }
  mark(Profile::embed);
}

void Pass::norm(const NormWeights& weights, const float* x, float* y, int64_t rows) const {
  const int64_t n = c_.hidden;
  for (int64_t r = 0; r < rows; ++r) {
    if (c_.norm == Norm::rms)
      el_.rms_norm(x + r * n, weights.w.data(), n, c_.norm_eps, y + r * n);
    else
      el_.layer_norm(x + r * n, weights.w.data(), weights.b.empty() ? nullptr : weights.b.data(), n, c_.norm_eps,
                     y + r * n);
  }
}

void Pass::project(std::span<const Target> targets, const float* x, int64_t ldx, int64_t rows) {
  const InputForm* form = nullptr;
  for (const Target& t : targets) {
    if (form == nullptr || !(*form == t.linear->input_form())) {
      if (replicated_) {
        t.linear->prepare_alone(x, ldx, rows, prepared_);
      } else {
        if (form != nullptr) worker_.barrier();  // others may still read what is prepared
        t.linear->prepare(worker_, x, ldx, rows, prepared_);
      }
      form = &t.linear->input_form();
    }
    t.linear->multiply(worker_, prepared_, rows, t.y, t.ldy);
  }
  if (s_.adapters != nullptr) adapt(targets, x, ldx, rows);
  worker_.barrier();
}

void Pass::adapt(std::span<const Target> targets, const float* x, int64_t ldx, int64_t rows) {
  worker_.barrier();
  for (const Target& t : targets) {
    for (const LoraDelta* delta : s_.adapters->of(t.linear)) {
      // Whole rows where there are enough of them, else columns.
      const bool by_row = rows >= worker_.count();
      const Range row = by_row ? worker_.share(rows) : Range{0, rows};
      const Range column = by_row ? Range{0, delta->n} : worker_.share(delta->n, 16);
      if (column.begin == column.end) continue;
      for (int64_t r = row.begin; r < row.end; ++r) add_lora(*delta, x + r * ldx, t.y + r * t.ldy, column.begin, column.end);
    }
  }
}

void Pass::attention_input(const Layer& layer) {
  norm(layer.norm(Role::attn_norm), x_ + mine_.begin * c_.hidden, h_ + mine_.begin * c_.hidden,
       mine_.end - mine_.begin);
  if (!replicated_) worker_.barrier();
  mark(Profile::norm);
}

void Pass::store_head(int64_t index, int64_t cache_layer, int64_t head, int64_t begin, int64_t end) {
  const LayerConfig& lc = c_.layer[static_cast<std::size_t>(index)];
  const int64_t group = c_.heads / c_.kv_heads, pairs = c_.rotary_dim / 2;
  const int64_t sets = static_cast<int64_t>(c_.ropes.size());
  const auto turn = c_.rope == Rope::adjacent ? el_.rope_adjacent : el_.rope_half;
  for (const Span& span : s_.spans) {
    const int64_t last = std::min(end, span.first_row + span.rows);
    for (int64_t row = std::max(begin, span.first_row); row < last; ++row) {
      float* qkv = w_.qkv_ + row * w_.qkv_width_;
      float* key = qkv + w_.k_offset_[static_cast<std::size_t>(head)];
      if (lc.rope >= 0) {
        const float* cos = w_.cos_ + (row * sets + lc.rope) * pairs;
        const float* sin = w_.sin_ + (row * sets + lc.rope) * pairs;
        turn(key, cos, sin, pairs);
        for (int64_t g = 0; g < group; ++g)
          turn(qkv + w_.q_offset_[static_cast<std::size_t>(head * group + g)], cos, sin, pairs);
      }
      const int64_t position = span.position + row - span.first_row;
      span.cache->store(at_, cache_layer, head, position, key, qkv + w_.v_offset_[static_cast<std::size_t>(head)]);
    }
  }
}

void Pass::store_and_rotate(int64_t index, int64_t cache_layer) {
  // A worker takes whole heads where there are several, so that neighbours in a tile of keys are its own.
  const Range share = worker_.share(c_.kv_heads * s_.rows);
  for (int64_t head = 0; head < c_.kv_heads; ++head) {
    const int64_t base = head * s_.rows;
    store_head(index, cache_layer, head, std::max<int64_t>(share.begin - base, 0), std::min(share.end - base, s_.rows));
  }
}

/// The largest block of queries that keeps all workers about equally busy: a block costs reading the keys once, and
/// something for each query.
int64_t Pass::queries_a_task() const {
  const int64_t group = c_.heads / c_.kv_heads, workers = worker_.count();
  int64_t best = kernels::kAttentionQueries, best_cost = -1;
  for (int64_t q = kernels::kAttentionQueries; q >= 1; q /= 2) {
    int64_t tasks = 0;
    for (const Span& span : s_.spans) tasks += ceil_div(span.rows * group, q) * c_.kv_heads;
    const int64_t cost = ceil_div(tasks, workers) * (2 + std::min(q, s_.rows * group));
    if (best_cost < 0 || cost < best_cost) {
      best = q;
      best_cost = cost;
    }
  }
  return best;
}

void Pass::attend(int64_t index, int64_t cache_layer, int64_t block) {
  const int64_t window = c_.layer[static_cast<std::size_t>(index)].window;
  const int64_t group = c_.heads / c_.kv_heads, d = c_.head_dim, width = c_.heads * d;
  int64_t task = 0;
  for (const Span& span : s_.spans) {
    // Query rows of a key-value head: the group's heads of the first token, then of the next. Later ones see more, so
    // they are dealt out first.
    const int64_t queries = span.rows * group, blocks = ceil_div(queries, block);
    for (int64_t b = blocks - 1; b >= 0; --b) {
      for (int64_t head = 0; head < c_.kv_heads; ++head) {
        if (task++ % worker_.count() != worker_.index()) continue;
        kernels::AttentionArgs args;
        args.type = span.cache->type();
        args.head_dim = d;
        args.value_dim = d;
        args.scale = c_.attention_scale;
        args.scratch = scratch_;
        args.queries = std::min(block, queries - b * block);
        for (int64_t i = 0; i < args.queries; ++i) {
          const int64_t r = (b * block + i) / group, h = head * group + (b * block + i) % group;
          const int64_t row = span.first_row + r, position = span.position + r;
          args.q[i] = w_.qkv_ + row * w_.qkv_width_ + w_.q_offset_[static_cast<std::size_t>(h)];
          args.out[i] = w_.heads_ + row * width + h * d;
          args.end[i] = position + 1;
          args.begin[i] = window > 0 ? std::max<int64_t>(0, position + 1 - window) : 0;
        }
        const auto cached = span.cache->view(cache_layer, head, *std::min_element(args.begin, args.begin + args.queries),
                                             *std::max_element(args.end, args.end + args.queries), worker_.index());
        args.keys = cached.keys;
        args.values = cached.values;
        at_.attend(args);
      }
    }
  }
}

void Pass::attention(const Layer& layer, int64_t index, int64_t cache_layer) {
  if (s_.rows == 1)
    for (int64_t head = worker_.index(); head < c_.kv_heads; head += worker_.count())
      s_.spans[0].cache->prefetch(cache_layer, head, s_.spans[0].position);
  const int64_t d = c_.head_dim, ld = w_.qkv_width_;
  if (const Linear* qkv = layer.linear(Role::qkv)) {
    const Target targets[] = {{qkv, w_.qkv_, ld}};
    project(targets, h_, c_.hidden, s_.rows);
  } else {
    const Target targets[] = {{layer.linear(Role::q), w_.qkv_, ld},
                              {layer.linear(Role::k), w_.qkv_ + c_.heads * d, ld},
                              {layer.linear(Role::v), w_.qkv_ + (c_.heads + c_.kv_heads) * d, ld}};
    project(targets, h_, c_.hidden, s_.rows);
  }
  mark(Profile::qkv);
  const int64_t block = queries_a_task();
  if (s_.rows == 1 && block >= c_.heads / c_.kv_heads) {
    // One token, and every task is a whole head: who attends with a head also caches it, so nobody has to wait.
    for (int64_t head = worker_.index(); head < c_.kv_heads; head += worker_.count())
      store_head(index, cache_layer, head, 0, 1);
  } else {
    store_and_rotate(index, cache_layer);
    worker_.barrier();
  }
  mark(Profile::rope_and_cache);
  attend(index, cache_layer, block);
  worker_.barrier();
  mark(Profile::attention);
}

void Pass::add_residual() {
  const int64_t n = c_.hidden;
  el_.add(x_ + mine_.begin * n, w_.y_ + mine_.begin * n, (mine_.end - mine_.begin) * n);
}

void Pass::attention_output(const Layer& layer) {
  const Target targets[] = {{layer.linear(Role::attn_out), w_.y_, c_.hidden}};
  project(targets, w_.heads_, c_.heads * c_.head_dim, s_.rows);
  add_residual();
  mark(Profile::attention_out);
}

void Pass::mlp_input(const Layer& layer) {
  norm(layer.norm(Role::mlp_norm), x_ + mine_.begin * c_.hidden, h_ + mine_.begin * c_.hidden, mine_.end - mine_.begin);
  if (!replicated_) worker_.barrier();
  mark(Profile::norm);
}

void Pass::mlp_hidden(const Layer& layer) {
  const int64_t ld = hidden_stride(w_, c_);
  if (const Linear* both = layer.linear(Role::gate_up)) {
    const Target targets[] = {{both, w_.mlp_, ld}};
    project(targets, h_, c_.hidden, s_.rows);
  } else if (const Linear* gate = layer.linear(Role::gate)) {
    const Target targets[] = {{gate, w_.mlp_, ld}, {layer.linear(Role::up), w_.mlp_ + c_.ffn, ld}};
    project(targets, h_, c_.hidden, s_.rows);
  } else {
    const Target targets[] = {{layer.linear(Role::up), w_.mlp_, ld}};
    project(targets, h_, c_.hidden, s_.rows);
  }
  mark(Profile::mlp_in);
  const kernels::Act act = kernel_act(c_.activation);
  for (int64_t r = mine_.begin; r < mine_.end; ++r) {
    const float* row = w_.mlp_ + r * ld;
    el_.activate(act, row, c_.gated_mlp ? row + c_.ffn : nullptr, act_ + r * act_stride_, c_.ffn);
  }
  if (!replicated_) worker_.barrier();
  mark(Profile::activation);
}

void Pass::mlp_output(const Layer& layer) {
  const Target targets[] = {{layer.linear(Role::down), w_.y_, c_.hidden}};
  project(targets, act_, act_stride_, s_.rows);
  add_residual();
  mark(Profile::mlp_out);
}

void Pass::logits(const Weights& weights, int64_t first, int64_t count, float* logits) {
  const int64_t n = c_.hidden;
  if (replicated_) {
    norm(weights.final_norm, x_ + first * n, h_ + first * n, count);
  } else {
    worker_.barrier();  // rows of x_ were finished by others
    const Range share = worker_.share(count);
    norm(weights.final_norm, x_ + (first + share.begin) * n, h_ + (first + share.begin) * n, share.end - share.begin);
    worker_.barrier();
  }
  const Target targets[] = {{&*weights.lm_head, logits, c_.vocab}};
  project(targets, h_ + first * n, n, count);
  mark(Profile::logits);
}

}  // namespace nbl::model

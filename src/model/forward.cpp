#include "model/forward.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/checked.h"
#include "model/adapters.h"

namespace nbl::model {
namespace {

int64_t qkv_width(const Config& c) {
  if (c.latent.kv_rank > 0) return c.heads * c.head_dim;
  return (c.heads + c.kv_heads) * c.head_dim + c.kv_heads * c.v_dim();
}

/// Floats rounded up to whole lines.
int64_t lines(int64_t floats) { return round_up(floats, 16); }

/// A row's floats, and a line more where rows would otherwise fall on the same cache sets.
int64_t row_stride(int64_t floats) { return floats % 512 == 0 ? floats + 16 : floats; }

/// Columns of the MLP's hidden rows that are made at a time when rows are many: twice this by 256 rows stay in the
/// second-level cache beside the input.
constexpr int64_t kPieceColumns = Linear::kPieceColumns;

}  // namespace

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
    case Activation::relu_squared:
      return kernels::Act::relu_squared;
    case Activation::quick_gelu:
      return kernels::Act::quick_gelu;
    case Activation::sigmoid:
      return kernels::Act::sigmoid;
    case Activation::tanh:
      return kernels::Act::tanh;
    case Activation::gelu_clipped:
      return kernels::Act::gelu_clipped;
    case Activation::mish:
      return kernels::Act::mish;
    case Activation::leaky_relu:
      return kernels::Act::leaky_relu;
    case Activation::relu6:
      return kernels::Act::relu6;
    case Activation::hard_swish:
      return kernels::Act::hard_swish;
    case Activation::linear:
      return kernels::Act::linear;
  }
  return kernels::Act::silu;
}

std::size_t Workspace::prepared_bytes(std::span<const Layer> layers, const Linear* head, int64_t max_rows) {
  std::size_t most = head == nullptr ? 0 : head->prepared_bytes(max_rows);
  for (const Layer& layer : layers) {
    for (const auto& linear : layer.linears)
      if (linear) most = std::max(most, linear->prepared_bytes(max_rows));
    for (const Expert& expert : layer.experts)
      for (const Linear* linear : {&expert.gate, &expert.up, &expert.down})
        most = std::max(most, linear->prepared_bytes(max_rows));
  }
  return most;
}

Result<Workspace> Workspace::create(const Config& c, const Sizes& sizes) {
  Workspace w;
  w.max_rows_ = sizes.max_rows;
  w.workers_ = sizes.workers;
  w.qkv_width_ = row_stride(qkv_width(c));
  const int64_t heads_width = c.heads * c.v_dim(), widest = std::max(c.hidden, c.embed_dim());
  const ExpertsConfig& x = c.experts;
  const int64_t ffn = std::max(c.ffn, x.shared_ffn);
  w.mlp_width_ = row_stride(c.gated_mlp ? 2 * ffn : ffn);
  const int64_t replicated = std::min(kReplicatedRows, sizes.max_rows);
  // Scratch serves attention and, before it, the lookup of quantized embeddings (five bytes a column at most).
  w.scratch_floats_ = lines(std::max(kernels::attention_scratch_floats(std::max(c.v_dim(), c.latent.kv_rank)), 2 * widest));
  w.own_prepared_floats_ = static_cast<int64_t>((sizes.own_prepared_bytes + 63) / 64 * 16);
  w.private_floats_ =
      w.scratch_floats_ + w.own_prepared_floats_ + replicated * (lines(c.hidden) + lines(widest) + lines(ffn));
  // Of few rows a worker makes its whole share at once.
  if (sizes.pieces)
    w.piece_floats_ = lines(2 * std::max(sizes.max_rows * kPieceColumns,
                                         std::min<int64_t>(sizes.max_rows, 8) * round_up(ffn, kPieceColumns)));
  w.private_floats_ += w.piece_floats_;

  // One allocation, cut into pieces of whole lines.
  struct Piece {
    float** at;
    int64_t a, b;
  };
  const int64_t prepared_floats = static_cast<int64_t>((sizes.prepared_bytes + 63) / 64 * 16);
  float *prepared = nullptr, *prepared_mlp = nullptr;
  const int64_t m = sizes.max_rows;
  const Piece pieces[] = {{&w.x_, m, c.hidden},
                          {&w.h_, m, widest},
                          {&w.qkv_, m, w.qkv_width_},
                          {&w.heads_, m, heads_width},
                          {&w.mlp_, m, w.mlp_width_},
                          {&w.y_, m, widest},
                          {&w.q_latent_, m, c.latent.q_rank},
                          {&w.kv_latent_, m, c.latent.kv_rank + c.latent.rope_dim},
                          {&w.latent_queries_, m, c.latent.kv_rank > 0 ? c.heads * (c.latent.kv_rank + c.latent.rope_dim) : 0},
                          {&w.latent_sums_, m, c.heads * c.latent.kv_rank},
                          {&w.experts_.scores, m, x.count},
                          {&w.experts_.x, x.count > 0 ? m : 0, c.hidden},
                          {&w.experts_.hidden, x.count > 0 ? m : 0, 2 * x.ffn},
                          {&w.experts_.y, x.count > 0 ? m : 0, c.hidden},
                          {&w.cos_, m, c.rotary_dim * std::max<int64_t>(1, static_cast<int64_t>(c.ropes.size()))},
                          {&w.sin_, m, c.rotary_dim * std::max<int64_t>(1, static_cast<int64_t>(c.ropes.size()))},
                          {&prepared, 1, prepared_floats},
                          {&prepared_mlp, sizes.pieces ? 1 : 0, prepared_floats},
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
  w.prepared_mlp_ = reinterpret_cast<std::byte*>(prepared_mlp);

  if (x.count > 0) {
    const std::size_t choices = static_cast<std::size_t>(m * x.per_token);
    w.experts_.chosen.resize(choices);
    w.experts_.weight.resize(choices);
    w.experts_.row.resize(choices);
    w.experts_.row_weight.resize(choices);
    w.experts_.first.resize(static_cast<std::size_t>(x.count + 1));
    w.experts_.group_order.resize(static_cast<std::size_t>(sizes.workers * x.count));
  }
  const int64_t d = c.head_dim, group = c.heads / c.kv_heads;
  for (int64_t h = 0; h < c.heads; ++h)
    w.q_offset_.push_back(c.qkv_order == QkvOrder::blocks ? h * d : (h / group * (group + 2) + h % group) * d);
  for (int64_t h = 0; h < c.kv_heads; ++h) {
    w.k_offset_.push_back(c.qkv_order == QkvOrder::blocks ? (c.heads + h) * d : (h * (group + 2) + group) * d);
    w.v_offset_.push_back(c.qkv_order == QkvOrder::blocks ? (c.heads + c.kv_heads) * d + h * c.v_dim()
                                                          : (h * (group + 2) + group + 1) * d);
  }
  return w;
}

Pass::Pass(const Step& step, Worker& worker)
    : s_(step),
      c_(*step.config),
      w_(*step.work),
      worker_(worker),
      el_(kernels::elementwise_kernels(step.isa)),
      at_(kernels::attention_kernels(step.isa)),
      replicated_(!step.shared_rows && step.rows <= Workspace::kReplicatedRows && worker.count() > 1 &&
                  step.config->experts.count == 0 && step.config->latent.kv_rank == 0),
      mine_(replicated_ ? Range{0, step.rows} : worker.share(step.rows)) {
  float* own = w_.private_ + worker.index() * w_.private_floats_;
  scratch_ = own;
  own += w_.scratch_floats_;
  piece_ = own;
  own += w_.piece_floats_;
  prepared_mlp_ = w_.prepared_mlp_;
  prepared_ = replicated_ ? reinterpret_cast<std::byte*>(own) : w_.prepared_;
  own += w_.own_prepared_floats_;
  profile_ = worker.index() == 0 ? step.profile : nullptr;
  if (profile_ != nullptr) last_ = Clock::now();
  if (replicated_) {
    const int64_t rows = std::min(Workspace::kReplicatedRows, w_.max_rows_);
    x_ = own;
    h_ = x_ + rows * lines(c_.hidden);
    act_ = h_ + rows * lines(std::max(c_.hidden, c_.embed_dim()));
    act_stride_ = c_.ffn;
  } else {
    x_ = w_.x_;
    h_ = w_.h_;
    act_ = w_.mlp_;  // in place: the gate's columns
    act_stride_ = w_.mlp_width_;
  }
}

void Pass::embed(const Weights& weights, std::span<const text::TokenId> tokens) {
  const int64_t hidden = c_.hidden, width = c_.embed_dim();
  float* rows = weights.project_in ? h_ : x_;
  for (int64_t row = mine_.begin; row < mine_.end; ++row) {
    weights.embedding.dequantize_row(tokens[static_cast<std::size_t>(row)], rows + row * width,
                                     reinterpret_cast<std::byte*>(scratch_));
    if (c_.embedding_scale != 1) el_.scale(rows + row * width, c_.embedding_scale, width);
  }
  if (weights.project_in) {
    if (!replicated_) worker_.barrier();
    const Target targets[] = {{&*weights.project_in, w_.y_, hidden}};
    project(targets, h_, width, s_.rows);
    std::copy(w_.y_ + mine_.begin * hidden, w_.y_ + mine_.end * hidden, x_ + mine_.begin * hidden);
  }
  if (!weights.position_embedding.empty()) {
    for (const Span& span : s_.spans) {
      const int64_t begin = std::max(mine_.begin, span.first_row);
      const int64_t end = std::min(mine_.end, span.first_row + span.rows);
      for (int64_t row = begin; row < end; ++row) {
        const int64_t position = span.position + row - span.first_row + c_.position_offset;
        el_.add(x_ + row * hidden, weights.position_embedding.data() + position * hidden, hidden);
      }
    }
  }
  if (!weights.embedding_norm.w.empty()) {
    float* x = x_ + mine_.begin * hidden;
    norm(weights.embedding_norm, x, x, mine_.end - mine_.begin, hidden);
  }
}

void Pass::positions() {
  const int64_t pairs = c_.rotary_dim / 2, sets = static_cast<int64_t>(c_.ropes.size());
  for (const Span& span : s_.spans) {
    const Range share = worker_.share(span.rows);
    const int64_t length = span.length > 0 ? span.length : span.position + span.rows;
    for (int64_t r = share.begin; r < share.end; ++r) {
      const int64_t row = span.first_row + r;
      const float position = static_cast<float>(span.position + r);
      for (int64_t set = 0; set < sets; ++set) {
        const RopeTable& table = c_.ropes[static_cast<std::size_t>(set)];
        float* cos = w_.cos_ + (row * sets + set) * pairs;
        float* sin = w_.sin_ + (row * sets + set) * pairs;
        for (int64_t i = 0; i < pairs; ++i) {
          // The angle is rounded to float32 before the sine is taken, as in training code.
          const float angle = position * table.frequency(static_cast<std::size_t>(i), length);
          cos[i] = std::cos(angle) * table.magnitude;
          sin[i] = std::sin(angle) * table.magnitude;
        }
      }
    }
  }
  mark(Profile::embed);
}

void Pass::norm_row(const NormWeights& weights, std::size_t first, const float* x, float* y, int64_t n) const {
  if (c_.norm == Norm::rms)
    el_.rms_norm(x, weights.w.data() + first, n, c_.norm_eps, y);
  else
    el_.layer_norm(x, weights.w.data() + first, weights.b.empty() ? nullptr : weights.b.data() + first, n, c_.norm_eps,
                   y);
}

void Pass::norm(const NormWeights& weights, const float* x, float* y, int64_t rows, int64_t n) const {
  if (weights.w.empty()) {
    if (x != y) std::copy(x, x + rows * n, y);
    return;
  }
  for (int64_t r = 0; r < rows; ++r) norm_row(weights, 0, x + r * n, y + r * n, n);
}

/// The input of a block from the residual stream; own rows.
void Pass::norm_input(const NormWeights& weights) {
  const int64_t n = c_.hidden, first = mine_.begin * n, rows = mine_.end - mine_.begin;
  static const NormWeights kNone;
  norm(c_.norm_place == NormPlace::after_residual ? kNone : weights, x_ + first, h_ + first, rows, n);
  if (c_.norm_place == NormPlace::residual_is_normed) std::copy(h_ + first, h_ + first + rows * n, x_ + first);
}

void Pass::meet(const Upcoming& next) {
  // With many rows products take long, and memory keeps up.
  worker_.barrier(s_.rows <= 16 ? next.ahead : Ahead{});
}

void Pass::norm_and_prepare(const NormWeights& weights, const Linear* first) {
  norm_input(weights);
  if (replicated_) return;
  if (first != nullptr && !s_.shared_rows && first->prepares_in_pieces()) {
    first->prepare_rows(mine_, h_, c_.hidden, s_.rows, prepared_);
    normed_form_ = &first->input_form();
  }
  worker_.barrier();
}

void Pass::project(std::span<const Target> targets, const float* x, int64_t ldx, int64_t rows, const Upcoming& next) {
  const InputForm* form = x == h_ ? normed_form_ : nullptr;
  for (std::size_t i = 0; i < targets.size(); ++i) {
    const Target& t = targets[i];
    if (form == nullptr || !(*form == t.linear->input_form())) {
      if (replicated_) {
        t.linear->prepare_alone(x, ldx, rows, prepared_);
      } else {
        if (form != nullptr) worker_.barrier();  // others may still read what is prepared
        t.linear->prepare(worker_, x, ldx, rows, prepared_);
      }
      form = &t.linear->input_form();
    }
    t.linear->multiply(worker_, prepared_, rows, t.y, t.ldy,
                       i + 1 < targets.size() ? targets[i + 1].linear->lines_of(worker_) : next.lines);
  }
  normed_form_ = nullptr;
  if (s_.adapters != nullptr) adapt(targets, x, ldx, rows);
  meet(next);
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

void Pass::add_residual(const Layer& layer, Role post, Role own) {
  const int64_t n = c_.hidden, first = mine_.begin * n, rows = mine_.end - mine_.begin;
  const float* y = w_.y_ + first;
  // y is everybody's; what is made of it goes to rows of h, which nobody needs any more.
  float* h = h_ + first;
  if (const NormWeights& behind = layer.norm(post); !behind.w.empty()) {
    norm(behind, y, h, rows, n);
    y = h;
  }
  if (c_.residual_scale != 1) {
    if (y != h) std::copy(y, y + rows * n, h);
    el_.scale(h, c_.residual_scale, rows * n);
    y = h;
  }
  el_.add(x_ + first, y, rows * n);
  if (c_.norm_place == NormPlace::after_residual) norm(layer.norm(own), x_ + first, x_ + first, rows, n);
}

void Pass::mlp_input(const Layer& layer) {
  const NormWeights& weights = layer.norm(Role::mlp_norm);
  if (c_.parallel_residual && weights.w.empty()) return;  // the attention's input serves both
  const Linear* first = layer.linear(Role::gate_up);
  if (first == nullptr) first = layer.linear(Role::gate);
  if (first == nullptr) first = layer.linear(Role::up);
  norm_and_prepare(weights, layer.experts.empty() ? first : nullptr);
  mark(Profile::norm);
}

void Pass::activate_rows(Range rows, float* hidden, int64_t ld, float* out, int64_t ld_out, int64_t n) const {
  const kernels::Act act = kernel_act(c_.activation);
  for (int64_t r = rows.begin; r < rows.end; ++r) {
    const float* row = hidden + r * ld;
    el_.activate(act, row, c_.gated_mlp ? row + n : nullptr, out + r * ld_out, n);
  }
}

bool Pass::mlp_hidden_in_pieces(const Layer& layer) {
  const Linear* down = layer.linear(Role::down);
  const Linear* both = layer.linear(Role::gate_up);
  const Linear* up = both != nullptr ? both : layer.linear(Role::up);
  const Linear* gate = both != nullptr ? both : layer.linear(Role::gate);
  const int64_t ffn = c_.ffn, rows = s_.rows;
  if (w_.piece_floats_ == 0 || s_.shared_rows || s_.adapters != nullptr || down == nullptr || up == nullptr || !down->prepares_in_pieces() ||
      c_.gated_mlp != (gate != nullptr) || (both != nullptr && ffn % 16 != 0))
    return false;
  if (gate != nullptr && !(gate->input_form() == up->input_form())) return false;
  // Few pieces would be dealt out unevenly.
  const int64_t pieces = ceil_div(ffn, kPieceColumns), workers = worker_.count();
  if (pieces < 8 * workers && (pieces % workers != 0 || ffn % kPieceColumns != 0)) return false;

  const Linear* first = gate != nullptr ? gate : up;
  if (normed_form_ == nullptr || !(*normed_form_ == first->input_form())) {
    if (replicated_)
      first->prepare_alone(h_, c_.hidden, rows, prepared_);
    else
      first->prepare(worker_, h_, c_.hidden, rows, prepared_);
  }
  normed_form_ = nullptr;
  const int64_t most = std::max(kPieceColumns, w_.piece_floats_ / (2 * rows) / kPieceColumns * kPieceColumns);
  const auto pieces_of = [&](Range share, bool last) {
    for (int64_t begin = share.begin; begin < share.end; begin += most) {
      const int64_t end = std::min(begin + most, share.end), n = end - begin, at = both != nullptr ? ffn : 0;
      float* hidden = piece_;                          // [rows, n]
      float* other = gate != nullptr ? piece_ + rows * n : nullptr;
      const FirstLines after = last && end == share.end ? down->lines_of(worker_) : FirstLines{};
      first->multiply_rows({begin, end}, prepared_, rows, hidden, n, gate != nullptr ? up->lines_of(at + begin) : after);
      if (gate != nullptr) up->multiply_rows({at + begin, at + end}, prepared_, rows, other, n, after);
      mark(Profile::mlp_in);
      el_.activate(kernel_act(c_.activation), hidden, other, hidden, rows * n);
      down->prepare_columns({begin, end}, hidden, n, rows, prepared_mlp_);
      mark(Profile::activation);
    }
  };
  if (rows <= Linear::kDealtRows) {
    const int64_t column_bytes = (first->weight_bytes() / first->n()) * (gate != nullptr ? 2 : 1);
    worker_.deal(ffn, kPieceColumns, Linear::kDealtBytes / std::max<int64_t>(column_bytes, 1), pieces_of);
  } else {
    pieces_of(worker_.share(ffn, kPieceColumns), true);
  }
  mlp_prepared_ = true;
  meet(down);
  mark(Profile::mlp_in);
  return true;
}

void Pass::mlp_hidden(const Layer& layer) {
  if (mlp_hidden_in_pieces(layer)) return;
  const int64_t ld = w_.mlp_width_;
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
  activate_rows(mine_, w_.mlp_, ld, act_, act_stride_, c_.ffn);
  if (!replicated_) worker_.barrier();
  mark(Profile::activation);
}

void Pass::mlp_output(const Layer& layer, const Linear* next) {
  const Target targets[] = {{layer.linear(Role::down), w_.y_, c_.hidden}};
  if (mlp_prepared_) {
    mlp_prepared_ = false;
    targets[0].linear->multiply(worker_, prepared_mlp_, s_.rows, targets[0].y, targets[0].ldy, upcoming(next).lines);
    meet(next);
  } else {
    project(targets, act_, act_stride_, s_.rows, next);
  }
  add_residual(layer, Role::mlp_post_norm, Role::mlp_norm);
  mark(Profile::mlp_out);
}

void Pass::layer(const Layer& layer, int64_t index, const Linear* next) {
  attention_input(layer);
  attention_latents(layer);
  attention(layer, index, index);
  if (c_.parallel_residual) {
    // Both read the residual stream before either adds to it.
    mlp_input(layer);
    mlp_hidden(layer);
    attention_output(layer);
    // The next product goes where others may still read this one; only preparing its input would make them meet before.
    if (replicated_ || mlp_prepared_) worker_.barrier();
    mlp_output(layer, next);
    return;
  }
  attention_output(layer);
  mlp_input(layer);
  if (!layer.experts.empty()) return mixture(layer);
  mlp_hidden(layer);
  mlp_output(layer, next);
}

void Pass::logits(const Weights& weights, int64_t first, int64_t count, float* logits) {
  const int64_t n = c_.hidden, width = c_.embed_dim();
  if (replicated_) {
    norm(weights.final_norm, x_ + first * n, h_ + first * n, count, n);
  } else {
    worker_.barrier();  // rows of x_ were finished by others
    const Range share = worker_.share(count);
    norm(weights.final_norm, x_ + (first + share.begin) * n, h_ + (first + share.begin) * n, share.end - share.begin,
         n);
    worker_.barrier();
  }
  const float* last = h_ + first * n;
  if (weights.project_out) {
    if (replicated_) worker_.barrier();
    const Target targets[] = {{&*weights.project_out, w_.y_, width}};
    project(targets, last, n, count);
    last = w_.y_;
  }
  const Target targets[] = {{&*weights.lm_head, logits, c_.vocab}};
  // The next token begins with the first layer.
  const Linear* next = weights.layers.empty() ? nullptr : weights.layers.front().linear(Role::qkv);
  if (next == nullptr && !weights.layers.empty()) next = weights.layers.front().linear(Role::q);
  project(targets, last, width, count, next);
  if (c_.logit_scale != 1 || c_.logit_cap > 0) {
    const Range share = worker_.share(count * c_.vocab);
    if (c_.logit_scale != 1) el_.scale(logits + share.begin, c_.logit_scale, share.end - share.begin);
    if (c_.logit_cap > 0) el_.soft_cap(logits + share.begin, c_.logit_cap, share.end - share.begin);
    worker_.barrier();
  }
  mark(Profile::logits);
}

}  // namespace nbl::model

// The forward pass over a list of rows: a row is one token of one sequence. Written SPMD: every worker of the team runs
// the same phases and meets the others at barriers. Each element of a result is computed by one worker, in an order
// that does not depend on the number of workers nor, in exact mode, on the rows beside it.
#pragma once

#include <chrono>
#include <cstdint>
#include <span>
#include <vector>

#include "base/buffer.h"
#include "base/parallel.h"
#include "base/status.h"
#include "kernels/attention/attention.h"
#include "kernels/elementwise/elementwise.h"
#include "model/expert_routing.h"
#include "model/kv_cache.h"
#include "model/model.h"
#include "model/weights.h"

namespace nbl::model {

kernels::Act kernel_act(Activation activation);

/// Consecutive tokens of one sequence within a step.
struct Span {
  KvCache* cache = nullptr;
  int64_t first_row = 0;
  int64_t rows = 0;
  int64_t position = 0;  ///< of its first token
  /// Tokens of the sequence once all that was appended with these is through, for rope scalings that look at it; 0:
  /// position + rows.
  int64_t length = 0;
};

/// Which rows of a step go to which expert, and the work memory of one expert at a time.
struct ExpertRows : ExpertChoices {
  float* scores = nullptr;            ///< [rows, experts]
  float* x = nullptr;                 ///< [rows, hidden] of those that go to the expert at hand
  float* hidden = nullptr;            ///< [rows, 2 * ffn]
  float* y = nullptr;                 ///< [rows, hidden]
  std::vector<int32_t> group_order;   ///< scratch of one worker each: [workers, experts]
};

/// Work memory for steps of at most `max_rows` rows, all taken at once.
class Workspace {
 public:
  /// Up to this many rows every worker norms and prepares all of them for itself: cheaper than meeting the others.
  static constexpr int64_t kReplicatedRows = 2;

  struct Sizes {
    int64_t max_rows = 0;
    int workers = 1;
    std::size_t prepared_bytes = 0;      ///< the largest Linear::prepared_bytes(max_rows)
    std::size_t own_prepared_bytes = 0;  ///< the same for kReplicatedRows; 0 when no step will replicate rows
    bool pieces = false;                 ///< room to make the MLP's hidden rows in pieces: no step has shared rows
  };
  static Result<Workspace> create(const Config& config, const Sizes& sizes);
  /// The largest prepared input any linear of these layers (and head, if any) needs.
  static std::size_t prepared_bytes(std::span<const Layer> layers, const Linear* head, int64_t max_rows);

  int64_t max_rows() const noexcept { return max_rows_; }

 private:
  friend class Pass;
  Buffer buffer_;
  int64_t max_rows_ = 0;
  int workers_ = 1;
  int64_t qkv_width_ = 0, mlp_width_ = 0, piece_floats_ = 0, private_floats_ = 0, scratch_floats_ = 0, own_prepared_floats_ = 0;
  float *x_ = nullptr, *h_ = nullptr, *qkv_ = nullptr, *heads_ = nullptr, *mlp_ = nullptr, *y_ = nullptr;
  float *cos_ = nullptr, *sin_ = nullptr;
  float *q_latent_ = nullptr, *kv_latent_ = nullptr;           ///< latent attention's narrow rows
  float *latent_queries_ = nullptr, *latent_sums_ = nullptr;  ///< [rows, heads, ...] in the latents' space
  ExpertRows experts_;
  std::byte *prepared_ = nullptr, *prepared_mlp_ = nullptr;  ///< inputs of products; the second one's of the MLP's last
  float* private_ = nullptr;                             ///< [workers][private_floats_]
  std::vector<int64_t> q_offset_, k_offset_, v_offset_;  ///< columns of each head in a qkv row
};

/// What one step works on; shared by all workers, unchanged while they run.
struct Step {
  const Config* config = nullptr;
  Isa isa = Isa::scalar;
  Workspace* work = nullptr;
  std::span<const Span> spans;
  int64_t rows = 0;
  Profile* profile = nullptr;
  const Adapters* adapters = nullptr;
  bool shared_rows = false;  ///< never replicate few rows: somebody looks at them between phases
};

/// One worker's passage through a step.
class Pass {
 public:
  Pass(const Step& step, Worker& worker);

  /// Fills the residual stream with token and position embeddings. Ends without a barrier.
  void embed(const Weights& weights, std::span<const text::TokenId> tokens);
  /// cos and sin of every row's position. Ends without a barrier.
  void positions();

  // The phases of a layer, in order. Before each of them the team has met or the phase needs nobody else's results.
  void attention_input(const Layer& layer);    ///< norm
  void attention_latents(const Layer& layer);  ///< narrow queries and key-values, normed; where there are such
  void attention(const Layer& layer, int64_t index, int64_t cache_layer);  ///< projections, rope, cache, heads
  void attention_output(const Layer& layer);                               ///< output projection, residual
  void mlp_input(const Layer& layer);                                      ///< norm
  void mlp_hidden(const Layer& layer);                                     ///< projections, activation
  void mlp_output(const Layer& layer, const Linear* next = nullptr);       ///< projection, residual

  // In place of the last two where the MLP is a mixture: mixture(), or its steps one by one.
  void route(const Layer& layer);                         ///< chooses experts and sorts the rows among them
  /// Its rows, projections, activation; `all`: of all rows, because somebody looks at them.
  void expert_hidden(const Expert& expert, int64_t index, bool all = false);
  void expert_output(const Expert& expert, int64_t index, bool all = false);  ///< projection, weighed sum of its rows
  void shared_hidden(const Layer& layer);
  void shared_output(const Layer& layer);
  void mixture_output(const Layer& layer);  ///< residual
  void mixture(const Layer& layer);

  /// Logits of rows [first, first + count): final norm and output projection into logits [count, vocab]. Ends with a
  /// barrier.
  void logits(const Weights& weights, int64_t first, int64_t count, float* logits);

  /// `next`: whose weights are read after this layer's, if that is known.
  void layer(const Layer& layer, int64_t index, const Linear* next);

  // What observers see, [rows, ...] with the given row strides; with Step::shared_rows only.
  static const float* normed(const Workspace& w) { return w.h_; }
  static const float* heads(const Workspace& w) { return w.heads_; }
  static const float* hidden_activations(const Workspace& w) { return w.mlp_; }
  static int64_t hidden_stride(const Workspace& w) { return w.mlp_width_; }
  static const float* q_latent(const Workspace& w) { return w.q_latent_; }
  static const float* kv_latent(const Workspace& w) { return w.kv_latent_; }
  static ExpertRows& experts(Workspace& w) { return w.experts_; }
  static float* residual(Workspace& w) { return w.x_; }

 private:
  struct Target {
    const Linear* linear;
    float* y;
    int64_t ldy;
  };
  /// Rows of n floats; without weights a copy.
  void norm(const NormWeights& weights, const float* x, float* y, int64_t rows, int64_t n) const;
  void norm_input(const NormWeights& weights);
  void norm_row(const NormWeights& weights, std::size_t first, const float* x, float* y, int64_t n) const;
  void norm_head(const NormWeights& weights, int64_t head, float* x) const;
  /// What must be done to whole rows of q, k and v before heads are looked at one by one.
  void adjust_rows(const Layer& layer);
  void latent_attention(const Layer& layer, int64_t index, int64_t cache_layer);
  void absorb_rows(const Layer& layer, int64_t index, int64_t cache_layer);
  void absorb_query(const Layer& layer, int64_t head, const float* q, float* out) const;
  void attend_latents(int64_t index, int64_t cache_layer);
  void expand_value(const Layer& layer, int64_t head, const float* latent, float* out) const;
  /// Each target's linear times x [rows, k]; shares the prepared input among linears of equal form. `next`: whose weights
  /// are read after these.
  void project(std::span<const Target> targets, const float* x, int64_t ldx, int64_t rows, const Linear* next = nullptr) {
    project(targets, x, ldx, rows, upcoming(next));
  }
  void project(std::span<const Target> targets, const float* x, int64_t ldx, int64_t rows, const Upcoming& next);
  Upcoming upcoming(const Linear* next) const { return next != nullptr ? next->upcoming(worker_) : Upcoming{}; }
  /// What this worker reads of the cache when one token attends, or of the output projection where that is all there is.
  Upcoming upcoming_heads(const Layer& layer, int64_t index, int64_t cache_layer, int64_t head) const;
  bool whole_heads(int64_t block) const;
  /// What a worker does with few rows before it meets the others at the end of a phase: `next` is read after it.
  void meet(const Linear* next) { meet(upcoming(next)); }
  void meet(const Upcoming& next);
  /// Norms of own rows, and the input for `first` made of them at once where that can be; ends having met the others.
  void norm_and_prepare(const NormWeights& weights, const Linear* first);
  /// Projections, activation and the input of the MLP's last product, made of each other while they are near. False when
  /// somebody has to see what lies between, or the last product wants its input otherwise: nothing was done.
  bool mlp_hidden_in_pieces(const Layer& layer);
  /// Adds to the targets' results what adapters change. Begins with a barrier.
  void adapt(std::span<const Target> targets, const float* x, int64_t ldx, int64_t rows);
  /// Rotates and caches keys and values of rows [begin, end) of one head, and rotates the queries that look at it.
  void store_head(const Layer& layer, int64_t index, int64_t cache_layer, int64_t head, int64_t begin, int64_t end);
  void store_and_rotate(const Layer& layer, int64_t index, int64_t cache_layer);
  void attend(const Layer& layer, int64_t index, int64_t cache_layer, int64_t block);
  int64_t queries_a_task() const;
  /// Books the time since the last call under `op`.
  void mark(Profile::Op op) {
    if (profile_ == nullptr) return;
    const Clock::time_point now = Clock::now();
    profile_->ns[op] += std::chrono::duration_cast<std::chrono::nanoseconds>(now - last_).count();
    last_ = now;
  }
  /// r += norm(y) of one block, as the config's NormPlace says; `post` is the norm behind the block, `norm` its own.
  void add_residual(const Layer& layer, Role post, Role norm);
  void activate_rows(Range rows, float* hidden, int64_t ld, float* out, int64_t ld_out, int64_t n) const;

  using Clock = std::chrono::steady_clock;
  const Step& s_;
  const Config& c_;
  Workspace& w_;
  Worker& worker_;
  const kernels::ElementwiseKernels& el_;
  const kernels::AttentionKernels& at_;
  bool replicated_;       ///< few rows: every worker keeps its own residual stream and saves the barriers
  Range mine_;            ///< rows this worker norms and adds
  float *x_, *h_, *act_;  ///< residual stream, normed rows, activations: private when replicated
  int64_t act_stride_ = 0;
  float* scratch_;       ///< for attention
  float* piece_;         ///< [piece_floats_] of the MLP's hidden rows
  std::byte* prepared_;      ///< prepared inputs: private when replicated
  std::byte* prepared_mlp_;  ///< everybody's
  const InputForm* normed_form_ = nullptr;  ///< what prepared_ holds of h_ already
  bool mlp_prepared_ = false;               ///< prepared_mlp_ holds the input of the MLP's last product
  Profile* profile_;
  Clock::time_point last_;
};

}  // namespace nbl::model

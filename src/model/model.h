// A decoder-only transformer, ready to run: immutable, shared by any number of sessions.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/parallel.h"
#include "base/progress.h"
#include "base/status.h"
#include "tensor/checkpoint.h"
#include "tensor/linear.h"
#include "text/tokenizer.h"

namespace nbl::model {

struct TokenTrie;
struct LoraAdapter;
struct Adapters;

enum class Norm : uint8_t { rms, layer };
enum class Activation : uint8_t { silu, gelu_tanh, gelu_erf, relu, relu_squared, quick_gelu, sigmoid, tanh, gelu_clipped, mish, leaky_relu, relu6, hard_swish, linear };
enum class Rope : uint8_t { none, half_split, adjacent };
/// How the rows of a fused qkv projection follow each other: all queries, all keys, all values; or for each key-value
/// head its queries, its key, its value.
enum class QkvOrder : uint8_t { blocks, groups };
/// What queries and keys are normed over before they turn: nothing, each head on its own, or all heads of a token.
enum class QkNorm : uint8_t { none, per_head, whole };
/// Where the norms of a layer stand, r being the residual stream. pre: r += f(norm(r)). The norms after a block
/// (attn_post_norm, mlp_post_norm) are applied to f's result where the architecture has them, and where it has none
/// before a block, f reads r itself. after_residual: r = norm(r + f(r)), the norms being attn_norm and mlp_norm.
/// residual_is_normed: r = norm(r), then r += f(r).
enum class NormPlace : uint8_t { pre, after_residual, residual_is_normed };

/// One set of rotation frequencies. A model may have several, chosen layer by layer.
struct RopeTable {
  std::vector<float> inv_freq;  ///< [rotary_dim / 2], scaling applied
  float magnitude = 1;          ///< multiplies cos and sin
  /// Two scalings look at the length of the sequence so far: beyond `original` positions they use other frequencies.
  int64_t original = 0;              ///< 0: never
  std::vector<float> long_inv_freq;  ///< longrope's list beyond `original`
  double dynamic_factor = 0;         ///< "dynamic": theta grows with the length; 0: not this kind
  double theta = 0;                  ///< its base

  /// Frequency of pair i in a sequence of `length` tokens.
  float frequency(std::size_t i, int64_t length) const noexcept;
};

/// What may differ from layer to layer.
struct LayerConfig {
  int64_t window = 0;       ///< positions a query sees, itself included; 0: all
  int32_t rope = 0;         ///< index into Config::ropes; -1: none
  float score_factor = 1;   ///< multiplies Config::attention_scale
  bool experts = false;     ///< its MLP is a mixture of experts
};

/// A mixture of experts: which of them a token goes to, and with what weight.
struct ExpertsConfig {
  int64_t count = 0, per_token = 0;
  int64_t ffn = 0;         ///< width of an expert
  int64_t shared_ffn = 0;  ///< width of the MLP that every token goes through too; 0: none
  bool sigmoid = false;    ///< a router score is sigmoid(x), else softmax over all experts
  bool normalize = false;  ///< the chosen weights are divided by their sum
  float scale = 1;         ///< then multiplied by this
  /// Experts lie in `groups` equal runs; only the best groups_per_token of them are looked at. 1: no such rule. A group
  /// is as good as its best expert, or as the sum of its two best.
  int64_t groups = 1, groups_per_token = 1;
  bool group_by_two = false;
};

/// Multi-head latent attention: queries and key-values go through narrow projections; a part of each key, the same for
/// all heads, carries the position.
struct LatentConfig {
  int64_t q_rank = 0;  ///< 0: queries are projected directly
  int64_t kv_rank = 0;  ///< 0: no latent attention
  int64_t nope_dim = 0, rope_dim = 0;
  float norm_eps = 1e-6f;  ///< of the latents' own norms; no config names it
};

/// The recipe of a model, read from its config by an architecture description. Everything the forward pass asks.
struct Config {
  std::string architecture;  ///< id of the description: "llama", "gpt_bigcode"
  int64_t vocab = 0, hidden = 0, layers = 0, heads = 0, kv_heads = 0, head_dim = 0, ffn = 0, max_positions = 0;
  int64_t embedding_dim = 0;  ///< of the token embedding and the output matrix; 0: hidden
  int64_t value_dim = 0;      ///< of a value head; 0: head_dim
  uint32_t variant = 0;       ///< bits that choose among the description's tensors and groups
  Norm norm = Norm::rms;
  float norm_eps = 1e-5f;
  float norm_offset = 0;  ///< added to the stored weights of every norm (Gemma stores w - 1)
  NormPlace norm_place = NormPlace::pre;
  bool parallel_residual = false;  ///< attention and MLP read the same residual stream; mlp_norm missing: the same norm
  QkNorm qk_norm = QkNorm::none;
  Activation activation = Activation::silu;
  bool gated_mlp = true;
  QkvOrder qkv_order = QkvOrder::blocks;  ///< when the projection is fused
  Rope rope = Rope::half_split;
  int64_t rotary_dim = 0;        ///< components of a head that are rotated: the first ones
  std::vector<RopeTable> ropes;  ///< empty without rope
  bool learned_positions = false;
  int64_t position_offset = 0;  ///< row of position 0 in the table of learned positions
  bool tied_embeddings = false;
  float attention_scale = 0;     ///< 1 / sqrt(head_dim) unless the model says otherwise
  float score_cap = 0;           ///< scores become cap * tanh(score / cap); 0: no cap
  float logit_cap = 0;           ///< the same for logits
  float logit_scale = 1;         ///< multiplies logits, before the cap
  float embedding_scale = 1;     ///< multiplies token embeddings
  float residual_scale = 1;      ///< multiplies what attention and MLP add
  float clip_qkv = 0;            ///< queries, keys and values are clamped to +- this; 0: not
  std::vector<float> slopes;     ///< ALiBi, [heads] or empty
  ExpertsConfig experts;
  LatentConfig latent;
  std::vector<LayerConfig> layer;  ///< [layers]
  std::vector<text::TokenId> eos;
  text::TokenId bos = -1;

  int64_t embed_dim() const noexcept { return embedding_dim > 0 ? embedding_dim : hidden; }
  int64_t v_dim() const noexcept { return value_dim > 0 ? value_dim : head_dim; }
};

struct ModelOptions {
  ComputeOptions compute;
};

class Model {
 public:
  /// Reads config, picks the architecture description, loads and checks every tensor. Keeps what it needs of the
  /// checkpoint.
  static Result<std::shared_ptr<const Model>> load(const Checkpoint& checkpoint, const ModelOptions& options,
                                                   Team& team, const ProgressFn& progress);
  ~Model();
  const Config& config() const noexcept;
  /// Null when the checkpoint carries no tokenizer, or one that cannot be read: then tokenizer_status() says why.
  const text::Tokenizer* tokenizer() const noexcept;
  const Status& tokenizer_status() const noexcept;
  int64_t parameters() const noexcept;
  int64_t weight_bytes() const noexcept;  ///< bytes of weights a decoded token reads
  const ComputeOptions& compute() const noexcept;
  /// The vocabulary's bytes, made on first use; null without a tokenizer. Any thread.
  std::shared_ptr<const TokenTrie> token_trie() const;

  /// The same model with an adapter beside its weights, which the two share; adapters add up. Code::mismatch when the adapter
  /// changes a weight that the model does not have, or of another shape.
  static Result<std::shared_ptr<const Model>> with_adapter(const std::shared_ptr<const Model>& base,
                                                           std::shared_ptr<const LoraAdapter> adapter);
  const Adapters* adapters() const noexcept { return adapters_.get(); }  ///< null without

  struct Impl;
  const Impl& impl() const noexcept { return *impl_; }  ///< for the forward pass in this layer

 private:
  explicit Model(std::shared_ptr<const Impl> impl);
  std::shared_ptr<const Impl> impl_;
  std::shared_ptr<const Adapters> adapters_;
};

/// How keys and values are cached. automatic: f32 when computing exactly, f16 when fast. q8, q4: codes of so many bits with a
/// scale for each 32 components.
enum class KvType : int32_t { automatic = 0, f32 = 1, f16 = 2, bf16 = 3, q8 = 4, q4 = 5 };

struct SessionOptions {
  int64_t max_tokens = 0;  ///< positions there is room for
  KvType kv_type = KvType::automatic;
};

/// Where the time of steps goes, as seen by one worker: its own work and its waiting for the others.
struct Profile {
  enum Op : int32_t { embed, norm, qkv, rope_and_cache, attention, attention_out, mlp_in, activation, mlp_out, logits };
  static constexpr int kOps = 10;
  static const char* op_name(int32_t op) noexcept;
  int64_t ns[kOps] = {};
  int64_t steps = 0, rows = 0;
};

struct ProfiledSteps;   // step_work.h
struct SessionProfile;

/// A sequence being processed: KV cache, position, work memory. One thread at a time.
class Session {
 public:
  /// All memory is taken here but for the logits of several tokens, which grow on first use; decoding allocates
  /// nothing. `team` must outlive the session.
  static Result<std::unique_ptr<Session>> create(std::shared_ptr<const Model> model, Team& team,
                                                 const SessionOptions& options);
  static Result<std::unique_ptr<Session>> create(std::shared_ptr<const Model> model, Team& team, int64_t max_tokens);
  ~Session();

  int64_t position() const noexcept;  ///< tokens consumed so far
  int64_t capacity() const noexcept;
  const Model& model() const noexcept;
  std::shared_ptr<const Model> shared_model() const noexcept;
  Team& team() const noexcept;
  KvType kv_type() const noexcept;                            ///< never automatic
  std::span<const text::TokenId> tokens() const noexcept;  ///< consumed so far, [position()]

  /// Appends tokens. Which logits are wanted: none, of the last token, or of every token. Returned [rows, vocab]
  /// row-major, valid until the next call. Code::limit when the context is full, Code::invalid_argument for an id
  /// outside the vocabulary; then nothing was appended.
  enum class Logits { none, last, all };
  Result<std::span<const float>> append(std::span<const text::TokenId> tokens, Logits want);

  /// Forgets everything after the first `position` tokens.
  Status truncate(int64_t position);

  /// Steps from here on add their times to *profile, which must live as long; null ends it.
  void set_profile(SessionProfile* profile) noexcept;

  /// The keys and values of the first position() tokens, in pieces; for saving.
  std::vector<std::span<std::byte>> cached();
  /// Takes over tokens whose keys and values `fill` writes into the pieces it is given; when it fails the session is empty.
  Status restore(std::span<const text::TokenId> tokens,
                 const std::function<Status(std::span<std::byte>)>& fill);

  /// Continues from where `other` is, a session of the same model with the same kind of cache. Code::limit when there
  /// is no room for its tokens.
  Status copy_from(const Session& other);

  struct Impl;
  Impl& impl() noexcept { return *impl_; }  ///< for Batch

 private:
  explicit Session(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

/// Runs several sessions of one model together, a token or several each: the weights are read once for all of them.
class Batch {
 public:
  /// `max_rows`: tokens of a step over all sessions, so that it is also the most sessions that step() takes.
  static Result<std::unique_ptr<Batch>> create(std::shared_ptr<const Model> model, Team& team, int64_t max_rows);
  ~Batch();
  /// Appends tokens[i] to sessions[i] (distinct, of this model). Returns the logits [sessions, vocab] in that order,
  /// valid until the next call. On an error no session has moved.
  Result<std::span<const float>> step(std::span<Session* const> sessions, std::span<const text::TokenId> tokens);

  struct Piece {
    Session* session = nullptr;
    std::span<const text::TokenId> tokens;
  };
  /// Appends to each piece's session (distinct, of this model) its tokens, in as few steps as max_rows allows. Returns with
  /// `logits` those of every token, [all tokens, vocab] in the order of the pieces, valid until the next call; else none.
  /// On an error no session has moved.
  Result<std::span<const float>> append(std::span<const Piece> pieces, bool logits);
  /// Adds what step() does from now on to `profile`, which must outlive it; null: no longer.
  void set_profile(ProfiledSteps* profile) noexcept;

 private:
  struct Impl;
  explicit Batch(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace nbl::model

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
enum class Activation : uint8_t { silu, gelu_tanh, gelu_erf, relu };
enum class Rope : uint8_t { none, half_split, adjacent };
/// How the rows of a fused qkv projection follow each other: all queries, all keys, all values; or for each key-value
/// head its queries, its key, its value.
enum class QkvOrder : uint8_t { blocks, groups };

/// One set of rotation frequencies. A model may have several, chosen layer by layer.
struct RopeTable {
  std::vector<float> inv_freq;  ///< [rotary_dim / 2], scaling applied
  float magnitude = 1;          ///< multiplies cos and sin
};

/// What may differ from layer to layer.
struct LayerConfig {
  int64_t window = 0;  ///< positions a query sees, itself included; 0: all
  int32_t rope = 0;    ///< index into Config::ropes; -1: none
};

/// The recipe of a model, read from its config by an architecture description. Everything the forward pass asks.
struct Config {
  std::string architecture;  ///< id of the description: "llama", "gpt_bigcode"
  int64_t vocab = 0, hidden = 0, layers = 0, heads = 0, kv_heads = 0, head_dim = 0, ffn = 0, max_positions = 0;
  Norm norm = Norm::rms;
  float norm_eps = 1e-5f;
  Activation activation = Activation::silu;
  bool gated_mlp = true;
  QkvOrder qkv_order = QkvOrder::blocks;  ///< when the projection is fused
  Rope rope = Rope::half_split;
  int64_t rotary_dim = 0;        ///< the first components of a head that are rotated
  std::vector<RopeTable> ropes;  ///< empty without rope
  bool learned_positions = false;
  bool tied_embeddings = false;
  float attention_scale = 0;       ///< 1 / sqrt(head_dim) unless the model says otherwise
  std::vector<LayerConfig> layer;  ///< [layers]
  std::vector<text::TokenId> eos;
  text::TokenId bos = -1;
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
  void set_profile(Profile* profile) noexcept;

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

/// Decodes several sessions of one model together, a token each: the weights are read once for all of them.
class Batch {
 public:
  static Result<std::unique_ptr<Batch>> create(std::shared_ptr<const Model> model, Team& team, int64_t max_sessions);
  ~Batch();
  /// Appends tokens[i] to sessions[i] (distinct, of this model). Returns the logits [sessions, vocab] in that order,
  /// valid until the next call. On an error no session has moved.
  Result<std::span<const float>> step(std::span<Session* const> sessions, std::span<const text::TokenId> tokens);

 private:
  struct Impl;
  explicit Batch(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace nbl::model

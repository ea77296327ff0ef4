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

enum class Norm : uint8_t { rms, layer };
enum class Activation : uint8_t { silu, gelu_tanh, gelu_erf, relu };
enum class Rope : uint8_t { none, half_split, adjacent };

/// The recipe of a model, read from its config by an architecture description. Everything the forward pass asks.
struct Config {
  std::string architecture;  ///< id of the description: "llama", "gpt_bigcode"
  int64_t vocab = 0, hidden = 0, layers = 0, heads = 0, kv_heads = 0, head_dim = 0, ffn = 0, max_positions = 0;
  Norm norm = Norm::rms;
  float norm_eps = 1e-5f;
  Activation activation = Activation::silu;
  bool gated_mlp = true;
  Rope rope = Rope::half_split;
  float rope_theta = 10000.0f;
  std::vector<float> rope_inv_freq;  ///< [head_dim / 2], scaling applied; empty without rope
  bool learned_positions = false;
  bool tied_embeddings = false;
  float attention_scale = 0;         ///< 1 / sqrt(head_dim) unless the model says otherwise
  int64_t sliding_window = 0;        ///< 0: none
  std::vector<text::TokenId> eos;
  text::TokenId bos = -1;
};

struct ModelOptions {
  ComputeOptions compute;
};

class Model {
 public:
  /// Reads config, picks the architecture description, loads and checks every tensor. Keeps what it needs of the checkpoint.
  static Result<std::shared_ptr<const Model>> load(const Checkpoint& checkpoint, const ModelOptions& options, Team& team,
                                                   const ProgressFn& progress);
  ~Model();
  const Config& config() const noexcept;
  /// Null when the checkpoint carries no tokenizer.
  const text::Tokenizer* tokenizer() const noexcept;
  int64_t parameters() const noexcept;
  int64_t weight_bytes() const noexcept;           ///< bytes of weights a decoded token reads
  const ComputeOptions& compute() const noexcept;

  struct Impl;
  const Impl& impl() const noexcept { return *impl_; }  ///< for the forward pass in this layer

 private:
  explicit Model(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

/// A sequence being processed: KV cache, position, work memory. One thread at a time.
class Session {
 public:
  /// Room for max_tokens positions. All memory is taken here; stepping allocates nothing.
  static Result<std::unique_ptr<Session>> create(std::shared_ptr<const Model> model, Team& team, int64_t max_tokens);
  ~Session();

  int64_t position() const noexcept;  ///< tokens consumed so far
  int64_t capacity() const noexcept;
  const Model& model() const noexcept;

  /// Appends tokens. Which logits are wanted: none, of the last token, or of every token. Returned [rows, vocab] row-major,
  /// valid until the next call. Code::limit when the context is full, Code::invalid_argument for an id outside the vocabulary.
  enum class Logits { none, last, all };
  Result<std::span<const float>> append(std::span<const text::TokenId> tokens, Logits want);

  /// Forgets everything after the first `position` tokens.
  Status truncate(int64_t position);

 private:
  struct Impl;
  explicit Session(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

struct SamplingOptions {
  float temperature = 0;  ///< 0: greedy
  int32_t top_k = 0;      ///< 0: off
  float top_p = 1;        ///< 1: off
  uint64_t seed = 0;
};

class Random64;
/// Chooses the next token from logits [vocab]. Ties in greedy go to the lower id.
class Sampler {
 public:
  explicit Sampler(const SamplingOptions& options);
  ~Sampler();
  Result<text::TokenId> sample(std::span<const float> logits);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

struct GenerateOptions {
  int64_t max_new_tokens = 128;
  SamplingOptions sampling;
  bool stop_at_eos = true;
};
struct GenerateResult {
  std::vector<text::TokenId> ids;
  std::string finish_reason;  ///< "length", "eos", "context", "cancelled"
  double prefill_seconds = 0, decode_seconds = 0;
};
/// Called with each new token; false stops ("cancelled").
using TokenFn = std::function<bool(text::TokenId)>;
Result<GenerateResult> generate(Session& session, std::span<const text::TokenId> prompt, const GenerateOptions& options,
                                const TokenFn& on_token);

}  // namespace nbl::model

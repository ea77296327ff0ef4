// Measurements: perplexity under a named protocol, lockstep comparison, scoring, multiple choice, efficiency, reports.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/parallel.h"
#include "base/progress.h"
#include "base/status.h"
#include "model/model.h"
#include "tensor/checkpoint.h"

namespace nbl::eval {

/// How a text is cut into windows and which of their tokens are scored.
struct ProtocolSpec {
  std::string_view id, summary;
};
std::span<const ProtocolSpec> protocols();

struct Protocol {
  std::string name = "windows-512";  ///< one of protocols()
  int64_t max_windows = 0;           ///< the first so many; 0: all
};

struct Perplexity {
  std::string protocol;
  double perplexity = 0, nll = 0, stderr_nll = 0;  ///< nll: mean nats a scored token; stderr over windows
  int64_t tokens = 0, windows = 0;                 ///< scored
  bool bos = false;                                ///< whether a beginning-of-sequence token was put in
  std::string tokenizer;                           ///< its kind
  double word_perplexity = 0, byte_perplexity = 0, bits_per_byte = 0;  ///< over the text that the scored tokens spell
};
Result<Perplexity> perplexity(std::shared_ptr<const model::Model> model, Team& team, std::string_view text,
                              const Protocol& protocol, const ProgressFn& progress);
Json to_json(const Perplexity& result);

/// A part of the compared tokens: those at some places of a window, or of one kind.
struct ComparisonPart {
  std::string name;
  int64_t tokens = 0;
  double mean_kl = 0, top1_agreement = 0, mean_delta_p = 0;
};
/// What replacing one layer alone by the candidate's costs.
struct LayerCost {
  std::string name;
  double mean_kl = 0, kl_stderr = 0, top1_agreement = 0;
  double output_error = 0;  ///< root of the sum of squares of the logits' differences over that of the reference's logits
  /// The same of what the layer itself adds to the residual stream, both layers being given the reference's stream, over the
  /// first whole windows, at most 4,096 tokens, in exact float32. NaN for what is in no layer.
  double layer_error = 0;
};

struct Comparison {
  std::string name;
  double mean_kl = 0, kl_stderr = 0, median_kl = 0, p99_kl = 0, max_kl = 0;  ///< KL(reference || candidate), nats
  double mean_reverse_kl = 0, mean_js = 0;  ///< KL(candidate || reference); Jensen-Shannon, nats
  double top5_agreement = 0;                ///< share of the five likeliest tokens that are the same
  double mean_delta_p = 0, rms_delta_p = 0; ///< of the probability of the text's own token: candidate less reference
  std::vector<std::pair<double, double>> delta_p;  ///< quantile, value
  std::vector<ComparisonPart> by_position, by_class;
  std::vector<LayerCost> layers;
  double output_error = 0;
  double top1_agreement = 0, top1_stderr = 0;  ///< share of positions with the same likeliest token
  double ppl = 0, ppl_ratio = 0, ppl_ratio_stderr = 0;
  double reference_ppl = 0, ppl_stderr = 0, reference_ppl_stderr = 0;
  int64_t tokens = 0, windows = 0;
};
/// All models advance together, window by window: no logits are stored. Vocabularies must agree. Standard errors are
/// over windows; that of the ratio is paired. A model against itself gives exactly 0 and 1.
Result<std::vector<Comparison>> compare(std::shared_ptr<const model::Model> reference,
                                        std::span<const std::shared_ptr<const model::Model>> candidates,
                                        std::span<const std::string> names, Team& team, std::string_view text,
                                        const Protocol& protocol, const ProgressFn& progress);
Json to_json(const Comparison& comparison);

/// `layers` of a comparison: the reference with one layer after the other replaced by the candidate's, each compared with the
/// reference over the same windows. Checkpoints of the same architecture; what lies outside the layers is an entry of its
/// own, "other".
Result<std::vector<LayerCost>> compare_layers(const Checkpoint& reference, const Checkpoint& candidate,
                                              const std::shared_ptr<const model::Model>& reference_model, Team& team,
                                              std::string_view text, const Protocol& protocol, const ProgressFn& progress);

/// log P(continuation | context), as lm-evaluation-harness encodes them.
struct ScoreRequest {
  std::vector<text::TokenId> context, continuation;
};
struct ScoreResult {
  double logprob = 0;
  bool is_greedy = false;  ///< every token of the continuation is the likeliest at its place
  bool truncated = false;  ///< the context was cut on the left to fit the model
  std::vector<double> token_logprobs;
};
/// lm-eval's encoding of a pair: trailing spaces of the context move to the continuation; ids of the whole, cut by
/// length. An empty context becomes the tokenizer's BOS (or EOS) token.
Result<ScoreRequest> encode_pair(const text::Tokenizer& tokenizer, std::string_view context,
                                 std::string_view continuation);
/// Results in the order of the requests. Requests that begin alike are computed from one prefix.
Result<std::vector<ScoreResult>> score(std::shared_ptr<const model::Model> model, Team& team,
                                       std::span<const ScoreRequest> requests, const ProgressFn& progress);

/// One question with its possible answers.
struct ChoiceDoc {
  std::string context;
  std::vector<std::string> choices;
  int64_t answer = 0;
};
/// JSON lines {"context" (or "query"), "choices": [...], "answer" (or "gold"): index}. Errors name the line.
Result<std::vector<ChoiceDoc>> parse_choice_jsonl(std::string_view jsonl, std::string_view origin);

struct Speed {
  double prefill_tok_s = 0, decode_tok_s = 0, first_token_ms = 0;  ///< medians
  int64_t peak_rss_bytes = 0;
  double bytes_per_token = 0;
  std::vector<double> prefill_samples, decode_samples, first_token_samples;
};
struct BenchOptions {
  int64_t prompt = 128, gen = 32, depth = 0, reps = 3;
};
Result<Speed> measure_speed(std::shared_ptr<const model::Model> model, Team& team, const BenchOptions& options,
                            const ProgressFn& progress);
Json to_json(const Speed& speed);

}  // namespace nbl::eval

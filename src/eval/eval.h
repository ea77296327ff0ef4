// Measurements: perplexity under a named protocol, lockstep comparison, multiple choice, efficiency.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/parallel.h"
#include "base/progress.h"
#include "base/status.h"
#include "model/model.h"

namespace nbl::eval {

/// "windows-512" (non-overlapping windows of 512, no BOS, tokens 2...512 scored), "windows-2048", "gptq-2048",
/// "llama.cpp-512", "rolling".
struct Protocol {
  std::string name = "windows-512";
  int64_t max_windows = 0;  ///< 0: all
};

struct Perplexity {
  std::string protocol;
  double perplexity = 0, nll = 0, stderr_nll = 0;  ///< nll: mean nats a scored token; stderr over windows
  int64_t tokens = 0, windows = 0;
  double word_perplexity = 0, byte_perplexity = 0, bits_per_byte = 0;
};
Result<Perplexity> perplexity(std::shared_ptr<const model::Model> model, Team& team, std::string_view text,
                              const Protocol& protocol, const ProgressFn& progress);

struct Comparison {
  std::string name;
  double mean_kl = 0, kl_stderr = 0, median_kl = 0, p99_kl = 0, max_kl = 0;  ///< KL(reference || candidate), nats
  double top1_agreement = 0;
  double ppl = 0, ppl_ratio = 0, ppl_ratio_stderr = 0;
  double reference_ppl = 0, ppl_stderr = 0;
  int64_t tokens = 0;
};
/// All models advance together, window by window: no logits are stored. Vocabularies must agree.
Result<std::vector<Comparison>> compare(std::shared_ptr<const model::Model> reference,
                                        std::span<const std::shared_ptr<const model::Model>> candidates,
                                        std::span<const std::string> names, Team& team, std::string_view text,
                                        const Protocol& protocol, const ProgressFn& progress);

/// log P(continuation | context), as lm-evaluation-harness encodes them.
struct ScoreRequest {
  std::vector<text::TokenId> context, continuation;
};
struct ScoreResult {
  double logprob = 0;
  bool is_greedy = false;
  std::vector<double> token_logprobs;
};
/// lm-eval's encoding of a pair: trailing spaces of the context move to the continuation; ids of the whole, cut by length.
Result<ScoreRequest> encode_pair(const text::Tokenizer& tokenizer, std::string_view context,
                                 std::string_view continuation);
Result<std::vector<ScoreResult>> score(std::shared_ptr<const model::Model> model, Team& team,
                                       std::span<const ScoreRequest> requests, const ProgressFn& progress);

struct Speed {
  double prefill_tok_s = 0, decode_tok_s = 0, first_token_ms = 0;
  int64_t peak_rss_bytes = 0;
  double bytes_per_token = 0;
};
struct BenchOptions {
  int64_t prompt = 128, gen = 32, depth = 0, reps = 3;
};
Result<Speed> measure_speed(std::shared_ptr<const model::Model> model, Team& team, const BenchOptions& options,
                            const ProgressFn& progress);

}  // namespace nbl::eval

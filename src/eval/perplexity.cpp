#include <cmath>

#include "eval/eval.h"
#include "eval/lockstep.h"
#include "eval/logit_rows.h"
#include "eval/statistics.h"
#include "eval/characters.h"
#include "eval/windows.h"

namespace nbl::eval {

Result<Perplexity> perplexity(std::shared_ptr<const model::Model> model, Team& team, std::string_view text,
                              const Protocol& protocol, const ProgressFn& progress) {
  NBL_ASSIGN(const text::Tokenizer* tokenizer, tokenizer_of(*model));
  NBL_ASSIGN(const WindowSet set, make_windows(*tokenizer, text, protocol, model->config().max_positions));

  std::vector<double> window_nll(set.windows.size(), 0.0);
  std::vector<RowScore> rows;
  const std::shared_ptr<const model::Model> models[] = {model};
  NBL_TRY(run_lockstep(models, team, set, "perplexity", progress,
                       [&](std::size_t w, std::span<const std::span<const float>> logits,
                           std::span<const text::TokenId> targets) -> Status {
                         rows.resize(targets.size());
                         NBL_TRY(score_rows(logits[0], model->config().vocab, targets, team, rows));
                         for (const RowScore& row : rows) window_nll[w] -= row.logprob;
                         return {};
                       }));

  Perplexity result;
  result.protocol = protocol.name;
  result.tokenizer = tokenizer->kind();
  result.bos = set.bos;
  result.windows = static_cast<int64_t>(set.windows.size());
  result.tokens = set.tokens;
  const double total = sum(window_nll);
  result.nll = total / static_cast<double>(set.tokens);
  result.perplexity = std::exp(result.nll);
  std::vector<double> means(window_nll.size());
  int64_t bytes = 0, words = 0;
  for (std::size_t w = 0; w < means.size(); ++w) {
    means[w] = window_nll[w] / static_cast<double>(set.windows[w].targets.size());
    NBL_ASSIGN(const std::string spelt, tokenizer->decode(set.windows[w].targets, false));
    bytes += static_cast<int64_t>(spelt.size());
    words += count_words(spelt);
  }
  result.stderr_nll = mean_stderr(means);
  if (protocol.name == "rolling" && protocol.max_windows == 0) {
    // Every token of the text was scored: its own bytes and words count, as in lm-evaluation-harness.
    bytes = static_cast<int64_t>(text.size());
    words = count_pieces(text);
  }
  if (words > 0) result.word_perplexity = std::exp(total / static_cast<double>(words));
  if (bytes > 0) {
    result.byte_perplexity = std::exp(total / static_cast<double>(bytes));
    result.bits_per_byte = total / static_cast<double>(bytes) / std::log(2.0);
  }
  return result;
}

Json to_json(const Perplexity& r) {
  Json j = Json::object();
  j.set("protocol", r.protocol);
  j.set("perplexity", r.perplexity);
  j.set("nll", r.nll);
  j.set("stderr", r.stderr_nll);
  j.set("tokens", r.tokens);
  j.set("windows", r.windows);
  j.set("bos", r.bos);
  j.set("tokenizer", r.tokenizer);
  j.set("word_perplexity", r.word_perplexity);
  j.set("byte_perplexity", r.byte_perplexity);
  j.set("bits_per_byte", r.bits_per_byte);
  return j;
}

}  // namespace nbl::eval

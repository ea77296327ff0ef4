#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "eval/eval.h"
#include "eval/lockstep.h"
#include "eval/logit_rows.h"
#include "eval/statistics.h"
#include "eval/windows.h"

namespace nbl::eval {
namespace {

/// Sums of one candidate, a slot a window.
struct Sums {
  std::vector<double> kl, nll_difference, nll, agreed;
  std::vector<double> token_kl;
};

}  // namespace

Result<std::vector<Comparison>> compare(std::shared_ptr<const model::Model> reference,
                                        std::span<const std::shared_ptr<const model::Model>> candidates,
                                        std::span<const std::string> names, Team& team, std::string_view text,
                                        const Protocol& protocol, const ProgressFn& progress) {
  if (candidates.empty() || names.size() != candidates.size()) {
    return Status(Code::invalid_argument, "a comparison needs at least one candidate, and a name for each");
  }
  const int64_t vocab = reference->config().vocab;
  int64_t positions = reference->config().max_positions;
  for (std::size_t c = 0; c < candidates.size(); ++c) {
    if (candidates[c]->config().vocab != vocab) {
      return Status(
          Code::mismatch,
          fmt::format("{} has a vocabulary of {} tokens, the reference one of {}: their predictions cannot be compared",
                      names[c], candidates[c]->config().vocab, vocab));
    }
    const int64_t own = candidates[c]->config().max_positions;
    if (own > 0 && (positions == 0 || own < positions)) positions = own;
  }
  NBL_ASSIGN(const text::Tokenizer* tokenizer, tokenizer_of(*reference));
  NBL_ASSIGN(const WindowSet set, make_windows(*tokenizer, text, protocol, positions));

  const std::size_t windows = set.windows.size();
  std::vector<double> reference_nll(windows, 0.0);
  std::vector<Sums> sums(candidates.size());
  for (Sums& s : sums) {
    s.kl.assign(windows, 0.0);
    s.nll_difference.assign(windows, 0.0);
    s.nll.assign(windows, 0.0);
    s.agreed.assign(windows, 0.0);
    s.token_kl.reserve(static_cast<std::size_t>(set.tokens));
  }
  std::vector<std::shared_ptr<const model::Model>> models = {reference};
  models.insert(models.end(), candidates.begin(), candidates.end());
  std::vector<RowDivergence> rows;
  NBL_TRY(run_lockstep(models, team, set, "compare", progress,
                       [&](std::size_t w, std::span<const std::span<const float>> logits,
                           std::span<const text::TokenId> targets) -> Status {
                         rows.resize(targets.size());
                         for (std::size_t c = 0; c < candidates.size(); ++c) {
                           const Status status = compare_rows(logits[0], logits[c + 1], vocab, targets, team, rows);
                           if (!status.ok()) return status.with_context(names[c]);
                           Sums& s = sums[c];
                           for (const RowDivergence& row : rows) {
                             s.kl[w] += row.kl;
                             s.token_kl.push_back(row.kl);
                             s.nll[w] -= row.logprob_b;
                             s.nll_difference[w] += row.logprob_a - row.logprob_b;
                             s.agreed[w] += row.same_top ? 1.0 : 0.0;
                             if (c == 0) reference_nll[w] -= row.logprob_a;
                           }
                         }
                         return {};
                       }));

  // Over windows, because neighbouring tokens are not independent.
  const auto stderr_of = [&](const std::vector<double>& window_sums) {
    std::vector<double> means(windows);
    for (std::size_t w = 0; w < windows; ++w)
      means[w] = window_sums[w] / static_cast<double>(set.windows[w].targets.size());
    return mean_stderr(means);
  };
  const double tokens = static_cast<double>(set.tokens);
  std::vector<Comparison> result;
  for (std::size_t c = 0; c < candidates.size(); ++c) {
    Sums& s = sums[c];
    Comparison r;
    r.name = names[c];
    r.tokens = set.tokens;
    r.windows = static_cast<int64_t>(windows);
    r.mean_kl = sum(s.kl) / tokens;
    r.kl_stderr = stderr_of(s.kl);
    r.median_kl = quantile(s.token_kl, 0.5);
    r.p99_kl = quantile(s.token_kl, 0.99);
    r.max_kl = s.token_kl.back();
    r.top1_agreement = sum(s.agreed) / tokens;
    r.top1_stderr = stderr_of(s.agreed);
    r.reference_ppl = std::exp(sum(reference_nll) / tokens);
    r.reference_ppl_stderr = r.reference_ppl * stderr_of(reference_nll);
    r.ppl = std::exp(sum(s.nll) / tokens);
    r.ppl_stderr = r.ppl * stderr_of(s.nll);
    r.ppl_ratio = std::exp(sum(s.nll_difference) / tokens);
    r.ppl_ratio_stderr = r.ppl_ratio * stderr_of(s.nll_difference);
    result.push_back(std::move(r));
  }
  return result;
}

Json to_json(const Comparison& c) {
  Json j = Json::object();
  j.set("name", c.name);
  j.set("mean_kl", c.mean_kl);
  j.set("kl_stderr", c.kl_stderr);
  j.set("median_kl", c.median_kl);
  j.set("p99_kl", c.p99_kl);
  j.set("max_kl", c.max_kl);
  j.set("top1_agreement", c.top1_agreement);
  j.set("top1_stderr", c.top1_stderr);
  j.set("ppl", c.ppl);
  j.set("ppl_stderr", c.ppl_stderr);
  j.set("ppl_ratio", c.ppl_ratio);
  j.set("ppl_ratio_stderr", c.ppl_ratio_stderr);
  j.set("reference_ppl", c.reference_ppl);
  j.set("reference_ppl_stderr", c.reference_ppl_stderr);
  j.set("tokens", c.tokens);
  j.set("windows", c.windows);
  return j;
}

}  // namespace nbl::eval

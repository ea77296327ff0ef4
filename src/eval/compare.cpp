#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>

#include "eval/characters.h"
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
  std::vector<double> token_kl, delta_p;
  double reverse_kl = 0, js = 0, common_top5 = 0, squared_difference = 0, squared_reference = 0;
  std::vector<ComparisonPart> positions, classes;
};

constexpr std::size_t kPositionParts = 8;
constexpr std::array<const char*, 6> kClasses = {"word start", "word part", "number", "punctuation", "white space", "special or other"};

/// What kind of token an id is, by the text it stands for.
std::size_t class_of(const text::Tokenizer& tokenizer, text::TokenId id) {
  const auto spelt = tokenizer.decode({&id, 1}, true);
  if (!spelt.ok() || spelt->empty()) return 5;
  const auto piece = tokenizer.piece(id);
  // A word-initial mark that decoding drops at the start of a text.
  const bool marked = piece.ok() && (piece->starts_with("\xe2\x96\x81") || piece->starts_with("\xc4\xa0"));
  std::size_t at = 0, bytes = 1;
  while (at < spelt->size() && is_space(code_point(*spelt, at, &bytes))) at += bytes;
  if (at == spelt->size()) return 4;
  const char32_t c = code_point(*spelt, at, &bytes);
  if (c >= U'0' && c <= U'9') return 2;
  if (is_word_char(c)) return at > 0 || marked ? 0 : 1;
  return c == 0xfffd ? 5 : 3;
}

void add_to(ComparisonPart& part, const RowDivergence& row) {
  ++part.tokens;
  part.mean_kl += row.kl;
  part.top1_agreement += row.same_top ? 1.0 : 0.0;
  part.mean_delta_p += std::exp(row.logprob_b) - std::exp(row.logprob_a);
}

/// Sums become means; parts without a token go.
std::vector<ComparisonPart> finished(std::vector<ComparisonPart> parts) {
  std::erase_if(parts, [](const ComparisonPart& p) { return p.tokens == 0; });
  for (ComparisonPart& p : parts) {
    const auto n = static_cast<double>(p.tokens);
    p.mean_kl /= n;
    p.top1_agreement /= n;
    p.mean_delta_p /= n;
  }
  return parts;
}

Json parts_json(const std::vector<ComparisonPart>& parts) {
  Json list = Json::array();
  for (const ComparisonPart& p : parts) {
    list.push_back(Json::object({{"name", p.name},
                                 {"tokens", p.tokens},
                                 {"mean_kl", p.mean_kl},
                                 {"top1_agreement", p.top1_agreement},
                                 {"mean_delta_p", p.mean_delta_p}}));
  }
  return list;
}

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
    s.delta_p.reserve(static_cast<std::size_t>(set.tokens));
    for (std::size_t i = 0; i < kPositionParts; ++i) {
      const int64_t n = static_cast<int64_t>(kPositionParts), at = static_cast<int64_t>(i);
      s.positions.push_back({fmt::format("{}-{}", set.longest * at / n + 1, set.longest * (at + 1) / n), 0, 0, 0, 0});
    }
    for (const char* name : kClasses) s.classes.push_back({name, 0, 0, 0, 0});
  }
  std::vector<std::shared_ptr<const model::Model>> models = {reference};
  models.insert(models.end(), candidates.begin(), candidates.end());
  std::vector<RowDivergence> rows;
  std::map<text::TokenId, std::size_t> classes;
  std::size_t current = windows, row_in_window = 0;
  NBL_TRY(run_lockstep(models, team, set, "compare", progress,
                       [&](std::size_t w, std::span<const std::span<const float>> logits,
                           std::span<const text::TokenId> targets) -> Status {
                         rows.resize(targets.size());
                         if (w != current) row_in_window = static_cast<std::size_t>(set.windows[w].first_row);
                         current = w;
                         for (const text::TokenId id : targets)
                           if (!classes.contains(id)) classes[id] = class_of(*tokenizer, id);
                         for (std::size_t c = 0; c < candidates.size(); ++c) {
                           const Status status = compare_rows(logits[0], logits[c + 1], vocab, targets, team, rows);
                           if (!status.ok()) return status.with_context(names[c]);
                           Sums& s = sums[c];
                           for (std::size_t i = 0; i < rows.size(); ++i) {
                             const RowDivergence& row = rows[i];
                             s.reverse_kl += row.reverse_kl;
                             s.js += row.js;
                             s.common_top5 += row.common_top5;
                             s.squared_difference += row.squared_difference;
                             s.squared_reference += row.squared_reference;
                             s.delta_p.push_back(std::exp(row.logprob_b) - std::exp(row.logprob_a));
                             const std::size_t place = (row_in_window + i) * kPositionParts / static_cast<std::size_t>(set.longest);
                             add_to(s.positions[std::min(place, kPositionParts - 1)], row);
                             add_to(s.classes[classes[targets[i]]], row);
                             s.kl[w] += row.kl;
                             s.token_kl.push_back(row.kl);
                             s.nll[w] -= row.logprob_b;
                             s.nll_difference[w] += row.logprob_a - row.logprob_b;
                             s.agreed[w] += row.same_top ? 1.0 : 0.0;
                             if (c == 0) reference_nll[w] -= row.logprob_a;
                           }
                         }
                         row_in_window += targets.size();
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
    r.mean_reverse_kl = s.reverse_kl / tokens;
    r.mean_js = s.js / tokens;
    r.top5_agreement = s.common_top5 / (5.0 * tokens);
    r.output_error = s.squared_reference > 0 ? std::sqrt(s.squared_difference / s.squared_reference) : 0.0;
    r.mean_delta_p = sum(s.delta_p) / tokens;
    for (const double d : s.delta_p) r.rms_delta_p += d * d;
    r.rms_delta_p = std::sqrt(r.rms_delta_p / tokens);
    for (const double q : {0.0, 0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 1.0})
      r.delta_p.emplace_back(q, quantile(s.delta_p, q));
    r.by_position = finished(std::move(s.positions));
    r.by_class = finished(std::move(s.classes));
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
  j.set("mean_reverse_kl", c.mean_reverse_kl);
  j.set("mean_js", c.mean_js);
  j.set("top1_agreement", c.top1_agreement);
  j.set("top5_agreement", c.top5_agreement);
  j.set("output_error", c.output_error);
  j.set("top1_stderr", c.top1_stderr);
  j.set("ppl", c.ppl);
  j.set("ppl_stderr", c.ppl_stderr);
  j.set("ppl_ratio", c.ppl_ratio);
  j.set("ppl_ratio_stderr", c.ppl_ratio_stderr);
  j.set("reference_ppl", c.reference_ppl);
  j.set("reference_ppl_stderr", c.reference_ppl_stderr);
  j.set("tokens", c.tokens);
  j.set("windows", c.windows);
  j.set("mean_delta_p", c.mean_delta_p);
  j.set("rms_delta_p", c.rms_delta_p);
  Json quantiles = Json::array();
  for (const auto& [q, value] : c.delta_p) quantiles.push_back(Json::object({{"quantile", q}, {"delta_p", value}}));
  j.set("delta_p", std::move(quantiles));
  j.set("by_position", parts_json(c.by_position));
  j.set("by_class", parts_json(c.by_class));
  Json layers = Json::array();
  for (const LayerCost& l : c.layers) {
    layers.push_back(Json::object({{"name", l.name},
                                   {"mean_kl", l.mean_kl},
                                   {"kl_stderr", l.kl_stderr},
                                   {"top1_agreement", l.top1_agreement},
                                   {"output_error", l.output_error},
                                   {"layer_error", std::isfinite(l.layer_error) ? Json(l.layer_error) : Json()}}));
  }
  j.set("layers", std::move(layers));
  return j;
}

}  // namespace nbl::eval

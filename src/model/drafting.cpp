#include "model/drafting.h"

#include <fmt/format.h>

#include <algorithm>

namespace nbl::model {

using text::TokenId;

Status Drafter::propose(Sampler& sampler, int64_t most, std::vector<TokenId>& step) {
  const int64_t wanted = options_.draft != nullptr ? options_.draft_tokens : options_.prompt_lookup;
  if (length_ == 0) length_ = wanted;
  most = std::min({most, wanted, length_});
  if (most <= 0) return {};
  if (options_.draft != nullptr) return ask(sampler, most, step);
  look_up(most, step);
  return {};
}

void Drafter::learn(std::size_t drafted, std::size_t right) {
  if (drafted == 0) return;
  // A draft that was right to its end may be longer; one that failed early was too long.
  if (right >= drafted)
    length_ = length_ * 2;
  else
    length_ = std::max<int64_t>(2, static_cast<int64_t>(right) + 2);
  length_ = std::min<int64_t>(length_, std::max(options_.prompt_lookup, options_.draft_tokens));
}

/// The tokens after the latest earlier place that reads like the end of the text, for the longest run that is found.
void Drafter::look_up(int64_t most, std::vector<TokenId>& step) const {
  const std::span<const TokenId> before = session_.tokens();
  const TokenId last = step[0];
  const auto n = static_cast<int64_t>(before.size());
  int64_t best = -1, best_length = 0;
  for (int64_t i = n - 1; i >= 0 && best_length < options_.lookup_ngram; --i) {
    if (before[static_cast<std::size_t>(i)] != last) continue;
    int64_t length = 1;
    while (length < options_.lookup_ngram && length <= i &&
           before[static_cast<std::size_t>(i - length)] == before[static_cast<std::size_t>(n - length)])
      ++length;
    if (length > best_length) {
      best_length = length;
      best = i;
    }
  }
  if (best < 0) return;
  for (int64_t i = best + 1; i <= n && static_cast<int64_t>(step.size()) <= most; ++i)
    step.push_back(i < n ? before[static_cast<std::size_t>(i)] : last);
}

Status Drafter::ask(Sampler& sampler, int64_t most, std::vector<TokenId>& step) {
  Session& draft = *options_.draft;
  std::vector<TokenId> text(session_.tokens().begin(), session_.tokens().end());
  text.push_back(step[0]);
  // What the draft model has already read stays, but at least one token must be run.
  const std::span<const TokenId> known = draft.tokens();
  const std::size_t common = static_cast<std::size_t>(
      std::mismatch(text.begin(), text.end(), known.begin(), known.end()).first - text.begin());
  const std::size_t keep = std::min(common, text.size() - 1);
  NBL_TRY(draft.truncate(static_cast<int64_t>(keep)));
  const int64_t free = draft.capacity() - static_cast<int64_t>(text.size());
  if (free < 0) return {};  // it sees less than the model: no draft
  most = std::min(most, free + 1);
  NBL_ASSIGN(std::span<const float> logits, draft.append(std::span(text).subspan(keep), Session::Logits::last));
  int64_t accepted = 0;
  while (true) {
    // The same randomness as the model will use for this choice, so that the two agree as often as they can.
    auto token = sampler.choose(logits);
    if (!token.ok()) break;
    step.push_back(*token);
    if (static_cast<int64_t>(step.size()) > most) break;
    sampler.accept(*token);
    ++accepted;
    auto next = draft.append({&*token, 1}, Session::Logits::last);
    if (!next.ok()) {
      sampler.rewind(accepted);
      return next.status();
    }
    logits = *next;
  }
  sampler.rewind(accepted);
  return {};
}

Status check_draft(const Session& session, const GenerateOptions& options) {
  if (options.draft == nullptr) return {};
  if (options.draft == &session) return Status(Code::invalid_argument, "a session cannot draft for itself");
  const Model& a = session.model();
  const Model& b = options.draft->model();
  if (a.config().vocab != b.config().vocab)
    return Status(Code::mismatch, fmt::format("the draft model has {} tokens, the model {}: they must share a vocabulary",
                                              b.config().vocab, a.config().vocab));
  if (a.tokenizer() == nullptr || b.tokenizer() == nullptr) return {};
  // A few places tell two vocabularies of one size apart.
  for (int64_t i = 0; i < 64; ++i) {
    const auto id = static_cast<TokenId>(i * (a.config().vocab - 1) / 63);
    const auto x = a.tokenizer()->piece(id), y = b.tokenizer()->piece(id);
    if (x.ok() && y.ok() && *x != *y)
      return Status(Code::mismatch, fmt::format("token {} is \"{}\" in the draft model and \"{}\" in the model: they must "
                                                "share a vocabulary",
                                                id, *y, *x));
  }
  return {};
}

}  // namespace nbl::model

#include "eval/beam_search.h"

#include <algorithm>
#include <cmath>

#include "eval/logit_rows.h"

namespace nbl::eval {
namespace {

using model::Session;
using text::TokenId;

constexpr float kNever = -1.0e9f;  ///< score of what must not be chosen

struct Candidate {
  float score = kNever;
  std::size_t beam = 0;
  TokenId token = 0;
};

struct Sequence {
  float score = kNever;
  std::vector<TokenId> tokens;
  bool finished = false;
};

/// log_softmax of each row, in float as the model computes.
void log_probabilities(std::span<const float> logits, int64_t vocab, std::size_t rows, Team& team,
                       std::vector<float>& out) {
  out.resize(rows * static_cast<std::size_t>(vocab));
  const std::vector<TokenId> any(rows, 0);
  std::vector<RowScore> scores(rows);
  // logprob of token 0 gives the row's log-sum-exp.
  (void)score_rows(logits, vocab, any, team, scores);
  for (std::size_t r = 0; r < rows; ++r) {
    const float* x = logits.data() + static_cast<int64_t>(r) * vocab;
    const double lse = static_cast<double>(x[0]) - scores[r].logprob;
    float* y = out.data() + static_cast<int64_t>(r) * vocab;
    for (int64_t v = 0; v < vocab; ++v) y[v] = static_cast<float>(static_cast<double>(x[v]) - lse);
  }
}

/// Gives every new beam the state of its parent. A parent's session goes to one of its children, the others copy it.
Status reorder(std::vector<std::unique_ptr<Session>>& sessions, const std::vector<std::size_t>& parents) {
  std::vector<std::unique_ptr<Session>> next(sessions.size());
  std::vector<std::size_t> keeper(sessions.size(), sessions.size());  // the child that took the parent's session
  for (std::size_t child = 0; child < parents.size(); ++child) {
    if (sessions[parents[child]] == nullptr) continue;
    keeper[parents[child]] = child;
    next[child] = std::move(sessions[parents[child]]);
  }
  std::vector<std::unique_ptr<Session>> spare;
  for (auto& session : sessions)
    if (session != nullptr) spare.push_back(std::move(session));
  for (std::size_t child = 0; child < parents.size(); ++child) {
    if (next[child] != nullptr) continue;
    next[child] = std::move(spare.back());
    spare.pop_back();
    NBL_TRY(next[child]->copy_from(*next[keeper[parents[child]]]));
  }
  sessions = std::move(next);
  return {};
}

}  // namespace

Result<std::vector<TokenId>> beam_search(std::shared_ptr<const model::Model> model, Team& team,
                                         std::span<const TokenId> prompt, const BeamOptions& options,
                                         const BeamStop& stop) {
  const std::size_t beams = static_cast<std::size_t>(options.beams);
  const int64_t vocab = model->config().vocab;
  const std::size_t kept = std::max<std::size_t>(2, 1 + options.ends.size()) * beams;
  const int64_t room = static_cast<int64_t>(prompt.size()) + options.max_new_tokens;

  std::vector<std::unique_ptr<Session>> sessions;
  for (std::size_t b = 0; b < beams; ++b) {
    NBL_ASSIGN(std::unique_ptr<Session> session, Session::create(model, team, room));
    sessions.push_back(std::move(session));
  }
  NBL_ASSIGN(std::unique_ptr<model::Batch> batch, model::Batch::create(model, team, options.beams));

  std::vector<Sequence> running(beams), finished(beams);
  running[0].score = 0;
  std::vector<float> log_probs;
  NBL_ASSIGN(std::span<const float> logits, sessions[0]->append(prompt, Session::Logits::last));
  log_probabilities(logits, vocab, 1, team, log_probs);
  // All beams begin as one; the others' scores keep their copies out of the first choice.
  for (std::size_t b = 1; b < beams; ++b) {
    NBL_TRY(sessions[b]->copy_from(*sessions[0]));
    log_probs.insert(log_probs.end(), log_probs.begin(), log_probs.begin() + vocab);
  }

  bool improvable = true;
  for (int64_t length = 1;; ++length) {
    // The best continuations of all beams; ties to the lower beam and token.
    std::vector<Candidate> candidates;
    for (std::size_t b = 0; b < beams; ++b) {
      const float* row = log_probs.data() + static_cast<int64_t>(b) * vocab;
      for (int64_t v = 0; v < vocab; ++v) {
        candidates.push_back({row[v] + running[b].score, b, static_cast<TokenId>(v)});
      }
    }
    const std::size_t count = std::min(kept, candidates.size());
    std::partial_sort(candidates.begin(), candidates.begin() + static_cast<std::ptrdiff_t>(count), candidates.end(),
                      [](const Candidate& a, const Candidate& b) {
                        return a.score > b.score ||
                               (a.score == b.score && std::pair(a.beam, a.token) < std::pair(b.beam, b.token));
                      });
    candidates.resize(count);

    std::vector<TokenId> best = running[candidates[0].beam].tokens;
    best.push_back(candidates[0].token);
    const bool all_stop = length >= options.max_new_tokens || (stop && stop(best));
    std::vector<bool> stops(count);
    for (std::size_t c = 0; c < count; ++c) {
      stops[c] =
          all_stop || std::find(options.ends.begin(), options.ends.end(), candidates[c].token) != options.ends.end();
    }

    // Candidates that end compete with what has ended before, by score a token; only the first `beams` of them do.
    for (std::size_t c = 0; c < std::min(beams, count); ++c) {
      if (!stops[c] || !improvable) continue;
      Sequence done;
      done.score = candidates[c].score / static_cast<float>(length);
      done.tokens = running[candidates[c].beam].tokens;
      done.tokens.push_back(candidates[c].token);
      done.finished = true;
      finished.push_back(std::move(done));
    }
    std::stable_sort(finished.begin(), finished.end(),
                     [](const Sequence& a, const Sequence& b) { return a.score > b.score; });
    finished.resize(beams);

    // The best that do not end go on.
    std::vector<std::size_t> order(count);
    for (std::size_t c = 0; c < count; ++c) {
      order[c] = c;
      if (stops[c]) candidates[c].score += kNever;
    }
    std::stable_sort(order.begin(), order.end(),
                     [&](std::size_t a, std::size_t b) { return candidates[a].score > candidates[b].score; });
    std::vector<Sequence> next(beams);
    std::vector<std::size_t> parents(beams);
    std::vector<TokenId> tokens(beams);
    for (std::size_t b = 0; b < beams; ++b) {
      const Candidate& chosen = candidates[order[std::min(b, count - 1)]];
      next[b].score = chosen.score;
      next[b].tokens = running[chosen.beam].tokens;
      next[b].tokens.push_back(chosen.token);
      parents[b] = chosen.beam;
      tokens[b] = chosen.token;
    }
    running = std::move(next);

    const float best_possible = running[0].score / static_cast<float>(length);
    // A place that nothing has filled yet can always be improved on.
    bool any = false;
    float worst = finished.back().score;
    for (const Sequence& s : finished) any = any || best_possible > (s.finished ? worst : kNever);
    improvable = improvable && any;
    if (!improvable || std::all_of(stops.begin(), stops.end(), [](bool s) { return s; })) break;

    NBL_TRY(reorder(sessions, parents));
    std::vector<Session*> pointers;
    for (const auto& session : sessions) pointers.push_back(session.get());
    NBL_ASSIGN(logits, batch->step(pointers, tokens));
    log_probabilities(logits, vocab, beams, team, log_probs);
  }
  return finished.front().finished ? finished.front().tokens : running.front().tokens;
}

}  // namespace nbl::eval

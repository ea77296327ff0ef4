#include "model/beam_search.h"

#include <algorithm>
#include <cmath>

#include "model/sampler.h"

namespace nbl::model {
namespace {

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

/// log_softmax of each row.
void log_probabilities(std::span<const float> logits, int64_t vocab, std::size_t rows, Team& team,
                       std::vector<float>& out) {
  out.resize(rows * static_cast<std::size_t>(vocab));
  team.parallel_for(static_cast<int64_t>(rows), 1, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const float* x = logits.data() + r * vocab;
      const double sum = log_sum_exp({x, static_cast<std::size_t>(vocab)});
      float* y = out.data() + r * vocab;
      for (int64_t v = 0; v < vocab; ++v) y[v] = static_cast<float>(static_cast<double>(x[v]) - sum);
    }
  });
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

Result<std::vector<Beam>> beam_search(Session& base, std::span<const float> logits, const BeamOptions& options,
                                      const BeamStop& stop) {
  const auto beams = static_cast<std::size_t>(options.beams);
  const int64_t vocab = base.model().config().vocab;
  Team& team = base.team();
  const std::size_t kept = std::max<std::size_t>(2, 1 + options.ends.size()) * beams;
  if (options.max_new_tokens < 1) return std::vector<Beam>(static_cast<std::size_t>(options.returned));

  std::vector<std::unique_ptr<Session>> sessions;
  SessionOptions same;
  same.max_tokens = base.position() + options.max_new_tokens;
  same.kv_type = base.kv_type();
  for (std::size_t b = 0; b < beams; ++b) {
    NBL_ASSIGN(std::unique_ptr<Session> session, Session::create(base.shared_model(), team, same));
    NBL_TRY(session->copy_from(base));
    sessions.push_back(std::move(session));
  }
  NBL_ASSIGN(std::unique_ptr<Batch> batch, Batch::create(base.shared_model(), team, options.beams));
  const auto per_length = [&](float score, int64_t length) {
    return static_cast<float>(static_cast<double>(score) / std::pow(static_cast<double>(length), options.length_penalty));
  };

  std::vector<Sequence> running(beams), finished(beams);
  running[0].score = 0;
  std::vector<float> log_probs;
  log_probabilities(logits, vocab, 1, team, log_probs);
  // All beams begin as one; the others' scores keep their copies out of the first choice.
  log_probs.resize(beams * static_cast<std::size_t>(vocab));
  for (std::size_t b = 1; b < beams; ++b)
    std::copy_n(log_probs.begin(), vocab, log_probs.begin() + static_cast<std::ptrdiff_t>(b) * vocab);

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
      done.score = per_length(candidates[c].score, length);
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

    const bool grown = options.late_stopping && options.length_penalty > 0;
    const float best_possible = per_length(running[0].score, grown ? options.max_new_tokens : length);
    // A place that nothing has filled yet can always be improved on.
    bool any = false;
    float worst = finished.back().score;
    for (const Sequence& s : finished) any = any || best_possible > (s.finished ? worst : kNever);
    improvable = improvable && any;
    const bool full = std::all_of(finished.begin(), finished.end(), [](const Sequence& s) { return s.finished; });
    if (!improvable || (options.early_stopping && full) || std::all_of(stops.begin(), stops.end(), [](bool s) { return s; })) break;

    NBL_TRY(reorder(sessions, parents));
    std::vector<Session*> pointers;
    pointers.reserve(sessions.size());
    for (const auto& session : sessions) pointers.push_back(session.get());
    NBL_ASSIGN(logits, batch->step(pointers, tokens));
    log_probabilities(logits, vocab, beams, team, log_probs);
  }
  std::vector<Beam> out;
  const std::vector<Sequence>& from = finished.front().finished ? finished : running;
  for (std::size_t i = 0; i < static_cast<std::size_t>(options.returned) && i < from.size(); ++i) {
    if (i > 0 && finished.front().finished && !from[i].finished) break;
    Beam beam;
    beam.tokens = from[i].tokens;
    beam.score = static_cast<double>(from[i].score);
    beam.ended = std::find(options.ends.begin(), options.ends.end(), beam.tokens.back()) != options.ends.end();
    out.push_back(std::move(beam));
  }
  return out;
}

}  // namespace nbl::model

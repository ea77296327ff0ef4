#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "eval/eval.h"
#include "eval/logit_rows.h"

namespace nbl::eval {
namespace {

using text::TokenId;

/// A request as it is run: what the model reads, and where the logits that predict the continuation begin.
struct Job {
  std::vector<TokenId> input;
  std::size_t first_row = 0;  ///< row that predicts the continuation's first scored token
  std::size_t skipped = 0;    ///< tokens of the continuation that found no room at all
  bool truncated = false;
};

/// lm-evaluation-harness keeps the last `longest` + 1 tokens of context and continuation; the last one is only
/// predicted.
Job make_job(const ScoreRequest& request, int64_t longest) {
  Job job;
  job.input = request.context;
  job.input.insert(job.input.end(), request.continuation.begin(), request.continuation.end());
  job.input.pop_back();
  std::size_t first_row = request.context.size() - 1;
  if (longest > 0 && static_cast<int64_t>(job.input.size()) > longest) {
    const std::size_t cut = job.input.size() - static_cast<std::size_t>(longest);
    job.input.erase(job.input.begin(), job.input.begin() + static_cast<std::ptrdiff_t>(cut));
    job.truncated = true;
    job.skipped = cut > first_row ? cut - first_row : 0;
    first_row = cut > first_row ? 0 : first_row - cut;
  }
  job.first_row = first_row;
  return job;
}

std::size_t common_prefix(std::span<const TokenId> a, std::span<const TokenId> b) {
  const auto [x, y] = std::mismatch(a.begin(), a.end(), b.begin(), b.end());
  return static_cast<std::size_t>(x - a.begin());
}

constexpr std::size_t kRows = 256;  ///< rows of logits at a time

}  // namespace

Result<std::vector<ScoreResult>> score(std::shared_ptr<const model::Model> model, Team& team,
                                       std::span<const ScoreRequest> requests, const ProgressFn& progress) {
  const int64_t vocab = model->config().vocab, longest = model->config().max_positions;
  std::vector<Job> jobs;
  std::size_t room = 1;
  for (std::size_t i = 0; i < requests.size(); ++i) {
    const ScoreRequest& r = requests[i];
    if (r.context.empty()) {
      return Status(Code::invalid_argument,
                    fmt::format("request {} has an empty context: nothing predicts its first token", i));
    }
    for (const auto* ids : {&r.context, &r.continuation}) {
      for (TokenId id : *ids) {
        if (id < 0 || id >= vocab) {
          return Status(Code::invalid_argument,
                        fmt::format("request {} holds the token id {}, the vocabulary has {}", i, id, vocab));
        }
      }
    }
    jobs.push_back(make_job(r, longest));
    room = std::max(room, jobs.back().input.size());
  }

  // Neighbours in this order share the longest prefixes, and what is shared is computed once.
  std::vector<std::size_t> order(requests.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return jobs[a].input < jobs[b].input; });

  std::vector<ScoreResult> results(requests.size());
  NBL_ASSIGN(std::unique_ptr<model::Session> session, model::Session::create(model, team, static_cast<int64_t>(room)));
  std::vector<TokenId> seen;  // what the session holds
  std::vector<RowScore> rows;
  const int64_t total = static_cast<int64_t>(requests.size());
  for (std::size_t done = 0; done < order.size(); ++done) {
    if (done % 16 == 0) {
      NBL_TRY(report_progress(
          progress, {"score", fmt::format("request {} of {}", done, total), static_cast<int64_t>(done), total}));
    }
    const std::size_t index = order[done];
    const Job& job = jobs[index];
    ScoreResult& result = results[index];
    result.truncated = job.truncated;
    result.is_greedy = true;
    const std::span<const TokenId> input = job.input;
    const std::span<const TokenId> targets = std::span(requests[index].continuation).subspan(job.skipped);
    if (targets.empty()) continue;

    const std::size_t shared = std::min(common_prefix(seen, input), job.first_row);
    NBL_TRY(session->truncate(static_cast<int64_t>(shared)));
    seen.assign(input.begin(), input.end());
    if (job.first_row > shared) {
      auto silent = session->append(input.subspan(shared, job.first_row - shared), model::Session::Logits::none);
      if (!silent.ok()) return silent.status();
    }
    for (std::size_t r = 0; r < targets.size(); r += kRows) {
      const std::size_t count = std::min(kRows, targets.size() - r);
      NBL_ASSIGN(const std::span<const float> logits,
                 session->append(input.subspan(job.first_row + r, count), model::Session::Logits::all));
      rows.resize(count);
      NBL_TRY(score_rows(logits, vocab, targets.subspan(r, count), team, rows));
      for (std::size_t i = 0; i < count; ++i) {
        result.token_logprobs.push_back(rows[i].logprob);
        result.logprob += rows[i].logprob;
        result.is_greedy = result.is_greedy && rows[i].top == targets[r + i];
      }
    }
  }
  NBL_TRY(report_progress(progress, {"score", "done", total, total}));
  return results;
}

}  // namespace nbl::eval

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "eval/eval.h"
#include "eval/logit_rows.h"
#include "eval/scorer.h"

namespace nbl::eval {
namespace {

using text::TokenId;
using Tokens = std::span<const TokenId>;

/// A request as it is run: what the model reads, and where the logits that predict the continuation begin.
struct Job {
  std::vector<TokenId> input;
  std::size_t first_row = 0;  ///< row that predicts the continuation's first scored token
  std::size_t skipped = 0;    ///< tokens of the continuation that found no room at all
  bool truncated = false;

  Tokens context() const { return Tokens(input).first(std::min(first_row, input.size())); }
  Tokens tail() const { return Tokens(input).subspan(std::min(first_row, input.size())); }
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

std::size_t common_prefix(Tokens a, Tokens b) {
  const auto [x, y] = std::mismatch(a.begin(), a.end(), b.begin(), b.end());
  return static_cast<std::size_t>(x - a.begin());
}

/// Requests whose input is the same: they differ in what they want to know of the last row.
using Tail = std::vector<std::size_t>;

/// Requests with the same context.
struct Group {
  Tokens context;
  std::vector<Tail> tails;
  std::size_t longest = 0;  ///< of context and tail
};

std::vector<Group> group_jobs(const std::vector<Job>& jobs) {
  std::vector<std::size_t> order(jobs.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    const auto by_context = std::lexicographical_compare_three_way(jobs[a].context().begin(), jobs[a].context().end(),
                                                                   jobs[b].context().begin(), jobs[b].context().end());
    if (by_context != 0) return by_context < 0;
    return std::ranges::lexicographical_compare(jobs[a].tail(), jobs[b].tail());
  });
  std::vector<Group> groups;
  for (const std::size_t j : order) {
    const Job& job = jobs[j];
    if (job.tail().empty()) continue;
    if (groups.empty() || !std::ranges::equal(groups.back().context, job.context())) groups.push_back({job.context(), {}, 0});
    Group& group = groups.back();
    if (group.tails.empty() || !std::ranges::equal(jobs[group.tails.back().front()].tail(), job.tail())) group.tails.emplace_back();
    group.tails.back().push_back(j);
    group.longest = std::max(group.longest, job.input.size());
  }
  return groups;
}

/// So many tokens in common are worth a copy of their keys and values, or keeping contexts beside each other.
constexpr std::size_t kWorthSharing = 24;

/// Contexts that begin alike stay together; of such families the longest comes first, so that those side by side are about
/// equally long and memory is at its most at the beginning.
void sort_groups(std::vector<Group>& groups) {
  struct Family {
    std::size_t begin, end, longest;
  };
  std::vector<Family> families;
  for (std::size_t g = 0; g < groups.size(); ++g) {
    if (g == 0 || common_prefix(groups[g - 1].context, groups[g].context) < kWorthSharing) families.push_back({g, g, 0});
    families.back().end = g + 1;
    families.back().longest = std::max(families.back().longest, groups[g].longest);
  }
  std::stable_sort(families.begin(), families.end(), [](const Family& a, const Family& b) { return a.longest > b.longest; });
  std::vector<Group> sorted;
  sorted.reserve(groups.size());
  for (const Family& f : families)
    for (std::size_t g = f.begin; g < f.end; ++g) sorted.push_back(std::move(groups[g]));
  groups = std::move(sorted);
}

constexpr int64_t kRows = 256;                       ///< of a step
constexpr int64_t kLogitBytes = int64_t{64} << 20;   ///< of logits at a time, about
constexpr int64_t kCacheBytes = int64_t{512} << 20;  ///< of keys and values, about

int64_t cache_bytes_a_token(const model::Config& c, const ComputeOptions& compute) {
  return c.layers * c.kv_heads * (c.head_dim + c.v_dim()) * (compute.compute == Compute::exact ? 4 : 2);
}

}  // namespace

struct Scorer::Impl {
  /// A context being looked at.
  struct Slot {
    std::unique_ptr<model::Session> session;
    std::vector<TokenId> seen;  ///< what the session holds
    bool taken = false;
    bool untouched = true;      ///< since the slots of this batch were dealt out
  };
  struct Seat {
    const Group* group;
    Slot* slot;
    std::size_t held;  ///< tokens of the context that the slot holds
  };

  std::shared_ptr<const model::Model> model;
  Team* team = nullptr;
  std::unique_ptr<model::Batch> batch;
  int64_t room = 0, width = 0, rows_at_once = 0;
  std::vector<Slot> slots;
  std::vector<RowScore> rows;

  Status seat(std::span<const Group> groups, std::vector<Seat>& seats);
  Status copy(Seat& to, const Slot& from, std::size_t tokens);
  Status share_within(std::vector<Seat>& seats);
  Status extend(std::span<Seat* const> seats, std::span<const std::size_t> to);
  Status continue_all(std::vector<Seat>& seats, const std::vector<Job>& jobs, std::span<const ScoreRequest> requests,
                      std::vector<ScoreResult>& results);
};

/// Gives each group the free slot that holds most of its context.
Status Scorer::Impl::seat(std::span<const Group> groups, std::vector<Seat>& seats) {
  seats.clear();
  while (slots.size() < groups.size()) {
    Slot slot;
    NBL_ASSIGN(slot.session, model::Session::create(model, *team, room));
    slots.push_back(std::move(slot));
  }
  for (Slot& slot : slots) {
    slot.taken = false;
    slot.untouched = true;
  }
  std::vector<const Slot*> donors;
  for (const Group& group : groups) {
    Slot *best = nullptr, *donor = nullptr;
    std::size_t held = 0, offered = 0;
    for (Slot& slot : slots) {
      const std::size_t common = common_prefix(slot.seen, group.context);
      if (!slot.taken && (best == nullptr || common > held)) {
        best = &slot;
        held = common;
      }
      if (donor == nullptr || common > offered) {
        donor = &slot;
        offered = common;
      }
    }
    best->taken = true;
    seats.push_back({&group, best, held});
    donors.push_back(offered >= held + kWorthSharing ? donor : nullptr);
  }
  for (std::size_t i = 0; i < seats.size(); ++i) {
    if (donors[i] == nullptr || !donors[i]->untouched) continue;
    NBL_TRY(copy(seats[i], *donors[i], common_prefix(donors[i]->seen, seats[i].group->context)));
  }
  for (Seat& s : seats) {
    NBL_TRY(s.slot->session->truncate(static_cast<int64_t>(s.held)));
    s.slot->seen.resize(s.held);
  }
  return {};
}

/// The first `tokens` of another slot's sequence.
Status Scorer::Impl::copy(Seat& to, const Slot& from, std::size_t tokens) {
  NBL_TRY(to.slot->session->copy_from(*from.session));
  NBL_TRY(to.slot->session->truncate(static_cast<int64_t>(tokens)));
  to.slot->seen.assign(from.seen.begin(), from.seen.begin() + static_cast<std::ptrdiff_t>(tokens));
  to.slot->untouched = false;
  to.held = tokens;
  return {};
}

/// Computes the contexts of these seats up to so many tokens.
Status Scorer::Impl::extend(std::span<Seat* const> seats, std::span<const std::size_t> to) {
  std::vector<model::Batch::Piece> pieces;
  for (std::size_t i = 0; i < seats.size(); ++i) {
    Seat& s = *seats[i];
    if (to[i] <= s.held) continue;
    const Tokens more = s.group->context.subspan(s.held, to[i] - s.held);
    pieces.push_back({s.slot->session.get(), more});
    s.slot->seen.insert(s.slot->seen.end(), more.begin(), more.end());
    s.held = to[i];
  }
  return pieces.empty() ? Status() : batch->append(pieces, false).status();
}

/// Neighbours whose contexts begin alike compute that beginning once.
Status Scorer::Impl::share_within(std::vector<Seat>& seats) {
  struct Run {
    std::size_t begin, end, common;
  };
  std::vector<Run> runs;
  for (std::size_t i = 0; i < seats.size(); ++i) {
    const std::size_t common = runs.empty() ? 0 : std::min(runs.back().common, common_prefix(seats[i].group->context, seats[i - 1].group->context));
    if (common < kWorthSharing) {
      runs.push_back({i, i + 1, seats[i].group->context.size()});
    } else {
      runs.back().end = i + 1;
      runs.back().common = common;
    }
  }
  std::vector<Seat*> leaders;
  std::vector<std::size_t> to;
  std::vector<const Run*> used;
  for (const Run& run : runs) {
    const auto members = std::span(seats).subspan(run.begin, run.end - run.begin);
    const bool worth = std::any_of(members.begin() + 1, members.end(), [&](const Seat& s) { return s.held + kWorthSharing <= run.common; });
    if (!worth) continue;
    leaders.push_back(&members.front());
    to.push_back(run.common);
    used.push_back(&run);
  }
  NBL_TRY(extend(leaders, to));
  for (const Run* run : used) {
    for (std::size_t i = run->begin + 1; i < run->end; ++i)
      if (seats[i].held + kWorthSharing <= run->common) NBL_TRY(copy(seats[i], *seats[run->begin].slot, run->common));
  }
  return {};
}

/// The continuations: the first of every context side by side, then the second of those that have one.
Status Scorer::Impl::continue_all(std::vector<Seat>& seats, const std::vector<Job>& jobs, std::span<const ScoreRequest> requests,
                                  std::vector<ScoreResult>& results) {
  const int64_t vocab = model->config().vocab;
  struct Part {
    const Tail* tail;
    Slot* slot;
    Tokens tokens;
    std::size_t first;  ///< of its tail's tokens
  };
  std::vector<Part> parts;
  std::vector<model::Batch::Piece> pieces;
  std::vector<TokenId> targets;
  int64_t waiting = 0;
  const auto targets_of = [&](std::size_t request, const Part& part) {
    return Tokens(requests[request].continuation).subspan(jobs[request].skipped + part.first, part.tokens.size());
  };
  const auto take = [&](std::size_t request, const Part& part, std::span<const RowScore> scores) {
    ScoreResult& result = results[request];
    const Tokens wanted = targets_of(request, part);
    for (std::size_t i = 0; i < scores.size(); ++i) {
      result.token_logprobs.push_back(scores[i].logprob);
      result.logprob += scores[i].logprob;
      result.is_greedy = result.is_greedy && scores[i].top == wanted[i];
    }
  };
  const auto run = [&]() -> Status {
    if (parts.empty()) return {};
    pieces.clear();
    targets.clear();
    for (const Part& part : parts) {
      pieces.push_back({part.slot->session.get(), part.tokens});
      const Tokens wanted = targets_of(part.tail->front(), part);
      targets.insert(targets.end(), wanted.begin(), wanted.end());
    }
    NBL_ASSIGN(const std::span<const float> logits, batch->append(pieces, true));
    rows.resize(targets.size());
    NBL_TRY(score_rows(logits, vocab, targets, *team, rows));
    std::size_t row = 0;
    for (const Part& part : parts) {
      const std::size_t count = part.tokens.size();
      const std::vector<RowScore> first(rows.begin() + static_cast<std::ptrdiff_t>(row), rows.begin() + static_cast<std::ptrdiff_t>(row + count));
      take(part.tail->front(), part, first);
      for (const std::size_t other : std::span(*part.tail).subspan(1)) {
        std::vector<RowScore> scores(count);
        NBL_TRY(score_rows(logits.subspan(row * static_cast<std::size_t>(vocab)), vocab, targets_of(other, part), *team, scores));
        take(other, part, scores);
      }
      part.slot->seen.insert(part.slot->seen.end(), part.tokens.begin(), part.tokens.end());
      row += count;
    }
    parts.clear();
    waiting = 0;
    return {};
  };
  std::size_t most = 0;
  for (const Seat& s : seats) most = std::max(most, s.group->tails.size());
  for (std::size_t wave = 0; wave < most; ++wave) {
    for (const Seat& s : seats) {
      if (wave >= s.group->tails.size()) continue;
      NBL_TRY(s.slot->session->truncate(static_cast<int64_t>(s.held)));
      s.slot->seen.resize(s.held);
      const Tokens tail = jobs[s.group->tails[wave].front()].tail();
      for (std::size_t first = 0; first < tail.size();) {
        // A session stands once in a batch: the rest of its tail waits for the next.
        if (waiting == rows_at_once || (first > 0 && !parts.empty())) NBL_TRY(run());
        const std::size_t count = std::min(tail.size() - first, static_cast<std::size_t>(rows_at_once - waiting));
        parts.push_back({&s.group->tails[wave], s.slot, tail.subspan(first, count), first});
        waiting += static_cast<int64_t>(count);
        first += count;
      }
    }
    NBL_TRY(run());
  }
  return {};
}

Scorer::Scorer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Scorer::~Scorer() = default;

Result<std::unique_ptr<Scorer>> Scorer::create(std::shared_ptr<const model::Model> model, Team& team, int64_t longest,
                                               int64_t width) {
  const model::Config& c = model->config();
  auto impl = std::make_unique<Impl>();
  // The last token of a request is only predicted.
  impl->room = std::max<int64_t>(1, longest - 1);
  if (c.max_positions > 0) impl->room = std::min(impl->room, c.max_positions);
  const int64_t fits = kCacheBytes / std::max<int64_t>(1, impl->room * cache_bytes_a_token(c, model->compute()));
  impl->width = std::clamp<int64_t>(std::min(width, fits), 1, kRows);
  impl->rows_at_once = std::clamp<int64_t>(kLogitBytes / (4 * c.vocab), 16, kRows);
  NBL_ASSIGN(impl->batch, model::Batch::create(model, team, kRows));
  impl->model = std::move(model);
  impl->team = &team;
  impl->slots.reserve(static_cast<std::size_t>(impl->width));
  return std::unique_ptr<Scorer>(new Scorer(std::move(impl)));
}

Result<std::vector<ScoreResult>> Scorer::score(std::span<const ScoreRequest> requests, const ProgressFn& progress) {
  Impl& s = *impl_;
  const int64_t vocab = s.model->config().vocab, longest = s.model->config().max_positions;
  std::vector<Job> jobs;
  jobs.reserve(requests.size());
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
    if (static_cast<int64_t>(jobs.back().input.size()) > s.room) {
      return Status(Code::invalid_argument, fmt::format("request {} has {} tokens, room was made for {}", i,
                                                        jobs.back().input.size() + 1, s.room + 1));
    }
  }
  std::vector<ScoreResult> results(requests.size());
  for (std::size_t i = 0; i < requests.size(); ++i) {
    results[i].truncated = jobs[i].truncated;
    results[i].is_greedy = true;
  }
  std::vector<Group> groups = group_jobs(jobs);
  sort_groups(groups);
  const auto total = static_cast<int64_t>(requests.size());
  int64_t done = 0;
  std::vector<Impl::Seat> seats;
  for (std::size_t first = 0; first < groups.size(); first += static_cast<std::size_t>(s.width)) {
    NBL_TRY(report_progress(progress, {"score", fmt::format("request {} of {}", done, total), done, total}));
    const auto some = std::span<const Group>(groups).subspan(first, std::min(static_cast<std::size_t>(s.width), groups.size() - first));
    NBL_TRY(s.seat(some, seats));
    NBL_TRY(s.share_within(seats));
    std::vector<Impl::Seat*> all;
    std::vector<std::size_t> to;
    for (Impl::Seat& seat : seats) {
      all.push_back(&seat);
      to.push_back(seat.group->context.size());
    }
    NBL_TRY(s.extend(all, to));
    NBL_TRY(s.continue_all(seats, jobs, requests, results));
    for (const Group& group : some)
      for (const Tail& tail : group.tails) done += static_cast<int64_t>(tail.size());
  }
  NBL_TRY(report_progress(progress, {"score", "done", total, total}));
  return results;
}

Result<std::vector<ScoreResult>> score(std::shared_ptr<const model::Model> model, Team& team,
                                       std::span<const ScoreRequest> requests, const ProgressFn& progress) {
  std::size_t longest = 1;
  for (const ScoreRequest& r : requests) longest = std::max(longest, r.context.size() + r.continuation.size());
  NBL_ASSIGN(const std::unique_ptr<Scorer> scorer, Scorer::create(std::move(model), team, static_cast<int64_t>(longest)));
  return scorer->score(requests, progress);
}

}  // namespace nbl::eval

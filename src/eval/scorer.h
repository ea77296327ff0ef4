// Many requests scored together: what they share is computed once, what they do not share side by side.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/parallel.h"
#include "base/progress.h"
#include "base/status.h"
#include "eval/eval.h"
#include "model/model.h"

namespace nbl::eval {

/// Requests with the same context are computed from one prefill of it; continuations of the same tokens, up to the last one,
/// only once. Several contexts are prefilled together and then continued together, each in a session of its own, whose keys and
/// values stay from call to call, so that examples in front of every question are computed once a session, not once a question.
/// Batches are ragged: nothing is padded. One thread at a time.
class Scorer {
 public:
  /// `longest`: tokens of the longest request that will come, context and continuation; what the model has no positions for
  /// is cut. `width`: contexts side by side; fewer where their keys and values would take more than half a GiB.
  static Result<std::unique_ptr<Scorer>> create(std::shared_ptr<const model::Model> model, Team& team, int64_t longest,
                                                int64_t width = kContexts);
  /// So many that short endings, a dozen tokens of each context at a time, fill a step's rows.
  static constexpr int64_t kContexts = 32;
  ~Scorer();

  /// In the order of the requests. Code::invalid_argument: a context without tokens, an id outside the vocabulary, or a
  /// request longer than `longest`.
  Result<std::vector<ScoreResult>> score(std::span<const ScoreRequest> requests, const ProgressFn& progress);

 private:
  struct Impl;
  explicit Scorer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace nbl::eval

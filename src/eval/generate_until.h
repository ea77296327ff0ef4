// Generation as tasks ask for it: greedy or by beams, until a stop string.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/parallel.h"
#include "base/progress.h"
#include "base/status.h"
#include "eval/task.h"
#include "model/model.h"

namespace nbl::eval {

struct GeneratedText {
  std::string text;       ///< up to the first stop string
  int64_t tokens = 0;     ///< generated
  bool truncated = false; ///< the context was cut on the left to leave room
};

struct GenerateSettings {
  Generation generation;
  int64_t repeats = 1;  ///< continuations of each context
  int64_t batch = 8;    ///< continuations written side by side
  uint64_t seed = 0;    ///< of sampling; continuation r of context c draws from stream streams[c] * repeats + r
  std::span<const std::size_t> streams = {};  ///< empty: 0, 1, 2...
  bool beams_know_end = true;  ///< EvaluateOptions::beams_know_end
  /// Told of each text as soon as it is there: its index in the result. An error ends the work.
  std::function<Status(std::size_t, const GeneratedText&)> finished = {};
};

/// `repeats` continuations a context, in the order of the contexts.
Result<std::vector<GeneratedText>> generate_until(std::shared_ptr<const model::Model> model, Team& team,
                                                  std::span<const std::string> contexts,
                                                  const GenerateSettings& settings, const ProgressFn& progress);

}  // namespace nbl::eval

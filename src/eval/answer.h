// A model's answers to a task's requests.
#pragma once

#include <memory>
#include <vector>

#include "base/parallel.h"
#include "base/progress.h"
#include "eval/ask.h"
#include "eval/task.h"
#include "model/model.h"

namespace nbl::eval {

struct Answers {
  std::vector<Answer> answers;  ///< a document each
  int64_t truncated = 0;        ///< documents whose context had to be cut on the left
  int64_t cached = 0;           ///< documents that the cache answered
};

Result<Answers> answer_plan(const std::shared_ptr<const model::Model>& model, Team& team, const Plan& plan,
                            const EvaluateOptions& options, const ProgressFn& progress);

}  // namespace nbl::eval

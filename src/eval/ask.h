// A task's documents as requests: what the model is asked, before it has answered anything.
#pragma once

#include <string>
#include <vector>

#include "base/status.h"
#include "eval/evaluate.h"
#include "eval/task.h"

namespace nbl::eval {

/// The requests of one document. Scored tasks: a context and a continuation each; generating ones: contexts alone.
struct Asked {
  std::vector<std::string> contexts;
  std::vector<std::string> continuations;
};

struct Plan {
  const Task* task = nullptr;
  int64_t num_fewshot = 0;
  Documents documents;       ///< after the limit
  std::vector<Asked> asked;  ///< a document each
};

Result<Plan> plan_task(const Task& task, const EvaluateOptions& options);

}  // namespace nbl::eval

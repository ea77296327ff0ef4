// From answers to metrics, and to the records that tell how they came about.
#pragma once

#include <vector>

#include "eval/ask.h"
#include "eval/evaluate.h"

namespace nbl::eval {

/// Fills the metrics of `run` from one answer a document; with `samples`, run->samples too: a record a filter and document,
/// as lm-evaluation-harness writes them.
Status judge_answers(const Plan& plan, const std::vector<Answer>& answers, const EvaluateOptions& options, TaskRun* run);

}  // namespace nbl::eval

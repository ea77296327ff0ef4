// From answers to metrics, and to the records that tell how they came about.
#pragma once

#include <vector>

#include "eval/ask.h"
#include "eval/evaluate.h"

namespace nbl::eval {

/// Fills the metrics of `run` from one answer a document; with `samples`, run->samples too: a record a filter and document,
/// as lm-evaluation-harness writes them.
Status judge_answers(const Plan& plan, const std::vector<Answer>& answers, const EvaluateOptions& options, TaskRun* run);

/// What a task's first metric comes to over the documents answered so far, for those who watch a run.
class RunningScore {
 public:
  explicit RunningScore(const Plan& plan);
  /// Document d has been answered.
  void add(std::size_t d, const Answer& answer);
  /// "acc 0.4100", or nothing where a metric only makes sense over the whole task or judging is dear.
  std::string text() const;

 private:
  const Plan& plan_;
  std::string name_;
  const Aggregation* aggregation_ = nullptr;
  std::vector<MetricValue> values_;
};

}  // namespace nbl::eval

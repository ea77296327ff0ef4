#include "eval/ask.h"

#include <fmt/format.h>

#include <optional>

#include "eval/python_random.h"

namespace nbl::eval {
namespace {

/// Examples drawn for every document in turn, as one generator gives them.
class Examples {
 public:
  static Result<Examples> create(const Task& task, const EvaluateOptions& options, int64_t count,
                                 const Documents& tested) {
    Examples e;
    e.task_ = &task;
    e.count_ = static_cast<std::size_t>(count);
    e.random_.emplace(options.fewshot_seed);
    if (count == 0) return e;
    if (task.fewshot_from_test || task.fewshot.empty()) {
      if (!task.fewshot_from_test) {
        return Status(Code::unsupported,
                      fmt::format("task {} has no examples to show: only zero-shot is possible", task.id));
      }
      e.pool_ = tested;
    } else {
      NBL_ASSIGN(e.pool_, load_documents(task, options.data, true));
    }
    if (e.pool_.documents.size() < e.count_) {
      return Status(Code::invalid_argument,
                    fmt::format("task {} has {} examples, asked for {}", task.id, e.pool_.documents.size(), count));
    }
    return e;
  }

  /// The examples for the next document.
  std::vector<const Json*> next(const Json& document) {
    std::vector<const Json*> chosen;
    if (count_ == 0) return chosen;
    const auto& pool = pool_.documents;
    if (task_->fewshot_first) {
      for (const Json& d : pool) {
        if (chosen.size() == count_) break;
        if (!task_->fewshot_from_test || !(d == document)) chosen.push_back(&d);
      }
      return chosen;
    }
    const std::size_t draw = task_->fewshot_from_test ? std::min(count_ + 1, pool.size()) : count_;
    for (const std::size_t i : random_->sample(pool.size(), draw)) {
      if (chosen.size() == count_) break;
      if (!task_->fewshot_from_test || !(pool[i] == document)) chosen.push_back(&pool[i]);
    }
    return chosen;
  }

 private:
  const Task* task_ = nullptr;
  std::size_t count_ = 0;
  Documents pool_;
  std::optional<PythonRandom> random_;
};

Result<Asked> ask(const Task& task, const Json& document, const std::vector<const Json*>& examples,
                  const PromptOptions& prompt) {
  Asked a;
  NBL_ASSIGN(a.contexts, build_contexts(task, document, examples, prompt));
  const std::string delimiter = prompt.chat ? "" : task.target_delimiter;
  Fields fields(document);
  if (task.output == Output::multiple_choice) {
    if (task.choices_are_contexts) {
      a.continuations.assign(a.contexts.size(), delimiter + task.target(fields));
    } else {
      for (const std::string& choice : task.choices(fields)) a.continuations.push_back(delimiter + choice);
      a.contexts.assign(a.continuations.size(), a.contexts.front());
    }
  } else if (task.output != Output::generate) {
    a.continuations = {task.target(fields)};
  }
  NBL_TRY(fields.status());
  return a;
}

}  // namespace

Result<Plan> plan_task(const Task& task, const EvaluateOptions& options) {
  Plan plan;
  plan.task = &task;
  plan.num_fewshot = options.num_fewshot >= 0 ? options.num_fewshot : task.num_fewshot;
  NBL_ASSIGN(plan.documents, load_documents(task, options.data, false));
  NBL_ASSIGN(Examples examples, Examples::create(task, options, plan.num_fewshot, plan.documents));
  std::vector<Json>& documents = plan.documents.documents;
  if (options.limit > 0 && static_cast<int64_t>(documents.size()) > options.limit) {
    documents.resize(static_cast<std::size_t>(options.limit));
  }
  PromptOptions prompt = options.prompt;
  prompt.num_fewshot = plan.num_fewshot;
  for (const Json& document : documents) {
    NBL_ASSIGN(Asked asked, ask(task, document, examples.next(document), prompt));
    plan.asked.push_back(std::move(asked));
  }
  return plan;
}

}  // namespace nbl::eval

#include "eval/ask.h"

#include <fmt/format.h>

#include <optional>

#include "eval/python_random.h"

namespace nbl::eval {
namespace {

/// Examples drawn for every document in turn, as one generator gives them: the harness's samplers, draw by draw.
class Examples {
 public:
  static Result<Examples> create(const Task& task, const EvaluateOptions& options, int64_t count,
                                 const Documents& tested) {
    Examples e;
    e.task_ = &task;
    e.count_ = static_cast<std::size_t>(count);
    e.random_.emplace(options.fewshot_seed);
    if (count == 0) return e;
    if (task.fewshot_from_test) {
      e.pool_ = tested;
    } else if (task.fewshot.empty() && !task.fewshot_given) {
      return Status(Code::unsupported, fmt::format("task {} has no examples to show: only zero-shot is possible", task.id));
    } else {
      NBL_ASSIGN(e.pool_, load_documents(task, options.data, true));
    }
    const std::size_t needed = e.count_ + (task.fewshot_excludes && !task.fewshot_first ? 1 : 0);
    if (e.pool_.documents.size() < needed) {
      return Status(Code::invalid_argument,
                    fmt::format("task {} has {} examples; {} a question need {}", task.id, e.pool_.documents.size(), count, needed));
    }
    return e;
  }

  /// The examples for the next document; fewer than asked for where too few are left without the document itself.
  std::vector<const Json*> next(const Json& document) {
    if (count_ == 0) return {};
    std::vector<const Json*> pool;
    for (const Json& d : pool_.documents) pool.push_back(&d);
    if (task_->fewshot_first) {
      if (task_->fewshot_excludes) std::erase_if(pool, [&](const Json* d) { return *d == document; });
      pool.resize(std::min(pool.size(), count_));
      return pool;
    }
    std::vector<const Json*> chosen = draw(pool, count_ + (task_->fewshot_excludes ? 1 : 0));
    if (!task_->fewshot_excludes) return chosen;
    std::erase_if(chosen, [&](const Json* d) { return *d == document; });
    if (chosen.size() < count_) {
      // Copies of the document were drawn: once more, from a pool without them.
      std::erase_if(pool, [&](const Json* d) { return *d == document; });
      chosen = draw(pool, std::min(pool.size(), count_));
    }
    chosen.resize(std::min(chosen.size(), count_));
    return chosen;
  }

 private:
  std::vector<const Json*> draw(const std::vector<const Json*>& pool, std::size_t count) {
    std::vector<const Json*> chosen;
    for (const std::size_t i : random_->sample(pool.size(), count)) chosen.push_back(pool[i]);
    return chosen;
  }

  const Task* task_ = nullptr;
  std::size_t count_ = 0;
  Documents pool_;
  std::optional<PythonRandom> random_;
};

Result<Asked> ask(const Task& task, const Json& document, const std::vector<const Json*>& examples,
                  const PromptOptions& prompt) {
  Asked a;
  NBL_ASSIGN(a.contexts, build_contexts(task, document, examples, prompt));
  const std::string delimiter = prompt.chat && !task.delimited_prefix ? "" : task.target_delimiter;
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
  plan.num_fewshot = options.num_fewshot >= 0 && !task.zero_shot ? options.num_fewshot : task.num_fewshot;
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

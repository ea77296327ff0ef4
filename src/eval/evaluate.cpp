#include "eval/evaluate.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <set>

#include "eval/characters.h"
#include "eval/eval.h"
#include "eval/generate_until.h"
#include "eval/python_random.h"

namespace nbl::eval {
namespace {

using Clock = std::chrono::steady_clock;

bool matches(std::string_view pattern, std::string_view name) {
  const std::size_t star = pattern.find('*');
  if (star == std::string_view::npos) return pattern == name;
  if (!name.starts_with(pattern.substr(0, star))) return false;
  const std::string_view rest = pattern.substr(star + 1);
  for (std::size_t at = star; at <= name.size(); ++at)
    if (matches(rest, name.substr(at))) return true;
  return false;
}

void expand_group(const TaskGroup& group, std::vector<std::string>& names) {
  for (const std::string& member : group.members) {
    const TaskGroup* inner = find_task_group(member);
    if (inner != nullptr) {
      expand_group(*inner, names);
    } else {
      names.push_back(member);
    }
  }
}

/// What the usual metrics of an output kind make of an answer.
void judge_as_usual(const Task& task, Fields& fields, const Answer& answer, MetricSink& out) {
  const auto wants = [&](std::string_view name) {
    return std::any_of(task.metrics.begin(), task.metrics.end(), [&](const Metric& m) { return m.name == name; });
  };
  const auto& lls = answer.loglikelihoods;
  if (task.output == Output::loglikelihood) {
    if (wants("perplexity")) out.add("perplexity", lls[0]);
    if (wants("acc")) out.add("acc", answer.greedy[0] ? 1.0 : 0.0);
  } else if (task.output == Output::rolling) {
    const std::string text = task.target(fields);
    const double words = static_cast<double>(count_pieces(text)), bytes = static_cast<double>(text.size());
    if (wants("word_perplexity")) out.add("word_perplexity", std::vector<double>{lls[0], words});
    if (wants("byte_perplexity")) out.add("byte_perplexity", std::vector<double>{lls[0], bytes});
    if (wants("bits_per_byte")) out.add("bits_per_byte", std::vector<double>{lls[0], bytes});
  } else if (task.output == Output::multiple_choice) {
    const std::vector<std::string> choices = task.choices(fields);
    const std::vector<int64_t> gold = task.gold(fields);
    const auto best_by = [&](auto&& length) {
      std::size_t best = 0;
      for (std::size_t c = 1; c < lls.size(); ++c)
        if (lls[c] / length(c) > lls[best] / length(best)) best = c;
      return std::find(gold.begin(), gold.end(), static_cast<int64_t>(best)) != gold.end() ? 1.0 : 0.0;
    };
    if (wants("acc")) out.add("acc", best_by([](std::size_t) { return 1.0; }));
    if (wants("acc_norm"))
      out.add("acc_norm",
              best_by([&](std::size_t c) { return static_cast<double>(length_in_code_points(choices[c])); }));
    if (wants("acc_bytes"))
      out.add("acc_bytes", best_by([&](std::size_t c) { return static_cast<double>(choices[c].size()); }));
    if (wants("exact_match")) {
      const bool any =
          std::any_of(gold.begin(), gold.end(), [&](int64_t g) { return answer.greedy[static_cast<std::size_t>(g)]; });
      out.add("exact_match", any ? 1.0 : 0.0);
    }
  }
}

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

/// The requests of one document, in the flat list of all.
struct Asked {
  std::size_t first = 0, count = 0;
  std::vector<std::string> contexts;
  std::vector<std::string> continuations;
};

}  // namespace

Result<std::vector<const Task*>> select_tasks(std::string_view names, const EvaluateOptions& options) {
  std::vector<const Task*> chosen;
  std::set<std::string_view> seen;
  const auto add = [&](const Task* task) {
    if (seen.insert(task->id).second) chosen.push_back(task);
  };
  while (!names.empty()) {
    const std::string_view name = names.substr(0, names.find(','));
    names.remove_prefix(std::min(names.size(), name.size() + 1));
    if (name.empty()) continue;
    const std::size_t before = chosen.size();
    bool found = false;
    for (const Task& task : options.own_tasks) {
      if (!matches(name, task.id)) continue;
      add(&task);
      found = true;
    }
    for (const Task* task : tasks()) {
      const bool tagged = std::find(task->tags.begin(), task->tags.end(), name) != task->tags.end();
      if (!matches(name, task->id) && !tagged) continue;
      add(task);
      found = true;
    }
    for (const TaskGroup* group : task_groups()) {
      if (!matches(name, group->id)) continue;
      std::vector<std::string> members;
      expand_group(*group, members);
      for (const std::string& member : members) add(find_task(member));
      found = true;
    }
    if (!found && chosen.size() == before) {
      std::string known;
      for (const Task* task : tasks())
        if (!task->id.starts_with("mmlu_")) known += (known.empty() ? "" : ", ") + task->id;
      for (const TaskGroup* group : task_groups()) known += ", " + group->id;
      return Status(Code::not_found, fmt::format("there is no task \"{}\"; known are: {}", name, known));
    }
  }
  if (chosen.empty()) return Status(Code::invalid_argument, "no task was named");
  return chosen;
}

namespace {

Result<TaskRun> run_task(const std::shared_ptr<const model::Model>& model, Team& team, const Task& task,
                         const EvaluateOptions& options, const ProgressFn& progress) {
  const auto start = Clock::now();
  const text::Tokenizer* tokenizer = model->tokenizer();
  if (tokenizer == nullptr)
    return Status(Code::not_found, "the model carries no tokenizer, so a task cannot be run with it");
  TaskRun run;
  run.task = &task;
  run.num_fewshot = options.num_fewshot >= 0 ? options.num_fewshot : task.num_fewshot;
  NBL_ASSIGN(Documents documents, load_documents(task, options.data, false));
  run.original = documents.original;
  run.data_file = documents.file;
  run.data_sha256 = documents.sha256;
  NBL_ASSIGN(Examples examples, Examples::create(task, options, run.num_fewshot, documents));
  if (options.limit > 0 && static_cast<int64_t>(documents.documents.size()) > options.limit) {
    documents.documents.resize(static_cast<std::size_t>(options.limit));
  }
  run.effective = static_cast<int64_t>(documents.documents.size());

  PromptOptions prompt = options.prompt;
  prompt.num_fewshot = run.num_fewshot;
  const std::string delimiter = prompt.chat ? "" : task.target_delimiter;
  std::vector<Asked> asked;
  std::size_t total = 0;
  for (const Json& document : documents.documents) {
    Asked a;
    a.first = total;
    NBL_ASSIGN(a.contexts, build_contexts(task, document, examples.next(document), prompt));
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
    a.count = a.contexts.size();
    total += a.count;
    asked.push_back(std::move(a));
  }

  std::vector<Answer> answers(documents.documents.size());
  if (task.output == Output::generate) {
    std::vector<std::string> contexts;
    for (const Asked& a : asked) contexts.push_back(a.contexts.front());
    NBL_ASSIGN(std::vector<GeneratedText> texts, generate_until(model, team, contexts, task.generation, progress));
    for (std::size_t d = 0; d < answers.size(); ++d) {
      answers[d].text = std::move(texts[d].text);
      run.truncated += texts[d].truncated ? 1 : 0;
    }
  } else if (task.output == Output::rolling) {
    for (std::size_t d = 0; d < answers.size(); ++d) {
      NBL_ASSIGN(const Perplexity p,
                 perplexity(model, team, asked[d].continuations.front(), {.name = "rolling"}, progress));
      answers[d].loglikelihoods = {-p.nll * static_cast<double>(p.tokens)};
      answers[d].greedy = {false};
    }
  } else {
    std::vector<ScoreRequest> requests;
    for (const Asked& a : asked) {
      for (std::size_t i = 0; i < a.count; ++i) {
        NBL_ASSIGN(ScoreRequest request, encode_pair(*tokenizer, a.contexts[i], a.continuations[i]));
        requests.push_back(std::move(request));
      }
    }
    NBL_ASSIGN(const std::vector<ScoreResult> scores, score(model, team, requests, progress));
    for (std::size_t d = 0; d < answers.size(); ++d) {
      bool truncated = false;
      for (std::size_t i = asked[d].first; i < asked[d].first + asked[d].count; ++i) {
        answers[d].loglikelihoods.push_back(scores[i].logprob);
        answers[d].greedy.push_back(scores[i].is_greedy);
        answers[d].lengths.push_back(static_cast<int64_t>(scores[i].token_logprobs.size()));
        truncated = truncated || scores[i].truncated;
      }
      run.truncated += truncated ? 1 : 0;
    }
  }

  for (const Filter& filter : task.filters) {
    for (const Metric& metric : task.metrics) {
      MetricRun m;
      m.name = metric.name;
      m.filter = filter.name;
      m.aggregation = metric.aggregation;
      m.higher_is_better = metric.higher_is_better;
      run.metrics.push_back(std::move(m));
    }
  }
  for (std::size_t d = 0; d < answers.size(); ++d) {
    Json sample = Json::object();
    for (std::size_t f = 0; f < task.filters.size(); ++f) {
      Answer answer = answers[d];
      if (task.filters[f].apply) answer.text = task.filters[f].apply(answer.text);
      std::vector<std::pair<std::string, MetricValue>> values;
      MetricSink sink(values);
      Fields fields(documents.documents[d]);
      if (task.judge) {
        task.judge(fields, answer, sink);
      } else {
        judge_as_usual(task, fields, answer, sink);
      }
      NBL_TRY(fields.status());
      for (auto& [name, value] : values) {
        for (MetricRun& m : run.metrics) {
          if (m.name != name || m.filter != task.filters[f].name) continue;
          if (options.samples && value.numbers.size() == 1) sample.set(name + "," + m.filter, value.numbers[0]);
          m.values.push_back(value);
        }
      }
      if (options.samples && task.output == Output::generate)
        sample.set("filtered_resps," + task.filters[f].name, answer.text);
    }
    if (!options.samples) continue;
    Json record = Json::object();
    record.set("doc_id", static_cast<int64_t>(d));
    record.set("doc", documents.documents[d]);
    Json arguments = Json::array(), responses = Json::array();
    for (std::size_t i = 0; i < asked[d].count; ++i) {
      Json pair = Json::array();
      pair.push_back(asked[d].contexts[i]);
      if (i < asked[d].continuations.size()) pair.push_back(asked[d].continuations[i]);
      arguments.push_back(std::move(pair));
    }
    if (task.output == Output::generate) {
      responses.push_back(answers[d].text);
    } else {
      for (std::size_t i = 0; i < answers[d].loglikelihoods.size(); ++i) {
        Json pair = Json::array();
        pair.push_back(answers[d].loglikelihoods[i]);
        pair.push_back(static_cast<bool>(answers[d].greedy[i]));
        responses.push_back(std::move(pair));
      }
    }
    record.set("arguments", std::move(arguments));
    record.set("resps", std::move(responses));
    for (const auto& [key, value] : sample.members()) record.set(key, value);
    run.samples.push_back(std::move(record));
  }
  for (MetricRun& m : run.metrics) {
    m.value = m.values.empty() ? std::nan("") : m.aggregation->combine(m.values);
    m.error = aggregate_stderr(*m.aggregation, m.values, options.bootstrap_iterations);
  }
  run.seconds = std::chrono::duration<double>(Clock::now() - start).count();
  return run;
}

}  // namespace

Result<ModelRun> run_tasks(std::shared_ptr<const model::Model> model, std::string_view name, Team& team,
                           std::span<const Task* const> tasks, const EvaluateOptions& options,
                           const ProgressFn& progress) {
  ModelRun run;
  run.name = name;
  for (std::size_t t = 0; t < tasks.size(); ++t) {
    const ProgressFn inner = [&](const ProgressEvent& event) {
      return !progress ||
             progress({"evaluate", fmt::format("{} ({} of {}): {}", tasks[t]->id, t + 1, tasks.size(), event.detail),
                       event.done, event.total});
    };
    auto one = run_task(model, team, *tasks[t], options, inner);
    if (!one.ok()) return one.status();
    run.tasks.push_back(std::move(one).value());
  }
  return run;
}

}  // namespace nbl::eval

#include "eval/judge.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "base/hash.h"
#include "eval/characters.h"

namespace nbl::eval {
namespace {

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
    const auto chosen_by = [&](auto&& length) {
      std::size_t best = 0;
      for (std::size_t c = 1; c < lls.size(); ++c)
        if (lls[c] / length(c) > lls[best] / length(best)) best = c;
      return static_cast<int64_t>(best);
    };
    const auto best_by = [&](auto&& length) {
      return std::find(gold.begin(), gold.end(), chosen_by(length)) != gold.end() ? 1.0 : 0.0;
    };
    for (const char* name : {"f1", "mcc"}) {
      if (!wants(name)) continue;
      if (gold.size() != 1) fields.fail(fmt::format("task {}: a document has {} right answers; {} compares with one", task.id, gold.size(), name));
      if (choices.size() != 2 && std::string_view(name) == "f1") fields.fail(fmt::format("task {}: a document has {} choices; f1 is of two", task.id, choices.size()));
      if (fields.ok()) out.add(name, coded_pair(gold.front(), chosen_by([](std::size_t) { return 1.0; })));
    }
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

std::string sha256_of(std::string_view text) {
  Sha256 hash;
  hash.update(std::as_bytes(std::span(text.data(), text.size())));
  return hash.finish_hex();
}

/// A number as Python's str() writes a float.
std::string python_float(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  std::string text = fmt::format("{}", value);
  if (text.find_first_of(".en") == std::string::npos) text += ".0";
  return text;
}

/// The answer that the task's author holds right, as the harness writes it.
std::string target_text(const Task& task, Fields& fields) {
  if (task.gold && task.output == Output::multiple_choice) {
    const std::vector<int64_t> gold = task.gold(fields);
    if (gold.size() == 1) return fmt::format("{}", gold[0]);
    return fmt::format("[{}]", fmt::join(gold, ", "));
  }
  return task.target ? task.target(fields) : std::string();
}

Json scored_pairs(const Answer& answer, bool nested) {
  Json list = Json::array();
  for (std::size_t i = 0; i < answer.loglikelihoods.size(); ++i) {
    Json pair = Json::array();
    pair.push_back(python_float(answer.loglikelihoods[i]));
    pair.push_back(answer.greedy[i] ? "True" : "False");
    if (nested) {
      Json outer = Json::array();
      outer.push_back(std::move(pair));
      list.push_back(std::move(outer));
    } else {
      list.push_back(std::move(pair));
    }
  }
  return list;
}

/// What is the same for every filter.
Json sample_base(const Plan& plan, std::size_t d, const Answer& answer) {
  const Task& task = *plan.task;
  const Json& document = plan.documents.documents[d];
  const Asked& asked = plan.asked[d];
  Json record = Json::object();
  record.set("doc_id", static_cast<int64_t>(d));
  record.set("doc", document);
  Fields fields(document);
  const std::string target = target_text(task, fields);
  record.set("target", target);
  Json arguments = Json::object();
  // A whole text is scored by itself: what it is asked behind is no argument.
  const std::string& first = task.output == Output::rolling ? asked.continuations.front() : asked.contexts.front();
  for (std::size_t i = 0; i < asked.contexts.size(); ++i) {
    Json pair = Json::object();
    pair.set("arg_0", task.output == Output::rolling ? first : asked.contexts[i]);
    if (i < asked.continuations.size() && task.output != Output::rolling) pair.set("arg_1", asked.continuations[i]);
    arguments.set(fmt::format("gen_args_{}", i), std::move(pair));
  }
  record.set("arguments", std::move(arguments));
  if (task.output == Output::generate) {
    Json texts = Json::array();
    for (const std::string& text : answer.texts) texts.push_back(text);
    Json responses = Json::array();
    responses.push_back(std::move(texts));
    record.set("resps", std::move(responses));
  } else {
    record.set("resps", scored_pairs(answer, true));
  }
  record.set("filtered_resps", Json());
  record.set("filter", Json());
  record.set("metrics", Json());
  record.set("doc_hash", sha256_of(document.dump(2)));
  record.set("prompt_hash", sha256_of(first));
  record.set("target_hash", sha256_of(target));
  if (!answer.token_ids.empty()) {
    Json requests = Json::array();
    for (const auto& [context, continuation] : answer.token_ids) {
      Json pair = Json::object();
      for (const auto& [key, ids] : {std::pair("context_ids", &context), std::pair("continuation_ids", &continuation)}) {
        Json list = Json::array();
        for (const int32_t id : *ids) list.push_back(static_cast<int64_t>(id));
        pair.set(key, std::move(list));
      }
      requests.push_back(std::move(pair));
    }
    record.set("token_ids", std::move(requests));
  }
  return record;
}

/// The answer as a filter leaves it.
Answer filtered(const Filter& filter, Fields& fields, const Answer& from) {
  Answer answer = from;
  for (std::string& text : answer.texts) {
    if (filter.apply) text = filter.apply(text);
    if (filter.with_document) text = filter.with_document(fields, text);
  }
  if (filter.chain) filter.chain(answer.texts);
  if (!answer.texts.empty()) answer.text = answer.texts.front();
  return answer;
}

std::vector<std::pair<std::string, MetricValue>> judged(const Plan& plan, Fields& fields, const Answer& answer) {
  const Task& task = *plan.task;
  std::vector<std::pair<std::string, MetricValue>> values;
  MetricSink sink(values, plan.documents.pieces);
  if (task.judge) {
    task.judge(fields, answer, sink);
  } else {
    judge_as_usual(task, fields, answer, sink);
  }
  return values;
}

/// Scores by document, of this task and model.
Result<std::map<int64_t, double>> verdicts_on(const Task& task, const std::string& jsonl, const std::string& model) {
  std::map<int64_t, double> scores;
  NBL_ASSIGN(const std::vector<Json> records, read_jsonl(jsonl, "verdicts"));
  for (std::size_t i = 0; i < records.size(); ++i) {
    auto name = records[i].get_string("task");
    auto id = records[i].get_int("doc_id");
    auto score = records[i].get_double("score");
    for (const Status& status : {name.status(), id.status(), score.status()})
      if (!status.ok()) return status.with_context(fmt::format("verdict {}", i + 1));
    const Json* judged = records[i].find_value("model");
    if (*name != task.id || (judged != nullptr && judged->as_string() != model)) continue;
    if (!scores.emplace(*id, *score).second)
      return Status(Code::corrupt, fmt::format("verdict {}: document {} of {} has one already", i + 1, *id, task.id));
  }
  return scores;
}

}  // namespace

Status MetricSink::add_pieces(std::string_view reference, std::string_view prediction) {
  for (const LoadedPieces& each : pieces_) {
    const auto apart = [&](std::string_view text) -> Result<std::string> {
      NBL_ASSIGN(const std::vector<std::string> pieces, each.pieces->cut(text.substr(0, rstripped(text))));
      return fmt::format("{}", fmt::join(pieces, " "));
    };
    NBL_ASSIGN(std::string expected, apart(reference));
    NBL_ASSIGN(std::string given, apart(prediction));
    add(each.metric, {std::move(expected)}, std::move(given));
  }
  return {};
}

Status judge_answers(const Plan& plan, const std::vector<Answer>& answers, const EvaluateOptions& options,
                     TaskRun* run) {
  const Task& task = *plan.task;
  NBL_ASSIGN(const auto scores, verdicts_on(task, options.verdicts, options.model_name));
  std::vector<Json> bases;
  for (std::size_t d = 0; options.samples && d < answers.size(); ++d) bases.push_back(sample_base(plan, d, answers[d]));
  for (const Filter& filter : task.filters) {
    const std::size_t first = run->metrics.size();
    for (const Metric& metric : task.metrics) {
      MetricRun m;
      m.name = metric.name;
      m.filter = filter.name;
      m.aggregation = metric.aggregation;
      m.higher_is_better = metric.higher_is_better;
      run->metrics.push_back(std::move(m));
    }
    for (std::size_t d = 0; d < answers.size(); ++d) {
      Fields fields(plan.documents.documents[d]);
      const Answer answer = filtered(filter, fields, answers[d]);
      std::vector<std::pair<std::string, MetricValue>> values = judged(plan, fields, answer);
      NBL_TRY(fields.status());
      if (const auto score = scores.find(static_cast<int64_t>(d)); score != scores.end())
        MetricSink(values).add("judge_score", score->second);
      Json record;
      Json names = Json::array();
      if (options.samples) {
        record = bases[d];
        record.set("filter", filter.name);
        if (task.output == Output::generate) {
          Json texts = Json::array();
          for (const std::string& text : answer.texts) texts.push_back(text);
          record.set("filtered_resps", std::move(texts));
        } else {
          record.set("filtered_resps", scored_pairs(answer, false));
        }
      }
      for (auto& [name, value] : values) {
        const auto m = std::find_if(run->metrics.begin() + static_cast<std::ptrdiff_t>(first), run->metrics.end(),
                                    [&key = name](const MetricRun& each) { return each.name == key; });
        if (m == run->metrics.end()) continue;
        if (options.samples) {
          names.push_back(name);
          if (value.numbers.size() == 1) record.set(name, value.numbers[0]);
        }
        m->values.push_back(std::move(value));
      }
      if (options.samples) {
        record.set("metrics", std::move(names));
        run->samples.push_back(std::move(record));
      }
    }
  }
  for (MetricRun& m : run->metrics) {
    m.value = m.values.empty() ? std::nan("") : m.aggregation->combine(m.values);
    // As the harness does: scores of a whole corpus are dear to compute, so 100 samples must do.
    const bool corpus = m.aggregation->error == StderrKind::bootstrap && m.aggregation->combine_numbers == nullptr;
    const int64_t iterations = corpus ? std::min<int64_t>(100, options.bootstrap_iterations) : options.bootstrap_iterations;
    m.error = aggregate_stderr(*m.aggregation, m.values, iterations);
  }
  return {};
}

RunningScore::RunningScore(const Plan& plan) : plan_(plan) {
  const Task& task = *plan.task;
  if (task.metrics.empty() || task.filters.empty() || task.runs_code) return;
  const Aggregation* aggregation = task.metrics.front().aggregation;
  // Scores of a whole corpus are no sums over documents.
  if (aggregation != &kMean && aggregation != &kPerplexity) return;
  aggregation_ = aggregation;
  name_ = task.metrics.front().name;
}

void RunningScore::add(std::size_t d, const Answer& answer) {
  if (aggregation_ == nullptr) return;
  Fields fields(plan_.documents.documents[d]);
  auto values = judged(plan_, fields, filtered(plan_.task->filters.front(), fields, answer));
  if (!fields.status().ok()) return;  // whoever judges for good will say so
  for (auto& [name, value] : values)
    if (name == name_) values_.push_back(std::move(value));
}

std::string RunningScore::text() const {
  return values_.empty() ? std::string() : fmt::format("{} {:.4f}", name_, aggregation_->combine(values_));
}

}  // namespace nbl::eval

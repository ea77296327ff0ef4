#include "eval/own_task_scoring.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>

#include "eval/tasks/task_list.h"
#include "eval/text_metrics.h"
#include "text/jinja_case.h"

namespace nbl::eval {
namespace {

using Texts = std::vector<std::string>;
using Step = std::function<void(Texts&)>;

Step each_text(std::function<std::string(const std::string&)> change) {
  return [change = std::move(change)](Texts& texts) {
    for (std::string& text : texts) text = change(text);
  };
}

/// The most frequent text; of equally frequent ones the first.
void vote(Texts& texts) {
  std::size_t best = 0;
  int64_t most = 0;
  for (std::size_t i = 0; i < texts.size(); ++i) {
    const int64_t count = std::count(texts.begin(), texts.end(), texts[i]);
    if (count <= most) continue;
    most = count;
    best = i;
  }
  if (!texts.empty()) texts = {texts[best]};
}

/// The text that stands for a text, or the default. Numbers become the text that the harness compares with: a reference is made a
/// number there before it is compared, which for a whole number is the same as comparing texts.
Result<Step> map_step(const Json& step, const std::string& source) {
  const auto shown = [&](const Json* value) -> Result<std::string> {
    if (value != nullptr && value->is_string()) return std::string(value->as_string());
    if (value != nullptr && value->is_int()) return std::to_string(value->as_int());
    return outside_subset(source, "a map to what is neither a text nor a whole number");
  };
  std::map<std::string, std::string> table;
  const Json* entries = step.find_value("mapping_dict");
  if (entries == nullptr || !entries->is_object()) return Status(Code::corrupt, source + ": the filter function \"map\" has no mapping_dict");
  for (const auto& [key, value] : entries->members()) {
    NBL_ASSIGN(table[key], shown(&value));
  }
  NBL_ASSIGN(const std::string otherwise, shown(step.find_value("default_value")));
  return each_text([table = std::move(table), otherwise](const std::string& t) {
    const auto it = table.find(t);
    return it == table.end() ? otherwise : it->second;
  });
}

Result<Step> step_of(const Json& step, const std::string& source, int64_t repeats) {
  NBL_ASSIGN(const std::string function, step.get_string("function"));
  const auto only = [&](std::initializer_list<std::string_view> known) -> Status {
    for (const auto& [key, value] : step.members())
      if (key != "function" && std::find(known.begin(), known.end(), key) == known.end())
        return outside_subset(source, fmt::format("\"{}\" of the filter function \"{}\"", key, function));
    return {};
  };
  if (function == "regex") {
    NBL_TRY(only({"regex_pattern", "group_select", "fallback"}));
    NBL_ASSIGN(const std::string pattern, step.string_or("regex_pattern", "#### (\\-?[0-9\\.\\,]+)"));
    NBL_ASSIGN(const int64_t select, step.int_or("group_select", 0));
    NBL_ASSIGN(const std::string fallback, step.string_or("fallback", "[invalid]"));
    if (auto compiled = PythonRegex::compile(pattern); !compiled.ok()) return compiled.status().with_context(source);
    return each_text(regex_filter(pattern, static_cast<int>(select), fallback));
  }
  if (function == "take_first_k") {
    NBL_TRY(only({"k"}));
    NBL_ASSIGN(const int64_t k, step.get_int("k"));
    if (k < 1 || k > repeats)
      return Status(Code::corrupt, fmt::format("{}: take_first_k takes {} of {} answers: \"repeats\" must be at least as many", source, k, repeats));
    return Step([k](Texts& texts) { texts.resize(std::min(texts.size(), static_cast<std::size_t>(k))); });
  }
  if (function == "map") {
    NBL_TRY(only({"mapping_dict", "default_value"}));
    return map_step(step, source);
  }
  NBL_TRY(only({}));
  if (function == "uppercase") return each_text([](const std::string& t) { return text::jinja::upper(t); });
  if (function == "lowercase") return each_text([](const std::string& t) { return lowered(t); });
  if (function == "remove_whitespace") return each_text([](const std::string& t) { return stripped(t); });
  if (function == "majority_vote") return Step(vote);
  return outside_subset(source, fmt::format("the filter function \"{}\"", function));
}

struct Known {
  const char* name;
  const Aggregation* aggregation;
  bool higher;
  Output output;
};

constexpr std::array kKnown = {Known{"acc", &kMean, true, Output::multiple_choice},
                               Known{"acc_norm", &kMean, true, Output::multiple_choice},
                               Known{"acc_bytes", &kMean, true, Output::multiple_choice},
                               Known{"exact_match", &kMean, true, Output::multiple_choice},
                               Known{"f1", &kF1, true, Output::multiple_choice},
                               Known{"mcc", &kMatthews, true, Output::multiple_choice},
                               Known{"perplexity", &kPerplexity, false, Output::loglikelihood},
                               Known{"acc", &kMean, true, Output::loglikelihood},
                               Known{"word_perplexity", &kWeightedPerplexity, false, Output::rolling},
                               Known{"byte_perplexity", &kWeightedPerplexity, false, Output::rolling},
                               Known{"bits_per_byte", &kBitsPerByte, false, Output::rolling},
                               Known{"exact_match", &kMean, true, Output::generate},
                               Known{"bleu", &kBleu, true, Output::generate},
                               Known{"chrf", &kChrf, true, Output::generate},
                               Known{"chrf++", &kChrfPlusPlus, true, Output::generate}};

/// What exact_match leaves out of account.
struct Ignored {
  bool letter_case = false, punctuation = false, numbers = false;
  std::vector<PythonRegex> expressions;
};

bool matches(const std::string& text, const std::string& reference, const Ignored& ignored) {
  const auto reduced = [&](std::string t) {
    for (const PythonRegex& expression : ignored.expressions) t = expression.replace(t, "");
    if (ignored.numbers) std::erase_if(t, [](char c) { return c >= '0' && c <= '9'; });
    return t;
  };
  return exact_match(reduced(text), reduced(reference), {}, ignored.letter_case, ignored.punctuation);
}

Result<Metric> metric_of(const Json& entry, const std::string& source, Output output, Ignored* ignored) {
  NBL_ASSIGN(const std::string name, entry.get_string("metric"));
  const auto it = std::find_if(kKnown.begin(), kKnown.end(), [&](const Known& k) { return name == k.name && k.output == output; });
  if (it == kKnown.end()) return outside_subset(source, fmt::format("the metric \"{}\" of output_type {}", name, output_name(output)));
  Metric metric = {it->name, it->aggregation, it->higher};
  const bool compares = name == "exact_match" && output == Output::generate;
  for (const auto& [key, value] : entry.members()) {
    if (key == "metric") continue;
    if (key == "higher_is_better") {
      metric.higher_is_better = value.as_bool(metric.higher_is_better);
    } else if (key == "aggregation") {
      if (value.as_string() != metric.aggregation->name)
        return outside_subset(source, fmt::format("the aggregation \"{}\" of {}", value.as_string(), name));
    } else if (key == "hf_evaluate" && !value.as_bool(true)) {
      // The harness's own metric, which ours is.
    } else if (compares && key == "ignore_case") {
      ignored->letter_case = value.as_bool();
    } else if (compares && key == "ignore_punctuation") {
      ignored->punctuation = value.as_bool();
    } else if (compares && key == "ignore_numbers") {
      ignored->numbers = value.as_bool();
    } else if (compares && key == "regexes_to_ignore") {
      for (const Json& pattern : value.elements()) {
        NBL_ASSIGN(PythonRegex expression, PythonRegex::compile(pattern.as_string()));
        ignored->expressions.push_back(std::move(expression));
      }
    } else {
      return outside_subset(source, fmt::format("\"{}\" of the metric {}", key, name));
    }
  }
  return metric;
}

}  // namespace

Status outside_subset(const std::string& source, const std::string& what) {
  return {Code::unsupported, fmt::format("{}: {} is outside the subset of task files that nibble runs", source, what)};
}

Status set_filters(const Json& definition, const std::string& source, Task* task) {
  task->filters = {{"none", {}, {}, [](Texts& texts) { texts.resize(std::min<std::size_t>(texts.size(), 1)); }}};
  const Json* list = definition.find_value("filter_list");
  if (list == nullptr) return {};
  task->filters.clear();
  for (const Json& entry : list->elements()) {
    Filter filter;
    NBL_ASSIGN(filter.name, entry.get_string("name"));
    const Json* functions = entry.find_value("filter");
    if (functions == nullptr || functions->size() == 0)
      return {Code::corrupt, fmt::format("{}: filter \"{}\" has no functions", source, filter.name)};
    std::vector<Step> steps;
    bool taken = false, one = task->repeats == 1;
    for (const Json& function : functions->elements()) {
      NBL_ASSIGN(const std::string name, function.get_string("function"));
      if (taken && name != "take_first") return outside_subset(source, fmt::format("the filter function \"{}\" after take_first", name));
      if (name == "take_first") {
        if (taken) return outside_subset(source, "take_first twice in a filter");
        taken = true;
        continue;
      }
      one = one || name == "majority_vote";
      NBL_ASSIGN(Step step, step_of(function, source, task->repeats));
      steps.push_back(std::move(step));
    }
    if (!taken && !one)
      return outside_subset(source, fmt::format("the filter \"{}\", which leaves {} answers a question,", filter.name, task->repeats));
    filter.chain = [steps](Texts& texts) {
      for (const Step& step : steps) step(texts);
      texts.resize(std::min<std::size_t>(texts.size(), 1));
    };
    task->filters.push_back(std::move(filter));
  }
  if (task->filters.empty()) return {Code::corrupt, source + ": \"filter_list\" is empty"};
  return {};
}

Status set_metrics(const Json& definition, const std::string& source, std::function<std::vector<std::string>(Fields&)> references, Task* task) {
  const auto ignored = std::make_shared<Ignored>();
  if (const Json* list = definition.find_value("metric_list")) {
    for (const Json& entry : list->elements()) {
      NBL_ASSIGN(Metric metric, metric_of(entry, source, task->output, ignored.get()));
      task->metrics.push_back(std::move(metric));
    }
    if (task->metrics.empty()) return {Code::corrupt, source + ": \"metric_list\" is empty"};
  } else {
    for (const Known& k : kKnown) {
      const std::string_view name = k.name;
      const bool usual = k.output == Output::multiple_choice ? name == "acc" || name == "acc_norm" : k.output != Output::generate || name == "exact_match";
      if (k.output == task->output && usual) task->metrics.push_back({k.name, k.aggregation, k.higher});
    }
  }
  if (task->output != Output::generate) return {};
  task->judge = [metrics = task->metrics, ignored, references](Fields& f, const Answer& answer, MetricSink& out) {
    const std::vector<std::string> right = references(f);
    for (const Metric& metric : metrics) {
      if (metric.name == "exact_match") {
        const bool any = std::any_of(right.begin(), right.end(), [&](const std::string& r) { return matches(answer.text, r, *ignored); });
        out.add(metric.name, any ? 1.0 : 0.0);
      } else if (right.size() != 1) {
        f.fail(fmt::format("there are {} right answers; {} compares with one", right.size(), metric.name));
      } else {
        out.add(metric.name, right, answer.text);
      }
    }
  };
  return {};
}

}  // namespace nbl::eval

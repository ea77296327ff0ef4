#include "eval/own_task.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <filesystem>

#include "eval/characters.h"
#include "eval/tasks/task_list.h"
#include "eval/text_metrics.h"
#include "eval/yaml.h"
#include "text/jinja.h"

namespace nbl::eval {
namespace {

constexpr std::array<std::string_view, 28> kKeys = {
    "task", "task_alias", "tag", "dataset_path", "dataset_name", "dataset_kwargs", "test_split", "validation_split",
    "training_split", "fewshot_split", "output_type", "doc_to_text", "doc_to_target", "doc_to_choice", "description",
    "target_delimiter", "fewshot_delimiter", "fewshot_config", "num_fewshot", "metric_list", "filter_list", "generation_kwargs",
    "repeats", "metadata", "should_decontaminate", "doc_to_decontamination_query", "documents", "group"};

/// Renders a value of a document: a field of that name, or a template.
class Rule {
 public:
  static Result<Rule> create(const std::string& source, std::string_view what) {
    Rule rule;
    rule.source_ = source;
    text::TemplateOptions options;
    options.strict_undefined = true;
    options.keep_trailing_newline = true;
    NBL_ASSIGN(text::Template compiled, text::Template::compile(source, what, options));
    rule.template_ = std::make_shared<const text::Template>(std::move(compiled));
    return rule;
  }

  const Json* field(const Fields& f) const { return f.record().find(source_); }
  std::string text(Fields& f) const {
    if (const Json* value = field(f)) return value->is_string() ? std::string(value->as_string()) : value->dump();
    auto rendered = template_->render(f.record());
    if (!rendered.ok()) f.fail(rendered.status().message());
    return rendered.ok() ? std::move(rendered).value() : std::string();
  }

 private:
  std::string source_;
  std::shared_ptr<const text::Template> template_;
};

/// "['a', \"b's\", 3]" as jinja prints a list.
std::vector<std::string> python_list(Fields& f, std::string_view text) {
  std::vector<std::string> result;
  std::size_t at = text.find_first_not_of(" \n");
  if (at == std::string_view::npos || (text[at] != '[' && text[at] != '(')) {
    f.fail(fmt::format("doc_to_choice gives \"{}\", expected a list", text));
    return result;
  }
  const char close = text[at] == '[' ? ']' : ')';
  for (++at; at < text.size() && text[at] != close;) {
    const char c = text[at];
    if (c == ' ' || c == ',' || c == '\n') {
      ++at;
      continue;
    }
    std::string item;
    if (c == '\'' || c == '"') {
      for (++at; at < text.size() && text[at] != c; ++at) {
        if (text[at] == '\\' && at + 1 < text.size()) {
          const char e = text[++at];
          item += e == 'n' ? '\n' : e == 't' ? '\t' : e == 'r' ? '\r' : e;
        } else {
          item += text[at];
        }
      }
      ++at;
    } else {
      while (at < text.size() && text[at] != ',' && text[at] != close) item += text[at++];
      item.resize(rstripped(item));
    }
    result.push_back(std::move(item));
  }
  return result;
}

class Builder {
 public:
  Builder(const Json& definition, std::string_view source) : d_(definition), source_(source) {}

  Result<Task> build() {
    for (const auto& [key, value] : d_.members()) {
      if (std::find(kKeys.begin(), kKeys.end(), key) == kKeys.end()) return refuse(fmt::format("the key \"{}\"", key));
    }
    if (d_.find_value("group") != nullptr) return refuse("a group");
    NBL_ASSIGN(task_.id, d_.get_string("task"));
    if (task_.id.empty() || task_.id.find(',') != std::string::npos)
      return Status(Code::corrupt, source_ + ": \"task\" must be a name without commas");
    NBL_ASSIGN(task_.alias, d_.string_or("task_alias", ""));
    NBL_ASSIGN(task_.description, d_.string_or("description", ""));
    NBL_ASSIGN(task_.target_delimiter, d_.string_or("target_delimiter", " "));
    NBL_ASSIGN(task_.fewshot_delimiter, d_.string_or("fewshot_delimiter", "\n\n"));
    NBL_ASSIGN(task_.num_fewshot, d_.int_or("num_fewshot", 0));
    NBL_ASSIGN(task_.repeats, d_.int_or("repeats", 1));
    if (task_.num_fewshot < 0 || task_.num_fewshot > 1000 || task_.repeats < 1 || task_.repeats > 1000)
      return Status(Code::corrupt, source_ + ": \"num_fewshot\" or \"repeats\" is out of range");
    if (const Json* metadata = d_.find_value("metadata")) {
      if (const Json* version = metadata->find_value("version"))
        task_.version = version->is_string() ? std::string(version->as_string()) : version->dump();
    }
    task_.summary = "a task of one's own";
    NBL_TRY(output());
    NBL_TRY(data());
    NBL_TRY(rules());
    NBL_TRY(generation());
    NBL_TRY(filters());
    NBL_TRY(metrics());
    return std::move(task_);
  }

 private:
  Status refuse(const std::string& what) const {
    return {Code::unsupported, fmt::format("{}: {} is outside the subset of task files that nibble runs", source_, what)};
  }

  Status output() {
    NBL_ASSIGN(const std::string type, d_.string_or("output_type", "generate_until"));
    for (const Output o : {Output::multiple_choice, Output::loglikelihood, Output::rolling, Output::generate}) {
      if (type != output_name(o)) continue;
      task_.output = o;
      return {};
    }
    return refuse(fmt::format("output_type \"{}\"", type));
  }

  std::string place(const std::string& file) const {
    const std::filesystem::path folder = std::filesystem::path(source_).parent_path(), path = file;
    std::error_code ec;
    if (path.is_relative() && std::filesystem::is_regular_file(folder / path, ec))
      return std::filesystem::absolute(folder / path, ec).string();
    return file;
  }

  Status data() {
    if (const Json* documents = d_.find_value("documents")) {
      if (!documents->is_array()) return {Code::corrupt, source_ + ": \"documents\" must be a list of records"};
      task_.given = std::make_shared<const std::vector<Json>>(documents->elements().begin(), documents->elements().end());
      task_.fewshot_from_test = true;
      return {};
    }
    NBL_ASSIGN(const std::string path, d_.string_or("dataset_path", "json"));
    const Json* kwargs = d_.find_value("dataset_kwargs");
    const Json* files = kwargs == nullptr ? nullptr : kwargs->find_value("data_files");
    const auto of_split = [&](const std::string& split) -> std::vector<DataFile> {
      std::vector<DataFile> list;
      const auto add = [&](const Json& file) {
        const std::string name = place(std::string(file.as_string()));
        list.push_back({name, name.ends_with(".csv") ? read_csv : nullptr});
      };
      const Json* named = files != nullptr && files->is_object() ? files->find_value(split) : files;
      if (named != nullptr && named->is_string()) add(*named);
      if (named != nullptr)
        for (const Json& file : named->elements()) add(file);
      // A set of the hub: where nibble.data puts it.
      if (files == nullptr && !split.empty()) list.push_back({task_.id + "/" + split + ".jsonl"});
      return list;
    };
    std::string tested;
    for (const char* key : {"test_split", "validation_split", "training_split"}) {
      NBL_ASSIGN(const std::string split, d_.string_or(key, ""));
      if (tested.empty()) tested = split;
    }
    if (tested.empty() && files == nullptr) return {Code::corrupt, source_ + ": no split is named, and no data_files"};
    task_.data = of_split(tested);
    if (task_.data.empty()) return {Code::corrupt, fmt::format("{}: data_files names no file for the split \"{}\"", source_, tested)};
    task_.data_is_all = task_.data.size() > 1;
    std::string shown;
    for (const char* key : {"fewshot_split", "training_split", "validation_split"}) {
      NBL_ASSIGN(const std::string split, d_.string_or(key, ""));
      if (shown.empty()) shown = split;
    }
    if (shown.empty() || shown == tested) {
      task_.fewshot_from_test = true;
    } else {
      task_.fewshot = of_split(shown);
    }
    if (const Json* config = d_.find_value("fewshot_config")) {
      for (const auto& [key, value] : config->members()) {
        if (key == "sampler" && (value.as_string() == "first_n" || value.as_string() == "default")) {
          task_.fewshot_first = value.as_string() == "first_n";
        } else if (key != "split") {
          return refuse(fmt::format("fewshot_config \"{}\": {}", key, value.dump()));
        }
      }
    }
    return {};
  }

  Result<Rule> rule(const char* key) {
    const Json* value = d_.find_value(key);
    if (value == nullptr) return Status(Code::corrupt, fmt::format("{}: \"{}\" is missing", source_, key));
    if (!value->is_string() && !value->is_int()) return refuse(fmt::format("\"{}\" that is no text", key));
    return Rule::create(value->is_string() ? std::string(value->as_string()) : value->dump(), fmt::format("{}, {}", source_, key));
  }

  Status rules() {
    if (task_.output != Output::rolling || d_.find_value("doc_to_text") != nullptr) {
      NBL_ASSIGN(const Rule text, rule("doc_to_text"));
      task_.text = [text](Fields& f) { return text.text(f); };
    } else {
      task_.text = [](Fields&) { return std::string(); };
    }
    NBL_ASSIGN(const Rule target, rule("doc_to_target"));
    if (task_.output != Output::multiple_choice) {
      // A list of right answers: the first.
      task_.target = [target](Fields& f) {
        const Json* value = target.field(f);
        if (value != nullptr && value->is_array() && value->size() > 0) return std::string(value->elements()[0].as_string());
        return target.text(f);
      };
      return {};
    }
    const Json* choice = d_.find_value("doc_to_choice");
    if (choice != nullptr && choice->is_array()) {
      std::vector<std::string> fixed;
      for (const Json& c : choice->elements()) fixed.push_back(c.is_string() ? std::string(c.as_string()) : c.dump());
      task_.choices = [fixed](Fields&) { return fixed; };
    } else {
      NBL_ASSIGN(const Rule choices, rule("doc_to_choice"));
      task_.choices = [choices](Fields& f) {
        if (const Json* value = choices.field(f)) {
          std::vector<std::string> list;
          for (const Json& c : value->elements()) list.push_back(c.is_string() ? std::string(c.as_string()) : c.dump());
          if (list.empty()) f.fail("there are no choices");
          return list;
        }
        return python_list(f, choices.text(f));
      };
    }
    task_.gold = [target, choices = task_.choices](Fields& f) {
      const std::string value = stripped(target.text(f));
      if (!value.empty() && value.find_first_not_of("0123456789") == std::string::npos && value.size() < 10)
        return std::vector<int64_t>{std::stoll(value)};
      return std::vector<int64_t>{index_of(f, choices(f), value)};
    };
    return {};
  }

  Status generation() {
    task_.generation.until = {task_.fewshot_delimiter};
    const Json* kwargs = d_.find_value("generation_kwargs");
    if (kwargs == nullptr) return {};
    bool sample = false;
    for (const auto& [key, value] : kwargs->members()) {
      if (key == "until") {
        task_.generation.until.clear();
        if (value.is_string()) task_.generation.until.emplace_back(value.as_string());
        for (const Json& stop : value.elements()) task_.generation.until.emplace_back(stop.as_string());
      } else if (key == "max_gen_toks" || key == "max_new_tokens") {
        task_.generation.max_tokens = value.as_int(256);
      } else if (key == "num_beams") {
        task_.generation.beams = value.as_int(1);
      } else if (key == "temperature") {
        task_.generation.temperature = static_cast<float>(value.as_double());
      } else if (key == "top_p") {
        task_.generation.top_p = static_cast<float>(value.as_double(1));
      } else if (key == "do_sample") {
        sample = value.as_bool();
      } else {
        return refuse(fmt::format("generation_kwargs \"{}\"", key));
      }
    }
    if (!sample) task_.generation.temperature = 0;
    if (sample && task_.generation.temperature == 0) task_.generation.temperature = 1;
    if (task_.generation.max_tokens < 1 || task_.generation.max_tokens > 1000000 || task_.generation.beams < 1 || task_.generation.beams > 64)
      return {Code::corrupt, source_ + ": max_gen_toks or num_beams is out of range"};
    return {};
  }

  Status filters() {
    const Json* list = d_.find_value("filter_list");
    if (list == nullptr) return {};
    task_.filters.clear();
    for (const Json& entry : list->elements()) {
      Filter filter;
      NBL_ASSIGN(filter.name, entry.get_string("name"));
      std::vector<std::function<std::string(const std::string&)>> steps;
      const Json* functions = entry.find_value("filter");
      if (functions == nullptr) return {Code::corrupt, fmt::format("{}: filter \"{}\" has no functions", source_, filter.name)};
      for (const Json& step : functions->elements()) {
        NBL_ASSIGN(const std::string function, step.get_string("function"));
        if (function == "take_first" || function == "custom_none") continue;
        if (function == "lowercase") {
          steps.push_back([](const std::string& t) { return lowered(t); });
        } else if (function == "remove_whitespace") {
          steps.push_back([](const std::string& t) { return t.substr(std::min(t.find_first_not_of(" \t\n\r"), t.size())); });
        } else if (function == "regex") {
          NBL_ASSIGN(const std::string pattern, step.string_or("regex_pattern", "#### (\\-?[0-9\\.\\,]+)"));
          NBL_ASSIGN(const int64_t select, step.int_or("group_select", 0));
          NBL_ASSIGN(const std::string fallback, step.string_or("fallback", "[invalid]"));
          if (auto compiled = PythonRegex::compile(pattern); !compiled.ok()) return compiled.status().with_context(source_);
          steps.push_back(regex_filter(pattern, static_cast<int>(select), fallback));
        } else {
          return refuse(fmt::format("the filter function \"{}\"", function));
        }
      }
      filter.apply = [steps](const std::string& text) {
        std::string t = text;
        for (const auto& step : steps) t = step(t);
        return t;
      };
      task_.filters.push_back(std::move(filter));
    }
    if (task_.filters.empty()) return {Code::corrupt, source_ + ": \"filter_list\" is empty"};
    return {};
  }

  Status metrics() {
    struct Known {
      const char* name;
      const Aggregation* aggregation;
      bool higher;
    };
    static const std::array<Known, 11> known = {{{"acc", &kMean, true},
                                                 {"acc_norm", &kMean, true},
                                                 {"acc_bytes", &kMean, true},
                                                 {"exact_match", &kMean, true},
                                                 {"perplexity", &kPerplexity, false},
                                                 {"word_perplexity", &kWeightedPerplexity, false},
                                                 {"byte_perplexity", &kWeightedPerplexity, false},
                                                 {"bits_per_byte", &kBitsPerByte, false},
                                                 {"bleu", &kBleu, true},
                                                 {"chrf", &kChrf, true},
                                                 {"chrf++", &kChrfPlusPlus, true}}};
    std::vector<Known> wanted;
    bool ignore_case = false, ignore_punctuation = false;
    auto ignored = std::make_shared<std::vector<PythonRegex>>();
    const Json* list = d_.find_value("metric_list");
    if (list == nullptr) {
      if (task_.output == Output::multiple_choice) wanted = {known[0], known[1]};
      if (task_.output == Output::loglikelihood) wanted = {known[4], known[0]};
      if (task_.output == Output::rolling) wanted = {known[5], known[6], known[7]};
      if (task_.output == Output::generate) wanted = {known[3]};
    }
    for (const Json& entry : list == nullptr ? std::span<const Json>() : list->elements()) {
      NBL_ASSIGN(const std::string name, entry.get_string("metric"));
      const auto it = std::find_if(known.begin(), known.end(), [&](const Known& k) { return name == k.name; });
      if (it == known.end()) return refuse(fmt::format("the metric \"{}\"", name));
      Known metric = *it;
      for (const auto& [key, value] : entry.members()) {
        if (key == "metric") continue;
        if (key == "higher_is_better") {
          metric.higher = value.as_bool(metric.higher);
        } else if (key == "aggregation") {
          if (value.as_string() != metric.aggregation->name) return refuse(fmt::format("the aggregation \"{}\" of {}", value.as_string(), name));
        } else if (key == "ignore_case") {
          ignore_case = value.as_bool();
        } else if (key == "ignore_punctuation") {
          ignore_punctuation = value.as_bool();
        } else if (key == "regexes_to_ignore") {
          for (const Json& pattern : value.elements()) {
            NBL_ASSIGN(PythonRegex expression, PythonRegex::compile(pattern.as_string()));
            ignored->push_back(std::move(expression));
          }
        } else {
          return refuse(fmt::format("\"{}\" of the metric {}", key, name));
        }
      }
      wanted.push_back(metric);
    }
    std::vector<std::string> names;
    for (const Known& k : wanted) {
      task_.metrics.push_back({k.name, k.aggregation, k.higher});
      names.emplace_back(k.name);
    }
    if (task_.output == Output::generate) {
      task_.judge = [names, ignored, ignore_case, ignore_punctuation, target = task_.target](Fields& f, const Answer& answer,
                                                                                            MetricSink& out) {
        const std::string reference = target(f);
        for (const std::string& name : names) {
          if (name == "exact_match") {
            out.add(name, exact_match(answer.text, reference, *ignored, ignore_case, ignore_punctuation) ? 1.0 : 0.0);
          } else if (name == "bleu" || name == "chrf" || name == "chrf++") {
            out.add(name, {reference}, answer.text);
          }
        }
      };
    }
    return {};
  }

  const Json& d_;
  std::string source_;
  Task task_;
};

}  // namespace

Result<Task> parse_task(std::string_view definition, std::string_view source) {
  const std::size_t start = definition.find_first_not_of(" \t\r\n");
  const bool json = start != std::string_view::npos && definition[start] == '{';
  NBL_ASSIGN(const Json parsed, json ? Json::parse(definition, source) : parse_yaml(definition, source));
  if (!parsed.is_object()) return Status(Code::corrupt, fmt::format("{}: expected a mapping", source));
  auto task = Builder(parsed, source).build();
  return task.ok() || task.status().message().starts_with(source) ? std::move(task) : Result<Task>(task.status().with_context(std::string(source)));
}

}  // namespace nbl::eval

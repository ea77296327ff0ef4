#include "eval/own_task.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <optional>
#include <set>

#include "base/file.h"
#include "eval/characters.h"
#include "eval/own_task_rules.h"
#include "eval/own_task_scoring.h"
#include "eval/yaml.h"

namespace nbl::eval {
namespace {

constexpr std::array<std::string_view, 29> kKeys = {
    "task", "task_alias", "tag", "dataset_path", "dataset_name", "dataset_kwargs", "test_split", "validation_split",
    "training_split", "fewshot_split", "output_type", "doc_to_text", "doc_to_target", "doc_to_choice", "description",
    "target_delimiter", "fewshot_delimiter", "fewshot_config", "num_fewshot", "metric_list", "filter_list", "generation_kwargs",
    "repeats", "metadata", "should_decontaminate", "doc_to_decontamination_query", "documents", "group", "gen_prefix"};

constexpr std::size_t kMostIncluded = 32;
constexpr int64_t kMostIncludedBytes = 1 << 20;

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
    if (!task_.description.empty()) {
      NBL_ASSIGN(const Rule description, rule("description"));
      task_.describe = [description](Fields& f) { return python_text(description.value(f)); };
    }
    NBL_ASSIGN(task_.target_delimiter, d_.string_or("target_delimiter", " "));
    NBL_ASSIGN(task_.fewshot_delimiter, d_.string_or("fewshot_delimiter", "\n\n"));
    NBL_ASSIGN(task_.num_fewshot, d_.int_or("num_fewshot", 0));
    // The harness lets nobody show examples where a definition says 0.
    task_.zero_shot = task_.num_fewshot == 0 && d_.find_value("num_fewshot") != nullptr;
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
    NBL_TRY(set_filters(d_, source_, &task_));
    NBL_TRY(set_metrics(d_, source_, references_, &task_));
    return std::move(task_);
  }

 private:
  Status refuse(const std::string& what) const { return outside_subset(source_, what); }

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

  /// The files of a split; none where it has none.
  Result<std::vector<DataFile>> files_of(const std::string& split) const {
    NBL_ASSIGN(const std::string path, d_.string_or("dataset_path", "json"));
    const Json* kwargs = d_.find_value("dataset_kwargs");
    for (const auto& [key, value] : kwargs == nullptr ? std::span<const Json::Member>() : kwargs->members())
      if (key != "data_files" && key != "trust_remote_code") return refuse(fmt::format("dataset_kwargs \"{}\"", key));
    const Json* files = kwargs == nullptr ? nullptr : kwargs->find_value("data_files");
    if (files != nullptr && path != "json" && path != "csv") return refuse(fmt::format("data_files of dataset_path \"{}\"", path));
    std::vector<DataFile> list;
    const auto add = [&](const Json& file) {
      const std::string name = place(std::string(file.as_string()));
      list.push_back({name, path == "csv" || name.ends_with(".csv") ? read_csv_typed : nullptr});
    };
    const Json* named = files != nullptr && files->is_object() ? files->find_value(split) : files;
    if (named != nullptr && named->is_string()) add(*named);
    if (named != nullptr)
      for (const Json& file : named->elements()) add(file);
    // A set of the hub: where nibble.data puts it.
    if (files == nullptr && !split.empty()) list.push_back({task_.id + "/" + split + ".jsonl"});
    return list;
  }

  Status data() {
    NBL_ASSIGN(const std::string test_split, d_.string_or("test_split", ""));
    std::string tested = test_split, shown;
    for (const char* key : {"validation_split", "training_split"}) {
      NBL_ASSIGN(const std::string split, d_.string_or(key, ""));
      if (tested.empty()) tested = split;
    }
    NBL_ASSIGN(std::string fewshot_split, d_.string_or("fewshot_split", ""));
    if (const Json* config = d_.find_value("fewshot_config")) {
      NBL_ASSIGN(fewshot_split, config->string_or("split", fewshot_split));
      NBL_TRY(fewshot_config(*config));
    }
    shown = fewshot_split;
    for (const char* key : {"training_split", "validation_split"}) {
      NBL_ASSIGN(const std::string split, d_.string_or(key, ""));
      if (shown.empty()) shown = split;
    }
    task_.fewshot_excludes = fewshot_split == test_split;
    if (const Json* documents = d_.find_value("documents")) {
      if (!documents->is_array()) return {Code::corrupt, source_ + ": \"documents\" must be a list of records"};
      task_.given = std::make_shared<const std::vector<Json>>(documents->elements().begin(), documents->elements().end());
      task_.fewshot_from_test = !task_.fewshot_given;
      return {};
    }
    NBL_ASSIGN(task_.data, files_of(tested));
    if (tested.empty() && task_.data.empty()) return {Code::corrupt, source_ + ": no split is named, and no data_files"};
    if (task_.data.empty()) return {Code::corrupt, fmt::format("{}: data_files names no file for the split \"{}\"", source_, tested)};
    task_.data_is_all = task_.data.size() > 1;
    if (task_.fewshot_given && fewshot_split.empty()) return {};
    task_.fewshot_given = nullptr;  // a split goes before them
    task_.fewshot_from_test = shown.empty() || shown == tested;
    if (!task_.fewshot_from_test) {
      NBL_ASSIGN(task_.fewshot, files_of(shown));
    }
    return {};
  }

  Status fewshot_config(const Json& config) {
    for (const auto& [key, value] : config.members()) {
      if (value.is_null() || key == "split") continue;
      if (key == "sampler" && (value.as_string() == "first_n" || value.as_string() == "default")) {
        task_.fewshot_first = value.as_string() == "first_n";
      } else if (key == "samples" && value.is_array()) {
        task_.fewshot_given = std::make_shared<const std::vector<Json>>(value.elements().begin(), value.elements().end());
      } else if (key != "doc_to_text" && key != "doc_to_choice" && key != "doc_to_target" && key != "target_delimiter" &&
                 key != "fewshot_delimiter" && key != "gen_prefix") {
        return refuse(fmt::format("fewshot_config \"{}\": {}", key, value.dump()));
      }
    }
    return {};
  }

  /// A rule of the definition, or of `over` where that has it.
  Result<Rule> rule(const char* key, const Json* over = nullptr) const {
    const Json* value = over == nullptr ? nullptr : over->find_value(key);
    if (value == nullptr) value = d_.find_value(key);
    if (value == nullptr) return Status(Code::corrupt, fmt::format("{}: \"{}\" is missing", source_, key));
    return Rule::create(*value, fmt::format("{}, {}", source_, key));
  }

  /// Sets how a task asks and answers; `over` is fewshot_config where the task is that of its examples.
  Status ask(const Json* over, Task* task) const {
    const bool has_choices = d_.find_value("doc_to_choice") != nullptr || (over != nullptr && over->find_value("doc_to_choice") != nullptr);
    if (task->output == Output::rolling && d_.find_value("doc_to_text") == nullptr) {
      task->text = [](Fields&) { return std::string(); };
    } else {
      NBL_ASSIGN(const Rule text, rule("doc_to_text", over));
      task->text = [text, has_choices](Fields& f) { return question_of(text, f, has_choices); };
    }
    if (has_choices || task->output == Output::multiple_choice) {
      NBL_ASSIGN(const Rule choices, rule("doc_to_choice", over));
      task->choices = [choices](Fields& f) { return choices_of(choices, f); };
    }
    if (d_.find_value("gen_prefix") != nullptr || (over != nullptr && over->find_value("gen_prefix") != nullptr)) {
      NBL_ASSIGN(const Rule prefix, rule("gen_prefix", over));
      task->prefix = [prefix](Fields& f) { return python_text(prefix.value(f)); };
    }
    NBL_ASSIGN(const Rule target, rule("doc_to_target", over));
    task->target = [target, choices = task->choices](Fields& f) {
      const bool some = static_cast<bool>(choices);
      const std::vector<std::string> list = some ? choices(f) : std::vector<std::string>();
      return shown_answer(target_of(target, f, some), some ? &list : nullptr, f);
    };
    return {};
  }

  Status rules() {
    NBL_TRY(ask(nullptr, &task_));
    NBL_ASSIGN(const std::string prefix, d_.string_or("gen_prefix", ""));
    task_.delimited_prefix = !prefix.empty() && rstripped(prefix) == prefix.size();
    NBL_ASSIGN(const Rule target, rule("doc_to_target"));
    const auto choices = task_.choices;
    if (task_.output == Output::multiple_choice) {
      task_.gold = [target, choices](Fields& f) { return gold_of(target_of(target, f, true), choices(f), f); };
    } else {
      task_.choices = nullptr;  // they only say what an index means
      references_ = [target, choices, shown = task_.target](Fields& f) {
        const Json value = target_of(target, f, static_cast<bool>(choices));
        if (!value.is_array() || choices) return std::vector<std::string>{shown(f)};
        std::vector<std::string> list;
        for (const Json& each : value.elements()) list.push_back(python_text(each));
        return list;
      };
    }
    const Json* config = d_.find_value("fewshot_config");
    if (config == nullptr) return {};
    Task example;
    example.output = task_.output;
    NBL_TRY(ask(config, &example));
    NBL_ASSIGN(example.target_delimiter, config->string_or("target_delimiter", task_.target_delimiter));
    NBL_ASSIGN(example.fewshot_delimiter, config->string_or("fewshot_delimiter", task_.fewshot_delimiter));
    task_.example = std::make_shared<const Task>(std::move(example));
    return {};
  }

  Status generation() {
    task_.generation.until = {task_.fewshot_delimiter};
    const Json* kwargs = d_.find_value("generation_kwargs");
    if (kwargs == nullptr) return {};
    std::optional<bool> sample;
    for (const auto& [key, value] : kwargs->members()) {
      if (key == "until") {
        task_.generation.until.clear();
        if (value.is_string()) task_.generation.until.emplace_back(value.as_string());
        for (const Json& stop : value.elements()) task_.generation.until.emplace_back(stop.as_string());
      } else if (key == "max_gen_toks" || key == "max_new_tokens" || key == "max_tokens") {
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
    // Without do_sample a temperature above 0 means it.
    if (!sample.value_or(task_.generation.temperature > 0)) {
      task_.generation.temperature = 0;
    } else if (task_.generation.temperature == 0) {
      task_.generation.temperature = 1;
    }
    if (task_.generation.max_tokens < 1 || task_.generation.max_tokens > 1000000 || task_.generation.beams < 1 || task_.generation.beams > 64)
      return {Code::corrupt, source_ + ": max_gen_toks or num_beams is out of range"};
    return {};
  }

  const Json& d_;
  std::string source_;
  Task task_;
  std::function<std::vector<std::string>(Fields&)> references_;  ///< right answers to a generated text
};

/// The definition with what it includes: its own keys win, of those included the later ones.
Result<Json> with_included(Json own, const std::filesystem::path& source, std::set<std::filesystem::path>& seen);

Result<Json> parse_definition(std::string_view text, const std::filesystem::path& source, std::set<std::filesystem::path>& seen) {
  const std::size_t start = text.find_first_not_of(" \t\r\n");
  const bool json = start != std::string_view::npos && text[start] == '{';
  NBL_ASSIGN(Json parsed, json ? Json::parse(text, source.string()) : parse_yaml(text, source.string()));
  if (!parsed.is_object()) return Status(Code::corrupt, fmt::format("{}: expected a mapping", source.string()));
  return with_included(std::move(parsed), source, seen);
}

Result<Json> with_included(Json own, const std::filesystem::path& source, std::set<std::filesystem::path>& seen) {
  const Json* include = own.find_value("include");
  if (include == nullptr) return own;
  std::vector<std::string> names;
  if (include->is_string()) names.emplace_back(include->as_string());
  for (const Json& name : include->elements()) names.emplace_back(name.as_string());
  Json merged = Json::object();
  for (const std::string& name : names) {
    const std::filesystem::path path = source.parent_path() / name;
    if (!seen.insert(path.lexically_normal()).second)
      return Status(Code::corrupt, fmt::format("{} includes {} a second time", source.string(), path.string()));
    if (seen.size() > kMostIncluded) return Status(Code::limit, fmt::format("{}: more than {} files are included", source.string(), kMostIncluded));
    auto text = read_text_file(path, kMostIncludedBytes);
    if (!text.ok()) return text.status().with_context(fmt::format("{}, include", source.string()));
    NBL_ASSIGN(const Json base, parse_definition(*text, path, seen));
    for (const auto& [key, value] : base.members()) merged.set(key, value);
  }
  for (const auto& [key, value] : own.members())
    if (key != "include") merged.set(key, value);
  return merged;
}

}  // namespace

Result<Task> parse_task(std::string_view definition, std::string_view source) {
  std::set<std::filesystem::path> seen = {std::filesystem::path(source).lexically_normal()};
  NBL_ASSIGN(const Json parsed, parse_definition(definition, source, seen));
  auto task = Builder(parsed, source).build();
  return task.ok() || task.status().message().starts_with(source) ? std::move(task) : Result<Task>(task.status().with_context(std::string(source)));
}

}  // namespace nbl::eval

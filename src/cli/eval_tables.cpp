#include "cli/eval_tables.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <functional>
#include <map>
#include <set>

#include "cli/table.h"

namespace nibble::cli {
namespace fs = std::filesystem;
namespace {

struct MetricRow {
  std::string task, metric, filter;
  double value = 0, error = 0;
  bool has_error = false, is_number = false;
};

/// The metrics of one task's row, sorted by name as the harness sorts them.
std::vector<MetricRow> metrics_of(std::string_view task, const Doc::Element& row) {
  std::vector<MetricRow> result;
  for (const auto [key, value] : members(row)) {
    const std::string name(key);
    const std::size_t comma = name.find(',');
    if (comma == std::string::npos) continue;
    MetricRow m;
    m.task = task;
    m.metric = name.substr(0, comma);
    m.filter = name.substr(comma + 1);
    if (m.metric.ends_with("_stderr")) continue;
    m.is_number = value.is_number();
    m.value = m.is_number ? value.get_double().value() : std::nan("");
    const std::string error = m.metric + "_stderr," + m.filter;
    simdjson::dom::element found;
    m.has_error = row.at_key(error).get(found) == simdjson::SUCCESS && found.is_number();
    if (m.has_error) m.error = found.get_double().value();
    result.push_back(std::move(m));
  }
  std::sort(result.begin(), result.end(), [](const MetricRow& a, const MetricRow& b) {
    return std::pair(a.metric, a.filter) < std::pair(b.metric, b.filter);
  });
  return result;
}

std::size_t width(std::string_view text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

/// As pytablewriter lays a Markdown table out: no blanks beside the bars, headers in the middle.
std::string dense_markdown(const std::vector<std::string>& header, const std::vector<std::vector<std::string>>& rows,
                           const std::vector<bool>& right) {
  std::vector<std::size_t> widths;
  for (std::size_t c = 0; c < header.size(); ++c) {
    std::size_t w = std::max<std::size_t>(3, width(header[c]));
    for (const auto& row : rows) w = std::max(w, width(row[c]));
    widths.push_back(w);
  }
  std::string out;
  for (std::size_t c = 0; c < header.size(); ++c) {
    const std::size_t room = widths[c] - width(header[c]);
    out += "|" + std::string(room / 2, ' ') + header[c] + std::string(room - room / 2, ' ');
  }
  out += "|\n";
  for (std::size_t c = 0; c < header.size(); ++c)
    out += "|" + std::string(widths[c] - (right[c] ? 1 : 0), '-') + (right[c] ? ":" : "");
  out += "|\n";
  for (const auto& row : rows) {
    for (std::size_t c = 0; c < row.size(); ++c) {
      const std::string room(widths[c] - width(row[c]), ' ');
      out += "|" + (right[c] ? room + row[c] : row[c] + room);
    }
    out += "|\n";
  }
  return out;
}

/// Tasks and groups in the order in which the harness prints them, and how deep below the named groups each lies: groups by name, each
/// with its members by name below it; then what is in no group, by name.
struct Hierarchy {
  std::vector<std::string> order;
  std::map<std::string, int> depth;
};

Hierarchy hierarchy_of(const Doc::Element& whole, const Doc::Element& rows) {
  std::map<std::string, std::vector<std::string>> inside;
  std::set<std::string> children;
  for (const auto [group, list] : members(whole, "group_subtasks")) {
    std::vector<std::string>& own = inside[std::string(group)];
    for (const auto member : elements(list)) own.emplace_back(member.get_string().value());
    std::sort(own.begin(), own.end());
    children.insert(own.begin(), own.end());
  }
  std::set<std::string> there;
  for (const auto [key, row] : members(rows)) there.emplace(key);
  Hierarchy h;
  const std::function<void(const std::string&, int)> visit = [&](const std::string& name, int depth) {
    const bool first = h.depth.emplace(name, depth).second;
    if (first && there.contains(name)) h.order.push_back(name);
    const auto group = inside.find(name);
    if (!first || group == inside.end()) return;
    for (const std::string& member : group->second) visit(member, depth + 1);
  };
  for (const auto& [group, list] : inside)
    if (!children.contains(group)) visit(group, 0);
  for (const std::string& name : there)
    if (!h.depth.contains(name)) h.order.push_back(name);
  return h;
}

std::string sanitized(std::string_view name) {
  std::string result;
  for (const char c : name) {
    const bool plain = std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '.' || c == '-' || c == '_';
    if (plain) {
      result += c;
    } else if (!result.ends_with("__")) {
      result += "__";
    }
  }
  return result.empty() ? "model" : result;
}

std::string csv_field(const std::string& text) {
  if (text.find_first_of(",\"\n\r") == std::string::npos) return text;
  std::string result = "\"";
  for (const char c : text) {
    if (c == '"') result += '"';
    result += c;
  }
  return result + '"';
}

std::string json_or_empty(const Doc::Element& object, std::string_view key) {
  return has(object, key) ? raw(object, key) : "";
}

}  // namespace

std::string data_folder(const std::string& given) {
  if (!given.empty()) return given;
  const char* named = std::getenv("NIBBLE_DATA");
  return named != nullptr && *named != '\0' ? named : "data";
}

void add_tasks(Evaluation& evaluation, const std::vector<std::string>& tasks, const std::string& data) {
  std::string names;
  std::error_code ec;
  for (const std::string& task : tasks) {
    const fs::path path = task;
    if (task == "builtin" || path.extension() == ".jsonl" || (path.extension() == ".txt" && fs::is_regular_file(path, ec))) {
      const std::string file = resolve_data(task, "choice.jsonl");
      use_file(file, [&](const std::string& lines) { evaluation.add_task(fs::path(file).stem().string(), lines); });
    } else if (path.extension() == ".yaml" || path.extension() == ".yml" || path.extension() == ".json") {
      evaluation.add_task_definition(read_file(task), task);
    } else {
      names += (names.empty() ? "" : ",") + task;
    }
  }
  if (!names.empty()) evaluation.set("tasks", names);
  evaluation.set("data", data_folder(data));
}

std::string harness_table(const Doc::Element& whole, const Doc::Element& model, std::string_view section) {
  const std::vector<std::string> header = {section == "groups" ? "Groups" : "Tasks", "Version", "Filter", "n-shot",
                                           "Metric", "", "Value", "", "Stderr"};
  simdjson::dom::element results;
  if (model.at_key(section).get(results) != simdjson::SUCCESS) return {};
  const Hierarchy hierarchy = hierarchy_of(whole, results);
  std::vector<std::vector<std::string>> rows;
  for (const std::string& task : hierarchy.order) {
    const Doc::Element row = results.at_key(task).value();
    std::string name = text(row, "alias", task);
    const auto level = hierarchy.depth.find(task);
    if (level != hierarchy.depth.end() && level->second > 0)
      name = std::string(static_cast<std::size_t>(level->second), ' ') + "- " + name;
    std::string version, shots = " ";
    simdjson::dom::element found;
    if (whole["versions"].at_key(task).get(found) == simdjson::SUCCESS) version = minified(found);
    if (version.ends_with(".0")) version.resize(version.size() - 2);
    if (whole["n-shot"].at_key(task).get(found) == simdjson::SUCCESS) shots = minified(found);
    for (const MetricRow& m : metrics_of(task, row)) {
      std::string direction;
      bool higher = true;
      simdjson::dom::element directions;
      if (whole["higher_is_better"].at_key(task).get(directions) == simdjson::SUCCESS &&
          directions.at_key(m.metric).get_bool().get(higher) == simdjson::SUCCESS)
        direction = higher ? "↑" : "↓";
      rows.push_back({name, version, m.filter, shots, m.metric, direction,
                      m.is_number ? fmt::format("{:.4f}", m.value) : "N/A", "±",
                      m.has_error ? fmt::format("{:.4f}", m.error) : "N/A"});
      name.clear();
      version.clear();
    }
  }
  return dense_markdown(header, rows, {false, true, false, true, false, false, true, false, true});
}

std::string paired_table(const Doc::Element& whole, bool markdown) {
  Table pairs({"task", "metric", "a", "b", "n", "delta", "95 %", "p", "Holm p", "flips", "not worse"});
  for (const auto p : items(whole, "paired")) {
    const auto ci = items(p, "ci95");
    pairs.add({text(p, "task"), text(p, "metric"), text(p, "a"), text(p, "b"), fmt::format("{}", integer(p, "n")),
               fmt::format("{:+.4f}", number(p, "delta")),
               fmt::format("{:+.4f} to {:+.4f}", ci.at(0).get_double().value(), ci.at(1).get_double().value()),
               fmt::format("{:.3f}", number(p, "mcnemar_p")), fmt::format("{:.3f}", number(p, "holm_p")),
               fmt::format("+{} -{}", integer(p, "flips_to_right"), integer(p, "flips_to_wrong")),
               flag(p, "non_inferior") ? "yes" : "open"});
  }
  return pairs.empty() ? std::string() : pairs.text(markdown);
}

std::string results_csv(const Doc::Element& whole) {
  std::string out = "model,task,version,num_fewshot,filter,metric,value,stderr,n\n";
  for (const auto m : items(whole, "models")) {
    for (const auto [task, row] : members(m, "results")) {
      for (const MetricRow& metric : metrics_of(task, row)) {
        out += fmt::format("{},{},{},{},{},{},{},{},{}\n", csv_field(text(m, "name")), csv_field(std::string(task)),
                           json_or_empty(whole["versions"].value(), task), json_or_empty(whole["n-shot"].value(), task),
                           csv_field(metric.filter), csv_field(metric.metric),
                           metric.is_number ? fmt::format("{}", metric.value) : "",
                           metric.has_error ? fmt::format("{}", metric.error) : "", json_or_empty(row, "sample_len"));
      }
    }
  }
  return out;
}

void write_samples(const std::string& folder, const Doc::Element& whole) {
  const auto now = std::chrono::system_clock::now();
  const auto micro = std::chrono::duration_cast<std::chrono::microseconds>(now.time_since_epoch()).count() % 1000000;
  const std::string stamp = fmt::format("{:%Y-%m-%dT%H-%M-%S}.{:06d}",
                                        fmt::gmtime(std::chrono::system_clock::to_time_t(now)), micro);
  for (const auto m : items(whole, "models")) {
    const fs::path place = fs::path(folder) / sanitized(text(m, "name"));
    std::error_code ec;
    fs::create_directories(place, ec);
    if (ec) throw Failure(kBadInput, fmt::format("cannot create '{}': {}", place.string(), ec.message()));
    const auto fresh = [&](const std::string& name) {
      const fs::path path = place / name;
      if (fs::exists(path, ec)) throw Failure(kBadInput, fmt::format("'{}' exists already", path.string()));
      return path.string();
    };
    for (const auto [task, samples] : has(m, "samples") ? members(m, "samples") : members(whole, "samples")) {
      std::string lines;
      for (const auto sample : elements(samples)) lines += minified(sample) + "\n";
      write_file(fresh(fmt::format("samples_{}_{}.jsonl", task, stamp)), lines);
    }
    ObjectText results;
    for (const auto [key, value] : members(whole)) {
      if (key == "models" || key == "samples" || key == "paired") continue;
      const bool own = has(m, key) && key != "name";
      results.set_raw(key, own ? raw(m, key) : minified(value));
    }
    results.set("model_name", text(m, "name"));
    write_file(fresh(fmt::format("results_{}.json", stamp)), indented(results.text()));
  }
}

}  // namespace nibble::cli

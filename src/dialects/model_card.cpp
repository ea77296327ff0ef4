#include "dialects/model_card.h"

#include <fmt/format.h>

#include <initializer_list>
#include <utility>
#include <vector>

namespace nbl::dialects {

std::string card_value(std::string_view text, std::string_view key) {
  if (!text.starts_with("---")) return {};
  text.remove_prefix(3);
  text = text.substr(0, text.find("\n---"));
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    std::string_view line = text.substr(0, end);
    text = end == std::string_view::npos ? std::string_view() : text.substr(end + 1);
    if (!line.starts_with(key) || line.size() <= key.size() || line[key.size()] != ':') continue;
    line.remove_prefix(key.size() + 1);
    while (!line.empty() && line.front() == ' ') line.remove_prefix(1);
    while (!line.empty() && (line.back() == ' ' || line.back() == '\r')) line.remove_suffix(1);
    return std::string(line);
  }
  return {};
}

namespace {

std::string scalar(const Json& value) { return value.is_string() ? std::string(value.as_string()) : value.dump(); }

void list(const Json& object, std::string_view prefix, int depth, std::string& out) {
  for (const auto& [key, value] : object.members()) {
    const std::string name = prefix.empty() ? key : fmt::format("{}.{}", prefix, key);
    if (key == "sha256" || key == "metadata_sha256" || key == "measured" || value.is_array()) continue;
    if (value.is_object()) {
      if (depth < 3 && value.size() <= 40) list(value, name, depth + 1, out);
    } else {
      out += fmt::format("| {} | {} |\n", name, scalar(value));
    }
  }
}

std::string figure(const Json* value) {
  if (value == nullptr) return {};
  return value->is_number() && !value->is_int() ? fmt::format("{:.5g}", value->as_double()) : scalar(*value);
}

// An array of flat objects as a table.
void table(std::string_view title, const Json& rows, std::string& out) {
  if (rows.size() == 0 || rows.size() > 200 || !rows.elements()[0].is_object()) return;
  out += fmt::format("\n## {}\n\n|", title);
  std::string rule = "|";
  for (const auto& [key, value] : rows.elements()[0].members()) {
    if (value.is_array() || value.is_object()) continue;
    out += fmt::format(" {} |", key);
    rule += "---|";
  }
  out += "\n" + rule + "\n";
  for (const Json& row : rows.elements()) {
    out += "|";
    for (const auto& [key, unused] : rows.elements()[0].members()) {
      if (unused.is_array() || unused.is_object()) continue;
      out += fmt::format(" {} |", figure(row.find(key)));
    }
    out += "\n";
  }
}

std::string with_error(const Json* value, const Json* error) {
  const std::string text = figure(value);
  return error == nullptr || !error->is_number() || text.empty() ? text : fmt::format("{} ± {:.2g}", text, error->as_double());
}

// A table of what objects have under these keys; columns that none has are left out.
void columns(const Json& rows, std::initializer_list<std::pair<const char*, const char*>> keys, std::string& out) {
  std::vector<std::pair<const char*, const char*>> there;
  for (const auto& key : keys) {
    for (const Json& row : rows.elements()) {
      if (row.find_value(key.first) == nullptr) continue;
      there.push_back(key);
      break;
    }
  }
  out += "\n|";
  for (const auto& key : there) out += fmt::format(" {} |", key.second);
  out += "\n|";
  for (std::size_t i = 0; i < there.size(); ++i) out += "---|";
  out += "\n";
  for (const Json& row : rows.elements()) {
    out += "|";
    for (const auto& key : there) {
      const std::string error = std::string(key.first) == "mean_kl" ? "kl_stderr" : std::string(key.first) + "_stderr";
      out += fmt::format(" {} |", with_error(row.find_value(key.first), row.find_value(error)));
    }
    out += "\n";
  }
}

// One result of `nibble perplexity`, `compare`, `eval` or `sweep`, as --json prints it.
void measured_one(const Json& result, std::string& out) {
  if (const Json* value = result.find_value("perplexity")) {
    out += fmt::format("\nPerplexity {}, protocol {}, {} tokens.\n", figure(value), figure(result.find_value("protocol")),
                       figure(result.find_value("tokens")));
  }
  if (const Json* rows = result.find_value("candidates"); rows != nullptr && rows->is_array()) {
    out += fmt::format("\nAgainst the original, protocol {}:\n", figure(result.find_value("protocol")));
    columns(*rows, {{"name", "model"}, {"ppl", "perplexity"}, {"ppl_ratio", "ratio to the original's"}, {"mean_kl", "mean KL, nats"},
                    {"p99_kl", "99th percentile"}, {"top1_agreement", "same most likely token"}}, out);
  }
  if (const Json* rows = result.find_value("rows"); rows != nullptr && rows->is_array()) {
    columns(*rows, {{"recipe", "recipe"}, {"bits_per_weight", "bits a weight"}, {"file_bytes", "bytes"}, {"perplexity", "perplexity"},
                    {"mean_kl", "mean KL, nats"}, {"top1_agreement", "same most likely token"}}, out);
  }
  if (const Json* tasks = result.find_value("results"); tasks != nullptr && tasks->is_object()) {
    out += "\n| task | metric | value |\n|---|---|---|\n";
    for (const auto& [task, metrics] : tasks->members()) {
      for (const auto& [metric, value] : metrics.members()) {
        const std::size_t comma = metric.find(',');
        if (comma == std::string::npos || !value.is_number() || metric.find("_stderr,") != std::string::npos) continue;
        std::string error = metric;
        error.insert(comma, "_stderr");
        out += fmt::format("| {} | {} | {} |\n", task, metric.substr(0, comma), with_error(&value, metrics.find_value(error)));
      }
    }
  }
}

std::string measured_section(const Json& manifest) {
  const Json *measured = manifest.find_value("measured"), *said = &manifest;
  while (measured == nullptr) {  // the figures of a source are those of a lossless copy
    const Json *source = said->find_value("source"), *lossless = said->find_value("lossless");
    if (source == nullptr || !source->is_object() || lossless == nullptr || !lossless->as_bool()) break;
    measured = source->find_value("measured");
    said = source;
  }
  std::string text;
  if (measured != nullptr && measured->is_array()) {
    for (const Json& each : measured->elements()) measured_one(each, text);
  } else if (measured != nullptr) {
    measured_one(*measured, text);
  }
  return "\n## Measured\n" + (text.empty() ? std::string("\nNot measured.\n") : text);
}

}  // namespace

std::string model_card(std::string_view name, std::string_view format, const Json& manifest,
                       std::string_view original) {
  std::string card = "---\n";
  for (const std::string_view key : {"license", "license_name", "license_link", "language"}) {
    if (const std::string value = card_value(original, key); !value.empty())
      card += fmt::format("{}: {}\n", key, value);
  }
  card +=
      fmt::format("tags:\n- nibble\n- {}\n---\n\n# {}\n\nWritten by nibble in the {} format.\n", format, name, format);
  std::string facts;
  list(manifest, "", 0, facts);
  if (!facts.empty()) card += "\n## How it was made\n\n| | |\n|---|---|\n" + facts;
  card += measured_section(manifest);
  for (const auto& [key, value] : manifest.members()) {
    if (key != "measured" && value.is_array()) table(key, value, card);
  }
  return card;
}

}  // namespace nbl::dialects

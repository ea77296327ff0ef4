#include "dialects/model_card.h"

#include <fmt/format.h>

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
    if (key == "sha256" || key == "metadata_sha256" || value.is_array()) continue;
    if (value.is_object()) {
      if (depth < 3 && value.size() <= 40) list(value, name, depth + 1, out);
    } else {
      out += fmt::format("| {} | {} |\n", name, scalar(value));
    }
  }
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
      const Json* value = row.find(key);
      out += fmt::format(" {} |", value == nullptr ? std::string() : scalar(*value));
    }
    out += "\n";
  }
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
  for (const auto& [key, value] : manifest.members()) {
    if (value.is_array()) table(key, value, card);
  }
  return card;
}

}  // namespace nbl::dialects

#include "eval/fields.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "eval/characters.h"

namespace nbl::eval {
namespace {

bool parse_integer(std::string_view text, int64_t* out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *out);
  return error == std::errc() && end == text.data() + text.size();
}

/// One CSV record from `text`; false at its end. `line` counts the lines passed.
bool csv_record(std::string_view& text, std::vector<std::string>& cells, std::size_t& line, std::string& error) {
  cells.clear();
  if (text.empty()) return false;
  std::string cell;
  bool quoted = false, was_quoted = false;
  std::size_t i = 0;
  for (; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '\n') ++line;
    if (quoted) {
      if (c != '"') {
        cell += c;
      } else if (i + 1 < text.size() && text[i + 1] == '"') {
        cell += '"';
        ++i;
      } else {
        quoted = false;
      }
    } else if (c == '"' && cell.empty() && !was_quoted) {
      quoted = was_quoted = true;
    } else if (c == ',') {
      cells.push_back(std::move(cell));
      cell.clear();
      was_quoted = false;
    } else if (c == '\n' || c == '\r') {
      if (c == '\r' && i + 1 < text.size() && text[i + 1] == '\n') {
        ++i;
        ++line;
      }
      ++i;
      break;
    } else {
      cell += c;
    }
  }
  if (quoted) error = "a quoted value does not end";
  cells.push_back(std::move(cell));
  text.remove_prefix(i);
  return true;
}

Result<std::vector<Json>> csv(std::string_view text, std::string_view origin, bool with_header) {
  if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);
  std::vector<Json> records;
  std::vector<std::string> header, cells;
  std::size_t line = 1;
  std::string error;
  for (std::size_t first = line; csv_record(text, cells, line, error); first = line) {
    if (!error.empty()) return Status(Code::corrupt, fmt::format("{}, line {}: {}", origin, first, error));
    if (cells.size() == 1 && cells[0].empty()) continue;
    if (header.empty()) {
      if (with_header) {
        header = cells;
        continue;
      }
      for (std::size_t i = 0; i < cells.size(); ++i) header.push_back(std::to_string(i));
    }
    if (cells.size() != header.size()) {
      return Status(Code::corrupt, fmt::format("{}, line {}: found {} values, expected {}", origin, first, cells.size(), header.size()));
    }
    Json record = Json::object();
    for (std::size_t i = 0; i < cells.size(); ++i) record.set(header[i], cells[i]);
    records.push_back(std::move(record));
  }
  return records;
}

}  // namespace

const Json* Fields::find(std::string_view path) const {
  const Json* at = record_;
  while (at != nullptr && !path.empty()) {
    const std::size_t dot = path.find('.');
    at = at->find_value(path.substr(0, dot));
    path = dot == std::string_view::npos ? std::string_view{} : path.substr(dot + 1);
  }
  return at;
}

void Fields::fail(std::string message) {
  if (error_.empty()) error_ = std::move(message);
}

Status Fields::status() const { return error_.empty() ? Status() : Status(Code::corrupt, error_); }

std::string Fields::text(std::string_view path) {
  const Json* value = find(path);
  if (value == nullptr) {
    fail(fmt::format("\"{}\" is missing", path));
  } else if (!value->is_string()) {
    fail(fmt::format("\"{}\" must be a string", path));
  } else {
    return std::string(value->as_string());
  }
  return {};
}

std::string Fields::text_or(std::string_view path, std::string_view fallback) {
  return has(path) ? text(path) : std::string(fallback);
}

std::vector<std::string> Fields::texts(std::string_view path) {
  std::vector<std::string> result;
  const Json* value = find(path);
  if (value == nullptr || !value->is_array()) {
    fail(value == nullptr ? fmt::format("\"{}\" is missing", path) : fmt::format("\"{}\" must be an array of strings", path));
    return result;
  }
  for (const Json& element : value->elements()) {
    if (!element.is_string()) {
      fail(fmt::format("\"{}\" must be an array of strings", path));
      return {};
    }
    result.emplace_back(element.as_string());
  }
  return result;
}

int64_t Fields::integer(std::string_view path) {
  const Json* value = find(path);
  int64_t number = 0;
  if (value == nullptr) {
    fail(fmt::format("\"{}\" is missing", path));
  } else if (value->is_int()) {
    return value->as_int();
  } else if (!value->is_string() || !parse_integer(value->as_string(), &number)) {
    fail(fmt::format("\"{}\" must be an integer", path));
    return 0;
  }
  return number;
}

std::vector<int64_t> Fields::integers(std::string_view path) {
  std::vector<int64_t> result;
  const Json* value = find(path);
  if (value == nullptr || !value->is_array()) {
    fail(value == nullptr ? fmt::format("\"{}\" is missing", path) : fmt::format("\"{}\" must be an array of integers", path));
    return result;
  }
  for (const Json& element : value->elements()) {
    if (!element.is_int()) {
      fail(fmt::format("\"{}\" must be an array of integers", path));
      return {};
    }
    result.push_back(element.as_int());
  }
  return result;
}

Result<std::vector<Json>> read_jsonl(std::string_view text, std::string_view origin) {
  if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);
  std::vector<Json> records;
  const std::size_t start = text.find_first_not_of(" \t\r\n");
  if (start != std::string_view::npos && text[start] == '[') {
    NBL_ASSIGN(const Json array, Json::parse(text, origin));
    for (const Json& record : array.elements()) {
      if (!record.is_object()) {
        return Status(Code::corrupt, fmt::format("{}, record {}: expected an object", origin, records.size()));
      }
      records.push_back(record);
    }
    return records;
  }
  for (std::size_t line = 1; !text.empty(); ++line) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    const std::string_view row = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (rstripped(row) == 0) continue;
    NBL_ASSIGN(Json record, Json::parse(row, fmt::format("{}, line {}", origin, line)));
    if (!record.is_object()) return Status(Code::corrupt, fmt::format("{}, line {}: expected an object", origin, line));
    records.push_back(std::move(record));
  }
  return records;
}

Result<std::vector<Json>> read_csv(std::string_view text, std::string_view origin) { return csv(text, origin, true); }
Result<std::vector<Json>> read_csv_typed(std::string_view text, std::string_view origin) {
  NBL_ASSIGN(std::vector<Json> records, csv(text, origin, true));
  if (records.empty()) return records;
  std::vector<std::string> names;
  for (const auto& [name, value] : records.front().members()) names.push_back(name);
  for (const std::string& name : names) {
    const auto all = [&](auto&& holds) { return std::all_of(records.begin(), records.end(), [&](const Json& r) { return holds(r.find(name)->as_string()); }); };
    int64_t integer = 0;
    double real = 0;
    const auto is_real = [&](std::string_view v) {
      const auto [end, error] = std::from_chars(v.data(), v.data() + v.size(), real);
      return !v.empty() && error == std::errc() && end == v.data() + v.size();
    };
    if (all([&](std::string_view v) { return parse_integer(v, &integer); })) {
      for (Json& r : records) {
        parse_integer(r.find(name)->as_string(), &integer);
        r.set(name, integer);
      }
    } else if (all(is_real)) {
      for (Json& r : records) {
        is_real(r.find(name)->as_string());
        r.set(name, real);
      }
    } else if (all([](std::string_view v) { return v == "True" || v == "False"; })) {
      for (Json& r : records) r.set(name, r.find(name)->as_string() == "True");
    }
  }
  return records;
}
Result<std::vector<Json>> read_csv_plain(std::string_view text, std::string_view origin) {
  return csv(text, origin, false);
}

}  // namespace nbl::eval

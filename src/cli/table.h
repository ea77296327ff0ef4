// Tables for people: aligned text, or Markdown.
#pragma once

#include <simdjson.h>

#include <string>
#include <string_view>
#include <vector>

namespace nibble::cli {

/// Text that a file or a model's name may hold, for a terminal: control characters become \xNN, so that none moves its cursor.
std::string plain(std::string_view text);

class Table {
 public:
  explicit Table(std::vector<std::string> header) : header_(std::move(header)) {}
  void add(std::vector<std::string> row);
  bool empty() const { return rows_.empty(); }
  /// Columns whose cells are all numbers (or empty, or "-") are set flush right.
  std::string text(bool markdown) const;

 private:
  std::vector<std::string> header_;
  std::vector<std::vector<std::string>> rows_;
};

/// Where the time of a prefill step and of a decoded token goes, from the `profile` of a result.
Table profile_table(const simdjson::dom::element& result);

}  // namespace nibble::cli

// Reading a task's documents: the fields of one record, with one error for all that is wrong with it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/status.h"

namespace nbl::eval {

/// Accessors return an empty value and remember the first thing that was missing or of the wrong kind; ask status() after
/// the last. `path` may lead into objects: "choices.text".
class Fields {
 public:
  explicit Fields(const Json& record) : record_(&record) {}

  std::string text(std::string_view path);
  std::string text_or(std::string_view path, std::string_view fallback);
  std::vector<std::string> texts(std::string_view path);
  /// An integer, or a string that spells one.
  int64_t integer(std::string_view path);
  std::vector<int64_t> integers(std::string_view path);
  bool has(std::string_view path) const { return find(path) != nullptr; }
  const Json* find(std::string_view path) const;
  const Json& record() const { return *record_; }

  /// Remembers an error of the task's own.
  void fail(std::string message);
  bool ok() const { return error_.empty(); }
  /// Code::corrupt with the first error.
  Status status() const;

 private:
  const Json* record_;
  std::string error_;
};

/// One JSON object a line; blank lines are skipped; also one array of objects. Errors name origin and line.
Result<std::vector<Json>> read_jsonl(std::string_view text, std::string_view origin);
/// RFC 4180 with a header line: an object a row, every value a string.
Result<std::vector<Json>> read_csv(std::string_view text, std::string_view origin);
/// The same, but a column of nothing but integers, reals or True and False becomes numbers or truth values, as pandas reads it.
Result<std::vector<Json>> read_csv_typed(std::string_view text, std::string_view origin);
/// The same without a header line: columns are called "0", "1", ...
Result<std::vector<Json>> read_csv_plain(std::string_view text, std::string_view origin);

}  // namespace nbl::eval

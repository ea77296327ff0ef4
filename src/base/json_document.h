// JSON whose large tables are walked where the parser left them, without a value of each entry: vocabularies of tokenizers.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string_view>

#include "base/json.h"
#include "base/status.h"

namespace nbl {

/// A scalar of a table; anything that is no scalar has its kind alone.
struct JsonCell {
  Json::Kind kind = Json::Kind::null;
  int64_t integer = 0;
  double real = 0;        ///< of integers too
  std::string_view text;  ///< valid as long as the document
  bool is_int() const noexcept { return kind == Json::Kind::integer; }
  bool is_number() const noexcept { return kind == Json::Kind::integer || kind == Json::Kind::real; }
  bool is_string() const noexcept { return kind == Json::Kind::string; }
};

/// Movable; the text need not outlive it.
class JsonDocument {
 public:
  /// As Json::parse(). `tables`: members of the root, "vocab", or of its members, "model/vocab", that are arrays or objects and stay
  /// out of value(), where they are null.
  static Result<JsonDocument> parse(std::string_view text, std::string_view origin,
                                    std::span<const std::string_view> tables, const JsonLimits& limits = {});
  JsonDocument(JsonDocument&&) noexcept;
  JsonDocument& operator=(JsonDocument&&) noexcept;
  ~JsonDocument();

  const Json& value() const noexcept;

  /// Array, object, or null when there is no such table.
  Json::Kind kind(std::string_view table) const noexcept;
  std::size_t size(std::string_view table) const noexcept;
  /// The members of an object in order; keys may come twice. Ends with the first status that is not ok.
  Status for_each_member(std::string_view table, const std::function<Status(std::string_view, const JsonCell&)>& take) const;
  /// The elements of an array: of an array of scalars its cells, else one cell. The cells are valid during the call.
  Status for_each_row(std::string_view table, const std::function<Status(std::span<const JsonCell>)>& take) const;
  /// One of them as a value, for messages.
  Json element(std::string_view table, std::size_t index) const;

 private:
  struct Impl;
  explicit JsonDocument(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace nbl

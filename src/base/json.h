// JSON as a value, with bounded input and errors that name the place. The parser behind it is a library's
// (docs/dependencies.md); no header of that library is seen outside json.cpp.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/status.h"

namespace nbl {

class JsonObject;

struct JsonLimits {
  int64_t max_bytes = int64_t{512} << 20;
  int max_depth = 128;
};

/// An immutable-by-default JSON value. Objects keep their order; a duplicate key is a parse error.
/// Objects of more than 16 members carry a hash table. Integers beyond 64 bits read as reals. Reading one value from
/// several threads is safe.
class Json {
 public:
  using Member = std::pair<std::string, Json>;
  enum class Kind { null, boolean, integer, real, string, array, object };

  Json() noexcept;               ///< null
  Json(bool value) noexcept;     // NOLINT(google-explicit-constructor)
  Json(int value) noexcept;      // NOLINT
  Json(int64_t value) noexcept;  // NOLINT
  Json(double value) noexcept;   // NOLINT
  Json(const char* value);       // NOLINT
  Json(std::string_view value);  // NOLINT
  Json(std::string value);       // NOLINT
  static Json object();
  static Json object(std::initializer_list<Member> members);
  static Json array();
  Json(const Json&);
  Json& operator=(const Json&);
  Json(Json&&) noexcept;
  Json& operator=(Json&&) noexcept;
  ~Json();

  /// `origin` names the source in messages ("config.json in DIR").
  static Result<Json> parse(std::string_view text, std::string_view origin, const JsonLimits& limits = {});

  Kind kind() const noexcept;
  bool is_null() const noexcept { return kind() == Kind::null; }
  bool is_bool() const noexcept { return kind() == Kind::boolean; }
  bool is_int() const noexcept { return kind() == Kind::integer; }
  bool is_number() const noexcept { return kind() == Kind::integer || kind() == Kind::real; }
  bool is_string() const noexcept { return kind() == Kind::string; }
  bool is_array() const noexcept { return kind() == Kind::array; }
  bool is_object() const noexcept { return kind() == Kind::object; }

  // The value, or the fallback when it is of another kind. An integer reads as a double; a real with an integral value
  // as an int64.
  bool as_bool(bool fallback = false) const noexcept;
  int64_t as_int(int64_t fallback = 0) const noexcept;
  double as_double(double fallback = 0) const noexcept;
  std::string_view as_string(std::string_view fallback = {}) const noexcept;

  /// Array elements; empty when this is no array.
  std::span<const Json> elements() const noexcept;
  /// Object members in order; empty when this is no object.
  std::span<const Member> members() const noexcept;
  std::size_t size() const noexcept;

  /// The member, or null when this is no object or has none of that name. The pointer lives as long as this value.
  const Json* find(std::string_view key) const noexcept;
  /// find(), but a JSON null counts as absent.
  const Json* find_value(std::string_view key) const noexcept;

  // Optional members with a default; an error when present (and not null) but of the wrong kind.
  Result<int64_t> int_or(std::string_view key, int64_t fallback) const;
  Result<double> double_or(std::string_view key, double fallback) const;
  Result<bool> bool_or(std::string_view key, bool fallback) const;
  Result<std::string> string_or(std::string_view key, std::string_view fallback) const;
  // Required members.
  Result<int64_t> get_int(std::string_view key) const;
  Result<double> get_double(std::string_view key) const;
  Result<std::string> get_string(std::string_view key) const;

  /// Sets or replaces a member (this must be an object or null) and returns the stored value.
  Json& set(std::string_view key, Json value);
  /// Removes a member if present.
  void erase(std::string_view key);
  /// Appends (this must be an array or null).
  void push_back(Json value);

  /// indent < 0: compact; otherwise that many spaces a level. Reals print so that they read back to the same double;
  /// NaN and infinities print as null.
  std::string dump(int indent = -1) const;

  bool operator==(const Json& other) const;

 private:
  friend class JsonBuilder;
  // In the order of Kind. Numbers lie in place; the rest is owned.
  std::variant<std::monostate, bool, int64_t, double, std::unique_ptr<std::string>, std::unique_ptr<std::vector<Json>>,
               std::unique_ptr<JsonObject>>
      value_;
};

}  // namespace nbl

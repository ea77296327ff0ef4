// The values of a template: Python's, as far as templates see them.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include "base/json.h"
#include "base/status.h"

namespace nbl::text::jinja {

class Value;
struct List;
struct Dict;
struct Object;

enum class Kind : uint8_t { undefined, none, boolean, integer, real, string, list, dict, object };
/// What kind of iterable a list is in Python: they print, compare and answer tests differently. The last three are a mapping's views.
enum class ListKind : uint8_t { list, tuple, range, lazy, keys, values, items };
/// Whether it has elements by number.
constexpr bool is_indexed(ListKind kind) noexcept { return kind < ListKind::lazy; }
/// A list or tuple, which can be joined and repeated.
constexpr bool is_joinable(ListKind kind) noexcept { return kind < ListKind::range; }

struct RangeBounds {
  int64_t start = 0, stop = 0, step = 1;
};

/// Cheap to copy: long values are shared and never change (a template cannot alter them), objects excepted.
class Value {
 public:
  Value() = default;              ///< undefined, of no name
  Value(bool v) : data_(v) {}     // NOLINT(google-explicit-constructor)
  Value(int64_t v) : data_(v) {}  // NOLINT
  Value(double v) : data_(v) {}   // NOLINT
  Value(std::string v) : data_(std::make_shared<const std::string>(std::move(v))) {}  // NOLINT
  Value(std::shared_ptr<const List> v) : data_(std::move(v)) {}                       // NOLINT
  Value(std::shared_ptr<const Dict> v) : data_(std::move(v)) {}                       // NOLINT
  Value(std::shared_ptr<Object> v) : data_(std::move(v)) {}                           // NOLINT
  Value(const char*) = delete;
  static Value none() {
    Value v;
    v.data_ = None{};
    return v;
  }
  /// `why` is the message of the error that its use raises: "'x' is undefined".
  static Value undefined(std::string why) {
    Value v;
    v.data_ = Undefined{std::make_shared<const std::string>(std::move(why))};
    return v;
  }

  Kind kind() const noexcept { return static_cast<Kind>(data_.index()); }
  bool is(Kind k) const noexcept { return kind() == k; }
  bool is_undefined() const noexcept { return is(Kind::undefined); }
  bool is_string() const noexcept { return is(Kind::string); }
  bool is_number() const noexcept { return is(Kind::boolean) || is(Kind::integer) || is(Kind::real); }
  bool is_integral() const noexcept { return is(Kind::boolean) || is(Kind::integer); }

  bool boolean() const { return std::get<bool>(data_); }
  int64_t integer() const { return is(Kind::boolean) ? int64_t{boolean()} : std::get<int64_t>(data_); }
  double real() const { return is(Kind::real) ? std::get<double>(data_) : static_cast<double>(integer()); }
  const std::string& string() const { return *std::get<std::shared_ptr<const std::string>>(data_); }
  const List& list() const { return *std::get<std::shared_ptr<const List>>(data_); }
  const Dict& dict() const { return *std::get<std::shared_ptr<const Dict>>(data_); }
  Object& object() const { return *std::get<std::shared_ptr<Object>>(data_); }
  const std::shared_ptr<Object>& object_pointer() const { return std::get<std::shared_ptr<Object>>(data_); }
  /// Why it is undefined.
  std::string_view why() const {
    const auto& text = std::get<Undefined>(data_).why;
    return text == nullptr ? std::string_view("a value is undefined") : std::string_view(*text);
  }
  /// Undefined for a reason of its own, rather than absent.
  bool is_refused() const noexcept { return is_undefined() && std::get<Undefined>(data_).why != nullptr; }
  /// The same object in memory, or the same constant (Python's `is`).
  bool same_as(const Value& other) const noexcept;  // NOLINT(bugprone-exception-escape)

 private:
  struct Undefined {
    std::shared_ptr<const std::string> why;
  };
  struct None {};
  // In the order of Kind.
  std::variant<Undefined, None, bool, int64_t, double, std::shared_ptr<const std::string>, std::shared_ptr<const List>,
               std::shared_ptr<const Dict>, std::shared_ptr<Object>>
      data_;
};

struct List {
  ListKind kind = ListKind::list;
  int depth = 1;       ///< 1 + the deepest element's: a bound on recursion
  int64_t weight = 1;  ///< bytes and elements below, shared ones each time: a bound on what a visit costs
  RangeBounds bounds;  ///< of a range
  std::vector<Value> items;
};

/// Ordered, as Python's are.
struct Dict {
  int depth = 1;
  int64_t weight = 1;
  std::vector<std::pair<Value, Value>> items;

  const Value* find(const Value& key) const;
  const Value* find(std::string_view key) const;
  /// Adds or replaces.
  void set(Value key, Value value);

 private:
  std::unordered_map<std::string, std::size_t> index_;  // by key_text(), once there are more than a few
  std::size_t position(std::string_view key_text) const;
};

/// Things with identity: namespaces, macros, loops, functions.
struct Object {
  virtual ~Object() = default;
  virtual std::string_view type() const = 0;  ///< as Python names it, for messages
  /// The attribute, or undefined without a reason when there is none.
  virtual Value attribute(std::string_view name) const {
    (void)name;
    return {};
  }
  virtual bool callable() const { return false; }
};

Value make_string(std::string_view text);
int depth_of(const Value& value) noexcept;
int64_t weight_of(const Value& value) noexcept;
Value make_list(std::vector<Value> items, ListKind kind = ListKind::list);
Value make_range(const RangeBounds& bounds);  ///< a step that is not 0
Value make_dict(Dict dict);
Value from_json(const Json& json);
/// Bytes that the value takes, elements included; the cost of from_json().
int64_t bytes_of(const Json& json);
/// Code::corrupt for what JSON has no form for.
Result<Json> to_json(const Value& value);

/// "str", "dict", "NoneType", ...
std::string_view type_name(const Value& value);
bool truth(const Value& value);
bool equal(const Value& a, const Value& b);
/// Less, equal, greater as -1, 0, 1; an error for kinds that Python does not order.
Result<int> compare(const Value& a, const Value& b);
/// Whether it may be a key; what tells keys apart (1, 1.0 and true are one key).
bool hashable(const Value& value);
std::string key_text(const Value& value);

/// Python's str() and repr(). An undefined value is the empty text.
std::string to_text(const Value& value);
std::string repr(const Value& value);
std::string repr_float(double value);
std::string repr_string(std::string_view text);
bool is_printable(uint32_t c);  ///< as repr() leaves it

/// json.dumps as transformers calls it. indent: a text to indent with; null for one line. Code::corrupt for what JSON
/// cannot say.
struct JsonStyle {
  const std::string* indent = nullptr;
  std::string item_separator = ", ", key_separator = ": ";
  bool ascii = false, sort_keys = false;
};
Result<std::string> dump_json(const Value& value, const JsonStyle& style);

// Text by characters (code points), as Python counts.
std::size_t count_chars(std::string_view utf8) noexcept;
/// Byte offsets of every character's beginning, and the end.
std::vector<std::size_t> char_offsets(std::string_view utf8);
bool is_space_char(uint32_t c) noexcept;  ///< str.isspace()
std::string_view strip_left(std::string_view text) noexcept;
std::string_view strip_right(std::string_view text) noexcept;

}  // namespace nbl::text::jinja

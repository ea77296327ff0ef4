// Reading the library's JSON results and composing new ones.
#pragma once

#include <simdjson.h>

#include <cstdint>
#include <string>
#include <string_view>

namespace nibble::cli {

/// A parsed result. Values that are absent or of another kind read as the fallback.
class Doc {
 public:
  using Element = simdjson::dom::element;
  explicit Doc(const std::string& text);
  Doc(const Doc&) = delete;
  Doc& operator=(const Doc&) = delete;
  const Element& root() const { return root_; }

 private:
  simdjson::dom::parser parser_;
  simdjson::padded_string text_;
  Element root_;
};

double number(const Doc::Element& object, std::string_view key, double fallback = 0);
int64_t integer(const Doc::Element& object, std::string_view key, int64_t fallback = 0);
bool flag(const Doc::Element& object, std::string_view key);
std::string text(const Doc::Element& object, std::string_view key, std::string_view fallback = {});
/// The elements of an array member; none when it is no array.
simdjson::dom::array items(const Doc::Element& object, std::string_view key);
/// The elements of an array, and the members of an object; none when it is no such thing.
simdjson::dom::array elements(const Doc::Element& array);
simdjson::dom::object members(const Doc::Element& object);
simdjson::dom::object members(const Doc::Element& object, std::string_view key);
bool has(const Doc::Element& object, std::string_view key);
/// As JSON text, without spaces.
std::string minified(const Doc::Element& value);
/// The member as JSON text; "null" when absent.
std::string raw(const Doc::Element& object, std::string_view key);

std::string json_string(std::string_view text);

/// An object being written, members in order.
class ObjectText {
 public:
  ObjectText& set(std::string_view key, std::string_view value);
  ObjectText& set(std::string_view key, const char* value) { return set(key, std::string_view(value)); }
  ObjectText& set(std::string_view key, double value);
  ObjectText& set(std::string_view key, int64_t value);
  ObjectText& set_raw(std::string_view key, std::string_view json);
  std::string text() const { return "{" + body_ + "}"; }

 private:
  std::string body_;
};

/// Two-space indentation, as the library prints.
std::string indented(const std::string& json);

}  // namespace nibble::cli

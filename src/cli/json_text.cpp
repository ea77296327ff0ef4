#include "cli/json_text.h"

#include <fmt/format.h>

#include <cmath>

#include "base/foreign.h"

namespace nibble::cli {

Doc::Doc(const std::string& text) : text_(text) {
  // Made before it parses, so that what simdjson writes is known to have been written.
  if (const auto error = parser_.allocate(text_.size()); error != simdjson::SUCCESS) throw simdjson::simdjson_error(error);
  nbl::block_filled_elsewhere(parser_.implementation.get());
  root_ = parser_.parse(text_);
  nbl::block_filled_elsewhere(parser_.doc.tape.get());
  nbl::block_filled_elsewhere(parser_.doc.string_buf.get());
}

double number(const Doc::Element& object, std::string_view key, double fallback) {
  double value = 0;
  return object[key].get(value) == simdjson::SUCCESS ? value : fallback;
}

int64_t integer(const Doc::Element& object, std::string_view key, int64_t fallback) {
  int64_t value = 0;
  return object[key].get(value) == simdjson::SUCCESS ? value : fallback;
}

bool flag(const Doc::Element& object, std::string_view key) {
  bool value = false;
  return object[key].get(value) == simdjson::SUCCESS && value;
}

std::string text(const Doc::Element& object, std::string_view key, std::string_view fallback) {
  std::string_view value;
  return std::string(object[key].get(value) == simdjson::SUCCESS ? value : fallback);
}

// simdjson hands out values inside temporaries; what a range-for walks over must outlive its first expression, so these
// return by value.
namespace {

struct Empty {
  Doc array{"[]"}, object{"{}"};
};
const Empty& empty() {
  static const Empty instance;
  return instance;
}

}  // namespace

simdjson::dom::array elements(const Doc::Element& array) {
  simdjson::dom::array value;
  return array.get(value) == simdjson::SUCCESS ? value : empty().array.root().get_array().value();
}

simdjson::dom::object members(const Doc::Element& object) {
  simdjson::dom::object value;
  return object.get(value) == simdjson::SUCCESS ? value : empty().object.root().get_object().value();
}

simdjson::dom::array items(const Doc::Element& object, std::string_view key) {
  simdjson::dom::element value;
  return elements(object[key].get(value) == simdjson::SUCCESS ? value : empty().array.root());
}

simdjson::dom::object members(const Doc::Element& object, std::string_view key) {
  simdjson::dom::element value;
  return members(object[key].get(value) == simdjson::SUCCESS ? value : empty().object.root());
}

bool has(const Doc::Element& object, std::string_view key) {
  simdjson::dom::element value;
  return object[key].get(value) == simdjson::SUCCESS && !value.is_null();
}

std::string minified(const Doc::Element& value) {
  std::string text = simdjson::minify(value);
  nbl::filled_elsewhere(text.data(), text.size());  // simdjson writes its numbers itself
  return text;
}

std::string raw(const Doc::Element& object, std::string_view key) {
  simdjson::dom::element value;
  return object[key].get(value) == simdjson::SUCCESS ? minified(value) : "null";
}

std::string json_string(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    switch (c) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\t':
        out += "\\t";
        break;
      case '\r':
        out += "\\r";
        break;
      default:
        if (static_cast<unsigned char>(c) < 0x20) {
          out += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
        } else {
          out += c;
        }
    }
  }
  return out + "\"";
}

ObjectText& ObjectText::set_raw(std::string_view key, std::string_view json) {
  if (!body_.empty()) body_ += ",";
  body_ += json_string(key) + ":" + std::string(json);
  return *this;
}
ObjectText& ObjectText::set(std::string_view key, std::string_view value) { return set_raw(key, json_string(value)); }
ObjectText& ObjectText::set(std::string_view key, double value) {
  return set_raw(key, std::isfinite(value) ? fmt::format("{}", value) : "null");
}
ObjectText& ObjectText::set(std::string_view key, int64_t value) { return set_raw(key, fmt::format("{}", value)); }

std::string indented(const std::string& json) {
  std::string out;
  int depth = 0;
  bool in_string = false;
  const auto newline = [&] { out += '\n' + std::string(static_cast<std::size_t>(2 * depth), ' '); };
  for (std::size_t i = 0; i < json.size(); ++i) {
    const char c = json[i];
    if (in_string) {
      out += c;
      if (c == '\\') {
        out += json[++i];
      } else if (c == '"') {
        in_string = false;
      }
      continue;
    }
    switch (c) {
      case ' ':
      case '\n':
      case '\t':
      case '\r':
        break;
      case '"':
        in_string = true;
        out += c;
        break;
      case '{':
      case '[': {
        out += c;
        std::size_t next = json.find_first_not_of(" \n\t\r", i + 1);
        if (next != std::string::npos && (json[next] == '}' || json[next] == ']')) {
          out += json[next];
          i = next;
          break;
        }
        ++depth;
        newline();
        break;
      }
      case '}':
      case ']':
        --depth;
        newline();
        out += c;
        break;
      case ',':
        out += c;
        newline();
        break;
      case ':':
        out += ": ";
        break;
      default:
        out += c;
    }
  }
  return out + "\n";
}

}  // namespace nibble::cli

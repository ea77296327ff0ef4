// Values as text: Python's str() and repr(), and json.dumps.
#include <fmt/format.h>
#include <utf8proc.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "text/jinja_value.h"
#include "text/utf8.h"

namespace nbl::text::jinja {
bool is_printable(uint32_t c) {
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(c))) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
      return false;
    case UTF8PROC_CATEGORY_ZS:
      return c == ' ';
    default:
      return true;
  }
}

namespace {

void append_json_string(std::string& out, std::string_view text, bool ascii) {
  out += '"';
  const char* p = text.data();
  const char* const end = p + text.size();
  while (p < end) {
    const char* const begin = p;
    const uint32_t c = next_valid_utf8(p);
    if (c == '"') {
      out += "\\\"";
    } else if (c == '\\') {
      out += "\\\\";
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\r') {
      out += "\\r";
    } else if (c == '\t') {
      out += "\\t";
    } else if (c == '\b') {
      out += "\\b";
    } else if (c == '\f') {
      out += "\\f";
    } else if (c < 0x20 || (ascii && c >= 0x7F && c < 0x10000 && c != 0x7F)) {
      out += fmt::format("\\u{:04x}", c);
    } else if (ascii && c >= 0x10000) {
      out += fmt::format("\\u{:04x}\\u{:04x}", 0xD800 + ((c - 0x10000) >> 10), 0xDC00 + ((c - 0x10000) & 0x3FF));
    } else {
      out.append(begin, p);
    }
  }
  out += '"';
}

std::string json_float(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "Infinity" : "-Infinity";
  return repr_float(value);
}

class JsonDumper {
 public:
  explicit JsonDumper(const JsonStyle& style) : style_(style) {}
  std::string out;

  Status write(const Value& value, std::size_t level) {
    switch (value.kind()) {
      case Kind::none:
        out += "null";
        return {};
      case Kind::boolean:
        out += value.boolean() ? "true" : "false";
        return {};
      case Kind::integer:
        out += fmt::format("{}", value.integer());
        return {};
      case Kind::real:
        out += json_float(value.real());
        return {};
      case Kind::string:
        append_json_string(out, value.string(), style_.ascii);
        return {};
      case Kind::list:
        if (is_joinable(value.list().kind)) return list(value.list(), level);
        break;
      case Kind::dict:
        return dict(value.dict(), level);
      case Kind::undefined:
      case Kind::object:
        break;
    }
    return Status(Code::corrupt, fmt::format("Object of type {} is not JSON serializable", type_name(value)));
  }

 private:
  void line(std::size_t level) {
    if (style_.indent == nullptr) return;
    out += '\n';
    for (std::size_t i = 0; i < level; ++i) out += *style_.indent;
  }

  Status list(const List& list, std::size_t level) {
    if (list.items.empty()) {
      out += "[]";
      return {};
    }
    out += '[';
    for (std::size_t i = 0; i < list.items.size(); ++i) {
      if (i > 0) out += style_.item_separator;
      line(level + 1);
      NBL_TRY(write(list.items[i], level + 1));
    }
    line(level);
    out += ']';
    return {};
  }

  static Result<std::string> key(const Value& key) {
    switch (key.kind()) {
      case Kind::string:
        return key.string();
      case Kind::none:
        return std::string("null");
      case Kind::boolean:
        return std::string(key.boolean() ? "true" : "false");
      case Kind::integer:
        return fmt::format("{}", key.integer());
      case Kind::real:
        return json_float(key.real());
      default:
        return Status(Code::corrupt, fmt::format("keys must be str, int, float, bool or None, not {}", type_name(key)));
    }
  }

  Status dict(const Dict& dict, std::size_t level) {
    if (dict.items.empty()) {
      out += "{}";
      return {};
    }
    std::vector<const std::pair<Value, Value>*> entries;
    entries.reserve(dict.items.size());
    for (const auto& entry : dict.items) entries.push_back(&entry);
    if (style_.sort_keys) {
      Status trouble;
      std::stable_sort(entries.begin(), entries.end(), [&](const auto* a, const auto* b) {
        const Result<int> order = compare(a->first, b->first);
        if (!order.ok()) trouble = order.status();
        return order.ok() && *order < 0;
      });
      NBL_TRY(trouble);
    }
    out += '{';
    for (std::size_t i = 0; i < entries.size(); ++i) {
      if (i > 0) out += style_.item_separator;
      line(level + 1);
      NBL_ASSIGN(const std::string name, key(entries[i]->first));
      append_json_string(out, name, style_.ascii);
      out += style_.key_separator;
      NBL_TRY(write(entries[i]->second, level + 1));
    }
    line(level);
    out += '}';
    return {};
  }

  const JsonStyle& style_;
};

}  // namespace

std::string repr_float(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  char buffer[64];
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::scientific).ptr;
  std::string_view text(buffer, static_cast<std::size_t>(end - buffer));
  const std::size_t e = text.find('e');
  const int exponent = std::atoi(std::string(text.substr(e + 1)).c_str());
  std::string digits;
  for (const char c : text.substr(0, e)) {
    if (c >= '0' && c <= '9') digits += c;
  }
  std::string out = std::signbit(value) ? "-" : "";
  const int count = static_cast<int>(digits.size());
  if (exponent < -4 || exponent >= 16) {
    out += digits.substr(0, 1);
    if (count > 1) out += "." + digits.substr(1);
    return out + fmt::format("e{}{:02}", exponent < 0 ? '-' : '+', std::abs(exponent));
  }
  if (exponent < 0) return out + "0." + std::string(static_cast<std::size_t>(-exponent - 1), '0') + digits;
  if (count <= exponent + 1)
    return out + digits + std::string(static_cast<std::size_t>(exponent + 1 - count), '0') + ".0";
  const auto whole = static_cast<std::size_t>(exponent) + 1;
  return out + digits.substr(0, whole) + "." + digits.substr(whole);
}

std::string repr_string(std::string_view text) {
  const char quote = text.find('\'') != std::string_view::npos && text.find('"') == std::string_view::npos ? '"' : '\'';
  std::string out(1, quote);
  const char* p = text.data();
  const char* const end = p + text.size();
  while (p < end) {
    const char* const begin = p;
    const uint32_t c = next_valid_utf8(p);
    if (c == static_cast<uint32_t>(quote) || c == '\\') {
      out += '\\';
      out += static_cast<char>(c);
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\r') {
      out += "\\r";
    } else if (c == '\t') {
      out += "\\t";
    } else if (is_printable(c)) {
      out.append(begin, p);
    } else if (c < 0x100) {
      out += fmt::format("\\x{:02x}", c);
    } else if (c < 0x10000) {
      out += fmt::format("\\u{:04x}", c);
    } else {
      out += fmt::format("\\U{:08x}", c);
    }
  }
  return out + quote;
}

std::string repr(const Value& value) {
  switch (value.kind()) {
    case Kind::string:
      return repr_string(value.string());
    case Kind::undefined:
      return "Undefined";
    case Kind::list: {
      const List& list = value.list();
      if (list.kind == ListKind::lazy) return "<generator object>";
      if (list.kind == ListKind::range) {
        const auto& [start, stop, step] = list.bounds;
        return step == 1 ? fmt::format("range({}, {})", start, stop) : fmt::format("range({}, {}, {})", start, stop, step);
      }
      const bool view = list.kind > ListKind::lazy;
      std::string out = view ? std::string(type_name(value)) + "([" : list.kind == ListKind::tuple ? "(" : "[";
      for (std::size_t i = 0; i < list.items.size(); ++i) out += (i > 0 ? ", " : "") + repr(list.items[i]);
      if (view) return out + "])";
      if (list.kind == ListKind::tuple) return out + (list.items.size() == 1 ? ",)" : ")");
      return out + "]";
    }
    case Kind::dict: {
      std::string out = "{";
      for (const auto& [key, item] : value.dict().items) {
        out += (out.size() > 1 ? ", " : "") + repr(key) + ": " + repr(item);
      }
      return out + "}";
    }
    default:
      return to_text(value);
  }
}

std::string to_text(const Value& value) {
  switch (value.kind()) {
    case Kind::undefined:
      return {};
    case Kind::none:
      return "None";
    case Kind::boolean:
      return value.boolean() ? "True" : "False";
    case Kind::integer:
      return fmt::format("{}", value.integer());
    case Kind::real:
      return repr_float(value.real());
    case Kind::string:
      return value.string();
    case Kind::list:
    case Kind::dict:
      return repr(value);
    case Kind::object:
      return fmt::format("<{} object>", value.object().type());
  }
  return {};
}

Result<std::string> dump_json(const Value& value, const JsonStyle& style) {
  JsonDumper dumper(style);
  NBL_TRY(dumper.write(value, 0));
  return std::move(dumper.out);
}

}  // namespace nbl::text::jinja

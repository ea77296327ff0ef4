// printf-style formatting and str.format(), for the conversions that templates use.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "text/jinja_evaluator.h"
#include "text/utf8.h"

namespace nbl::text::jinja {
namespace {

constexpr int64_t kMaxWidth = 1 << 16;

struct Spec {
  std::string fill = " ";
  char align = 0, sign = 0, type = 0;
  bool alternate = false, zero = false, comma = false;
  int64_t width = 0, precision = -1;
};

std::string padded(std::string body, const Spec& spec, char default_align) {
  const auto size = static_cast<int64_t>(count_chars(body));
  if (size >= spec.width) return body;
  const auto missing = static_cast<std::size_t>(spec.width - size);
  const char align = spec.align != 0 ? spec.align : default_align;
  std::string fill;
  const auto repeated = [&](std::size_t n) {
    std::string out;
    for (std::size_t i = 0; i < n; ++i) out += spec.fill;
    return out;
  };
  if (align == '=') {
    const std::size_t signs = !body.empty() && (body[0] == '-' || body[0] == '+' || body[0] == ' ') ? 1 : 0;
    return body.substr(0, signs) + repeated(missing) + body.substr(signs);
  }
  if (align == '<') return body + repeated(missing);
  if (align == '^') return repeated(missing / 2) + body + repeated(missing - missing / 2);
  return repeated(missing) + body;
}

std::string with_sign(bool negative, const Spec& spec, const std::string& digits) {
  if (negative) return "-" + digits;
  return spec.sign == '+' || spec.sign == ' ' ? std::string(1, spec.sign) + digits : digits;
}

std::string grouped(std::string digits) {
  const std::size_t whole = std::min(digits.find_first_not_of("0123456789"), digits.size());
  for (std::size_t i = whole; i > 3;) {
    i -= 3;
    digits.insert(i, 1, ',');
  }
  return digits;
}

Result<std::string> number_text(const Value& value, const Spec& spec) {
  const char type = spec.type;
  const bool integral = type == 'd' || type == 'x' || type == 'X' || type == 'o' || type == 'b' ||
                        (type == 0 && value.is_integral()) || type == 'n';
  if (integral) {
    if (!value.is_integral()) {
      return Status(Code::corrupt,
                    fmt::format("Unknown format code '{}' for object of type '{}'", type, type_name(value)));
    }
    const int64_t v = value.integer();
    const uint64_t magnitude = v < 0 ? uint64_t{0} - static_cast<uint64_t>(v) : static_cast<uint64_t>(v);
    std::string digits = type == 'x'   ? fmt::format("{:x}", magnitude)
                         : type == 'X' ? fmt::format("{:X}", magnitude)
                         : type == 'o' ? fmt::format("{:o}", magnitude)
                         : type == 'b' ? fmt::format("{:b}", magnitude)
                                       : fmt::format("{}", magnitude);
    if (spec.alternate && (type == 'x' || type == 'X' || type == 'o' || type == 'b'))
      digits = fmt::format("0{}{}", type, digits);
    if (spec.comma) digits = grouped(std::move(digits));
    return with_sign(v < 0, spec, digits);
  }
  const double v = value.real();
  const double magnitude = std::fabs(v);
  const int precision = static_cast<int>(spec.precision < 0 ? 6 : spec.precision);
  std::string digits;
  if (std::isnan(v) || std::isinf(v)) {
    digits = std::isnan(v) ? "nan" : "inf";
  } else if (type == 'f' || type == 'F') {
    digits = fmt::format("{:.{}f}", magnitude, precision);
  } else if (type == 'e' || type == 'E') {
    digits = type == 'e' ? fmt::format("{:.{}e}", magnitude, precision) : fmt::format("{:.{}E}", magnitude, precision);
  } else if (type == '%') {
    digits = fmt::format("{:.{}f}%", magnitude * 100, precision);
  } else if (type == 0 && spec.precision < 0) {
    digits = repr_float(magnitude);
  } else if (type == 0 || type == 'g' || type == 'G') {
    digits = fmt::format("{:.{}g}", magnitude, std::max(1, precision));
  } else {
    return Status(Code::corrupt, fmt::format("Unknown format code '{}' for object of type 'float'", type));
  }
  if (spec.comma) digits = grouped(std::move(digits));
  return with_sign(std::signbit(v) && !std::isnan(v), spec, digits);
}

std::string cut(const std::string& text, int64_t precision) {
  if (precision < 0) return text;
  std::size_t at = 0;
  for (int64_t i = 0; i < precision && at < text.size(); ++i) at += utf8_length(text[at]);
  return text.substr(0, at);
}

Result<int64_t> read_number(std::string_view text, std::size_t& at) {
  int64_t value = 0;
  while (at < text.size() && text[at] >= '0' && text[at] <= '9') {
    value = value * 10 + (text[at++] - '0');
    if (value > kMaxWidth) return Status(Code::limit, fmt::format("a format's width exceeds {}", kMaxWidth));
  }
  return value;
}

/// What %c writes: a character, or the one of a number.
Result<std::string> character_of(const Value& value) {
  if (value.is_string() && count_chars(value.string()) == 1) return value.string();
  if (!value.is_integral()) return Status(Code::corrupt, "%c requires int or char");
  const int64_t c = value.integer();
  if (c < 0 || c > 0x10FFFF || (c >= 0xD800 && c < 0xE000)) return Status(Code::corrupt, "%c arg not in range(0x110000)");
  std::string out;
  append_utf8(out, static_cast<uint32_t>(c));
  return out;
}

/// A format specification as Python's format() takes it: [[fill]align][sign][#][0][width][,][.precision][type].
Result<std::string> format_value(Evaluator& e, const Value& value, std::string_view text) {
  if (text.empty()) {
    NBL_ASSIGN(const Value plain, e.text_of(value));
    return plain.string();
  }
  if (!value.is_number() && !value.is_string()) {
    return Status(Code::corrupt, fmt::format("unsupported format string passed to {}.__format__", type_name(value)));
  }
  Spec spec;
  std::size_t at = 0;
  const auto is_align = [](char c) { return c == '<' || c == '>' || c == '=' || c == '^'; };
  const std::size_t first = text.empty() ? 0 : utf8_length(text[0]);
  if (first < text.size() && is_align(text[first])) {
    spec.fill = std::string(text.substr(0, first));
    spec.align = text[first];
    at = first + 1;
  } else if (!text.empty() && is_align(text[0])) {
    spec.align = text[0];
    at = 1;
  }
  const auto take = [&](char c) {
    if (at >= text.size() || text[at] != c) return false;
    ++at;
    return true;
  };
  for (const char c : {'+', '-', ' '}) {
    if (spec.sign == 0 && take(c)) spec.sign = c;
  }
  spec.alternate = take('#');
  if (take('0') && spec.align == 0) {
    spec.zero = true;
    spec.fill = "0";
    spec.align = '=';
  }
  NBL_ASSIGN(spec.width, read_number(text, at));
  spec.comma = take(',') || take('_');
  if (take('.')) {
    NBL_ASSIGN(spec.precision, read_number(text, at));
  }
  if (at < text.size()) spec.type = text[at++];
  if (at < text.size()) return Status(Code::corrupt, "Invalid format specifier");
  NBL_TRY(e.move_bytes(static_cast<std::size_t>(spec.width) + 64));
  if (value.is_integral() && spec.type == 'c') {
    NBL_ASSIGN(std::string one, character_of(value));
    return padded(std::move(one), spec, '<');
  }
  if (value.is_number()) {
    const bool whole = value.is_integral() && (spec.type == 0 || std::string_view("dxXobn").find(spec.type) != std::string_view::npos);
    if (whole && spec.precision >= 0) return Status(Code::corrupt, "Precision not allowed in integer format specifier");
    NBL_ASSIGN(std::string body, number_text(value, spec));
    return padded(std::move(body), spec, '>');
  }
  if (spec.type != 0 && spec.type != 's') {
    return Status(Code::corrupt,
                  fmt::format("Unknown format code '{}' for object of type '{}'", spec.type, type_name(value)));
  }
  if (spec.zero) spec.align = '<';
  if (spec.align == '=') return Status(Code::corrupt, "'=' alignment not allowed in string format specifier");
  if (spec.comma) return Status(Code::corrupt, "Cannot specify ',' with 's'.");
  if (spec.sign != 0) return Status(Code::corrupt, "Sign not allowed in string format specifier");
  NBL_ASSIGN(const Value body, e.text_of(value));
  return padded(cut(body.string(), spec.precision), spec, '<');
}

}  // namespace

Result<std::string> format_percent(Evaluator& e, const std::string& format, const Value& arguments) {
  const bool tuple = arguments.is(Kind::list) && arguments.list().kind == ListKind::tuple;
  std::size_t next = 0;
  const auto argument = [&]() -> Result<Value> {
    if (tuple ? next < arguments.list().items.size() : next == 0) {
      return tuple ? arguments.list().items[next++] : (++next, arguments);
    }
    return Status(Code::corrupt, "not enough arguments for format string");
  };
  bool mapped = false;
  std::string out;
  for (std::size_t i = 0; i < format.size(); ++i) {
    if (format[i] != '%') {
      out += format[i];
      continue;
    }
    ++i;
    std::optional<Value> named;
    if (i < format.size() && format[i] == '(') {
      const std::size_t close = format.find(')', i);
      if (close == std::string::npos) return Status(Code::corrupt, "incomplete format key");
      if (!arguments.is(Kind::dict)) return Status(Code::corrupt, "format requires a mapping");
      const Value* found = arguments.dict().find(std::string_view(format).substr(i + 1, close - i - 1));
      if (found == nullptr)
        return Status(Code::corrupt, fmt::format("no such key: {}", format.substr(i + 1, close - i - 1)));
      named = *found;
      mapped = true;
      i = close + 1;
    }
    Spec spec;
    for (; i < format.size() && std::string_view("-+ #0").find(format[i]) != std::string_view::npos; ++i) {
      const char c = format[i];
      if (c == '-') spec.align = '<';
      if (c == '+' || (c == ' ' && spec.sign == 0)) spec.sign = c;
      spec.alternate = spec.alternate || c == '#';
      spec.zero = spec.zero || c == '0';
    }
    NBL_ASSIGN(spec.width, read_number(format, i));
    if (i < format.size() && format[i] == '.') {
      ++i;
      NBL_ASSIGN(spec.precision, read_number(format, i));
    }
    if (i >= format.size()) return Status(Code::corrupt, "incomplete format");
    char type = format[i];
    if (type == '%') {
      out += '%';
      continue;
    }
    Value value;
    if (named) {
      value = *named;
    } else {
      NBL_ASSIGN(value, argument());
    }
    NBL_TRY(e.move_bytes(static_cast<std::size_t>(spec.width) + 64));
    if (type == 's' || type == 'r') {
      NBL_ASSIGN(const Value text, e.text_of(value));
      out += padded(cut(type == 's' ? text.string() : repr(value), spec.precision), spec, '>');
      continue;
    }
    if (type == 'c') {
      NBL_ASSIGN(std::string one, character_of(value));
      out += padded(std::move(one), spec, '>');
      continue;
    }
    if (std::string_view("diufFeEgGxXo").find(type) == std::string_view::npos) {
      return Status(Code::corrupt, fmt::format("unsupported format character '{}'", type));
    }
    if (!value.is_number()) {
      return Status(Code::corrupt,
                    fmt::format("%{} format: a real number is required, not {}", type, type_name(value)));
    }
    if (type == 'i' || type == 'u') type = 'd';
    if (type == 'd' && value.is(Kind::real)) {
      if (!(std::fabs(value.real()) < 9e18)) return Status(Code::limit, "an integer exceeds 64 bits");
      value = Value(static_cast<int64_t>(value.real()));
    }
    spec.type = type;
    if (spec.zero && spec.align == 0) {
      spec.fill = "0";
      spec.align = '=';
    }
    NBL_ASSIGN(std::string body, number_text(value, spec));
    out += padded(std::move(body), spec, '>');
  }
  if (!mapped && !arguments.is(Kind::dict) && (tuple ? next < arguments.list().items.size() : next == 0)) {
    return Status(Code::corrupt, "not all arguments converted during string formatting");
  }
  return out;
}

Result<std::string> format_braces(Evaluator& e, const std::string& format, const CallArguments& arguments) {
  std::string out;
  std::size_t next = 0;
  for (std::size_t i = 0; i < format.size(); ++i) {
    const char c = format[i];
    if ((c == '{' || c == '}') && i + 1 < format.size() && format[i + 1] == c) {
      out += c;
      ++i;
      continue;
    }
    if (c == '}') return Status(Code::corrupt, "Single '}' encountered in format string");
    if (c != '{') {
      out += c;
      continue;
    }
    const std::size_t close = format.find('}', i);
    if (close == std::string::npos) return Status(Code::corrupt, "expected '}' before end of string");
    std::string_view field = std::string_view(format).substr(i + 1, close - i - 1);
    i = close;
    if (field.find('{') != std::string_view::npos) {
      return Status(Code::unsupported, "a field inside a format specification is not supported");
    }
    std::string_view spec;
    if (const std::size_t colon = field.find(':'); colon != std::string_view::npos) {
      spec = field.substr(colon + 1);
      field = field.substr(0, colon);
    }
    char conversion = 0;
    if (field.size() >= 2 && field[field.size() - 2] == '!') {
      conversion = field.back();
      field.remove_suffix(2);
    }
    const std::size_t name_end = std::min(field.find_first_of(".["), field.size());
    const std::string name(field.substr(0, name_end));
    std::string_view path = field.substr(name_end);
    Value value;
    if (name.find_first_not_of("0123456789") == std::string::npos) {
      const std::size_t at = name.empty()      ? next++
                             : name.size() < 9 ? static_cast<std::size_t>(std::atoi(name.c_str()))
                                               : SIZE_MAX;
      if (at >= arguments.positional.size()) {
        return Status(Code::corrupt, "Replacement index out of range for positional args tuple");
      }
      value = arguments.positional[at];
    } else {
      const auto found =
          std::find_if(arguments.named.begin(), arguments.named.end(), [&](const auto& n) { return n.first == name; });
      if (found == arguments.named.end()) return Status(Code::corrupt, fmt::format("no such key: '{}'", name));
      value = found->second;
    }
    while (!path.empty()) {
      const bool dot = path[0] == '.';
      path.remove_prefix(1);
      const std::size_t end = std::min(dot ? path.find_first_of(".[") : path.find(']'), path.size());
      const std::string key(path.substr(0, end));
      path.remove_prefix(std::min(path.size(), end + (dot ? 0 : 1)));
      NBL_ASSIGN(value, dot ? e.attribute(value, key) : e.item_path(value, Value(key)));
    }
    if (value.is_undefined() && !path.empty()) return Status(Code::corrupt, std::string(value.why()));
    if (conversion == 'r') value = Value(repr(value));
    if (conversion == 's') {
      NBL_ASSIGN(value, e.text_of(value));
    }
    NBL_ASSIGN(const std::string text, format_value(e, value, spec));
    NBL_TRY(e.move_bytes(text.size()));
    out += text;
  }
  return out;
}

}  // namespace nbl::text::jinja

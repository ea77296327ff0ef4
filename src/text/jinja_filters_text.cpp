// Filters on text and single values.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <limits>

#include "text/jinja_case.h"
#include "text/jinja_filters.h"
#include "text/utf8.h"

namespace nbl::text::jinja {

std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '&')
      out += "&amp;";
    else if (c == '<')
      out += "&lt;";
    else if (c == '>')
      out += "&gt;";
    else if (c == '"')
      out += "&#34;";
    else if (c == '\'')
      out += "&#39;";
    else
      out += c;
  }
  return out;
}

namespace {

using Args = const CallArguments&;

/// A method of str() of the value.
Result<Value> method_of(Evaluator& e, const Value& v, const char* name, std::vector<Value> arguments) {
  NBL_ASSIGN(const Value text, e.text_of(v));
  return e.call(find_method(text, name), {std::move(arguments), {}});
}

Result<Value> default_of(Evaluator&, const Value& v, const Bound& bound, Args) {
  if (!v.is_undefined() && !(bound.flag(1, false) && !truth(v))) return v;
  return bound[0] != nullptr ? *bound[0] : make_string("");
}

Result<Value> trim(Evaluator& e, const Value& v, const Bound& bound, Args) {
  return method_of(e, v, "strip", {bound[0] != nullptr ? *bound[0] : Value::none()});
}

template <std::string (*Map)(std::string_view)>
Result<Value> mapped(Evaluator& e, const Value& v, const Bound&, Args) {
  NBL_ASSIGN(const Value text, e.text_of(v));
  NBL_TRY(e.spend(static_cast<int64_t>(text.string().size() / 16)));
  return e.string(Map(text.string()));
}

/// Words begin after blanks, hyphens and opening brackets: unlike str.title(), an apostrophe begins none.
std::string title_words(std::string_view text) {
  std::string out, word;
  const auto flush = [&] {
    if (word.empty()) return;
    const std::size_t first = utf8_length(word[0]);
    out += upper(std::string_view(word).substr(0, first)) + lower(std::string_view(word).substr(first));
    word.clear();
  };
  const char* p = text.data();
  const char* const end = p + text.size();
  while (p < end) {
    const char* const begin = p;
    const uint32_t c = next_valid_utf8(p);
    if (is_space_char(c) || c == '-' || c == '(' || c == '{' || c == '[' || c == '<') {
      flush();
      out.append(begin, p);
    } else {
      word.append(begin, p);
    }
  }
  flush();
  return out;
}

Result<Value> replace(Evaluator& e, const Value& v, const Bound& bound, Args) {
  if (bound[0] == nullptr || bound[1] == nullptr) return Status(Code::corrupt, "replace() needs an old and a new text");
  NBL_ASSIGN(Value from, e.text_of(*bound[0]));
  NBL_ASSIGN(Value to, e.text_of(*bound[1]));
  NBL_ASSIGN(const int64_t count, bound.integer(2, -1));
  return method_of(e, v, "replace", {std::move(from), std::move(to), Value(count)});
}

Result<Value> center(Evaluator& e, const Value& v, const Bound& bound, Args) {
  NBL_ASSIGN(const int64_t width, bound.integer(0, 80));
  return method_of(e, v, "center", {Value(width)});
}

Result<Value> string_of(Evaluator& e, const Value& v, const Bound&, Args) { return e.text_of(v); }

Result<Value> format(Evaluator& e, const Value& v, const Bound&, Args arguments) {
  NBL_ASSIGN(const Value text, e.text_of(v));
  if (!arguments.named.empty()) {
    Dict named;
    for (const auto& [name, value] : arguments.named) named.set(Value(name), value);
    return e.binary("%", text, make_dict(std::move(named)));
  }
  NBL_ASSIGN(const Value tuple, e.list(arguments.positional, ListKind::tuple));
  return e.binary("%", text, tuple);
}

/// An integer as Python's int() reads it in this base; empty when it is none.
std::optional<int64_t> read_integer(std::string_view text, int64_t base) {
  std::string digits(strip_right(strip_left(text)));
  bool negative = false;
  std::size_t at = 0;
  if (!digits.empty() && (digits[0] == '-' || digits[0] == '+')) negative = digits[at++] == '-';
  const auto prefix = [&](char letter, int64_t of) {
    if ((base == of || base == 0) && digits.size() > at + 2 && digits[at] == '0' && (digits[at + 1] | 32) == letter) {
      base = of;
      at += 2;
    }
  };
  prefix('x', 16);
  prefix('o', 8);
  prefix('b', 2);
  if (base == 0) base = 10;
  std::string plain = digits.substr(at);
  if (plain.empty() || plain.front() == '_' || plain.back() == '_' || plain.find("__") != std::string::npos) return {};
  std::erase(plain, '_');
  int64_t value = 0;
  const char* const end = plain.data() + plain.size();
  const auto found = std::from_chars(plain.data(), end, value, static_cast<int>(base));
  if (plain[0] == '-' || found.ec != std::errc() || found.ptr != end) return {};
  return negative ? -value : value;
}

std::optional<double> read_real(std::string_view given) {
  // As Python has it, an underscore may stand between two digits.
  std::string plain(strip_right(strip_left(given)));
  const auto digit = [&](std::size_t i) { return i < plain.size() && plain[i] >= '0' && plain[i] <= '9'; };
  for (std::size_t i = plain.find('_'); i != std::string::npos; i = plain.find('_', i)) {
    if (i == 0 || !digit(i - 1) || !digit(i + 1)) return {};
    plain.erase(i, 1);
  }
  std::string_view text = plain;
  if (text.starts_with('+')) text.remove_prefix(1);
  if (text.starts_with("+") || text.find_first_of("xXpP(") != std::string_view::npos) return {};
  double value = 0;
  const auto found = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || found.ec == std::errc::invalid_argument || found.ptr != text.data() + text.size()) return {};
  if (found.ec == std::errc()) return value;
  // Out of range: too small to tell from zero, or infinite.
  const bool tiny = text.find("e-") != std::string_view::npos || text.find("E-") != std::string_view::npos;
  return std::copysign(tiny ? 0.0 : std::numeric_limits<double>::infinity(), text.starts_with('-') ? -1.0 : 1.0);
}

Result<Value> to_int(Evaluator&, const Value& v, const Bound& bound, Args) {
  NBL_ASSIGN(const int64_t base, bound.integer(1, 10));
  const bool known = base == 0 || (base >= 2 && base <= 36);  // in no other base is a text a whole number
  const Value fallback = bound[0] != nullptr ? *bound[0] : Value(int64_t{0});
  if (v.is_undefined()) return Status(Code::corrupt, std::string(v.why()));
  if (v.is_integral()) return Value(v.integer());
  std::optional<double> real;
  if (v.is(Kind::real)) real = v.real();
  if (v.is_string()) {
    if (const auto whole = known ? read_integer(v.string(), base) : std::nullopt) return Value(*whole);
    real = read_real(v.string());
  }
  if (!real || !std::isfinite(*real)) return fallback;
  if (std::fabs(*real) >= 9.2e18) return Status(Code::limit, "an integer exceeds 64 bits");
  return Value(static_cast<int64_t>(*real));
}

Result<Value> to_float(Evaluator&, const Value& v, const Bound& bound, Args) {
  if (v.is_undefined()) return Status(Code::corrupt, std::string(v.why()));
  if (v.is_number()) return Value(v.real());
  if (v.is_string()) {
    if (const auto real = read_real(v.string())) return Value(*real);
  }
  return bound[0] != nullptr ? *bound[0] : Value(0.0);
}

Result<Value> absolute(Evaluator& e, const Value& v, const Bound&, Args) {
  if (!v.is_number()) return Status(Code::corrupt, fmt::format("bad operand type for abs(): '{}'", type_name(v)));
  return v.real() < 0 ? e.binary("negate", v, v) : e.binary("plus", v, v);
}

Result<Value> round_to(Evaluator&, const Value& v, const Bound& bound, Args) {
  NBL_ASSIGN(const int64_t precision, bound.integer(0, 0));
  NBL_ASSIGN(const std::string method, bound.string(1, "common"));
  if (!v.is_number())
    return Status(Code::corrupt, fmt::format("type {} doesn't define __round__ method", type_name(v)));
  if (precision < -300 || precision > 300) return Status(Code::corrupt, "round() has an unreasonable precision");
  if (method == "ceil" || method == "floor") {
    const double scale = std::pow(10.0, static_cast<double>(precision));
    return Value((method == "ceil" ? std::ceil(v.real() * scale) : std::floor(v.real() * scale)) / scale);
  }
  if (method != "common") return Status(Code::corrupt, "method must be common, ceil or floor");
  if (v.is_integral() && precision >= 0) return Value(v.integer());
  double out = 0;
  if (precision >= 0) {
    // Correctly rounded, half to even, as printing does it.
    const std::string digits = fmt::format("{:.{}f}", v.real(), precision);
    out = v.real();  // when it is no finite number
    std::from_chars(digits.data(), digits.data() + digits.size(), out);
  } else {
    const double scale = std::pow(10.0, static_cast<double>(-precision));
    out = std::nearbyint(v.real() / scale) * scale;
  }
  return v.is_integral() ? Value(static_cast<int64_t>(out)) : Value(out);
}

Result<Value> to_json_text(Evaluator& e, const Value& v, const Bound& bound, Args) {
  NBL_TRY(e.move_bytes(static_cast<std::size_t>(weight_of(v)) * 4));
  JsonStyle style;
  style.ascii = bound.flag(0, false);
  style.sort_keys = bound.flag(3, false);
  std::string indent;
  if (bound[1] != nullptr && !bound[1]->is(Kind::none)) {
    if (bound[1]->is_string()) {
      indent = bound[1]->string();
    } else {
      NBL_ASSIGN(const int64_t width, bound.integer(1, 0));
      if (width > 256) return Status(Code::limit, "tojson() indents by more than 256");
      indent.assign(static_cast<std::size_t>(std::max<int64_t>(0, width)), ' ');
    }
    style.indent = &indent;
    style.item_separator = ",";
    // Every value may begin a line that is indented as deep as lists may be.
    NBL_TRY(
        e.move_bytes(static_cast<std::size_t>(weight_of(v)) * indent.size() * static_cast<std::size_t>(depth_of(v))));
  }
  if (bound[2] != nullptr && !bound[2]->is(Kind::none)) {
    NBL_ASSIGN(const std::vector<Value> pair, e.elements(*bound[2]));
    if (pair.size() != 2 || !pair[0].is_string() || !pair[1].is_string()) {
      return Status(Code::corrupt, "tojson() needs two separators");
    }
    style.item_separator = pair[0].string();
    style.key_separator = pair[1].string();
  }
  NBL_ASSIGN(std::string out, dump_json(v, style));
  return e.string(std::move(out));
}

Result<Value> indent(Evaluator& e, const Value& v, const Bound& bound, Args) {
  if (!v.is_string()) return Status(Code::corrupt, fmt::format("indent() needs a string, not '{}'", type_name(v)));
  std::string by;
  if (bound[0] != nullptr && bound[0]->is_string()) {
    by = bound[0]->string();
  } else {
    NBL_ASSIGN(const int64_t width, bound.integer(0, 4));
    if (width > 4096) return Status(Code::limit, "indent() indents by more than 4096");
    by.assign(static_cast<std::size_t>(std::max<int64_t>(0, width)), ' ');
  }
  const bool first = bound.flag(1, false), blank = bound.flag(2, false);
  NBL_ASSIGN(const Value lines, e.call(find_method(Value(v.string() + "\n"), "splitlines"), {}));
  std::string out = first ? by : "";
  for (std::size_t i = 0; i < lines.list().items.size(); ++i) {
    const std::string& line = lines.list().items[i].string();
    NBL_TRY(e.move_bytes(line.size() + by.size() + 1));
    if (i > 0) out += '\n';
    if (i > 0 && (blank || !line.empty())) out += by;
    out += line;
  }
  return Value(std::move(out));
}

Result<Value> truncate(Evaluator& e, const Value& v, const Bound& bound, Args) {
  NBL_ASSIGN(const int64_t length, bound.integer(0, 255));
  NBL_ASSIGN(const std::string end, bound.string(2, "..."));
  NBL_ASSIGN(const int64_t leeway, bound.integer(3, 5));
  if (v.is(Kind::list) && is_indexed(v.list().kind) && static_cast<int64_t>(v.list().items.size()) <= length + leeway) return v;
  if (v.is_undefined()) return v;
  if (!v.is_string()) return Status(Code::corrupt, fmt::format("truncate() needs a string, not '{}'", type_name(v)));
  const std::string& s = v.string();
  NBL_TRY(e.move_bytes(s.size() * 8));
  const std::vector<std::size_t> at = char_offsets(s);
  const int64_t keep = length - static_cast<int64_t>(count_chars(end));
  if (keep < 0 || leeway < 0) return Status(Code::corrupt, "truncate() needs a length that its end fits into");
  if (static_cast<int64_t>(at.size()) - 1 <= length + leeway) return v;
  std::string out = s.substr(0, at[static_cast<std::size_t>(keep)]);
  if (!bound.flag(1, false)) {
    if (const std::size_t space = out.rfind(' '); space != std::string::npos) out.resize(space);
  }
  return e.string(out + end);
}

Result<Value> file_size(Evaluator&, const Value& v, const Bound& bound, Args) {
  std::optional<double> size;
  if (v.is_number()) size = v.real();
  if (v.is_string()) size = read_real(v.string());
  if (!size) return Status(Code::corrupt, fmt::format("filesizeformat() needs a number, not {}", repr(v)));
  const bool binary = bound.flag(0, false);
  const double base = binary ? 1024 : 1000;
  if (*size == 1) return make_string("1 Byte");
  if (*size < base) {
    if (!(std::fabs(*size) < 9e18)) return Status(Code::corrupt, "filesizeformat() cannot write this number");
    return Value(fmt::format("{} Bytes", static_cast<int64_t>(*size)));
  }
  constexpr std::string_view kPrefixes = "kMGTPEZY";
  std::size_t i = 0;
  const auto unit = [&] { return std::pow(base, static_cast<double>(i + 2)); };
  while (i + 1 < kPrefixes.size() && !(*size < unit())) ++i;
  const char prefix = binary && i == 0 ? 'K' : kPrefixes[i];
  return Value(fmt::format("{:.1f} {}{}B", base * *size / unit(), prefix, binary ? "i" : ""));
}

Result<Value> word_count(Evaluator& e, const Value& v, const Bound&, Args) {
  NBL_ASSIGN(const Value text, e.text_of(v));
  NBL_TRY(e.spend(static_cast<int64_t>(text.string().size() / 16)));
  int64_t count = 0;
  bool inside = false;
  const char* p = text.string().data();
  const char* const end = p + text.string().size();
  while (p < end) {
    const char* const begin = p;
    const uint32_t c = next_valid_utf8(p);
    const bool word = c == '_' || is_alnum({begin, static_cast<std::size_t>(p - begin)});
    count += word && !inside ? 1 : 0;
    inside = word;
  }
  return Value(count);
}

Result<Value> same(Evaluator&, const Value& v, const Bound&, Args) { return v; }

std::string url_quoted(std::string_view text, bool of_query) {
  std::string out;
  for (const char c : text) {
    const auto u = static_cast<unsigned char>(c);
    const bool plain = (u | 32) >= 'a' && (u | 32) <= 'z' && u < 0x80;
    if (plain || (c >= '0' && c <= '9') || std::string_view(of_query ? "_.-~" : "_.-~/").find(c) != std::string_view::npos) {
      out += c;
    } else {
      out += of_query && c == ' ' ? "+" : fmt::format("%{:02X}", u);
    }
  }
  return out;
}

/// A text, or pairs as a query has them.
Result<Value> url_encode(Evaluator& e, const Value& v, const Bound&, Args) {
  if (!v.is(Kind::dict) && !v.is(Kind::list)) {
    NBL_ASSIGN(const Value text, e.text_of(v));
    NBL_TRY(e.move_bytes(text.string().size() * 3));
    return Value(url_quoted(text.string(), false));
  }
  Value pairs = v;
  if (v.is(Kind::dict)) {
    NBL_ASSIGN(pairs, e.call(find_method(v, "items"), {}));
  }
  std::string out;
  for (const Value& pair : pairs.list().items) {
    NBL_ASSIGN(const std::vector<Value> parts, e.elements(pair));
    if (parts.size() != 2) return Status(Code::corrupt, "urlencode() needs pairs of name and value");
    NBL_ASSIGN(const Value name, e.text_of(parts[0]));
    NBL_ASSIGN(const Value value, e.text_of(parts[1]));
    NBL_TRY(e.move_bytes(3 * (name.string().size() + value.string().size())));
    out += (out.empty() ? "" : "&") + url_quoted(name.string(), true) + "=" + url_quoted(value.string(), true);
  }
  return e.string(std::move(out));
}

constexpr std::array kFilters = {
    Filter{"default", "default_value boolean", default_of},
    Filter{"d", "default_value boolean", default_of},
    Filter{"trim", "chars", trim},
    Filter{"upper", "", mapped<upper>},
    Filter{"lower", "", mapped<lower>},
    Filter{"title", "", mapped<title_words>},
    Filter{"capitalize", "", mapped<capitalize>},
    Filter{"escape", "", mapped<escaped>},
    Filter{"e", "", mapped<escaped>},
    Filter{"forceescape", "", mapped<escaped>},
    Filter{"replace", "old new count", replace},
    Filter{"center", "width", center},
    Filter{"string", "", string_of},
    Filter{"format", "*", format},
    Filter{"int", "default base", to_int},
    Filter{"float", "default", to_float},
    Filter{"abs", "", absolute},
    Filter{"round", "precision method", round_to},
    Filter{"tojson", "ensure_ascii indent separators sort_keys", to_json_text},
    Filter{"indent", "width first blank", indent},
    Filter{"truncate", "length killwords end leeway", truncate},
    Filter{"wordcount", "", word_count},
    Filter{"filesizeformat", "binary", file_size},
    Filter{"safe", "", same},
    Filter{"urlencode", "", url_encode},
};

}  // namespace

const Filter* find_text_filter(std::string_view name) noexcept {
  return find_named(kFilters, name);
}

}  // namespace nbl::text::jinja

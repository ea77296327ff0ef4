#include "eval/yaml.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>
#include <vector>

#include "base/bounds.h"
#include "eval/characters.h"

namespace nbl::eval {
namespace {

constexpr BoundOf<int> kMaxDepth{Bound::task_file_depth};
constexpr BoundOf<std::size_t> kMaxBytes{Bound::task_file_bytes};

struct Line {
  std::size_t number = 0;
  std::size_t indent = 0;
  std::string_view text;  ///< without indentation; may be empty
};

class Reader {
 public:
  Reader(std::string_view text, std::string_view origin) : origin_(origin) {
    for (std::size_t number = 1; !text.empty(); ++number) {
      const std::size_t end = std::min(text.find('\n'), text.size());
      std::string_view line = text.substr(0, end);
      text.remove_prefix(std::min(end + 1, text.size()));
      if (line.ends_with('\r')) line.remove_suffix(1);
      const std::size_t indent = std::min(line.find_first_not_of(' '), line.size());
      lines_.push_back({number, indent, line.substr(indent)});
    }
  }

  Result<Json> read() {
    skip_blank();
    if (at_ < lines_.size() && lines_[at_].text == "---") ++at_;
    skip_blank();
    if (at_ >= lines_.size()) return Json::object();
    NBL_ASSIGN(Json value, block(lines_[at_].indent, 0));
    skip_blank();
    if (at_ < lines_.size()) return fail(lines_[at_].number, "expected the end of the file here: indentation does not fit");
    return value;
  }

 private:
  Status fail(std::size_t line, std::string_view what) const {
    return {Code::corrupt, fmt::format("{}, line {}: {}", origin_, line, what)};
  }
  Status refuse(std::size_t line, std::string_view what) const {
    return {Code::unsupported, fmt::format("{}, line {}: {} is outside the YAML that task files may use", origin_, line, what)};
  }

  static bool blank(std::string_view text) { return text.empty() || text[0] == '#' || rstripped(text) == 0; }
  void skip_blank() {
    while (at_ < lines_.size() && blank(lines_[at_].text)) ++at_;
  }

  /// Where a plain mapping's colon stands, outside quotes; npos when this is no "key: value".
  static std::size_t colon_of(std::string_view text) {
    if (!text.empty() && (text[0] == '"' || text[0] == '\'')) {
      const std::size_t close = text.find(text[0], 1);
      if (close == std::string_view::npos) return close;
      const std::size_t colon = text.find_first_not_of(' ', close + 1);
      return colon != std::string_view::npos && text[colon] == ':' && (colon + 1 == text.size() || text[colon + 1] == ' ')
                 ? colon
                 : std::string_view::npos;
    }
    for (std::size_t i = 0; i < text.size(); ++i) {
      if (text[i] == '#' && i > 0 && text[i - 1] == ' ') return std::string_view::npos;
      if (text[i] == ':' && (i + 1 == text.size() || text[i + 1] == ' ')) return i;
    }
    return std::string_view::npos;
  }

  static bool is_item(std::string_view text) { return text == "-" || text.starts_with("- "); }

  Result<Json> block(std::size_t indent, int depth) {
    if (depth > kMaxDepth) return refuse(lines_[at_].number, "nesting this deep");
    const Line& first = lines_[at_];
    if (is_item(first.text)) return sequence(indent, depth);
    if (!first.text.empty() && first.text[0] != '{' && first.text[0] != '[' && colon_of(first.text) != std::string_view::npos)
      return mapping(indent, depth);
    const std::string_view text = first.text;
    ++at_;
    return scalar(text, first.number, indent, depth);
  }

  Result<Json> sequence(std::size_t indent, int depth) {
    Json list = Json::array();
    for (skip_blank(); at_ < lines_.size() && lines_[at_].indent == indent && is_item(lines_[at_].text); skip_blank()) {
      Line& line = lines_[at_];
      const std::size_t inside = std::min(line.text.find_first_not_of(' ', 1), line.text.size());
      const std::string_view rest = line.text.substr(inside);
      if (blank(rest)) {
        ++at_;
        NBL_ASSIGN(Json value, nested(indent, depth, false));
        list.push_back(std::move(value));
        continue;
      }
      // What follows the dash is a block of its own, indented to where it begins.
      line.indent = indent + inside;
      line.text = rest;
      NBL_ASSIGN(Json value, block(line.indent, depth + 1));
      list.push_back(std::move(value));
    }
    return list;
  }

  Result<Json> mapping(std::size_t indent, int depth) {
    Json object = Json::object();
    for (skip_blank(); at_ < lines_.size() && lines_[at_].indent == indent && !is_item(lines_[at_].text); skip_blank()) {
      const Line line = lines_[at_];
      const std::size_t colon = colon_of(line.text);
      if (colon == std::string_view::npos) return fail(line.number, "expected \"key: value\"");
      std::string_view key = line.text.substr(0, colon);
      key = key.substr(0, rstripped(key));
      if (key == "<<") return refuse(line.number, "a merge key");
      if (key.size() > 1 && (key[0] == '"' || key[0] == '\'')) key = key.substr(1, key.size() - 2);
      if (object.find(key) != nullptr) return fail(line.number, fmt::format("\"{}\" stands twice", key));
      std::string_view rest = line.text.substr(colon + 1);
      rest = rest.substr(std::min(rest.find_first_not_of(' '), rest.size()));
      ++at_;
      Json value;
      if (blank(rest)) {
        NBL_ASSIGN(value, nested(indent, depth, true));
      } else {
        NBL_ASSIGN(value, scalar(rest, line.number, indent, depth));
      }
      object.set(key, std::move(value));
    }
    return object;
  }

  /// What stands below a key or a lone dash; null when nothing does. A sequence may stand as far left as its key.
  Result<Json> nested(std::size_t indent, int depth, bool below_key) {
    skip_blank();
    if (at_ >= lines_.size()) return Json();
    const Line& line = lines_[at_];
    if (line.indent > indent || (below_key && line.indent == indent && is_item(line.text))) return block(line.indent, depth + 1);
    return Json();
  }

  Result<Json> scalar(std::string_view text, std::size_t number, std::size_t indent, int depth) {
    if (text.empty()) return Json();
    switch (text[0]) {
      case '!':
        return refuse(number, fmt::format("the tag \"{}\"", text));
      case '&':
      case '*':
        return refuse(number, "an anchor or alias");
      case '%':
      case '@':
      case '`':
        return fail(number, fmt::format("a value cannot begin with \"{}\"", text[0]));
      case '|':
      case '>':
        return literal(text, number, indent);
      case '"':
      case '\'':
        return quoted(text, number);
      case '[':
      case '{': {
        std::string whole = gather(text, number);
        std::size_t at = 0;
        NBL_ASSIGN(Json value, flow(whole, at, number, depth));
        const std::size_t rest = whole.find_first_not_of(" \n", at);
        if (rest != std::string::npos && whole[rest] != '#') return fail(number, "expected nothing behind the closing bracket");
        return value;
      }
      default:
        break;
    }
    std::string value(without_comment(text));
    // A plain scalar goes on in deeper lines.
    while (at_ < lines_.size()) {
      std::size_t next = at_;
      while (next < lines_.size() && blank(lines_[next].text)) ++next;
      if (next >= lines_.size() || lines_[next].indent <= indent) break;
      value += " ";
      value += without_comment(lines_[next].text);
      at_ = next + 1;
    }
    return typed(value);
  }

  static std::string_view without_comment(std::string_view text) {
    const std::size_t comment = text.find(" #");
    text = text.substr(0, comment);
    return text.substr(0, rstripped(text));
  }

  static Json typed(const std::string& text) {
    if (text.empty() || text == "~" || text == "null" || text == "Null" || text == "NULL") return Json();
    if (text == "true" || text == "True" || text == "TRUE") return Json(true);
    if (text == "false" || text == "False" || text == "FALSE") return Json(false);
    int64_t integer = 0;
    const char *begin = text.data(), *end = begin + text.size();
    if (auto [p, e] = std::from_chars(begin, end, integer); e == std::errc() && p == end) return Json(integer);
    double real = 0;
    if ((text[0] >= '0' && text[0] <= '9') || text[0] == '-' || text[0] == '.') {
      if (auto [p, e] = std::from_chars(begin, end, real); e == std::errc() && p == end) return Json(real);
    }
    return Json(text);
  }

  Result<Json> literal(std::string_view header, std::size_t number, std::size_t indent) {
    const bool folded = header[0] == '>';
    char chomp = ' ';
    for (const char c : without_comment(header.substr(1))) {
      if (c != '-' && c != '+') return refuse(number, "an indentation indicator");
      chomp = c;
    }
    std::optional<std::size_t> own;
    std::string value;
    std::size_t breaks = 0;
    bool any = false, deeper = false;  // lines further right than the first keep their breaks
    for (; at_ < lines_.size(); ++at_) {
      const Line& line = lines_[at_];
      if (line.text.empty()) {
        ++breaks;
        continue;
      }
      if (line.indent <= indent && !(own && line.indent >= *own)) break;
      if (!own) own = line.indent;
      if (line.indent < *own) return fail(line.number, "a line of a block stands further left than its first");
      const bool joins = folded && !deeper && line.indent == *own;
      deeper = line.indent > *own;
      if (any) value += !joins ? std::string(breaks + 1, '\n') : breaks == 0 ? std::string(" ") : std::string(breaks, '\n');
      if (!any) value += std::string(breaks, '\n');
      breaks = 0;
      any = true;
      value += std::string(line.indent - *own, ' ');
      value += line.text;
    }
    if (any && chomp != '-') value += '\n';
    if (chomp == '+') value += std::string(breaks, '\n');
    return Json(value);
  }

  /// A quoted text, which may go on in the next lines.
  Result<Json> quoted(std::string_view text, std::size_t number) {
    std::string whole(text);
    for (std::size_t seen = 1; !quote_ends(whole, whole[0], seen);) {
      if (at_ >= lines_.size()) return fail(number, "the quote is not closed");
      whole += "\n";
      whole += lines_[at_++].text;
    }
    std::size_t at = 0;
    const auto value = quoted_at(whole, at);
    if (!value) return fail(number, "the quote is not closed");
    const std::size_t rest = whole.find_first_not_of(' ', at);
    if (rest != std::string::npos && whole[rest] != '#') return fail(number, "expected nothing behind the closing quote");
    return Json(*value);
  }

  /// Whether the text that `quote` began ends in what follows `seen`, which moves behind the closing quote, or to where to go on once
  /// the text has grown: each character is looked at once.
  static bool quote_ends(std::string_view text, char quote, std::size_t& seen) {
    while (seen < text.size()) {
      if (quote == '"' && text[seen] == '\\') {
        if (seen + 1 == text.size()) return false;
        seen += 2;
      } else if (text[seen] != quote) {
        ++seen;
      } else if (quote == '\'' && seen + 1 < text.size() && text[seen + 1] == '\'') {
        seen += 2;
      } else {
        ++seen;
        return true;
      }
    }
    return false;
  }

  /// The quoted text at `at`, which moves behind it; nothing when it does not end. Line breaks fold into blanks.
  static std::optional<std::string> quoted_at(const std::string& text, std::size_t& at) {
    const char quote = text[at];
    std::string value;
    for (std::size_t i = at + 1; i < text.size(); ++i) {
      const char c = text[i];
      if (c == quote) {
        if (quote == '\'' && i + 1 < text.size() && text[i + 1] == '\'') {
          value += '\'';
          ++i;
          continue;
        }
        at = i + 1;
        return value;
      }
      if (c == '\n') {
        while (!value.empty() && value.back() == ' ') value.pop_back();
        std::size_t breaks = 1;
        while (i + 1 < text.size() && text[i + 1] == '\n') {
          ++breaks;
          ++i;
        }
        value += breaks == 1 ? std::string(" ") : std::string(breaks - 1, '\n');
        continue;
      }
      if (quote == '"' && c == '\\' && i + 1 < text.size()) {
        const char e = text[++i];
        if (e == '\n') continue;  // an escaped line break joins
        if (e == 'u' || e == 'x' || e == 'U') {
          const std::size_t digits = e == 'U' ? 8 : e == 'u' ? 4 : 2;
          if (std::optional<unsigned> code = hexadecimal(text, i + 1, digits)) {
            i += digits;
            // Two halves of a character, as JSON writes it.
            if (*code >= 0xd800 && *code < 0xdc00 && text.substr(i + 1, 2) == "\\u") {
              if (const auto low = hexadecimal(text, i + 3, 4); low && *low >= 0xdc00 && *low < 0xe000) {
                *code = 0x10000 + ((*code - 0xd800) << 10) + (*low - 0xdc00);
                i += 6;
              }
            }
            append_utf8(value, *code > 0x10ffff || (*code >= 0xd800 && *code < 0xe000) ? 0xfffd : *code);
            continue;
          }
        }
        constexpr std::string_view kFrom = "ntr0\"\\/ abfve";
        const std::size_t known = kFrom.find(e);
        if (known != std::string_view::npos) {
          value += std::string_view("\n\t\r\0\"\\/ \a\b\f\v\x1b", 13)[known];
        } else {
          value += '\\';
          value += e;
        }
        continue;
      }
      value += c;
    }
    return std::nullopt;
  }

  static std::optional<unsigned> hexadecimal(const std::string& text, std::size_t at, std::size_t digits) {
    unsigned code = 0;
    if (at + digits >= text.size()) return std::nullopt;
    const char *first = text.data() + at, *last = first + digits;
    const auto [end, error] = std::from_chars(first, last, code, 16);
    return error == std::errc() && end == last ? std::optional(code) : std::nullopt;
  }

  static void append_utf8(std::string& out, unsigned code) {
    if (code < 0x80) {
      out += static_cast<char>(code);
    } else if (code < 0x800) {
      out += static_cast<char>(0xc0 | (code >> 6));
      out += static_cast<char>(0x80 | (code & 0x3f));
    } else if (code < 0x10000) {
      out += static_cast<char>(0xe0 | (code >> 12));
      out += static_cast<char>(0x80 | ((code >> 6) & 0x3f));
      out += static_cast<char>(0x80 | (code & 0x3f));
    } else {
      out += static_cast<char>(0xf0 | (code >> 18));
      out += static_cast<char>(0x80 | ((code >> 12) & 0x3f));
      out += static_cast<char>(0x80 | ((code >> 6) & 0x3f));
      out += static_cast<char>(0x80 | (code & 0x3f));
    }
  }

  /// A bracketed value with the lines that it goes on in.
  std::string gather(std::string_view text, std::size_t) {
    std::string whole(text);
    std::size_t seen = 0;
    int64_t depth = 0;
    char quote = '\0';  // of the text that is not closed yet
    const auto open = [&] {
      while (seen < whole.size()) {
        if (quote != '\0') {
          if (!quote_ends(whole, quote, seen)) return true;
          quote = '\0';
          continue;
        }
        const char c = whole[seen++];
        if (c == '"' || c == '\'') quote = c;
        depth += c == '[' || c == '{' ? 1 : c == ']' || c == '}' ? -1 : 0;
      }
      return quote != '\0' || depth > 0;
    };
    while (open() && at_ < lines_.size()) {
      whole += " ";
      whole += lines_[at_++].text;
    }
    return whole;
  }

  Result<Json> flow(const std::string& text, std::size_t& at, std::size_t number, int depth) {
    if (depth > kMaxDepth) return refuse(number, "nesting this deep");
    const auto skip = [&] { at = std::min(text.find_first_not_of(" \n", at), text.size()); };
    skip();
    if (at >= text.size()) return fail(number, "the bracket is not closed");
    if (text[at] == '"' || text[at] == '\'') {
      const auto value = quoted_at(text, at);
      if (!value) return fail(number, "the quote is not closed");
      return Json(*value);
    }
    if (text[at] == '[' || text[at] == '{') {
      const bool list = text[at] == '[';
      const char close = list ? ']' : '}';
      Json value = list ? Json::array() : Json::object();
      ++at;
      for (skip(); at < text.size() && text[at] != close;) {
        NBL_ASSIGN(Json item, flow(text, at, number, depth + 1));
        skip();
        if (list) {
          value.push_back(std::move(item));
        } else {
          if (at >= text.size() || text[at] != ':') return fail(number, "expected \"key: value\" in braces");
          ++at;
          NBL_ASSIGN(Json inside, flow(text, at, number, depth + 1));
          skip();
          value.set(item.is_string() ? std::string(item.as_string()) : item.dump(), std::move(inside));
        }
        if (at >= text.size() || text[at] == close) break;
        if (text[at] != ',') return fail(number, fmt::format("expected a comma or '{}'", close));
        ++at;
        skip();
      }
      if (at >= text.size()) return fail(number, "the bracket is not closed");
      ++at;
      return value;
    }
    const std::size_t end = [&] {
      for (std::size_t i = at; i < text.size(); ++i) {
        if (text[i] == ',' || text[i] == ']' || text[i] == '}') return i;
        if (text[i] == ':' && (i + 1 == text.size() || text[i + 1] == ' ')) return i;
      }
      return text.size();
    }();
    std::string_view plain = std::string_view(text).substr(at, end - at);
    plain = plain.substr(0, rstripped(plain));
    at = end;
    return typed(std::string(plain));
  }

  std::string origin_;
  std::vector<Line> lines_;
  std::size_t at_ = 0;
};

}  // namespace

Result<Json> parse_yaml(std::string_view text, std::string_view origin) {
  if (text.size() > kMaxBytes) return Status(Code::limit, fmt::format("{} is larger than {} bytes", origin, kMaxBytes.get()));
  if (const std::size_t tab = text.find("\n\t"); tab != std::string_view::npos) {
    const auto line = std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(tab), '\n') + 2;
    return Status(Code::corrupt, fmt::format("{}, line {}: a tab indents the line", origin, line));
  }
  return Reader(text, origin).read();
}

}  // namespace nbl::eval

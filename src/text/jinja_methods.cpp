// Methods of strings, lists and mappings.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <span>

#include "text/jinja_case.h"
#include "text/jinja_evaluator.h"
#include "text/utf8.h"

namespace nbl::text::jinja {

Value find_object_method(const Value& self, std::string_view name);

namespace {

using Args = const CallArguments&;

// --- strings

template <std::string (*Map)(std::string_view)>
Result<Value> map_text(Evaluator& e, const Value& self, const Bound&, Args) {
  NBL_TRY(e.spend(static_cast<int64_t>(self.string().size() / 16)));
  return e.string(Map(self.string()));
}

template <bool (*Test)(std::string_view)>
Result<Value> ask_text(Evaluator& e, const Value& self, const Bound&, Args) {
  NBL_TRY(e.spend(static_cast<int64_t>(self.string().size() / 16)));
  return Value(Test(self.string()));
}

/// Removes characters of a set (white space without one) from the ends.
std::string_view stripped(std::string_view text, const Value* set, bool left, bool right) {
  if (set == nullptr || set->is(Kind::none)) {
    if (left) text = strip_left(text);
    return right ? strip_right(text) : text;
  }
  const std::string& chars = set->string();
  const auto in_set = [&](std::string_view c) {
    for (std::size_t i = 0; i < chars.size(); i += utf8_length(chars[i])) {
      if (std::string_view(chars).substr(i, utf8_length(chars[i])) == c) return true;
    }
    return false;
  };
  while (left && !text.empty() && in_set(text.substr(0, utf8_length(text[0]))))
    text.remove_prefix(utf8_length(text[0]));
  while (right && !text.empty()) {
    std::size_t begin = text.size() - 1;
    while (begin > 0 && (static_cast<unsigned char>(text[begin]) & 0xC0) == 0x80) --begin;
    if (!in_set(text.substr(begin))) break;
    text = text.substr(0, begin);
  }
  return text;
}

template <bool Left, bool Right>
Result<Value> strip(Evaluator& e, const Value& self, const Bound& bound, Args) {
  if (bound[0] != nullptr && !bound[0]->is_string() && !bound[0]->is(Kind::none)) {
    return Status(Code::corrupt, "strip arg must be None or str");
  }
  const std::size_t set = bound[0] != nullptr && bound[0]->is_string() ? bound[0]->string().size() : 1;
  NBL_TRY(e.spend(static_cast<int64_t>((self.string().size() / 64 + 1) * (set + 1))));
  return e.string(std::string(stripped(self.string(), bound[0], Left, Right)));
}

std::vector<std::string_view> split_at_spaces(std::string_view text, int64_t most, bool from_right) {
  std::vector<std::string_view> out;
  if (from_right) {
    for (text = strip_right(text); !text.empty(); text = strip_right(text)) {
      if (most >= 0 && static_cast<int64_t>(out.size()) == most) {
        out.push_back(text);
        break;
      }
      std::size_t begin = text.size();
      while (begin > 0) {
        std::size_t at = begin - 1;
        while (at > 0 && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80) --at;
        const char* p = text.data() + at;
        if (is_space_char(next_valid_utf8(p))) break;
        begin = at;
      }
      out.push_back(text.substr(begin));
      text = text.substr(0, begin);
    }
    std::reverse(out.begin(), out.end());
    return out;
  }
  for (text = strip_left(text); !text.empty(); text = strip_left(text)) {
    if (most >= 0 && static_cast<int64_t>(out.size()) == most) {
      out.push_back(text);
      break;
    }
    const char* p = text.data();
    const char* const end = p + text.size();
    const char* stop = p;
    while (p < end && !is_space_char(next_valid_utf8(p))) stop = p;
    out.push_back(text.substr(0, static_cast<std::size_t>(stop - text.data())));
    text.remove_prefix(out.back().size());
  }
  return out;
}

template <bool FromRight>
Result<Value> split(Evaluator& e, const Value& self, const Bound& bound, Args) {
  NBL_ASSIGN(const int64_t most, bound.integer(1, -1));
  std::vector<std::string_view> parts;
  std::string_view text = self.string();
  NBL_TRY(e.move_bytes(text.size()));
  if (bound[0] == nullptr || bound[0]->is(Kind::none)) {
    NBL_TRY(e.take(static_cast<int64_t>(text.size()) * 16));
    parts = split_at_spaces(text, most, FromRight);
  } else {
    NBL_ASSIGN(const std::string separator, bound.string(0, ""));
    if (separator.empty()) return Status(Code::corrupt, "empty separator");
    while (most < 0 || static_cast<int64_t>(parts.size()) < most) {
      const std::size_t at = FromRight ? text.rfind(separator) : text.find(separator);
      if (at == std::string_view::npos) break;
      NBL_TRY(e.take(16));
      parts.push_back(FromRight ? text.substr(at + separator.size()) : text.substr(0, at));
      text = FromRight ? text.substr(0, at) : text.substr(at + separator.size());
    }
    parts.push_back(text);
    if (FromRight) std::reverse(parts.begin(), parts.end());
  }
  NBL_TRY(e.take(static_cast<int64_t>(parts.size()) * 96));
  std::vector<Value> out;
  out.reserve(parts.size());
  for (const std::string_view part : parts) out.push_back(make_string(part));
  return e.list(std::move(out));
}

Result<Value> splitlines(Evaluator& e, const Value& self, const Bound& bound, Args) {
  const bool keep = bound.flag(0, false);
  const std::string& text = self.string();
  NBL_TRY(e.move_bytes(text.size()));
  std::vector<Value> out;
  std::size_t begin = 0;
  for (std::size_t i = 0; i < text.size();) {
    const char* p = text.data() + i;
    const uint32_t c = next_valid_utf8(p);
    std::size_t next = static_cast<std::size_t>(p - text.data());
    const bool end = (c >= 0x0A && c <= 0x0D) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 || c == 0x2029;
    if (end) {
      if (c == '\r' && next < text.size() && text[next] == '\n') ++next;
      NBL_TRY(e.take(96));
      out.push_back(Value(text.substr(begin, (keep ? next : i) - begin)));
      begin = next;
    }
    i = next;
  }
  if (begin < text.size()) out.push_back(Value(text.substr(begin)));
  return e.list(std::move(out));
}

/// The part of a text that a method's start and end (in characters, as in a slice; parameters `at` and the next) leave to it.
struct Part {
  std::string_view text;
  int64_t first = 0;   ///< the character that it begins with
  bool empty = false;  ///< the start lies behind the end: nothing is found there, not even ""
};

Result<Part> part_of(Evaluator& e, const Value& self, const Bound& bound, std::size_t at) {
  const std::string_view text = self.string();
  const auto given = [&](std::size_t i) { return bound[i] != nullptr && !bound[i]->is(Kind::none); };
  if (!given(at) && !given(at + 1)) return Part{text};
  NBL_TRY(e.spend(static_cast<int64_t>(text.size() / 8)));
  const std::vector<std::size_t> offsets = char_offsets(text);
  const auto length = static_cast<int64_t>(offsets.size()) - 1;
  int64_t begin = 0, end = length;
  if (given(at)) {
    NBL_ASSIGN(begin, bound.integer(at, 0));
  }
  if (given(at + 1)) {
    NBL_ASSIGN(end, bound.integer(at + 1, length));
  }
  if (begin < 0) begin = std::max<int64_t>(0, begin + length);
  if (end < 0) end = std::max<int64_t>(0, end + length);
  end = std::min(end, length);
  if (begin > end) return Part{{}, 0, true};
  const std::size_t from = offsets[static_cast<std::size_t>(begin)];
  return Part{text.substr(from, offsets[static_cast<std::size_t>(end)] - from), begin};
}

template <bool AtEnd>
Result<Value> has_affix(Evaluator& e, const Value& self, const Bound& bound, Args) {
  if (bound[0] == nullptr) return Status(Code::corrupt, "startswith and endswith take an argument");
  NBL_ASSIGN(const Part part, part_of(e, self, bound, 1));
  const std::vector<Value> one{*bound[0]};
  const bool tuple = bound[0]->is(Kind::list) && bound[0]->list().kind == ListKind::tuple;
  for (const Value& affix : tuple ? bound[0]->list().items : one) {
    if (!affix.is_string()) {
      return Status(Code::corrupt, fmt::format("{} first arg must be str or a tuple of str, not {}",
                                               AtEnd ? "endswith" : "startswith", type_name(affix)));
    }
    if (!part.empty && (AtEnd ? part.text.ends_with(affix.string()) : part.text.starts_with(affix.string()))) return Value(true);
  }
  return Value(false);
}

Result<Value> replace(Evaluator& e, const Value& self, const Bound& bound, Args) {
  for (const std::size_t i : {std::size_t{0}, std::size_t{1}}) {
    if (bound[i] == nullptr) return Status(Code::corrupt, fmt::format("replace expected at least 2 arguments, got {}", i));
  }
  NBL_ASSIGN(const std::string from, bound.string(0, ""));
  NBL_ASSIGN(const std::string to, bound.string(1, ""));
  NBL_ASSIGN(const int64_t most, bound.integer(2, -1));
  const std::string& text = self.string();
  NBL_TRY(e.move_bytes(text.size()));
  std::string out;
  std::size_t at = 0;
  for (int64_t n = 0; most < 0 || n < most; ++n) {
    if (from.empty()) {
      // Before every character, and at the end.
      NBL_TRY(e.move_bytes(to.size()));
      out += to;
      if (at >= text.size()) return Value(std::move(out));
      out.append(text, at, utf8_length(text[at]));
      at += utf8_length(text[at]);
      continue;
    }
    const std::size_t found = text.find(from, at);
    if (found == std::string::npos) break;
    NBL_TRY(e.move_bytes(to.size()));
    out.append(text, at, found - at);
    out += to;
    at = found + from.size();
  }
  out.append(text, at);
  return Value(std::move(out));
}

enum class Seek { find, rfind, index, rindex };
template <Seek How>
Result<Value> seek(Evaluator& e, const Value& self, const Bound& bound, Args) {
  NBL_ASSIGN(const std::string what, bound.string(0, ""));
  NBL_ASSIGN(const Part part, part_of(e, self, bound, 1));
  NBL_TRY(e.spend(static_cast<int64_t>(part.text.size() / 16)));
  const bool right = How == Seek::rfind || How == Seek::rindex;
  const std::size_t at = part.empty ? std::string::npos : right ? part.text.rfind(what) : part.text.find(what);
  if (at == std::string::npos) {
    if (How == Seek::find || How == Seek::rfind) return Value(int64_t{-1});
    return Status(Code::corrupt, "substring not found");
  }
  return Value(part.first + static_cast<int64_t>(count_chars(part.text.substr(0, at))));
}

Result<Value> count_text(Evaluator& e, const Value& self, const Bound& bound, Args) {
  NBL_ASSIGN(const std::string what, bound.string(0, ""));
  NBL_ASSIGN(const Part part, part_of(e, self, bound, 1));
  if (part.empty) return Value(int64_t{0});
  const std::string_view text = part.text;
  NBL_TRY(e.spend(static_cast<int64_t>(text.size() / 16)));
  if (what.empty()) return Value(static_cast<int64_t>(count_chars(text)) + 1);
  int64_t count = 0;
  for (std::size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + what.size())) ++count;
  return Value(count);
}

Result<Value> join(Evaluator& e, const Value& self, const Bound& bound, Args) {
  if (bound[0] == nullptr) return Status(Code::corrupt, "join() takes one argument");
  NBL_ASSIGN(const std::vector<Value> parts, e.elements(*bound[0]));
  std::string out;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    if (!parts[i].is_string()) {
      return Status(Code::corrupt,
                    fmt::format("sequence item {}: expected str instance, {} found", i, type_name(parts[i])));
    }
    NBL_TRY(e.move_bytes(parts[i].string().size() + self.string().size()));
    if (i > 0) out += self.string();
    out += parts[i].string();
  }
  return Value(std::move(out));
}

template <bool AtEnd>
Result<Value> remove_affix(Evaluator& e, const Value& self, const Bound& bound, Args) {
  NBL_ASSIGN(const std::string affix, bound.string(0, ""));
  const std::string& text = self.string();
  if (AtEnd ? !text.ends_with(affix) : !text.starts_with(affix)) return self;
  return e.string(AtEnd ? text.substr(0, text.size() - affix.size()) : text.substr(affix.size()));
}

template <bool FromRight>
Result<Value> partition(Evaluator& e, const Value& self, const Bound& bound, Args) {
  NBL_ASSIGN(const std::string separator, bound.string(0, ""));
  if (separator.empty()) return Status(Code::corrupt, "empty separator");
  const std::string& text = self.string();
  NBL_TRY(e.move_bytes(text.size()));
  const std::size_t at = FromRight ? text.rfind(separator) : text.find(separator);
  if (at == std::string::npos) {
    const Value none = make_string("");
    return e.list(FromRight ? std::vector<Value>{none, none, self} : std::vector<Value>{self, none, none},
                  ListKind::tuple);
  }
  return e.list({Value(text.substr(0, at)), Value(separator), Value(text.substr(at + separator.size()))},
                ListKind::tuple);
}

enum class Pad { left, right, both, zeros };
template <Pad How>
Result<Value> pad(Evaluator& e, const Value& self, const Bound& bound, Args) {
  NBL_ASSIGN(const int64_t width, bound.integer(0, 0));
  NBL_ASSIGN(const std::string fill, bound.string(1, How == Pad::zeros ? "0" : " "));
  const std::string& text = self.string();
  const auto size = static_cast<int64_t>(count_chars(text));
  if (count_chars(fill) != 1) return Status(Code::corrupt, "The fill character must be exactly one character long");
  if (width <= size) return self;
  const int64_t missing = width - size;
  NBL_TRY(
      e.move_bytes(static_cast<std::size_t>(std::min<int64_t>(missing, INT64_C(1) << 40)) * fill.size() + text.size()));
  // str.center() puts the odd one to the left when the width is odd.
  const int64_t before = How == Pad::left || How == Pad::zeros ? missing
                         : How == Pad::both                    ? missing / 2 + (missing & width & 1)
                                                               : 0;
  std::string out;
  std::string_view rest = text;
  if (How == Pad::zeros && (rest.starts_with('-') || rest.starts_with('+'))) {
    out += rest[0];
    rest.remove_prefix(1);
  }
  for (int64_t i = 0; i < before; ++i) out += fill;
  out += rest;
  for (int64_t i = before; i < missing; ++i) out += fill;
  return Value(std::move(out));
}

Result<Value> format(Evaluator& e, const Value& self, const Bound&, Args arguments) {
  NBL_ASSIGN(std::string out, format_braces(e, self.string(), arguments));
  return e.string(std::move(out));
}

Result<Value> format_map(Evaluator& e, const Value& self, const Bound& bound, Args) {
  if (bound[0] == nullptr || !bound[0]->is(Kind::dict)) return Status(Code::corrupt, "format_map() takes a mapping");
  CallArguments arguments;
  for (const auto& [key, value] : bound[0]->dict().items) {
    if (key.is_string()) arguments.named.emplace_back(key.string(), value);
  }
  NBL_TRY(e.take(64 * static_cast<int64_t>(arguments.named.size())));
  NBL_ASSIGN(std::string out, format_braces(e, self.string(), arguments));
  return e.string(std::move(out));
}

bool is_ascii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

bool is_printable_text(std::string_view text) {
  const char* p = text.data();
  const char* const end = p + text.size();
  while (p < end) {
    if (!is_printable(next_valid_utf8(p))) return false;
  }
  return true;
}

bool is_identifier(std::string_view text) {
  if (text.empty() || is_numeric(text.substr(0, utf8_length(text[0])))) return false;
  std::string letters(text);
  std::erase(letters, '_');
  return letters.empty() || is_alnum(letters);
}

Result<Value> expand_tabs(Evaluator& e, const Value& self, const Bound& bound, Args) {
  NBL_ASSIGN(const int64_t size, bound.integer(0, 8));
  if (size > 4096) return Status(Code::limit, "expandtabs() makes columns of more than 4096");
  std::string out;
  int64_t column = 0;
  NBL_TRY(e.move_bytes(self.string().size()));
  for (const char c : self.string()) {
    if (c == '\t') {
      const int64_t blanks = size > 0 ? size - column % size : 0;
      NBL_TRY(e.move_bytes(static_cast<std::size_t>(blanks)));
      out.append(static_cast<std::size_t>(blanks), ' ');
      column += blanks;
    } else {
      out += c;
      const bool begins = (static_cast<unsigned char>(c) & 0xC0) != 0x80;
      column = c == '\n' || c == '\r' ? 0 : column + (begins ? 1 : 0);
    }
  }
  return Value(std::move(out));
}

/// Characters by their numbers, as str.translate() has it: to a text, to another character's number, or away (none).
Result<Value> translate(Evaluator& e, const Value& self, const Bound& bound, Args) {
  if (bound[0] == nullptr || !bound[0]->is(Kind::dict)) return Status(Code::corrupt, "translate() takes a mapping");
  std::string out;
  const char* p = self.string().data();
  const char* const end = p + self.string().size();
  while (p < end) {
    NBL_TRY(e.spend(1));
    const char* const begin = p;
    const Value* to = bound[0]->dict().find(Value(int64_t{next_valid_utf8(p)}));
    if (to == nullptr) {
      out.append(begin, p);
    } else if (to->is_string()) {
      NBL_TRY(e.move_bytes(to->string().size()));
      out += to->string();
    } else if (to->is(Kind::integer) && to->integer() >= 0 && to->integer() <= 0x10FFFF && (to->integer() < 0xD800 || to->integer() > 0xDFFF)) {
      append_utf8(out, static_cast<uint32_t>(to->integer()));
    } else if (!to->is(Kind::none)) {
      return Status(Code::corrupt, "character mapping must return integer, None or str");
    }
  }
  return e.string(std::move(out));
}

// --- mappings

Result<Value> items(Evaluator& e, const Value& self, const Bound&, Args) {
  std::vector<Value> out;
  NBL_TRY(e.move_bytes(self.dict().items.size() * 128));
  for (const auto& [key, value] : self.dict().items) {
    NBL_ASSIGN(Value pair, e.list({key, value}, ListKind::tuple));
    out.push_back(std::move(pair));
  }
  return e.list(std::move(out), ListKind::items);
}

template <bool Keys>
Result<Value> side(Evaluator& e, const Value& self, const Bound&, Args) {
  std::vector<Value> out;
  NBL_TRY(e.move_bytes(self.dict().items.size() * sizeof(Value)));
  for (const auto& [key, value] : self.dict().items) out.push_back(Keys ? key : value);
  return e.list(std::move(out), Keys ? ListKind::keys : ListKind::values);
}

Result<Value> get(Evaluator&, const Value& self, const Bound& bound, Args) {
  if (bound[0] == nullptr) return Status(Code::corrupt, "get expected at least 1 argument, got 0");
  if (!hashable(*bound[0])) return Status(Code::corrupt, fmt::format("unhashable type: '{}'", type_name(*bound[0])));
  const Value* found = self.dict().find(*bound[0]);
  return found != nullptr ? *found : bound[1] != nullptr ? *bound[1] : Value::none();
}

Result<Value> copy(Evaluator&, const Value& self, const Bound&, Args) { return self; }

// --- lists

Result<Value> index_of(Evaluator& e, const Value& self, const Bound& bound, Args) {
  if (bound[0] == nullptr) return Status(Code::corrupt, "index expected at least 1 argument, got 0");
  const auto& list = self.list().items;
  for (std::size_t i = 0; i < list.size(); ++i) {
    NBL_ASSIGN(const bool same, e.equals(list[i], *bound[0]));
    if (same) return Value(static_cast<int64_t>(i));
  }
  return Status(Code::corrupt, fmt::format("{} is not in list", repr(*bound[0])));
}

Result<Value> count_of(Evaluator& e, const Value& self, const Bound& bound, Args) {
  if (bound[0] == nullptr) return Status(Code::corrupt, "count() takes exactly one argument (0 given)");
  int64_t count = 0;
  for (const Value& item : self.list().items) {
    NBL_ASSIGN(const bool same, e.equals(item, *bound[0]));
    count += same ? 1 : 0;
  }
  return Value(count);
}

constexpr std::array kStringMethods = {
    Builtin{"strip", "chars", strip<true, true>},
    Builtin{"lstrip", "chars", strip<true, false>},
    Builtin{"rstrip", "chars", strip<false, true>},
    Builtin{"split", "sep maxsplit", split<false>},
    Builtin{"rsplit", "sep maxsplit", split<true>},
    Builtin{"splitlines", "keepends", splitlines},
    Builtin{"startswith", "prefix start end", has_affix<false>},
    Builtin{"endswith", "suffix start end", has_affix<true>},
    Builtin{"replace", "old new count", replace},
    Builtin{"upper", "", map_text<upper>},
    Builtin{"lower", "", map_text<lower>},
    Builtin{"casefold", "", map_text<fold_case>},
    Builtin{"title", "", map_text<title>},
    Builtin{"capitalize", "", map_text<capitalize>},
    Builtin{"swapcase", "", map_text<swap_case>},
    Builtin{"find", "sub start end", seek<Seek::find>},
    Builtin{"rfind", "sub start end", seek<Seek::rfind>},
    Builtin{"index", "sub start end", seek<Seek::index>},
    Builtin{"rindex", "sub start end", seek<Seek::rindex>},
    Builtin{"count", "sub start end", count_text},
    Builtin{"join", "iterable", join},
    Builtin{"isupper", "", ask_text<is_upper>},
    Builtin{"islower", "", ask_text<is_lower>},
    Builtin{"isalpha", "", ask_text<is_alpha>},
    Builtin{"isdigit", "", ask_text<is_digit>},
    Builtin{"isdecimal", "", ask_text<is_decimal>},
    Builtin{"isnumeric", "", ask_text<is_numeric>},
    Builtin{"isalnum", "", ask_text<is_alnum>},
    Builtin{"isspace", "", ask_text<is_space>},
    Builtin{"istitle", "", ask_text<is_title>},
    Builtin{"isascii", "", ask_text<is_ascii>},
    Builtin{"isprintable", "", ask_text<is_printable_text>},
    Builtin{"isidentifier", "", ask_text<is_identifier>},
    Builtin{"removeprefix", "prefix", remove_affix<false>},
    Builtin{"removesuffix", "suffix", remove_affix<true>},
    Builtin{"partition", "sep", partition<false>},
    Builtin{"rpartition", "sep", partition<true>},
    Builtin{"ljust", "width fill", pad<Pad::right>},
    Builtin{"rjust", "width fill", pad<Pad::left>},
    Builtin{"center", "width fill", pad<Pad::both>},
    Builtin{"zfill", "width", pad<Pad::zeros>},
    Builtin{"format", "*", format},
    Builtin{"format_map", "mapping", format_map},
    Builtin{"expandtabs", "tabsize", expand_tabs},
    Builtin{"translate", "table", translate},
};

constexpr std::array kDictMethods = {
    Builtin{"items", "", items},        Builtin{"keys", "", side<true>}, Builtin{"values", "", side<false>},
    Builtin{"get", "key default", get}, Builtin{"copy", "", copy},
};

constexpr std::array kListMethods = {
    Builtin{"index", "value", index_of},
    Builtin{"count", "value", count_of},
    Builtin{"copy", "", copy},
};

Result<Value> is_whole(Evaluator&, const Value& self, const Bound&, Args) { return Value(std::floor(self.real()) == self.real()); }

Result<Value> bit_length(Evaluator&, const Value& self, const Bound&, Args) {
  const int64_t v = self.integer();
  const uint64_t magnitude = v < 0 ? uint64_t{0} - static_cast<uint64_t>(v) : static_cast<uint64_t>(v);
  return Value(static_cast<int64_t>(std::bit_width(magnitude)));
}

Result<Value> conjugate(Evaluator& e, const Value& self, const Bound&, Args) { return e.binary("plus", self, self); }

constexpr std::array kRealMethods = {Builtin{"conjugate", "", conjugate}, Builtin{"is_integer", "", is_whole}};
constexpr std::array kIntegerMethods = {Builtin{"conjugate", "", conjugate}, Builtin{"bit_length", "", bit_length}};

// What would change a value: a template may not.
constexpr std::string_view kMutators[] = {"append", "clear",   "extend",     "insert", "pop",   "popitem",
                                          "remove", "reverse", "setdefault", "sort",   "update"};

}  // namespace

Value find_method(const Value& self, const std::string& name) {
  std::span<const Builtin> methods;
  if (self.is_string()) {
    methods = kStringMethods;
  } else if (self.is(Kind::dict)) {
    methods = kDictMethods;
  } else if (self.is(Kind::list) && is_indexed(self.list().kind)) {
    methods = self.list().kind == ListKind::list ? std::span<const Builtin>(kListMethods) : std::span<const Builtin>(kListMethods).first(2);
  } else if (self.is(Kind::real)) {
    methods = kRealMethods;
  } else if (self.is_integral()) {
    methods = kIntegerMethods;
  } else if (self.is(Kind::object)) {
    return find_object_method(self, name);
  }
  for (const Builtin& method : methods) {
    if (method.name == name) return bind_builtin(method, self);
  }
  const bool list = self.is(Kind::list) && self.list().kind == ListKind::list;
  const bool of_dict =
      name == "popitem" || name == "setdefault" || name == "update" || name == "clear" || name == "pop";
  const bool of_list = name != "popitem" && name != "setdefault" && name != "update";
  if ((list && of_list) || (self.is(Kind::dict) && of_dict)) {
    if (std::find(std::begin(kMutators), std::end(kMutators), name) != std::end(kMutators)) {
      return Value::undefined(fmt::format("access to attribute '{}' of '{}' object is unsafe.", name, type_name(self)));
    }
  }
  return {};
}

}  // namespace nbl::text::jinja

// Filters that lay values out over lines: wordwrap and pprint.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "text/jinja_filters.h"
#include "text/regex.h"
#include "text/utf8.h"

namespace nbl::text::jinja {
namespace {

using Args = const CallArguments&;

// --- wordwrap: Python's textwrap

/// What a line may be cut between: runs of blanks, words, the parts of hyphenated words, dashes. (Python's \w, and its letters.)
constexpr std::string_view kChunk =
    R"([ \t\n\x0B\f\r]+|(?<=[\p{L}\p{N}_!"'&.,?])-{2,}(?=[\p{L}\p{N}_])|[^ \t\n\x0B\f\r]+?(?:)"
    R"(-(?:(?<=[\p{L}\p{Nl}\p{No}_][\p{L}\p{Nl}\p{No}_]-)|(?<=[\p{L}\p{Nl}\p{No}_]-[\p{L}\p{N}_!"'&.,?]-)))"
    R"((?=[\p{L}\p{Nl}\p{No}_]-?[\p{L}\p{Nl}\p{No}_])|(?=[ \t\n\x0B\f\r]|\z)|(?<=[\p{L}\p{N}_!"'&.,?])(?=-{2,}[\p{L}\p{N}_])))";
constexpr std::string_view kBlanks = R"([ \t\n\x0B\f\r]+)";

struct Wrapping {
  int64_t width = 79;
  bool break_long_words = true, break_on_hyphens = true;
};

Result<std::vector<std::string_view>> chunks_of(std::string_view line, const Regex& pattern) {
  std::vector<std::string_view> out;
  std::size_t at = 0;
  NBL_TRY(pattern.find_all(line, [&](std::size_t begin, std::size_t end) {
    if (begin > at) out.push_back(line.substr(at, begin - at));
    out.push_back(line.substr(begin, end - begin));
    at = end;
    return true;
  }));
  if (at < line.size()) out.push_back(line.substr(at));
  return out;
}

bool is_blank(std::string_view text) { return strip_left(text).empty(); }

/// Characters of a text and their bytes, of `most` of them at most.
std::pair<int64_t, std::size_t> measured(std::string_view text, int64_t most) {
  std::size_t bytes = 0;
  int64_t chars = 0;
  for (; chars < most && bytes < text.size(); ++chars) bytes += utf8_length(text[bytes]);
  return {chars, bytes};
}

/// Bytes of a word too long for a line that go on the line: what fits, up to a hyphen that does.
std::size_t cut_length(std::string_view word, int64_t room, bool at_hyphen) {
  const std::size_t fits = measured(word, std::max<int64_t>(room, 0)).second;
  if (!at_hyphen) return fits;
  const std::size_t hyphen = word.substr(0, fits).rfind('-');
  if (hyphen == std::string_view::npos || word.find_first_not_of('-') >= hyphen) return fits;
  return hyphen + 1;
}

Status wrap_line(Evaluator& e, std::string_view line, const Wrapping& how, const Regex& pattern, std::vector<std::string>& out) {
  NBL_ASSIGN(std::vector<std::string_view> chunks, chunks_of(line, pattern));
  NBL_TRY(e.move_bytes(chunks.size() * sizeof(std::string_view)));
  std::reverse(chunks.begin(), chunks.end());  // the next one is the last
  const std::size_t first = out.size();
  const auto next = [&] {
    const std::string_view chunk = chunks.back();
    chunks.pop_back();
    return chunk;
  };
  while (!chunks.empty()) {
    NBL_TRY(e.spend(1));
    std::vector<std::string_view> current;
    int64_t used = 0;
    if (out.size() > first && is_blank(chunks.back())) chunks.pop_back();
    while (!chunks.empty()) {
      const int64_t length = measured(chunks.back(), how.width + 1).first;
      if (used + length > how.width) break;
      used += length;
      current.push_back(next());
    }
    if (!chunks.empty() && measured(chunks.back(), how.width + 1).first > how.width) {
      if (how.break_long_words) {
        const std::size_t cut = cut_length(chunks.back(), how.width - used, how.break_on_hyphens);
        current.push_back(chunks.back().substr(0, cut));
        chunks.back().remove_prefix(cut);
      } else if (current.empty()) {
        current.push_back(next());
      }
    }
    if (!current.empty() && is_blank(current.back())) current.pop_back();
    if (current.empty()) continue;
    std::string joined;
    for (const std::string_view part : current) joined += part;
    NBL_TRY(e.move_bytes(joined.size() + 64));
    out.push_back(std::move(joined));
  }
  return {};
}

Result<Value> word_wrap(Evaluator& e, const Value& v, const Bound& bound, Args) {
  Wrapping how;
  NBL_ASSIGN(how.width, bound.integer(0, 79));
  how.width = std::min(how.width, int64_t{1} << 40);
  how.break_long_words = bound.flag(1, true);
  how.break_on_hyphens = bound.flag(3, true);
  std::string between = "\n";
  if (bound[2] != nullptr && !bound[2]->is(Kind::none)) {
    NBL_ASSIGN(between, bound.string(2, ""));
  }
  if (!v.is_string()) return Status(Code::corrupt, fmt::format("wordwrap() needs a string, not '{}'", type_name(v)));
  NBL_ASSIGN(const Value lines, e.call(find_method(v, "splitlines"), {}));
  NBL_ASSIGN(const auto pattern, Regex::compile(how.break_on_hyphens ? kChunk : kBlanks, "wordwrap"));
  std::string out;
  for (std::size_t i = 0; i < lines.list().items.size(); ++i) {
    const std::string& line = lines.list().items[i].string();
    if (how.width <= 0) return Status(Code::corrupt, fmt::format("invalid width {} (must be > 0)", how.width));
    std::vector<std::string> parts;
    NBL_TRY(wrap_line(e, line, how, *pattern, parts));
    if (i > 0) out += between;
    for (std::size_t j = 0; j < parts.size(); ++j) {
      NBL_TRY(e.move_bytes(parts[j].size() + between.size()));
      if (j > 0) out += between;
      out += parts[j];
    }
  }
  return e.string(std::move(out));
}

// --- pprint: Python's, with its 80 columns

int64_t columns(std::string_view text) { return static_cast<int64_t>(count_chars(text)); }

class Printer {
 public:
  explicit Printer(Evaluator& evaluator) : e_(evaluator) {}
  std::string out;

  Status write(const Value& value, int64_t indent, int64_t allowance, int level) {
    NBL_TRY(e_.move_bytes(static_cast<std::size_t>(weight_of(value)) * 4));
    const std::string text = short_form(value);
    if (columns(text) > kWidth - indent - allowance) {
      if (value.is_string()) return write_string(value.string(), indent, allowance, level);
      if (value.is(Kind::dict)) return write_dict(value, indent, allowance, level);
      if (value.is(Kind::list) && is_joinable(value.list().kind)) return write_list(value.list(), indent, allowance, level);
    }
    return put(text);
  }

 private:
  static constexpr int64_t kWidth = 80;

  Status put(std::string_view text) {
    NBL_TRY(e_.move_bytes(text.size()));
    out += text;
    return {};
  }
  Status new_line(int64_t indent) { return put("\n" + std::string(static_cast<std::size_t>(indent), ' ')); }

  /// In the order of their keys, where Python orders them; else of their types' names.
  static std::vector<std::pair<Value, Value>> sorted(const Dict& dict) {
    std::vector<std::pair<Value, Value>> items = dict.items;
    std::stable_sort(items.begin(), items.end(), [](const auto& a, const auto& b) {
      const Result<int> order = compare(a.first, b.first);
      return order.ok() ? *order < 0 : type_name(a.first) < type_name(b.first);
    });
    return items;
  }

  /// repr(), with sorted keys.
  static std::string short_form(const Value& value) {
    if (value.is(Kind::dict)) {
      std::string text = "{";
      for (const auto& [key, item] : sorted(value.dict()))
        text += (text.size() > 1 ? ", " : "") + short_form(key) + ": " + short_form(item);
      return text + "}";
    }
    if (!value.is(Kind::list) || !is_joinable(value.list().kind)) return repr(value);
    const bool tuple = value.list().kind == ListKind::tuple;
    std::string text = tuple ? "(" : "[";
    for (const Value& item : value.list().items) text += (text.size() > 1 ? ", " : "") + short_form(item);
    return text + (!tuple ? "]" : value.list().items.size() == 1 ? ",)" : ")");
  }

  Status write_dict(const Value& value, int64_t indent, int64_t allowance, int level) {
    const auto items = sorted(value.dict());
    NBL_TRY(put("{"));
    for (std::size_t i = 0; i < items.size(); ++i) {
      const bool last = i + 1 == items.size();
      const std::string key = short_form(items[i].first);
      NBL_TRY(put(key + ": "));
      NBL_TRY(write(items[i].second, indent + 1 + columns(key) + 2, last ? allowance + 1 : 1, level + 1));
      if (!last) NBL_TRY(put(","));
      if (!last) NBL_TRY(new_line(indent + 1));
    }
    return put("}");
  }

  Status write_list(const List& list, int64_t indent, int64_t allowance, int level) {
    const bool tuple = list.kind == ListKind::tuple;
    const std::string_view end = !tuple ? "]" : list.items.size() == 1 ? ",)" : ")";
    NBL_TRY(put(tuple ? "(" : "["));
    for (std::size_t i = 0; i < list.items.size(); ++i) {
      const bool last = i + 1 == list.items.size();
      NBL_TRY(write(list.items[i], indent + 1, last ? allowance + static_cast<int64_t>(end.size()) : 1, level + 1));
      if (!last) NBL_TRY(put(","));
      if (!last) NBL_TRY(new_line(indent + 1));
    }
    return put(end);
  }

  /// As several literals, cut at line breaks and between words.
  Status write_string(const std::string& text, int64_t indent, int64_t allowance, int level) {
    if (text.empty()) return put(repr_string(text));
    const bool outermost = level == 0;
    indent += outermost ? 1 : 0;
    allowance += outermost ? 1 : 0;
    const int64_t width = kWidth - indent;
    NBL_ASSIGN(const Value lines, e_.call(find_method(Value(text), "splitlines"), {{Value(true)}, {}}));
    std::vector<std::string> chunks;
    const auto& list = lines.list().items;
    for (std::size_t i = 0; i < list.size(); ++i) {
      const bool last_line = i + 1 == list.size();
      std::string whole = repr_string(list[i].string());
      if (columns(whole) <= width - (last_line ? allowance : 0)) {
        chunks.push_back(std::move(whole));
        continue;
      }
      const std::vector<std::string_view> parts = words_of(list[i].string());
      std::string current;
      for (std::size_t j = 0; j < parts.size(); ++j) {
        const std::string candidate = current + std::string(parts[j]);
        NBL_TRY(e_.move_bytes(candidate.size()));
        const int64_t most = width - (last_line && j + 1 == parts.size() ? allowance : 0);
        if (columns(repr_string(candidate)) > most) {
          if (!current.empty()) chunks.push_back(repr_string(current));
          current = parts[j];
        } else {
          current = candidate;
        }
      }
      if (!current.empty()) chunks.push_back(repr_string(current));
    }
    if (chunks.size() == 1) return put(repr_string(list.back().string()));
    if (outermost) NBL_TRY(put("("));
    for (std::size_t i = 0; i < chunks.size(); ++i) {
      if (i > 0) NBL_TRY(new_line(indent));
      NBL_TRY(put(chunks[i]));
    }
    return outermost ? put(")") : Status();
  }

  /// Words, each with the blanks behind it.
  static std::vector<std::string_view> words_of(std::string_view line) {
    std::vector<std::string_view> out;
    const char* begin = line.data();
    const char* const end = begin + line.size();
    bool blanks = false;
    for (const char* p = begin; p < end;) {
      const char* const at = p;
      const bool space = is_space_char(next_valid_utf8(p));
      if (blanks && !space) {
        out.emplace_back(begin, static_cast<std::size_t>(at - begin));
        begin = at;
      }
      blanks = space;
    }
    if (begin < end) out.emplace_back(begin, static_cast<std::size_t>(end - begin));
    return out;
  }

  Evaluator& e_;
};

Result<Value> pretty(Evaluator& e, const Value& v, const Bound&, Args) {
  if (v.is_undefined() && e.options().strict_undefined) return Status(Code::corrupt, std::string(v.why()));
  Printer printer(e);
  NBL_TRY(printer.write(v, 0, 0, 0));
  return e.string(std::move(printer.out));
}

constexpr std::array kFilters = {
    Filter{"wordwrap", "width break_long_words wrapstring break_on_hyphens", word_wrap},
    Filter{"pprint", "", pretty},
};

}  // namespace

const Filter* find_layout_filter(std::string_view name) noexcept {
  return find_named(kFilters, name);
}

}  // namespace nbl::text::jinja

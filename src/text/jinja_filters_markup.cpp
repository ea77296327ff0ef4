// Filters for HTML: striptags, xmlattr, urlize. What they give is plain text here: nothing is escaped on its own.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <set>

#include "text/html_references.h"
#include "text/jinja_case.h"
#include "text/jinja_filters.h"
#include "text/regex.h"
#include "text/utf8.h"

namespace nbl::text::jinja {
namespace {

using Args = const CallArguments&;

// --- striptags

std::string without_tags(std::string_view text) {
  std::string out;
  for (;;) {
    const std::size_t start = text.find('<');
    if (start == std::string_view::npos) break;
    const bool comment = text.substr(start).starts_with("<!--");
    const std::size_t end = comment ? text.find("-->", start + 4) : text.find('>', start);
    if (end == std::string_view::npos) break;
    out += text.substr(0, start);
    text.remove_prefix(end + (comment ? 3 : 1));
  }
  return out += text;
}

Result<Value> strip_tags(Evaluator& e, const Value& v, const Bound&, Args) {
  NBL_ASSIGN(const Value text, e.text_of(v));
  NBL_TRY(e.move_bytes(text.string().size() * 2));
  NBL_ASSIGN(const Value words, e.call(find_method(Value(without_tags(text.string())), "split"), {}));
  std::string out;
  for (const Value& word : words.list().items) out += (out.empty() ? "" : " ") + word.string();
  return e.string(without_html_references(out));
}

// --- xmlattr

Result<Value> xml_attributes(Evaluator& e, const Value& v, const Bound& bound, Args) {
  if (!v.is(Kind::dict)) return Status(Code::corrupt, fmt::format("xmlattr() needs a mapping, not '{}'", type_name(v)));
  std::string out;
  for (const auto& [key, value] : v.dict().items) {
    if (value.is(Kind::none) || value.is_undefined()) continue;
    if (!key.is_string()) return Status(Code::corrupt, fmt::format("xmlattr() needs names that are strings, not '{}'", type_name(key)));
    if (key.string().find_first_of(" \t\n\r\f\v/>=") != std::string::npos) {
      return Status(Code::corrupt, fmt::format("Invalid character in attribute name: {}", repr(key)));
    }
    NBL_ASSIGN(const Value text, e.text_of(value));
    NBL_TRY(e.move_bytes(text.string().size() * 5 + key.string().size() * 5));
    out += fmt::format("{}{}=\"{}\"", out.empty() ? "" : " ", escaped(key.string()), escaped(text.string()));
  }
  return e.string(!out.empty() && bound.flag(0, true) ? " " + out : out);
}

// --- urlize

constexpr std::string_view kAddress =
    R"((?i)\A((https?://|www\.)(([\p{L}\p{N}_%-]+\.)+)?([a-z]{2,63}|xn--[\p{L}\p{N}_%]{2,59})|)"
    R"(([\p{L}\p{N}_%-]{2,63}\.)+(com|net|int|edu|gov|org|info|mil)|(https?://)()"
    R"((\p{Nd}{1,3}(\.\p{Nd}{1,3}){3})|(\[([\p{Nd}a-f]{0,4}:){2}([\p{Nd}a-f]{0,4}:?){1,6}\])))(?::\p{Nd}{1,5})?(?:[/?#]\S*)?\z)";
constexpr std::string_view kMail = R"(\A\S+@[\p{L}\p{N}_][\p{L}\p{N}_.-]*\.[\p{L}\p{N}_]+\z)";

class Linker {
 public:
  std::string attributes;  ///< rel and target, of links that are no mail
  const Value* schemes = nullptr;
  std::optional<int64_t> limit;  ///< characters of an address that are shown

  Status compile() {
    NBL_ASSIGN(address_, Regex::compile(kAddress, "urlize"));
    NBL_ASSIGN(mail_, Regex::compile(kMail, "urlize"));
    return {};
  }

  /// One word, escaped already.
  Result<std::string> word(std::string_view text) const {
    std::size_t at = 0;
    while (const std::size_t mark = mark_at(text, at, "(<")) at += mark;
    const std::string head(text.substr(0, at));
    std::size_t end = text.size();
    while (end > at) {
      const std::size_t mark = mark_before(text.substr(at, end - at));
      if (mark == 0) break;
      end -= mark;
    }
    std::string middle(text.substr(at, end - at)), tail(text.substr(end));
    for (const auto& [open, close] : {std::pair{"(", ")"}, std::pair{"<", ">"}, std::pair{"&lt;", "&gt;"}}) balance(open, close, middle, tail);
    NBL_ASSIGN(const std::string link, linked(middle));
    return head + link + tail;
  }

 private:
  static std::size_t mark_at(std::string_view text, std::size_t at, std::string_view marks) {
    if (at < text.size() && marks.find(text[at]) != std::string_view::npos) return 1;
    return text.substr(at).starts_with("&lt;") ? 4 : 0;
  }
  static std::size_t mark_before(std::string_view text) {
    if (text.ends_with("&gt;")) return 4;
    return std::string_view(")>.,\n").find(text.back()) != std::string_view::npos ? 1 : 0;
  }
  static std::size_t count(std::string_view text, std::string_view what) {
    std::size_t n = 0;
    for (std::size_t at = text.find(what); at != std::string_view::npos; at = text.find(what, at + what.size())) ++n;
    return n;
  }
  /// Closing brackets of an address that opens some belong to it.
  static void balance(std::string_view open, std::string_view close, std::string& middle, std::string& tail) {
    const std::size_t opened = count(middle, open);
    if (opened <= count(middle, close)) return;
    for (std::size_t n = std::min(opened, count(tail, close)); n > 0; --n) {
      const std::size_t end = tail.find(close) + close.size();
      middle += tail.substr(0, end);
      tail.erase(0, end);
    }
  }
  static Result<bool> matches(const Regex& pattern, std::string_view text) {
    bool found = false;
    NBL_TRY(pattern.find_all(text, [&](std::size_t, std::size_t) {
      found = true;
      return false;
    }));
    return found;
  }
  std::string shown(std::string_view text) const {
    const auto size = static_cast<int64_t>(count_chars(text));
    if (!limit || size <= *limit) return std::string(text);
    const std::vector<std::size_t> at = char_offsets(text);
    const int64_t keep = *limit < 0 ? std::max<int64_t>(0, *limit + size) : *limit;
    return std::string(text.substr(0, at[static_cast<std::size_t>(keep)])) + "...";
  }

  Result<std::string> linked(const std::string& text) const {
    NBL_ASSIGN(const bool address, matches(*address_, text));
    if (address) {
      const bool scheme = text.starts_with("https://") || text.starts_with("http://");
      return fmt::format("<a href=\"{}{}\"{}>{}</a>", scheme ? "" : "https://", text, attributes, shown(text));
    }
    if (text.starts_with("mailto:")) {
      NBL_ASSIGN(const bool mail, matches(*mail_, std::string_view(text).substr(7)));
      if (mail) return fmt::format("<a href=\"{}\">{}</a>", text, text.substr(7));
    }
    if (text.find('@') != std::string::npos && !text.starts_with("www.") && !text.starts_with("@") && text.find(':') == std::string::npos) {
      NBL_ASSIGN(const bool mail, matches(*mail_, text));
      if (mail) return fmt::format("<a href=\"mailto:{}\">{}</a>", text, text);
    }
    std::string out = text;
    if (schemes == nullptr) return out;
    for (const Value& scheme : schemes->list().items) {
      if (out != scheme.string() && out.starts_with(scheme.string())) out = fmt::format("<a href=\"{}\"{}>{}</a>", out, attributes, out);
    }
    return out;
  }

  std::unique_ptr<Regex> address_, mail_;
};

/// Whether it names a scheme: two letters, digits or .+-_ and more, a colon, two slashes at most.
bool is_scheme(std::string_view text) {
  const std::size_t colon = text.find(':');
  if (colon == std::string_view::npos || count_chars(text.substr(0, colon)) < 2) return false;
  const std::string_view slashes = text.substr(colon + 1);
  std::string letters(text.substr(0, colon));
  std::erase_if(letters, [](char c) { return std::string_view(".+-_").find(c) != std::string_view::npos; });
  return slashes.size() <= 2 && slashes.find_first_not_of('/') == std::string_view::npos && (letters.empty() || is_alnum(letters));
}

bool is_space_at(std::string_view text, std::size_t at) {
  const char* p = text.data() + at;
  return is_space_char(next_valid_utf8(p));
}

Result<Value> urlize(Evaluator& e, const Value& v, const Bound& bound, Args) {
  Linker linker;
  if (bound[0] != nullptr && !bound[0]->is(Kind::none)) {
    NBL_ASSIGN(linker.limit, bound.integer(0, 0));
  }
  std::set<std::string> relations = {"noopener"};
  if (bound[3] != nullptr && !bound[3]->is(Kind::none)) {
    NBL_ASSIGN(const std::string given, bound.string(3, ""));
    NBL_ASSIGN(const Value words, e.call(find_method(Value(given), "split"), {}));
    for (const Value& word : words.list().items) relations.insert(word.string());
  }
  if (bound.flag(1, false)) relations.insert("nofollow");
  std::string rel;
  for (const std::string& each : relations) rel += (rel.empty() ? "" : " ") + each;
  linker.attributes = fmt::format(" rel=\"{}\"", escaped(rel));
  if (bound[2] != nullptr && truth(*bound[2])) {
    NBL_ASSIGN(const Value target, e.text_of(*bound[2]));
    linker.attributes += fmt::format(" target=\"{}\"", escaped(target.string()));
  }
  Value schemes;
  if (bound[4] != nullptr && truth(*bound[4])) {
    NBL_ASSIGN(std::vector<Value> list, e.elements(*bound[4]));
    for (const Value& each : list) {
      if (!each.is_string() || !is_scheme(each.string()))
        return Status(Code::corrupt, fmt::format("{} is not a valid URI scheme prefix.", repr(each)));
    }
    NBL_ASSIGN(schemes, e.list(std::move(list)));
    linker.schemes = &schemes;
  }
  NBL_TRY(linker.compile());
  NBL_ASSIGN(const Value given, e.text_of(v));
  NBL_TRY(e.move_bytes(given.string().size() * 6));
  const std::string text = escaped(given.string());
  std::string out;
  for (std::size_t at = 0; at < text.size();) {
    // Blanks as they are, then a word.
    std::size_t end = at;
    const bool blanks = is_space_at(text, at);
    while (end < text.size() && is_space_at(text, end) == blanks) end += utf8_length(text[end]);
    const std::string_view word = std::string_view(text).substr(at, end - at);
    at = end;
    if (blanks) {
      out += word;
      continue;
    }
    NBL_ASSIGN(const std::string link, linker.word(word));
    NBL_TRY(e.move_bytes(link.size()));
    out += link;
  }
  return e.string(std::move(out));
}

constexpr std::array kFilters = {
    Filter{"striptags", "", strip_tags},
    Filter{"xmlattr", "autospace", xml_attributes},
    Filter{"urlize", "trim_url_limit nofollow target rel extra_schemes", urlize},
};

}  // namespace

const Filter* find_markup_filter(std::string_view name) noexcept {
  return find_named(kFilters, name);
}

}  // namespace nbl::text::jinja

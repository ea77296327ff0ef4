// Oniguruma's Ruby syntax to PCRE2's.
#include <fmt/format.h>

#include <string>
#include <utility>
#include <vector>

#include "text/regex.h"

namespace nbl::text {
namespace {

// What \w is there: Alphabetic characters, marks, digits, connectors; outside of classes, by an accident of Latin-1,
// six more numbers.
constexpr std::string_view kWordSet =
    "\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}\\x{24B6}-\\x{24E9}\\x{1F130}-\\x{1F149}\\x{1F150}-\\x{1F169}"
    "\\x{1F170}-\\x{1F189}";
constexpr std::string_view kMoreWords = "\\x{B2}\\x{B3}\\x{B9}\\x{BC}-\\x{BE}";
constexpr std::string_view kHexSet = "0-9a-fA-F";

constexpr std::pair<std::string_view, std::string_view> kProperties[] = {
    {"alpha", "\\p{Alphabetic}"},
    {"alnum", "\\p{Alphabetic}\\p{Nd}"},
    {"digit", "\\p{Nd}"},
    {"space", "\\s"},
    {"whitespace", "\\s"},
    {"upper", "\\p{Uppercase}"},
    {"lower", "\\p{Lowercase}"},
    {"punct", "\\p{P}"},
    {"word", kWordSet},
    {"xdigit", kHexSet},
    {"cntrl", "\\p{Cc}"},
    {"blank", "\\p{Zs}\\t"},
    {"letter", "\\p{L}"},
    {"uppercaseletter", "\\p{Lu}"},
    {"lowercaseletter", "\\p{Ll}"},
    {"titlecaseletter", "\\p{Lt}"},
    {"modifierletter", "\\p{Lm}"},
    {"otherletter", "\\p{Lo}"},
    {"mark", "\\p{M}"},
    {"number", "\\p{N}"},
    {"decimalnumber", "\\p{Nd}"},
    {"letternumber", "\\p{Nl}"},
    {"othernumber", "\\p{No}"},
    {"punctuation", "\\p{P}"},
    {"symbol", "\\p{S}"},
    {"separator", "\\p{Z}"},
    {"other", "\\p{C}"},
};

bool is_binary_property(std::string_view plain) {
  for (const std::string_view name : {"alphabetic",
                                      "uppercase",
                                      "lowercase",
                                      "ascii",
                                      "emoji",
                                      "emojipresentation",
                                      "emojimodifier",
                                      "emojimodifierbase",
                                      "emojicomponent",
                                      "extendedpictographic",
                                      "ideographic",
                                      "math",
                                      "dash",
                                      "hexdigit",
                                      "asciihexdigit",
                                      "idstart",
                                      "idcontinue",
                                      "xidstart",
                                      "xidcontinue",
                                      "diacritic",
                                      "extender",
                                      "graphemebase",
                                      "graphemeextend",
                                      "joincontrol",
                                      "regionalindicator",
                                      "variationselector"}) {
    if (plain == name) return true;
  }
  return false;
}

class Translator {
 public:
  explicit Translator(std::string_view in) : in_(in) {}

  Result<std::string> run() {
    if (in_.starts_with("(*")) return refuse("a control verb");
    while (at_ < in_.size()) {
      const char c = in_[at_];
      if (c == '\\') {
        NBL_TRY(escape(false));
      } else if (c == '[') {
        ++at_;
        NBL_TRY(outer_class());
      } else {
        if (in_.substr(at_).starts_with("(?~")) return refuse("the absent operator");
        out_.push_back(c);
        ++at_;
      }
    }
    return std::move(out_);
  }

 private:
  Status refuse(std::string_view what) const {
    return Status(Code::unsupported,
                  fmt::format("the regular expression \"{}\" uses {}, which is not implemented", in_, what));
  }

  Status escape(bool in_class) {
    if (at_ + 1 >= in_.size())
      return Status(Code::corrupt, fmt::format("the regular expression \"{}\" ends in a backslash", in_));
    const char c = in_[at_ + 1];
    at_ += 2;
    switch (c) {
      case 'h':
        out_ += in_class ? std::string(kHexSet) : fmt::format("[{}]", kHexSet);
        return {};
      case 'H':
        if (in_class) return refuse("\\H inside a class");
        out_ += fmt::format("[^{}]", kHexSet);
        return {};
      case 'w':
        out_ += in_class ? std::string(kWordSet) : fmt::format("[{}{}]", kWordSet, kMoreWords);
        return {};
      case 'W':
        if (in_class) return refuse("\\W inside a class");
        out_ += fmt::format("[^{}{}]", kWordSet, kMoreWords);
        return {};
      case 'b':
      case 'B': {  // borders of the same words, which are not those of PCRE2
        if (in_class) break;
        const std::string word = fmt::format("[{}{}]", kWordSet, kMoreWords);
        out_ += c == 'b' ? fmt::format("(?:(?<={0})(?!{0})|(?<!{0})(?={0}))", word)
                         : fmt::format("(?:(?<={0})(?={0})|(?<!{0})(?!{0}))", word);
        return {};
      }
      case 'p':
      case 'P':
        return property(c == 'P', in_class);
      default:
        break;
    }
    out_ += '\\';
    out_ += c;
    return {};
  }

  // Behind \\p or \\P: {Name} or {^Name}, where Name is a category, a script, a POSIX class or a binary property.
  Status property(bool negated, bool in_class) {
    if (at_ >= in_.size() || in_[at_] != '{') {
      out_ += negated ? "\\P" : "\\p";
      return {};
    }
    const std::size_t close = in_.find('}', at_);
    if (close == std::string_view::npos) {
      return Status(Code::corrupt, fmt::format("the regular expression \"{}\" has an open \\p{{", in_));
    }
    std::string_view name = in_.substr(at_ + 1, close - at_ - 1);
    at_ = close + 1;
    if (name.starts_with('^')) {
      negated = !negated;
      name.remove_prefix(1);
    }
    std::string plain;  // lower case, without the separators that do not count
    for (const char c : name) {
      if (c != '_' && c != '-' && c != ' ') plain += c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
    }
    std::string set;
    for (const auto& [from, to] : kProperties) {
      if (plain == from) set = to;
    }
    if (set.empty()) {
      // Longer names are scripts: PCRE2 would take their extensions for a part of them.
      const bool category = plain.size() <= 2 || plain == "any" || plain == "l&";
      set = fmt::format("\\p{{{}{}}}", category || is_binary_property(plain) ? "" : "sc:", name);
    }
    if (!negated) {
      out_ += in_class ? set : fmt::format("[{}]", set);
    } else if (in_class) {
      // Only a single property can be negated inside a class.
      if (set.find("\\p", 2) != std::string::npos || !set.starts_with("\\p"))
        return refuse("a negated property inside a class");
      out_ += "\\P" + set.substr(2);
    } else {
      out_ += fmt::format("[^{}]", set);
    }
    return {};
  }

  /// Behind "[", up to and including the closing "]". An intersection becomes a class behind a look at the others:
  /// [a&&b] is (?:(?=[b])[a]), and its complement (?:(?!(?=[b])[a])\p{Any}).
  Status outer_class() {
    const std::size_t begin = out_.size();
    const bool negated = at_ < in_.size() && in_[at_] == '^';
    if (negated) ++at_;
    std::vector<std::string> sets;
    bool more = true;
    while (more) {
      more = false;
      // One negated class alone is a side like any other.
      const bool side_negated = in_.substr(at_).starts_with("[^");
      if (side_negated) at_ += 2;
      NBL_TRY(char_class(0, &more, side_negated));
      sets.push_back(fmt::format("[{}{}]", side_negated ? "^" : "", out_.substr(begin)));
      out_.resize(begin);
    }
    if (sets.size() == 1) {
      if (sets[0].starts_with("[^") && negated) return refuse("a negated class inside a class");
      out_ += negated ? "[^" + sets[0].substr(1) : sets[0];
      return {};
    }
    std::string both;
    for (std::size_t i = 1; i < sets.size(); ++i) both += fmt::format("(?={})", sets[i]);
    both += sets[0];
    out_ += negated ? fmt::format("(?:(?!{})\\p{{Any}})", both) : fmt::format("(?:{})", both);
    return {};
  }

  // Behind "[" or "[^", up to and including the closing "]"; a nested class that is not negated adds its members. With `more`:
  // also up to "&&", which it says. `whole`: what is read is one nested class, and nothing else may stand beside it.
  Status char_class(int depth, bool* more = nullptr, bool whole = false) {
    if (depth > 16) return refuse("deeply nested classes");
    bool first = true;
    while (true) {
      if (at_ >= in_.size())
        return Status(Code::corrupt, fmt::format("the regular expression \"{}\" has an open [", in_));
      const char c = in_[at_];
      if (c == ']' && !first) {
        ++at_;
        if (!whole) return {};
        if (in_.substr(at_).starts_with(']')) {
          ++at_;
          return {};
        }
        if (!in_.substr(at_).starts_with("&&")) return refuse("a negated class inside a class");
        at_ += 2;
        *more = true;
        return {};
      }
      if (c == '&' && more != nullptr && !whole && in_.substr(at_).starts_with("&&")) {
        at_ += 2;
        *more = true;
        return {};
      }
      if (c == ']') {
        out_ += "\\]";
        ++at_;
      } else if (c == '\\') {
        NBL_TRY(escape(true));
      } else if (c == '[' && in_.substr(at_).starts_with("[:")) {
        const std::size_t close = in_.find(":]", at_);
        if (close == std::string_view::npos) return refuse("an open [:");
        const std::string_view name = in_.substr(at_, close + 2 - at_);
        if (name == "[:punct:]") {
          out_ += "\\p{P}\\p{S}";
        } else if (name == "[:word:]") {
          out_ += kWordSet;
        } else {
          out_ += name;
        }
        at_ = close + 2;
      } else if (c == '[') {
        ++at_;
        if (at_ < in_.size() && in_[at_] == '^') return refuse("a negated class inside a class");
        NBL_TRY(char_class(depth + 1));
      } else if (c == '&' && in_.substr(at_).starts_with("&&")) {
        return refuse("an intersection of classes (&&)");
      } else {
        out_.push_back(c);
        ++at_;
      }
      first = false;
    }
  }

  std::string_view in_;
  std::size_t at_ = 0;
  std::string out_;
};

}  // namespace

Result<std::string> translate_pattern(std::string_view pattern) { return Translator(pattern).run(); }

}  // namespace nbl::text

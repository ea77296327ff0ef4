// Regular expressions over the characters of a JSON string. Only what every dialect agrees on: where ECMA-262 and others
// differ (what \w, \s and . mean beyond ASCII), the narrower reading is taken, so that the text is valid under both.
#include <fmt/format.h>

#include <map>

#include "model/json_grammar.h"
#include "text/utf8.h"

namespace nbl::model {
namespace {

using Node = GrammarBuilder::Node;
using CodePoints = GrammarBuilder::CodePoints;

constexpr int kMaxNesting = 100;
constexpr int64_t kMaxCount = 10000;
constexpr std::size_t kMaxStates = 100'000;  ///< of an automaton that counts characters
const CodePoints kDigits = {{'0', '9'}};
const CodePoints kWord = {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
const CodePoints kSpace = {{'\t', '\r'}, {' ', ' '}};
const CodePoints kAscii = {{0, 0x7F}};
const CodePoints kAll = {{0, 0x10FFFF}};
const CodePoints kLineBreaks = {{'\n', '\n'}, {'\r', '\r'}, {0x85, 0x85}, {0x2028, 0x2029}};

CodePoints intersect(const CodePoints& a, const CodePoints& b) {
  CodePoints both = GrammarBuilder::complement(a), other = GrammarBuilder::complement(b);
  both.insert(both.end(), other.begin(), other.end());
  return GrammarBuilder::complement(std::move(both));
}

struct Re {
  enum class Kind { set, sequence, choice, repeat } kind = Kind::sequence;
  CodePoints set;
  std::vector<Re> parts;
  int32_t min = 0, max = 0;
};

Re set_of(CodePoints set) {
  Re re;
  re.kind = Re::Kind::set;
  re.set = std::move(set);
  return re;
}
Re repeat_of(Re body, int32_t min, int32_t max) {
  Re re;
  re.kind = Re::Kind::repeat;
  re.parts.push_back(std::move(body));
  re.min = min;
  re.max = max;
  return re;
}

class Parser {
 public:
  explicit Parser(std::string_view pattern) : text_(pattern) {}

  Result<Re> parse() {
    Re all;
    all.kind = Re::Kind::choice;
    do {
      Re one;
      const bool begins = take('^');
      if (!begins) one.parts.push_back(repeat_of(set_of(kAll), 0, -1));
      NBL_ASSIGN(Re middle, sequence(0));
      one.parts.push_back(std::move(middle));
      if (!take('$')) one.parts.push_back(repeat_of(set_of(kAll), 0, -1));
      all.parts.push_back(std::move(one));
    } while (take('|'));
    if (at_ < text_.size()) return refuse(fmt::format("\"{}\" in the middle", text_[at_]));
    return all;
  }

 private:
  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }
  bool take(char c) {
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  Status refuse(std::string_view what) const {
    return Status(Code::unsupported, fmt::format("the pattern \"{}\": {} is not supported", text_, what));
  }

  Result<Re> choice(int depth) {
    Re all;
    all.kind = Re::Kind::choice;
    do {
      NBL_ASSIGN(Re one, sequence(depth));
      all.parts.push_back(std::move(one));
    } while (take('|'));
    return all;
  }
  Result<Re> sequence(int depth) {
    if (depth > kMaxNesting) return refuse("such deep nesting");
    Re all;
    while (at_ < text_.size() && peek() != '|' && peek() != ')' && peek() != '$') {
      NBL_ASSIGN(Re item, atom(depth));
      NBL_ASSIGN(item, quantified(std::move(item)));
      all.parts.push_back(std::move(item));
    }
    return all;
  }
  Result<Re> atom(int depth) {
    const char c = peek();
    if (c == '(') {
      ++at_;
      if (take('?')) {
        if (take(':')) {
        } else if (peek() == '<' || text_.substr(at_).starts_with("P<")) {
          const std::size_t end = text_.find('>', at_);
          const std::size_t open = text_.find('<', at_);
          if (end == std::string_view::npos || text_[open + 1] == '=' || text_[open + 1] == '!')
            return refuse("a lookbehind");
          at_ = end + 1;
        } else {
          return refuse(fmt::format("the group \"(?{}\"", peek()));
        }
      }
      NBL_ASSIGN(Re inner, choice(depth + 1));
      if (!take(')')) return refuse(peek() == '$' ? "\"$\" inside a group" : "a group without an end");
      return inner;
    }
    if (c == '[') return bracket();
    if (c == '.') {
      ++at_;
      return set_of(GrammarBuilder::complement(kLineBreaks));
    }
    if (c == '\\') {
      bool ascii = false;
      NBL_ASSIGN(CodePoints set, escape(false, &ascii));
      return set_of(std::move(set));
    }
    if (c == '^' || c == '*' || c == '+' || c == '?') return refuse(fmt::format("\"{}\" here", c));
    NBL_ASSIGN(const uint32_t plain, character());
    return set_of({{plain, plain}});
  }
  Result<uint32_t> character() {
    const text::DecodedChar c = text::decode_utf8(text_.substr(at_));
    if (!c.valid) return refuse("invalid UTF-8");
    at_ += c.length;
    return c.value;
  }
  Result<uint32_t> hex(int digits) {
    uint32_t value = 0;
    for (int i = 0; i < digits; ++i, ++at_) {
      const char c = peek();
      const int d = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
      if (d < 0) return refuse("an incomplete escape");
      value = value * 16 + static_cast<uint32_t>(d);
    }
    return value;
  }
  /// The characters of an escape; *ascii: it is a class whose readings differ beyond ASCII.
  Result<CodePoints> escape(bool in_class, bool* ascii) {
    ++at_;
    if (at_ >= text_.size()) return refuse("a backslash at the end");
    const char e = text_[at_++];
    const auto one = [](uint32_t c) { return CodePoints{{c, c}}; };
    const auto outside = [&](const CodePoints& set) {
      *ascii = true;
      return intersect(GrammarBuilder::complement(set), kAscii);
    };
    switch (e) {
      case 'd':
        *ascii = true;
        return kDigits;
      case 'w':
        *ascii = true;
        return kWord;
      case 's':
        *ascii = true;
        return kSpace;
      case 'D':
        return outside(kDigits);
      case 'W':
        return outside(kWord);
      case 'S':
        return intersect(outside(kSpace), {{0x21, 0x7E}});
      case 'n':
        return one('\n');
      case 't':
        return one('\t');
      case 'r':
        return one('\r');
      case 'f':
        return one('\f');
      case 'v':
        return one('\v');
      case 'x': {
        NBL_ASSIGN(const uint32_t c, hex(2));
        return one(c);
      }
      case 'u': {
        NBL_ASSIGN(const uint32_t c, hex(4));
        return one(c);
      }
      default:
        break;
    }
    if (e == 'b' && in_class) return one('\b');
    const bool letter = (e >= 'a' && e <= 'z') || (e >= 'A' && e <= 'Z') || (e >= '0' && e <= '9');
    if (letter || static_cast<unsigned char>(e) >= 0x80) return refuse(fmt::format("the escape \"\\{}\"", e));
    return one(static_cast<uint32_t>(e));
  }
  Result<Re> bracket() {
    ++at_;
    const bool negated = take('^');
    CodePoints set;
    bool ascii = false;
    while (peek() != ']') {
      if (at_ >= text_.size()) return refuse("a class without an end");
      CodePoints item;
      bool is_class = false;
      if (peek() == '\\') {
        NBL_ASSIGN(item, escape(true, &is_class));
      } else {
        NBL_ASSIGN(const uint32_t c, character());
        item = {{c, c}};
      }
      ascii = ascii || is_class;
      if (!is_class && peek() == '-' && at_ + 1 < text_.size() && text_[at_ + 1] != ']') {
        ++at_;
        CodePoints high;
        if (peek() == '\\') {
          NBL_ASSIGN(high, escape(true, &is_class));
        } else {
          NBL_ASSIGN(const uint32_t c, character());
          high = {{c, c}};
        }
        if (is_class || high[0].second < item[0].first) return refuse("such a range of characters");
        item[0].second = high[0].second;
      }
      set.insert(set.end(), item.begin(), item.end());
    }
    ++at_;
    if (negated) {
      set = GrammarBuilder::complement(std::move(set));
      if (ascii) set = intersect(set, kAscii);
    }
    return set_of(std::move(set));
  }
  Result<Re> quantified(Re item) {
    const char c = peek();
    int64_t min = 1, max = 1;
    if (c == '*' || c == '+' || c == '?') {
      ++at_;
      min = c == '+' ? 1 : 0;
      max = c == '?' ? 1 : -1;
    } else if (c == '{') {
      ++at_;
      NBL_ASSIGN(min, number());
      max = min;
      if (take(',')) {
        max = -1;
        if (peek() != '}') {
          NBL_ASSIGN(max, number());
        }
      }
      if (!take('}') || (max >= 0 && max < min)) return refuse("such a repetition");
    } else {
      return item;
    }
    take('?');  // lazy or not, the same texts match
    if (peek() == '*' || peek() == '+' || peek() == '?' || peek() == '{') return refuse("a repetition of a repetition");
    return repeat_of(std::move(item), static_cast<int32_t>(min), static_cast<int32_t>(max));
  }
  Result<int64_t> number() {
    int64_t n = 0;
    const std::size_t begin = at_;
    for (; peek() >= '0' && peek() <= '9'; ++at_)
      if ((n = n * 10 + (peek() - '0')) > kMaxCount) return refuse("such a large count");
    if (at_ == begin) return refuse("\"{\" without a count");
    return n;
  }

  std::string_view text_;
  std::size_t at_ = 0;
};

Node to_node(GrammarBuilder& b, const Re& re) {
  std::vector<Node> parts;
  if (re.kind == Re::Kind::set) return json_character(b, re.set);
  for (const Re& part : re.parts) parts.push_back(to_node(b, part));
  if (re.kind == Re::Kind::sequence) return b.sequence(std::move(parts));
  if (re.kind == Re::Kind::choice) return b.choice(std::move(parts));
  return b.repeat(parts[0], re.min, re.max);
}

/// An automaton of characters, to be unrolled with a count of them.
class Counter {
 public:
  Counter(GrammarBuilder& b, int64_t min, int64_t max) : b_(b), min_(min), max_(max) {}

  Result<Node> run(const Re& re) {
    final_ = state();
    NBL_ASSIGN(const int32_t start, build(re, final_));
    const int64_t counts = (max_ < 0 ? min_ : max_) + 1;
    if (static_cast<int64_t>(states_.size()) * counts > static_cast<int64_t>(kMaxStates))
      return Status(Code::unsupported, "a pattern together with minLength or maxLength is too large to be unrolled");
    const int32_t first = rule_of(start, 0);
    // One rule after the other, not one inside the other: a count is as deep as a text is long.
    for (std::size_t i = 0; i < wanted_.size(); ++i) define(wanted_[i]);
    return b_.call(first);
  }

 private:
  struct State {
    CodePoints set;       ///< consumed on the way to next[0]; empty: next are free moves
    std::vector<int32_t> next;
  };
  int32_t state() {
    states_.push_back({});
    return static_cast<int32_t>(states_.size() - 1);
  }
  Result<int32_t> build(const Re& re, int32_t to) {
    if (states_.size() > kMaxStates)
      return Status(Code::unsupported, "a pattern together with minLength or maxLength is too large to be unrolled");
    switch (re.kind) {
      case Re::Kind::set: {
        const int32_t s = state();
        states_[static_cast<std::size_t>(s)] = {re.set, {to}};
        return s;
      }
      case Re::Kind::sequence:
        for (std::size_t i = re.parts.size(); i-- > 0;) {
          NBL_ASSIGN(to, build(re.parts[i], to));
        }
        return to;
      case Re::Kind::choice: {
        const int32_t s = state();
        for (const Re& part : re.parts) {
          NBL_ASSIGN(const int32_t first, build(part, to));
          states_[static_cast<std::size_t>(s)].next.push_back(first);
        }
        return s;
      }
      case Re::Kind::repeat: {
        if (re.max < 0) {
          const int32_t loop = state();
          NBL_ASSIGN(const int32_t body, build(re.parts[0], loop));
          states_[static_cast<std::size_t>(loop)].next = {body, to};
          to = loop;
        } else {
          const int32_t end = to;
          for (int32_t i = re.min; i < re.max; ++i) {
            const int32_t s = state();
            NBL_ASSIGN(const int32_t body, build(re.parts[0], to));
            states_[static_cast<std::size_t>(s)].next = {body, end};
            to = s;
          }
        }
        for (int32_t i = 0; i < re.min; ++i) {
          NBL_ASSIGN(to, build(re.parts[0], to));
        }
        return to;
      }
    }
    return to;
  }
  struct Wanted {
    int32_t state = 0;
    int64_t count = 0;
    int32_t rule = 0;
  };
  /// The rule of what may follow in `s` once `count` characters are there. Without an upper bound, counts beyond the lower are alike.
  int32_t rule_of(int32_t s, int64_t count) {
    if (max_ < 0) count = std::min(count, min_);
    const auto [it, fresh] = rules_.try_emplace({s, count}, 0);
    if (fresh) {
      it->second = b_.declare("pattern");
      wanted_.push_back({s, count, it->second});
    }
    return it->second;
  }
  void define(const Wanted wanted) {
    std::vector<bool> seen(states_.size(), false);
    std::vector<int32_t> todo = {wanted.state};
    std::vector<Node> all;
    while (!todo.empty()) {
      const int32_t q = todo.back();
      todo.pop_back();
      if (seen[static_cast<std::size_t>(q)]) continue;
      seen[static_cast<std::size_t>(q)] = true;
      const State& from = states_[static_cast<std::size_t>(q)];
      if (q == final_ && wanted.count >= min_) all.push_back(b_.empty());
      if (from.set.empty()) {
        todo.insert(todo.end(), from.next.begin(), from.next.end());
      } else if (max_ < 0 || wanted.count < max_) {
        all.push_back(b_.sequence({json_character(b_, from.set), b_.call(rule_of(from.next[0], wanted.count + 1))}));
      }
    }
    b_.define(wanted.rule, b_.choice(std::move(all)));
  }

  GrammarBuilder& b_;
  int64_t min_, max_;
  int32_t final_ = 0;
  std::vector<State> states_;
  std::map<std::pair<int32_t, int64_t>, int32_t> rules_;
  std::vector<Wanted> wanted_;  ///< rules in the order in which they were asked for; each is defined once
};

struct Format {
  std::string_view name;
  const char* pattern;
};
#define NBL_DATE                                                                                                  \
  "[1-9][0-9]{3}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[" \
  "1-9]|1[0-9]|2[0-8]))"
#define NBL_TIME \
  "(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\\.[0-9]{1,6})?(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
#define NBL_OCTET "(?:[0-9]|[1-9][0-9]|1[0-9][0-9]|2[0-4][0-9]|25[0-5])"
#define NBL_HOST "[a-z0-9](?:[a-z0-9-]{0,20}[a-z0-9])?(?:\\.[a-z](?:[a-z0-9-]{0,20}[a-z0-9])?){0,4}"
constexpr Format kFormats[] = {
    {"date", "^" NBL_DATE "$"},
    {"time", "^" NBL_TIME "$"},
    {"date-time", "^" NBL_DATE "T" NBL_TIME "$"},
    {"duration", "^P(?:[1-9][0-9]{0,3}[DWMY]|T[1-9][0-9]{0,3}[HMS])$"},
    {"uuid", "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"},
    {"ipv4", "^(?:" NBL_OCTET "\\.){3}" NBL_OCTET "$"},
    {"ipv6", "^(?:[0-9a-f]{1,4}:){7}[0-9a-f]{1,4}$"},
    {"hostname", "^" NBL_HOST "$"},
    {"email", "^[a-z0-9](?:[._-]?[a-z0-9]){0,30}@[a-z0-9](?:[a-z0-9-]{0,20}[a-z0-9])?(?:\\.[a-z]{2,10}){1,3}$"},
    {"uri", "^https?://" NBL_HOST "(?:/[A-Za-z0-9._~-]{1,40}){0,8}/?$"},
};

}  // namespace

const char* format_pattern(std::string_view format) {
  for (const Format& f : kFormats)
    if (f.name == format) return f.pattern;
  return nullptr;
}

Node json_character(GrammarBuilder& b, const CodePoints& set) {
  std::vector<Node> all;
  CodePoints plain = intersect(set, {{0x20, 0x21}, {0x23, 0x5B}, {0x5D, 0x10FFFF}});
  if (!plain.empty()) all.push_back(b.chars(std::move(plain)));
  for (const auto& [low, high] : intersect(set, {{0, 0x1F}, {'"', '"'}, {'\\', '\\'}})) {
    for (uint32_t c = low; c <= high; ++c) {
      static constexpr std::string_view kShort = "\"\"\\\\\nn\tt\rr\bb\ff";
      std::string text = fmt::format("\\u{:04x}", c);
      for (std::size_t i = 0; i < kShort.size(); i += 2)
        if (static_cast<uint32_t>(kShort[i]) == c) text = std::string("\\") + kShort[i + 1];
      all.push_back(b.literal(text));
    }
  }
  return b.choice(std::move(all));
}

Node any_json_character(GrammarBuilder& b) {
  const CodePoints hex = {{'0', '9'}, {'A', 'F'}, {'a', 'f'}};
  const Node digit = b.chars(hex);
  return b.choice({
      b.chars({{0x20, 0x21}, {0x23, 0x5B}, {0x5D, 0x10FFFF}}),
      b.sequence({b.literal("\\"), b.chars({{'"', '"'}, {'\\', '\\'}, {'/', '/'}, {'b', 'b'}, {'f', 'f'}, {'n', 'n'}, {'r', 'r'}, {'t', 't'}})}),
      // No halves of surrogate pairs: they are no characters.
      b.sequence({b.literal("\\u"),
                  b.choice({b.sequence({b.chars({{'0', '9'}, {'A', 'C'}, {'a', 'c'}, {'E', 'F'}, {'e', 'f'}}), digit}),
                            b.sequence({b.chars({{'D', 'D'}, {'d', 'd'}}), b.chars({{'0', '7'}})})}),
                  digit, digit}),
  });
}

Result<Node> json_pattern(GrammarBuilder& b, std::string_view pattern, int64_t min_length, int64_t max_length) {
  NBL_ASSIGN(const Re re, Parser(pattern).parse());
  if (min_length <= 0 && max_length < 0) return to_node(b, re);
  return Counter(b, std::max<int64_t>(min_length, 0), max_length).run(re);
}

}  // namespace nbl::model

// The parser of GBNF.
#include <fmt/format.h>

#include <map>

#include "base/bounds.h"
#include "model/grammar.h"
#include "text/utf8.h"

namespace nbl::model {
namespace {

constexpr BoundOf<std::size_t> kMaxText{Bound::grammar_bytes};
constexpr BoundOf<int> kMaxNesting{Bound::grammar_depth};
constexpr BoundOf<int64_t> kMaxCount{Bound::grammar_repetitions};

class GbnfParser {
 public:
  explicit GbnfParser(std::string_view text) : text_(text) {}

  Result<std::shared_ptr<const Grammar>> parse() {
    if (text_.size() > kMaxText) return Status(Code::limit, fmt::format("the grammar is longer than {} bytes", kMaxText.get()));
    skip(true);
    while (at_ < text_.size()) {
      NBL_ASSIGN(const std::string name, rule_name());
      skip(false);
      if (!text_.substr(at_).starts_with("::=")) return error("\"::=\" was expected");
      at_ += 3;
      skip(true);
      const int32_t rule = find(name);
      if (b_.defined(rule)) return error(fmt::format("the rule \"{}\" is defined twice", name));
      NBL_ASSIGN(const GrammarBuilder::Node body, alternatives(0));
      b_.define(rule, body);
      skip(true);
    }
    const auto root = rules_.find("root");
    if (root == rules_.end()) return Status(Code::invalid_argument, "the grammar has no rule \"root\"");
    return b_.build(root->second);
  }

 private:
  using Node = GrammarBuilder::Node;
  static bool is_name(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
  }
  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }
  Status error(std::string_view what) const {
    std::size_t line = 1, column = 1;
    for (std::size_t i = 0; i < at_ && i < text_.size(); ++i) {
      ++column;
      if (text_[i] == '\n') {
        ++line;
        column = 1;
      }
    }
    return Status(Code::invalid_argument, fmt::format("grammar, line {}, column {}: {}", line, column, what));
  }
  void skip(bool lines) {
    while (at_ < text_.size()) {
      const char c = text_[at_];
      if (c == '#') {
        while (at_ < text_.size() && text_[at_] != '\n') ++at_;
      } else if (c == ' ' || c == '\t' || (lines && (c == '\n' || c == '\r'))) {
        ++at_;
      } else {
        return;
      }
    }
  }
  int32_t find(const std::string& name) {
    const auto [it, fresh] = rules_.try_emplace(name, 0);
    if (fresh) it->second = b_.declare(name);
    return it->second;
  }
  Result<std::string> rule_name() {
    const std::size_t begin = at_;
    while (at_ < text_.size() && is_name(text_[at_])) ++at_;
    if (at_ == begin) return error("the name of a rule was expected");
    return std::string(text_.substr(begin, at_ - begin));
  }
  /// At a line's end: whether what follows begins another rule, or nothing follows.
  bool rule_ends() {
    const std::size_t begin = at_;
    skip(true);
    const std::size_t word = at_;
    while (at_ < text_.size() && is_name(text_[at_])) ++at_;
    const bool named = at_ > word;
    skip(false);
    const bool ends = word >= text_.size() || (named && text_.substr(at_).starts_with("::="));
    at_ = ends ? begin : word;
    return ends;
  }

  Result<Node> alternatives(int depth) {
    if (depth > kMaxNesting) return error(fmt::format("groups nest deeper than {}", kMaxNesting.get()));
    std::vector<Node> all;
    while (true) {
      NBL_ASSIGN(const Node one, sequence(depth));
      all.push_back(one);
      if (peek() != '|') return b_.choice(std::move(all));
      ++at_;
      skip(true);
    }
  }

  Result<Node> sequence(int depth) {
    std::vector<Node> parts;
    while (true) {
      skip(depth > 0);
      const char c = peek();
      if (at_ >= text_.size() || c == '|' || c == ')') break;
      if (c == '\n' || c == '\r') {
        if (rule_ends()) break;
        continue;
      }
      Node item = 0;
      if (c == '"') {
        NBL_ASSIGN(item, string());
      } else if (c == '[') {
        NBL_ASSIGN(item, char_class());
      } else if (c == '.') {
        ++at_;
        item = b_.chars({{0, 0x10FFFF}});
      } else if (c == '(') {
        ++at_;
        skip(true);
        NBL_ASSIGN(item, alternatives(depth + 1));
        if (peek() != ')') return error("\")\" was expected");
        ++at_;
      } else if (is_name(c)) {
        NBL_ASSIGN(const std::string name, rule_name());
        item = b_.call(find(name));
      } else {
        return error(fmt::format("\"{}\" was not expected here", c));
      }
      NBL_ASSIGN(item, repeated(item));
      parts.push_back(item);
    }
    return parts.size() == 1 ? parts[0] : b_.sequence(std::move(parts));
  }

  Result<Node> repeated(Node item) {
    while (true) {
      const char c = peek();
      if (c == '*') {
        item = b_.repeat(item, 0, -1);
      } else if (c == '+') {
        item = b_.repeat(item, 1, -1);
      } else if (c == '?') {
        item = b_.repeat(item, 0, 1);
      } else if (c == '{') {
        ++at_;
        skip(true);
        NBL_ASSIGN(const int64_t min, number());
        int64_t max = min;
        skip(true);
        if (peek() == ',') {
          ++at_;
          skip(true);
          max = -1;
          if (peek() != '}') {
            NBL_ASSIGN(max, number());
          }
          skip(true);
        }
        if (peek() != '}') return error("\"}\" was expected");
        if (max >= 0 && max < min) return error(fmt::format("at least {} but at most {} repetitions", min, max));
        item = b_.repeat(item, static_cast<int32_t>(min), static_cast<int32_t>(max));
      } else {
        return item;
      }
      ++at_;
    }
  }

  Result<int64_t> number() {
    const std::size_t begin = at_;
    int64_t n = 0;
    while (peek() >= '0' && peek() <= '9') {
      n = n * 10 + (peek() - '0');
      if (n > kMaxCount) return error(fmt::format("more than {} repetitions", kMaxCount.get()));
      ++at_;
    }
    if (at_ == begin) return error("a number was expected");
    return n;
  }

  Result<uint32_t> hex(int digits) {
    uint32_t value = 0;
    for (int i = 0; i < digits; ++i, ++at_) {
      const char c = peek();
      const int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
      if (digit < 0) return error(fmt::format("{} hexadecimal digits were expected", digits));
      value = value * 16 + static_cast<uint32_t>(digit);
    }
    if (value > 0x10FFFF) return error("no such character");
    return value;
  }
  /// One character, escaped or not, as its code point.
  Result<uint32_t> character() {
    if (at_ >= text_.size()) return error("the grammar ends inside a string or class");
    if (text_[at_] == '\\') {
      ++at_;
      const char e = peek();
      ++at_;
      switch (e) {
        case 'x':
          return hex(2);
        case 'u':
          return hex(4);
        case 'U':
          return hex(8);
        case 'n':
          return uint32_t{'\n'};
        case 'r':
          return uint32_t{'\r'};
        case 't':
          return uint32_t{'\t'};
        case '\\':
        case '"':
        case '[':
        case ']':
        case '-':
        case '^':
          return static_cast<uint32_t>(e);
        default:
          --at_;
          return error(fmt::format("\"\\{}\" is no escape", e));
      }
    }
    const text::DecodedChar c = text::decode_utf8(text_.substr(at_));
    if (!c.valid) return error("this is no UTF-8");
    at_ += c.length;
    return c.value;
  }

  Result<Node> string() {
    ++at_;
    std::string bytes;
    while (peek() != '"') {
      if (peek() == '\n') return error("the string does not end on its line");
      NBL_ASSIGN(const uint32_t c, character());
      text::append_utf8(bytes, c);
    }
    ++at_;
    return b_.literal(bytes);
  }
  Result<Node> char_class() {
    ++at_;
    bool negated = false;
    if (peek() == '^') {
      negated = true;
      ++at_;
    }
    GrammarBuilder::CodePoints ranges;
    while (peek() != ']') {
      NBL_ASSIGN(const uint32_t low, character());
      uint32_t high = low;
      if (peek() == '-' && at_ + 1 < text_.size() && text_[at_ + 1] != ']') {
        ++at_;
        NBL_ASSIGN(high, character());
        if (high < low) return error("the range of characters runs backwards");
      }
      ranges.emplace_back(low, high);
    }
    ++at_;
    return b_.chars(negated ? GrammarBuilder::complement(std::move(ranges)) : std::move(ranges));
  }

  std::string_view text_;
  std::size_t at_ = 0;
  GrammarBuilder b_;
  std::map<std::string, int32_t> rules_;
};

}  // namespace

Result<std::shared_ptr<const Grammar>> parse_gbnf(std::string_view text) { return GbnfParser(text).parse(); }

}  // namespace nbl::model

// Oniguruma's Ruby syntax to PCRE2's.
#include <fmt/format.h>

#include "text/regex.h"

namespace nbl::text {
namespace {

constexpr std::string_view kWordSet = "\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}";
constexpr std::string_view kHexSet = "0-9a-fA-F";

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
        out_.push_back('[');
        if (at_ < in_.size() && in_[at_] == '^') {
          out_.push_back('^');
          ++at_;
        }
        NBL_TRY(char_class(0));
        out_.push_back(']');
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
        out_ += in_class ? std::string(kWordSet) : fmt::format("[{}]", kWordSet);
        return {};
      case 'W':
        if (in_class) return refuse("\\W inside a class");
        out_ += fmt::format("[^{}]", kWordSet);
        return {};
      case 'p':
      case 'P': {
        // \p{Name}; Oniguruma also writes a negation as \p{^Name}, which PCRE2 knows too.
        out_ += '\\';
        out_ += c;
        if (at_ < in_.size() && in_[at_] == '{') {
          const std::size_t close = in_.find('}', at_);
          if (close == std::string_view::npos) {
            return Status(Code::corrupt, fmt::format("the regular expression \"{}\" has an open \\p{{", in_));
          }
          const std::string_view name = in_.substr(at_ + 1, close - at_ - 1);
          at_ = close + 1;
          out_ += '{';
          out_ += name == "Punct" || name == "punct"   ? std::string_view("P")
                  : name == "Alnum" || name == "alnum" ? std::string_view("Xan")
                                                       : name;
          out_ += '}';
        }
        return {};
      }
      default:
        out_ += '\\';
        out_ += c;
        return {};
    }
  }

  // Behind "[" or "[^", up to and including the closing "]"; a nested class that is not negated adds its members.
  Status char_class(int depth) {
    if (depth > 16) return refuse("deeply nested classes");
    bool first = true;
    while (true) {
      if (at_ >= in_.size())
        return Status(Code::corrupt, fmt::format("the regular expression \"{}\" has an open [", in_));
      const char c = in_[at_];
      if (c == ']' && !first) {
        ++at_;
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
        out_ += in_.substr(at_, close + 2 - at_);
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

#include "text/normalizer.h"

#include <fmt/format.h>
#include <utf8proc.h>

#include <cstdlib>
#include <vector>

#include "text/byte_level.h"
#include "text/pattern.h"
#include "text/unicode.h"
#include "text/utf8.h"

namespace nbl::text {
namespace {

bool all_ascii(std::string_view text) noexcept {
  for (const char c : text) {
    if (static_cast<unsigned char>(c) >= 0x80) return false;
  }
  return true;
}

class UnicodeForm final : public Normalizer {
 public:
  explicit UnicodeForm(int options) : options_(static_cast<utf8proc_option_t>(options)) {}

  Status apply(std::string& text) const override {
    // ASCII never changes, and composes only with what follows it: runs of it are copied, but for their last character.
    if (all_ascii(text)) return {};
    std::string out;
    out.reserve(text.size());
    std::size_t at = 0;
    while (at < text.size()) {
      std::size_t plain = at;
      while (plain < text.size() && static_cast<unsigned char>(text[plain]) < 0x80) ++plain;
      if (plain == text.size()) {
        out.append(text, at, plain - at);
        break;
      }
      const std::size_t begin = plain > at ? plain - 1 : plain;
      out.append(text, at, begin - at);
      std::size_t end = plain;
      while (end < text.size() && static_cast<unsigned char>(text[end]) >= 0x80) ++end;
      utf8proc_uint8_t* made = nullptr;
      const utf8proc_ssize_t n = utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data() + begin),
                                              static_cast<utf8proc_ssize_t>(end - begin), &made, options_);
      if (n < 0) return Status(Code::internal, fmt::format("Unicode normalization failed: {}", utf8proc_errmsg(n)));
      out.append(reinterpret_cast<const char*>(made), static_cast<std::size_t>(n));
      std::free(made);
      at = end;
    }
    text = std::move(out);
    return {};
  }

 private:
  utf8proc_option_t options_;
};

class Lowercase final : public Normalizer {
 public:
  Status apply(std::string& text) const override {
    std::string out;
    out.reserve(text.size());
    const char* p = text.data();
    const char* const end = p + text.size();
    while (p < end) {
      const uint32_t c = next_valid_utf8(p);
      if (c < 128) {
        out.push_back(static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c));
      } else if (c == 0x130) {
        out += "i\xCC\x87";  // the one character whose lower case is two
      } else {
        append_utf8(out, static_cast<uint32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c))));
      }
    }
    text = std::move(out);
    return {};
  }
};

class Strip final : public Normalizer {
 public:
  Strip(bool left, bool right) : left_(left), right_(right) {}
  Status apply(std::string& text) const override {
    const CharTable& table = CharTable::get();
    std::size_t begin = 0;
    std::size_t end = text.size();
    while (left_ && begin < end) {
      const char* p = text.data() + begin;
      if (!(table[next_valid_utf8(p)] & kSpace)) break;
      begin = static_cast<std::size_t>(p - text.data());
    }
    while (right_ && end > begin) {
      std::size_t at = end - 1;
      while (at > begin && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80) --at;
      const char* p = text.data() + at;
      if (!(table[next_valid_utf8(p)] & kSpace)) break;
      end = at;
    }
    text = text.substr(begin, end - begin);
    return {};
  }

 private:
  bool left_;
  bool right_;
};

class StripAccents final : public Normalizer {
 public:
  Status apply(std::string& text) const override {
    const CharTable& table = CharTable::get();
    std::string out;
    out.reserve(text.size());
    const char* p = text.data();
    const char* const end = p + text.size();
    while (p < end) {
      const char* const begin = p;
      if (!(table[next_valid_utf8(p)] & kMark)) out.append(begin, p);
    }
    text = std::move(out);
    return {};
  }
};

class Replace final : public Normalizer {
 public:
  Replace(Pattern pattern, std::string content) : pattern_(std::move(pattern)), content_(std::move(content)) {}
  Status apply(std::string& text) const override {
    std::string out;
    std::size_t at = 0;
    bool any = false;
    NBL_TRY(pattern_.find_all(text, [&](std::size_t begin, std::size_t end) {
      if (!any) out.reserve(text.size() + text.size() / 2);
      any = true;
      out.append(text, at, begin - at);
      out += content_;
      at = end;
      return true;
    }));
    if (!any) return {};
    out.append(text, at);
    text = std::move(out);
    return {};
  }

 private:
  Pattern pattern_;
  std::string content_;
};

class Prepend final : public Normalizer {
 public:
  explicit Prepend(std::string prefix) : prefix_(std::move(prefix)) {}
  Status apply(std::string& text) const override {
    if (!text.empty()) text.insert(0, prefix_);
    return {};
  }

 private:
  std::string prefix_;
};

class ByteLevelSpelling final : public Normalizer {
 public:
  Status apply(std::string& text) const override {
    std::string out;
    out.reserve(text.size() * 2);
    append_byte_level(out, text);
    text = std::move(out);
    return {};
  }
};

class SequenceNormalizer final : public Normalizer {
 public:
  explicit SequenceNormalizer(std::vector<std::unique_ptr<Normalizer>> steps) : steps_(std::move(steps)) {}
  Status apply(std::string& text) const override {
    for (const auto& step : steps_) NBL_TRY(step->apply(text));
    return {};
  }

 private:
  std::vector<std::unique_ptr<Normalizer>> steps_;
};

constexpr std::size_t kMaxSteps = 64;
constexpr std::size_t kMaxAffix = 1 << 16;

Result<std::unique_ptr<Normalizer>> parse(const Json& json, int depth) {
  if (depth > 8) return Status(Code::limit, "the normalizers are nested more than 8 deep");
  NBL_ASSIGN(const std::string type, json.get_string("type"));
  std::unique_ptr<Normalizer> made;
  if (type == "Sequence") {
    const Json* list = json.find_value("normalizers");
    if (list == nullptr || !list->is_array()) return Status(Code::corrupt, "a Sequence has no list \"normalizers\"");
    if (list->size() > kMaxSteps) {
      return Status(Code::limit, fmt::format("a Sequence has {} normalizers, more than {}", list->size(), kMaxSteps));
    }
    std::vector<std::unique_ptr<Normalizer>> steps;
    for (const Json& item : list->elements()) {
      NBL_ASSIGN(auto step, parse(item, depth + 1));
      steps.push_back(std::move(step));
    }
    made = std::make_unique<SequenceNormalizer>(std::move(steps));
  } else if (type == "NFC") {
    made = std::make_unique<UnicodeForm>(UTF8PROC_STABLE | UTF8PROC_COMPOSE);
  } else if (type == "NFD") {
    made = std::make_unique<UnicodeForm>(UTF8PROC_STABLE | UTF8PROC_DECOMPOSE);
  } else if (type == "NFKC") {
    made = std::make_unique<UnicodeForm>(UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT);
  } else if (type == "NFKD") {
    made = std::make_unique<UnicodeForm>(UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT);
  } else if (type == "Lowercase") {
    made = std::make_unique<Lowercase>();
  } else if (type == "Strip") {
    NBL_ASSIGN(const bool left, json.bool_or("strip_left", true));
    NBL_ASSIGN(const bool right, json.bool_or("strip_right", true));
    made = std::make_unique<Strip>(left, right);
  } else if (type == "StripAccents") {
    made = std::make_unique<StripAccents>();
  } else if (type == "Replace") {
    const Json* pattern = json.find_value("pattern");
    if (pattern == nullptr) return Status(Code::corrupt, "a Replace has no \"pattern\"");
    NBL_ASSIGN(Pattern compiled, Pattern::parse(*pattern));
    NBL_ASSIGN(const std::string content, json.get_string("content"));
    if (content.size() > kMaxAffix) return Status(Code::limit, "a Replace puts in more than 65536 bytes");
    made = std::make_unique<Replace>(std::move(compiled), content);
  } else if (type == "Prepend") {
    NBL_ASSIGN(const std::string prefix, json.get_string("prepend"));
    if (prefix.size() > kMaxAffix) return Status(Code::limit, "a Prepend puts in more than 65536 bytes");
    made = std::make_unique<Prepend>(prefix);
  } else if (type == "ByteLevel") {
    made = std::make_unique<ByteLevelSpelling>();
  } else {
    return Status(Code::unsupported, fmt::format("the normalizer \"{}\" is not implemented", type));
  }
  return made;
}

}  // namespace

Result<std::unique_ptr<Normalizer>> make_metaspace_normalizer(bool prefix) {
  std::vector<std::unique_ptr<Normalizer>> steps;
  if (prefix) steps.push_back(std::make_unique<Prepend>("\xE2\x96\x81"));
  steps.push_back(std::make_unique<Replace>(Pattern::literal(" "), "\xE2\x96\x81"));
  return std::unique_ptr<Normalizer>(std::make_unique<SequenceNormalizer>(std::move(steps)));
}

Result<std::unique_ptr<Normalizer>> parse_normalizer(const Json& json) {
  if (json.is_null()) return std::unique_ptr<Normalizer>();
  return parse(json, 0);
}

}  // namespace nbl::text

#include "text/normalizer.h"

#include <fmt/format.h>

#include <vector>

#include "base/bounds.h"
#include "text/byte_level.h"
#include "text/charsmap.h"
#include "text/growth.h"
#include "text/normalizer_unicode.h"
#include "text/pattern.h"
#include "text/utf8.h"

namespace nbl::text {
namespace {

constexpr BoundOf<std::size_t> kMaxSteps{Bound::tokenizer_steps};
constexpr BoundOf<std::size_t> kMaxAffix{Bound::tokenizer_affix_bytes};

class Replace final : public Normalizer {
 public:
  Replace(Pattern pattern, std::string content) : pattern_(std::move(pattern)), content_(std::move(content)) {}
  Status apply(std::string& text) const override {
    std::string out;
    std::size_t at = 0;
    bool any = false;
    const std::size_t most = most_grown(text.size(), kStepGrowth);
    NBL_TRY(pattern_.find_all(text, [&](std::size_t begin, std::size_t end) {
      if (!any) out.reserve(text.size() + text.size() / 2);
      any = true;
      out.append(text, at, begin - at);
      out += content_;
      at = end;
      return out.size() <= most;
    }));
    if (out.size() > most) return grown_too_long(text.size(), kStepGrowth);
    if (!any) return {};
    out.append(text, at);
    text = std::move(out);
    return {};
  }
  bool drops_first(std::string_view text) const override {
    bool drops = false;
    const Status status = pattern_.find_all(text, [&](std::size_t begin, std::size_t end) {
      // What takes the place of several characters stands, for the package, where the last of them stood.
      drops = begin == 0 && end > (content_.empty() ? 0 : utf8_length(text[0]));
      return false;
    });
    return status.ok() && drops;
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
    bool at_start = false;
    return apply(text, at_start);
  }
  Status apply(std::string& text, bool& at_start) const override {
    const std::size_t before = text.size();
    for (const auto& step : steps_) {
      NBL_TRY(at_start ? step->apply(text, at_start) : step->apply(text));
      if (text.size() > most_grown(before, kSequenceGrowth)) return grown_too_long(before, kSequenceGrowth);
    }
    return {};
  }

 private:
  std::vector<std::unique_ptr<Normalizer>> steps_;
};

Result<std::unique_ptr<Normalizer>> parse(const Json& json, int depth);

/// The steps of a Sequence, those of sequences in it among them: all of them are bounded by the text that the outermost gets.
Status parse_steps(const Json& json, int depth, std::vector<std::unique_ptr<Normalizer>>& steps) {
  if (depth > 8) return Status(Code::limit, "the normalizers are nested more than 8 deep");
  const Json* list = json.find_value("normalizers");
  if (list == nullptr || !list->is_array()) return Status(Code::corrupt, "a Sequence has no list \"normalizers\"");
  for (const Json& item : list->elements()) {
    const Json* type = item.find_value("type");
    if (type != nullptr && type->is_string() && type->as_string() == "Sequence") {
      NBL_TRY(parse_steps(item, depth + 1, steps));
    } else {
      NBL_ASSIGN(auto step, parse(item, depth + 1));
      steps.push_back(std::move(step));
    }
    if (steps.size() > kMaxSteps)
      return Status(Code::limit, fmt::format("a Sequence has more than {} normalizers", kMaxSteps.get()));
  }
  return {};
}

Result<std::unique_ptr<Normalizer>> parse(const Json& json, int depth) {
  if (depth > 8) return Status(Code::limit, "the normalizers are nested more than 8 deep");
  NBL_ASSIGN(const std::string type, json.get_string("type"));
  std::unique_ptr<Normalizer> made;
  if (type == "Sequence") {
    std::vector<std::unique_ptr<Normalizer>> steps;
    NBL_TRY(parse_steps(json, depth, steps));
    made = std::make_unique<SequenceNormalizer>(std::move(steps));
  } else if (type == "Replace") {
    const Json* pattern = json.find_value("pattern");
    if (pattern == nullptr) return Status(Code::corrupt, "a Replace has no \"pattern\"");
    NBL_ASSIGN(Pattern compiled, Pattern::parse(*pattern));
    NBL_ASSIGN(const std::string content, json.get_string("content"));
    if (content.size() > kMaxAffix) return Status(Code::limit, fmt::format("a Replace puts in more than {} bytes", kMaxAffix.get()));
    made = std::make_unique<Replace>(std::move(compiled), content);
  } else if (type == "Prepend") {
    NBL_ASSIGN(const std::string prefix, json.get_string("prepend"));
    if (prefix.size() > kMaxAffix) return Status(Code::limit, fmt::format("a Prepend puts in more than {} bytes", kMaxAffix.get()));
    made = std::make_unique<Prepend>(prefix);
  } else if (type == "ByteLevel") {
    made = std::make_unique<ByteLevelSpelling>();
  } else if (type == "Precompiled") {
    NBL_ASSIGN(const std::string encoded, json.string_or("precompiled_charsmap", ""));
    NBL_ASSIGN(const std::string raw, decode_base64(encoded));
    NBL_ASSIGN(made, make_charsmap_normalizer(raw, true));
  } else if (auto simple = parse_unicode_normalizer(type, json); !simple.ok()) {
    return simple.status();
  } else if (*simple != nullptr) {
    made = std::move(*simple);
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

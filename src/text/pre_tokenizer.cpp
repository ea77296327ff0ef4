#include "text/pre_tokenizer.h"

#include <fmt/format.h>

#include <optional>
#include <string>
#include <vector>

#include "base/bounds.h"
#include "text/byte_level.h"
#include "text/char_table.h"
#include "text/pattern.h"
#include "text/scanner.h"
#include "text/utf8.h"

namespace nbl::text {
namespace {

enum class Behavior { removed, isolated, merged_with_previous, merged_with_next, contiguous };

Result<Behavior> behavior_from_name(std::string_view name) {
  if (name == "Removed") return Behavior::removed;
  if (name == "Isolated") return Behavior::isolated;
  if (name == "MergedWithPrevious") return Behavior::merged_with_previous;
  if (name == "MergedWithNext") return Behavior::merged_with_next;
  if (name == "Contiguous") return Behavior::contiguous;
  return Status(Code::unsupported, fmt::format("split behavior \"{}\" is not known", name));
}

/// Takes delimiters and what lies between them, from left to right, and gives out pieces.
class Splitter {
 public:
  Splitter(const Piece& piece, Behavior behavior, bool invert, PieceSink out)
      : piece_(piece), behavior_(behavior), invert_(invert), out_(out) {}

  /// The next match; false: stop.
  bool match(std::size_t begin, std::size_t end) {
    if (begin > at_ && !segment(at_, begin, invert_)) return false;
    at_ = end;
    return segment(begin, end, !invert_);
  }
  bool finish() {
    if (at_ < piece_.text.size() && !segment(at_, piece_.text.size(), invert_)) return false;
    if (behavior_ == Behavior::merged_with_next) return finish_merged_with_next();
    return !pending_ || emit(pending_begin_, pending_end_);
  }

 private:
  struct Segment {
    std::size_t begin;
    std::size_t end;
    bool delimiter;
  };

  bool emit(std::size_t begin, std::size_t end) {
    if (begin == end) return true;
    return out_({piece_.text.substr(begin, end - begin), piece_.at_start && begin == 0, piece_.bytes});
  }

  bool segment(std::size_t begin, std::size_t end, bool delimiter) {
    const bool before = previous_delimiter_;
    previous_delimiter_ = delimiter;
    switch (behavior_) {
      case Behavior::removed:
        return delimiter || emit(begin, end);
      case Behavior::isolated:
        return emit(begin, end);
      case Behavior::merged_with_previous:
        return delimiter && !before ? extend(begin, end) : renew(begin, end);
      case Behavior::contiguous:
        return delimiter == before ? extend(begin, end) : renew(begin, end);
      case Behavior::merged_with_next:
        segments_.push_back({begin, end, delimiter});
        return true;
    }
    return false;
  }
  bool extend(std::size_t begin, std::size_t end) {
    if (!pending_) return renew(begin, end);
    pending_end_ = end;
    return true;
  }
  bool renew(std::size_t begin, std::size_t end) {
    if (pending_ && !emit(pending_begin_, pending_end_)) return false;
    pending_ = true;
    pending_begin_ = begin;
    pending_end_ = end;
    return true;
  }
  bool finish_merged_with_next() {
    // A delimiter joins what follows it, unless that is a delimiter that was joined already.
    std::vector<Segment> merged;
    bool before = false;
    for (std::size_t i = segments_.size(); i-- > 0;) {
      const Segment& s = segments_[i];
      if (s.delimiter && !before && !merged.empty()) {
        merged.back().begin = s.begin;
      } else {
        merged.push_back(s);
      }
      before = s.delimiter;
    }
    for (std::size_t i = merged.size(); i-- > 0;) {
      if (!emit(merged[i].begin, merged[i].end)) return false;
    }
    return true;
  }

  const Piece& piece_;
  Behavior behavior_;
  bool invert_;
  PieceSink out_;
  std::size_t at_ = 0;
  bool previous_delimiter_ = false;
  bool pending_ = false;
  std::size_t pending_begin_ = 0;
  std::size_t pending_end_ = 0;
  std::vector<Segment> segments_;
};

/// Split by a pattern.
class PatternSplit final : public PreTokenizer {
 public:
  PatternSplit(Pattern pattern, std::optional<ScannerKind> scanner, Behavior behavior, bool invert)
      : pattern_(std::move(pattern)), scanner_(scanner), behavior_(behavior), invert_(invert) {}

  bool split(const Piece& piece, PieceSink out, Status& error) const override {
    if (scanner_) {
      return scan(*scanner_, piece.text, [&](std::string_view part) {
        return out({part, piece.at_start && part.data() == piece.text.data(), piece.bytes});
      });
    }
    Splitter splitter(piece, behavior_, invert_, out);
    bool going = true;
    error = pattern_.find_all(piece.text, [&](std::size_t begin, std::size_t end) {
      going = splitter.match(begin, end);
      return going;
    });
    return error.ok() && going && splitter.finish();
  }

 private:
  Pattern pattern_;
  std::optional<ScannerKind> scanner_;  // covers the whole text, pieces isolated
  Behavior behavior_;
  bool invert_;
};

/// Split at characters of given classes.
class ClassSplit final : public PreTokenizer {
 public:
  using Test = bool (*)(uint32_t c, uint16_t bits);
  ClassSplit(Test test, Behavior behavior) : test_(test), behavior_(behavior) {}

  bool split(const Piece& piece, PieceSink out, Status&) const override {
    const CharTable& table = CharTable::get();
    Splitter splitter(piece, behavior_, false, out);
    const char* const start = piece.text.data();
    const char* const end = start + piece.text.size();
    for (const char* p = start; p < end;) {
      const char* const begin = p;
      const uint32_t c = next_valid_utf8(p);
      if (test_(c, table[c]) &&
          !splitter.match(static_cast<std::size_t>(begin - start), static_cast<std::size_t>(p - start))) {
        return false;
      }
    }
    return splitter.finish();
  }

 private:
  Test test_;
  Behavior behavior_;
};

/// Runs of word characters and runs of the other visible ones; white space is dropped.
class WordSplit final : public PreTokenizer {
 public:
  bool split(const Piece& piece, PieceSink out, Status&) const override {
    const CharTable& table = CharTable::get();
    const char* const start = piece.text.data();
    const char* const end = start + piece.text.size();
    const char* begin = start;
    int kind = 0;  // 0 space, 1 word, 2 other
    for (const char* p = start;;) {
      const char* const here = p;
      int now = 0;
      if (p < end) {
        const uint32_t c = next_valid_utf8(p);
        const uint16_t bits = table[c];
        now = bits & kSpace ? 0 : is_word_char(c, bits) ? 1 : 2;
      }
      if (here == end || now != kind) {
        if (kind != 0 && here > begin &&
            !out({{begin, static_cast<std::size_t>(here - begin)}, piece.at_start && begin == start, piece.bytes})) {
          return false;
        }
        begin = here;
        kind = now;
      }
      if (here == end) return true;
    }
  }
};

/// Pieces of so many characters; the last may be shorter.
class LengthSplit final : public PreTokenizer {
 public:
  explicit LengthSplit(int64_t length) : length_(length) {}

  bool split(const Piece& piece, PieceSink out, Status&) const override {
    std::size_t begin = 0;
    int64_t chars = 0;
    for (std::size_t at = 0; at < piece.text.size();) {
      at += utf8_length(piece.text[at]);
      if (++chars < length_ && at < piece.text.size()) continue;
      if (!out({piece.text.substr(begin, at - begin), piece.at_start && begin == 0, piece.bytes})) return false;
      begin = at;
      chars = 0;
    }
    return true;
  }

 private:
  int64_t length_;
};

class ByteLevelSplit final : public PreTokenizer {
 public:
  ByteLevelSplit(bool prefix_space, bool use_regex, bool raw)
      : prefix_space_(prefix_space), use_regex_(use_regex), raw_(raw) {}

  bool split(const Piece& piece, PieceSink out, Status&) const override {
    std::string prefixed;
    std::string_view text = piece.text;
    if (prefix_space_ && !text.starts_with(' ')) {
      prefixed.reserve(text.size() + 1);
      prefixed += ' ';
      prefixed += text;
      text = prefixed;
    }
    std::string mapped;
    const auto give = [&](std::string_view part) {
      const bool at_start = piece.at_start && part.data() == text.data();
      if (raw_) return out({part, at_start, true});
      mapped.clear();
      append_byte_level(mapped, part);
      return out({mapped, at_start, false});
    };
    return use_regex_ ? scan(ScannerKind::gpt2, text, give) : give(text);
  }

 private:
  bool prefix_space_;
  bool use_regex_;
  bool raw_;
};

class Metaspace final : public PreTokenizer {
 public:
  enum class Prepend { always, first, never };
  Metaspace(std::string replacement, Prepend prepend, bool split)
      : replacement_(std::move(replacement)), prepend_(prepend), split_(split) {}

  bool split(const Piece& piece, PieceSink out, Status&) const override {
    std::string text;
    text.reserve(piece.text.size() + piece.text.size() / 4 + 8);
    for (const char c : piece.text) {
      if (c == ' ') {
        text += replacement_;
      } else {
        text += c;
      }
    }
    if (!text.starts_with(replacement_) &&
        (prepend_ == Prepend::always || (prepend_ == Prepend::first && piece.at_start))) {
      text.insert(0, replacement_);
    }
    if (!split_) return out({text, piece.at_start, false});
    // Cut before every replacement.
    std::size_t begin = 0;
    while (begin < text.size()) {
      std::size_t end = text.find(replacement_, begin + 1);
      if (end == std::string::npos) end = text.size();
      if (!out({std::string_view(text).substr(begin, end - begin), piece.at_start && begin == 0, false})) return false;
      begin = end;
    }
    return true;
  }

 private:
  std::string replacement_;
  Prepend prepend_;
  bool split_;
};

class SequenceSplit final : public PreTokenizer {
 public:
  explicit SequenceSplit(std::vector<std::unique_ptr<PreTokenizer>> steps) : steps_(std::move(steps)) {}
  bool split(const Piece& piece, PieceSink out, Status& error) const override { return step(0, piece, out, error); }

 private:
  bool step(std::size_t i, const Piece& piece, PieceSink out, Status& error) const {
    if (i == steps_.size()) return piece.text.empty() || out(piece);
    if (i + 1 == steps_.size()) return steps_[i]->split(piece, out, error);
    return steps_[i]->split(
        piece, [&](const Piece& part) { return part.text.empty() || step(i + 1, part, out, error); }, error);
  }
  std::vector<std::unique_ptr<PreTokenizer>> steps_;
};

bool is_number(uint32_t c, uint16_t bits) { return (bits & kNumber) != 0 || is_newest_number(c); }
bool is_space(uint32_t, uint16_t bits) { return (bits & kSpace) != 0; }
bool is_punctuation(uint32_t c, uint16_t) { return is_split_punctuation(c); }

constexpr BoundOf<std::size_t> kMaxSteps{Bound::tokenizer_steps};

Result<std::unique_ptr<PreTokenizer>> parse(const Json& json, bool raw_bytes, int depth) {
  if (depth > 8) return Status(Code::limit, "the pre-tokenizers are nested more than 8 deep");
  NBL_ASSIGN(const std::string type, json.get_string("type"));
  std::unique_ptr<PreTokenizer> made;
  if (type == "Sequence") {
    const Json* list = json.find_value("pretokenizers");
    if (list == nullptr || !list->is_array()) return Status(Code::corrupt, "a Sequence has no list \"pretokenizers\"");
    if (list->size() > kMaxSteps) {
      return Status(Code::limit,
                    fmt::format("a Sequence has {} pre-tokenizers, more than {}", list->size(), kMaxSteps.get()));
    }
    std::vector<std::unique_ptr<PreTokenizer>> steps;
    for (std::size_t i = 0; i < list->size(); ++i) {
      NBL_ASSIGN(auto step, parse(list->elements()[i], raw_bytes && i + 1 == list->size(), depth + 1));
      steps.push_back(std::move(step));
    }
    made = std::make_unique<SequenceSplit>(std::move(steps));
  } else if (type == "ByteLevel") {
    NBL_ASSIGN(const bool prefix, json.bool_or("add_prefix_space", true));
    NBL_ASSIGN(const bool regex, json.bool_or("use_regex", true));
    made = std::make_unique<ByteLevelSplit>(prefix, regex, raw_bytes);
  } else if (type == "Split") {
    const Json* pattern = json.find_value("pattern");
    if (pattern == nullptr) return Status(Code::corrupt, "a Split has no \"pattern\"");
    NBL_ASSIGN(const std::string behavior_name, json.get_string("behavior"));
    NBL_ASSIGN(const Behavior behavior, behavior_from_name(behavior_name));
    NBL_ASSIGN(const bool invert, json.bool_or("invert", false));
    NBL_ASSIGN(Pattern compiled, Pattern::parse(*pattern));
    // These patterns match every character, so that isolated matches and removed gaps come to the same.
    std::optional<ScannerKind> scanner;
    if (compiled.is_regex() && (behavior == Behavior::isolated || (behavior == Behavior::removed && invert))) {
      scanner = scanner_for_pattern(compiled.text());
    }
    made = std::make_unique<PatternSplit>(std::move(compiled), scanner, behavior, invert);
  } else if (type == "Digits") {
    NBL_ASSIGN(const bool individual, json.bool_or("individual_digits", false));
    made = std::make_unique<ClassSplit>(is_number, individual ? Behavior::isolated : Behavior::contiguous);
  } else if (type == "Punctuation") {
    NBL_ASSIGN(const std::string behavior_name, json.string_or("behavior", "Isolated"));
    NBL_ASSIGN(const Behavior behavior, behavior_from_name(behavior_name));
    made = std::make_unique<ClassSplit>(is_punctuation, behavior);
  } else if (type == "WhitespaceSplit") {
    made = std::make_unique<ClassSplit>(is_space, Behavior::removed);
  } else if (type == "Whitespace") {
    made = std::make_unique<WordSplit>();
  } else if (type == "BertPreTokenizer") {
    std::vector<std::unique_ptr<PreTokenizer>> steps;
    steps.push_back(std::make_unique<ClassSplit>(is_space, Behavior::removed));
    steps.push_back(std::make_unique<ClassSplit>(is_punctuation, Behavior::isolated));
    made = std::make_unique<SequenceSplit>(std::move(steps));
  } else if (type == "FixedLength") {
    NBL_ASSIGN(const int64_t length, json.int_or("length", 5));
    if (length < 1) return Status(Code::corrupt, fmt::format("a FixedLength cuts after {} characters", length));
    made = std::make_unique<LengthSplit>(length);
  } else if (type == "CharDelimiterSplit") {
    NBL_ASSIGN(const std::string delimiter, json.get_string("delimiter"));
    made = std::make_unique<PatternSplit>(Pattern::literal(delimiter), std::nullopt, Behavior::removed, false);
  } else if (type == "Metaspace") {
    NBL_ASSIGN(const std::string replacement, json.string_or("replacement", "\xE2\x96\x81"));
    if (replacement.empty()) return Status(Code::corrupt, "a Metaspace has an empty replacement");
    NBL_ASSIGN(const bool legacy, json.bool_or("add_prefix_space", true));
    NBL_ASSIGN(const std::string scheme, json.string_or("prepend_scheme", legacy ? "always" : "never"));
    NBL_ASSIGN(const bool split, json.bool_or("split", true));
    Metaspace::Prepend prepend = Metaspace::Prepend::always;
    if (scheme == "first") {
      prepend = Metaspace::Prepend::first;
    } else if (scheme == "never") {
      prepend = Metaspace::Prepend::never;
    } else if (scheme != "always") {
      return Status(Code::unsupported, fmt::format("the Metaspace prepend_scheme \"{}\" is not known", scheme));
    }
    made = std::make_unique<Metaspace>(replacement, prepend, split);
  } else {
    return Status(Code::unsupported, fmt::format("the pre-tokenizer \"{}\" is not implemented", type));
  }
  return made;
}

}  // namespace

Result<std::unique_ptr<PreTokenizer>> parse_pre_tokenizer(const Json& json, bool raw_bytes) {
  if (json.is_null()) return std::unique_ptr<PreTokenizer>();
  return parse(json, raw_bytes, 0);
}

Result<std::unique_ptr<PreTokenizer>> make_pattern_splits(std::span<const std::string_view> patterns, bool bytes) {
  std::vector<std::unique_ptr<PreTokenizer>> steps;
  for (const std::string_view pattern : patterns) {
    NBL_ASSIGN(Pattern compiled, Pattern::regex(pattern));
    steps.push_back(
        std::make_unique<PatternSplit>(std::move(compiled), scanner_for_pattern(pattern), Behavior::isolated, false));
  }
  if (bytes) steps.push_back(std::make_unique<ByteLevelSplit>(false, false, true));
  return std::unique_ptr<PreTokenizer>(std::make_unique<SequenceSplit>(std::move(steps)));
}

}  // namespace nbl::text

#include "text/decoder.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "base/bounds.h"
#include "text/byte_level.h"
#include "text/growth.h"
#include "text/pattern.h"
#include "text/utf8.h"

namespace nbl::text {
namespace {

std::string join(const std::vector<std::string>& pieces) {
  std::string out;
  for (const std::string& p : pieces) out += p;
  return out;
}

std::size_t bytes_of(const std::vector<std::string>& pieces) {
  std::size_t sum = 0;
  for (const std::string& p : pieces) sum += p.size();
  return sum;
}

/// Byte-level pieces spell bytes; all of them together are the text.
class ByteLevelDecoder final : public Decoder {
 public:
  Status apply(std::vector<std::string>& pieces) const override {
    std::string bytes;
    for (const std::string& piece : pieces) {
      if (auto spelled = from_byte_level(piece)) {
        bytes += *spelled;
      } else {
        bytes += piece;  // an added token, say, with a space in it
      }
    }
    pieces.clear();
    pieces.push_back(is_valid_utf8(bytes) ? std::move(bytes) : replace_invalid_utf8(bytes));
    return {};
  }
};

// The byte of "<0xXX>".
std::optional<char> byte_of(std::string_view piece) {
  if (piece.size() != 6 || !piece.starts_with("<0x") || piece[5] != '>') return std::nullopt;
  int value = 0;
  for (const char c : piece.substr(3, 2)) {
    int digit;
    if (c >= '0' && c <= '9') {
      digit = c - '0';
    } else if (c >= 'A' && c <= 'F') {
      digit = c - 'A' + 10;
    } else if (c >= 'a' && c <= 'f') {
      digit = c - 'a' + 10;
    } else {
      return std::nullopt;
    }
    value = value * 16 + digit;
  }
  return static_cast<char>(value);
}

/// Runs of <0xXX> become the text that they spell, or one U+FFFD a byte.
class ByteFallback final : public Decoder {
 public:
  Status apply(std::vector<std::string>& pieces) const override {
    std::vector<std::string> out;
    std::string run;
    const auto flush = [&] {
      if (run.empty()) return;
      if (is_valid_utf8(run)) {
        out.push_back(run);
      } else {
        for (std::size_t i = 0; i < run.size(); ++i) out.emplace_back("\xEF\xBF\xBD");
      }
      run.clear();
    };
    for (std::string& piece : pieces) {
      if (const auto byte = byte_of(piece)) {
        run.push_back(*byte);
        continue;
      }
      flush();
      out.push_back(std::move(piece));
    }
    flush();
    pieces = std::move(out);
    return {};
  }
};

class Fuse final : public Decoder {
 public:
  Status apply(std::vector<std::string>& pieces) const override {
    std::string whole = join(pieces);
    pieces.clear();
    pieces.push_back(std::move(whole));
    return {};
  }
};

class StripDecoder final : public Decoder {
 public:
  StripDecoder(std::string content, int64_t start, int64_t stop)
      : content_(std::move(content)), start_(start), stop_(stop) {}
  Status apply(std::vector<std::string>& pieces) const override {
    const std::size_t n = content_.size();
    for (std::string& piece : pieces) {
      std::string_view rest = piece;
      for (int64_t i = 0; i < start_ && rest.starts_with(content_); ++i) rest.remove_prefix(n);
      for (int64_t i = 0; i < stop_ && rest.ends_with(content_); ++i) rest.remove_suffix(n);
      if (rest.size() != piece.size()) piece = std::string(rest);
    }
    return {};
  }

 private:
  std::string content_;
  int64_t start_;
  int64_t stop_;
};

class ReplaceDecoder final : public Decoder {
 public:
  ReplaceDecoder(Pattern pattern, std::string content) : pattern_(std::move(pattern)), content_(std::move(content)) {}
  Status apply(std::vector<std::string>& pieces) const override {
    const std::size_t before = bytes_of(pieces), most = most_grown(before, kStepGrowth);
    std::size_t made = 0;
    for (std::string& piece : pieces) {
      std::string out;
      std::size_t at = 0;
      NBL_TRY(pattern_.find_all(piece, [&](std::size_t begin, std::size_t end) {
        out.append(piece, at, begin - at);
        out += content_;
        at = end;
        return out.size() <= most - made;
      }));
      if (out.size() > most - made) return grown_too_long(before, kStepGrowth);
      made += out.size();
      if (at == 0 && out.empty()) continue;
      out.append(piece, at);
      piece = std::move(out);
    }
    return {};
  }

 private:
  Pattern pattern_;
  std::string content_;
};

/// The replacement character is a space, but where a prefix was put before the text.
class MetaspaceDecoder final : public Decoder {
 public:
  MetaspaceDecoder(std::string replacement, bool drop_first)
      : replacement_(std::move(replacement)), drop_first_(drop_first) {}
  Status apply(std::vector<std::string>& pieces) const override {
    for (std::size_t i = 0; i < pieces.size(); ++i) {
      std::string out;
      std::string_view rest = pieces[i];
      while (!rest.empty()) {
        if (rest.starts_with(replacement_)) {
          rest.remove_prefix(replacement_.size());
          if (i > 0 || !drop_first_) out += ' ';
        } else {
          out += rest[0];
          rest.remove_prefix(1);
        }
      }
      pieces[i] = std::move(out);
    }
    return {};
  }

 private:
  std::string replacement_;
  bool drop_first_;
};

// English punctuation and contractions moved back to the word before them.
void clean_up(std::string& text) {
  static constexpr std::pair<std::string_view, std::string_view> kRules[] = {
      {" .", "."},   {" ?", "?"},           {" !", "!"},   {" ,", ","},     {" ' ", "'"},    {" n't", "n't"},
      {" 'm", "'m"}, {" do not", " don't"}, {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"},
  };
  for (const auto& [from, to] : kRules) {
    std::size_t at = 0;
    while ((at = text.find(from, at)) != std::string::npos) {
      text.replace(at, from.size(), to);
      at += to.size();
    }
  }
}

class WordPieceDecoder final : public Decoder {
 public:
  WordPieceDecoder(std::string prefix, bool cleanup) : prefix_(std::move(prefix)), cleanup_(cleanup) {}
  Status apply(std::vector<std::string>& pieces) const override {
    for (std::size_t i = 0; i < pieces.size(); ++i) {
      if (i > 0) {
        if (pieces[i].starts_with(prefix_)) {  // an empty prefix begins every piece
          pieces[i].erase(0, prefix_.size());
        } else {
          pieces[i].insert(0, " ");
        }
      }
      if (cleanup_) clean_up(pieces[i]);
    }
    return {};
  }

 private:
  std::string prefix_;
  bool cleanup_;
};

/// The suffix that ends a word is a space, but for the last one.
class BpeDecoder final : public Decoder {
 public:
  explicit BpeDecoder(std::string suffix) : suffix_(std::move(suffix)) {}
  Status apply(std::vector<std::string>& pieces) const override {
    if (suffix_.empty()) return {};
    for (std::size_t i = 0; i < pieces.size(); ++i) {
      const std::string_view with = i + 1 < pieces.size() ? " " : "";
      std::string out;
      std::size_t at = 0;
      for (std::size_t found = 0; (found = pieces[i].find(suffix_, at)) != std::string::npos; at = found + suffix_.size()) {
        out.append(pieces[i], at, found - at);
        out += with;
      }
      if (at == 0) continue;
      out.append(pieces[i], at);
      pieces[i] = std::move(out);
    }
    return {};
  }

 private:
  std::string suffix_;
};

class SequenceDecoder final : public Decoder {
 public:
  explicit SequenceDecoder(std::vector<std::unique_ptr<Decoder>> steps) : steps_(std::move(steps)) {}
  Status apply(std::vector<std::string>& pieces) const override {
    const std::size_t before = bytes_of(pieces);
    for (const auto& step : steps_) {
      NBL_TRY(step->apply(pieces));
      if (bytes_of(pieces) > most_grown(before, kSequenceGrowth)) return grown_too_long(before, kSequenceGrowth);
    }
    return {};
  }

 private:
  std::vector<std::unique_ptr<Decoder>> steps_;
};

constexpr BoundOf<std::size_t> kMaxSteps{Bound::tokenizer_steps};

Result<std::unique_ptr<Decoder>> parse(const Json& json, int depth);

/// The steps of a Sequence, those of sequences in it among them: all of them are bounded by the text that the outermost gets.
Status parse_steps(const Json& json, int depth, std::vector<std::unique_ptr<Decoder>>& steps) {
  if (depth > 8) return Status(Code::limit, "the decoders are nested more than 8 deep");
  const Json* list = json.find_value("decoders");
  if (list == nullptr || !list->is_array()) return Status(Code::corrupt, "a Sequence has no list \"decoders\"");
  for (const Json& item : list->elements()) {
    const Json* type = item.find_value("type");
    if (type != nullptr && type->is_string() && type->as_string() == "Sequence") {
      NBL_TRY(parse_steps(item, depth + 1, steps));
    } else {
      NBL_ASSIGN(auto step, parse(item, depth + 1));
      steps.push_back(std::move(step));
    }
    if (steps.size() > kMaxSteps) return Status(Code::limit, fmt::format("a Sequence has more than {} decoders", kMaxSteps.get()));
  }
  return {};
}

Result<std::unique_ptr<Decoder>> parse(const Json& json, int depth) {
  if (depth > 8) return Status(Code::limit, "the decoders are nested more than 8 deep");
  NBL_ASSIGN(const std::string type, json.get_string("type"));
  std::unique_ptr<Decoder> made;
  if (type == "Sequence") {
    std::vector<std::unique_ptr<Decoder>> steps;
    NBL_TRY(parse_steps(json, depth, steps));
    made = std::make_unique<SequenceDecoder>(std::move(steps));
  } else if (type == "ByteLevel") {
    made = make_byte_level_decoder();
  } else if (type == "ByteFallback") {
    made = std::make_unique<ByteFallback>();
  } else if (type == "Fuse") {
    made = std::make_unique<Fuse>();
  } else if (type == "Strip") {
    NBL_ASSIGN(const std::string content, json.get_string("content"));
    NBL_ASSIGN(const int64_t start, json.int_or("start", 0));
    NBL_ASSIGN(const int64_t stop, json.int_or("stop", 0));
    if (content.empty()) return Status(Code::corrupt, "a Strip decoder has an empty \"content\"");
    made = std::make_unique<StripDecoder>(content, start, stop);
  } else if (type == "Replace") {
    const Json* pattern = json.find_value("pattern");
    if (pattern == nullptr) return Status(Code::corrupt, "a Replace has no \"pattern\"");
    NBL_ASSIGN(Pattern compiled, Pattern::parse(*pattern));
    NBL_ASSIGN(const std::string content, json.get_string("content"));
    made = std::make_unique<ReplaceDecoder>(std::move(compiled), content);
  } else if (type == "Metaspace") {
    NBL_ASSIGN(const std::string replacement, json.string_or("replacement", "\xE2\x96\x81"));
    if (replacement.empty()) return Status(Code::corrupt, "a Metaspace has an empty replacement");
    NBL_ASSIGN(const bool legacy, json.bool_or("add_prefix_space", true));
    NBL_ASSIGN(const std::string scheme, json.string_or("prepend_scheme", legacy ? "always" : "never"));
    made = std::make_unique<MetaspaceDecoder>(replacement, scheme != "never");
  } else if (type == "WordPiece") {
    NBL_ASSIGN(const std::string prefix, json.string_or("prefix", "##"));
    NBL_ASSIGN(const bool cleanup, json.bool_or("cleanup", true));
    made = std::make_unique<WordPieceDecoder>(prefix, cleanup);
  } else if (type == "BPEDecoder") {
    NBL_ASSIGN(const std::string suffix, json.string_or("suffix", "</w>"));
    made = std::make_unique<BpeDecoder>(suffix);
  } else {
    return Status(Code::unsupported, fmt::format("the decoder \"{}\" is not implemented", type));
  }
  return made;
}

}  // namespace

std::unique_ptr<Decoder> make_byte_level_decoder() { return std::make_unique<ByteLevelDecoder>(); }

Result<std::unique_ptr<Decoder>> make_metaspace_decoder(bool prefix) {
  std::vector<std::unique_ptr<Decoder>> steps;
  steps.push_back(std::make_unique<ReplaceDecoder>(Pattern::literal("\xE2\x96\x81"), " "));
  steps.push_back(std::make_unique<ByteFallback>());
  steps.push_back(std::make_unique<Fuse>());
  if (prefix) steps.push_back(std::make_unique<StripDecoder>(" ", 1, 0));
  return std::unique_ptr<Decoder>(std::make_unique<SequenceDecoder>(std::move(steps)));
}

Result<std::unique_ptr<Decoder>> parse_decoder(const Json& json) {
  if (json.is_null()) return std::unique_ptr<Decoder>();
  return parse(json, 0);
}

}  // namespace nbl::text

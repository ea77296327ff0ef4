#include "text/sentencepiece_normalizer.h"

#include "text/charsmap.h"
#include "text/growth.h"
#include "text/multi_matcher.h"

namespace nbl::text {
namespace {

constexpr std::string_view kMetaspace = "\xE2\x96\x81";

class SentencepieceNormalizer final : public Normalizer {
 public:
  SentencepieceNormalizer(SentencepieceNormalizerOptions options, std::unique_ptr<Normalizer> map)
      : options_(std::move(options)), map_(std::move(map)) {
    kept_.build({options_.user_defined.begin(), options_.user_defined.end()});
  }

  Status apply(std::string& text) const override {
    // The map, around what must be kept.
    std::string mapped;
    std::size_t at = 0;
    const std::size_t most = most_grown(text.size(), kSequenceGrowth);
    while (at < text.size()) {
      const auto match = kept_.find(text, at);
      std::string part = text.substr(at, (match ? match->begin : text.size()) - at);
      NBL_TRY(map_->apply(part));
      mapped += part;
      if (mapped.size() > most) return grown_too_long(text.size(), kSequenceGrowth);
      if (!match) break;
      mapped.append(text, match->begin, match->end - match->begin);
      at = match->end;
    }
    std::string_view rest = mapped;
    if (options_.remove_extra_whitespaces) {
      while (rest.starts_with(' ')) rest.remove_prefix(1);
      while (rest.ends_with(' ')) rest.remove_suffix(1);
    }
    std::string out;
    if (!rest.empty()) {
      out.reserve(rest.size() + rest.size() / 2);
      const std::string_view space = options_.escape_whitespaces ? kMetaspace : " ";
      if (options_.add_dummy_prefix) out += space;
      bool before = options_.add_dummy_prefix && options_.remove_extra_whitespaces;
      for (const char c : rest) {
        if (c != ' ') {
          out += c;
          before = false;
          continue;
        }
        if (!before) out += space;
        before = options_.remove_extra_whitespaces;
      }
      // At the end an escaped space that the text had already counts as one too.
      while (options_.remove_extra_whitespaces && out.ends_with(space)) out.resize(out.size() - space.size());
    }
    text = std::move(out);
    return {};
  }

 private:
  SentencepieceNormalizerOptions options_;
  std::unique_ptr<Normalizer> map_;
  MultiMatcher kept_;
};

}  // namespace

Result<std::unique_ptr<Normalizer>> make_sentencepiece_normalizer(SentencepieceNormalizerOptions options) {
  NBL_ASSIGN(auto map, make_charsmap_normalizer(options.charsmap, false));
  return std::unique_ptr<Normalizer>(std::make_unique<SentencepieceNormalizer>(std::move(options), std::move(map)));
}

}  // namespace nbl::text

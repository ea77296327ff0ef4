#include <algorithm>
#include <string_view>

#include "text/tokenizer.h"

namespace nbl::text {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";
constexpr std::size_t kMaxWindow = 64;

// The part that further tokens cannot change: all but replacement characters at the end, which may be characters of
// which only the first bytes have come.
std::size_t certain_length(std::string_view text) {
  while (text.ends_with(kReplacement)) text.remove_suffix(kReplacement.size());
  return text.size();
}

}  // namespace

StreamDecoder::StreamDecoder(const Tokenizer& tokenizer, bool skip_special)
    : tokenizer_(&tokenizer), skip_special_(skip_special) {}

// The window is a context token, whose text is out, and what came since the text was last complete. A context is needed
// because decoders treat the first token differently (a leading space is dropped).
Result<std::string> StreamDecoder::push(TokenId id) {
  window_.push_back(id);
  NBL_ASSIGN(std::string text, tokenizer_->decode(window_, skip_special_));
  if (!text.starts_with(shown_)) {
    // A byte that cannot go on what came before made the decoder reject a whole run, whose beginning is out already:
    // only the tokens since then are decoded again.
    std::vector<TokenId> rest(window_.begin() + static_cast<std::ptrdiff_t>(settled_), window_.end());
    window_.erase(window_.begin() + (has_context_ ? 1 : 0), window_.end());
    NBL_ASSIGN(shown_, tokenizer_->decode(window_, skip_special_));
    settled_ = window_.size();
    window_.insert(window_.end(), rest.begin(), rest.end());
    NBL_ASSIGN(text, tokenizer_->decode(window_, skip_special_));
    if (!text.starts_with(shown_)) shown_.clear();
  }
  std::size_t end = std::max(certain_length(text), shown_.size());
  std::string out = text.substr(shown_.size(), end - shown_.size());
  if (window_.size() >= kMaxWindow && end < text.size()) {
    NBL_ASSIGN(const bool shorter, shorten(text.substr(end)));
    if (shorter) return out;
    end = text.size();  // no character is as long as this: it is none
    out = text.substr(shown_.size());
  }
  shown_.append(out);
  if (end == text.size()) NBL_TRY(settle());
  return out;
}

// Every token ends within a character, so that nothing settles: the window goes on with its last tokens, where these end in the
// same incomplete bytes.
Result<bool> StreamDecoder::shorten(std::string_view incomplete) {
  const std::span<const TokenId> last = std::span<const TokenId>(window_).last(kMaxWindow / 4);
  NBL_ASSIGN(std::string text, tokenizer_->decode(last, skip_special_));
  const std::size_t certain = certain_length(text);
  if (certain == 0 || std::string_view(text).substr(certain) != incomplete) return false;
  window_.erase(window_.begin(), window_.end() - static_cast<std::ptrdiff_t>(last.size()));
  text.resize(certain);
  shown_ = std::move(text);
  has_context_ = true;
  settled_ = 1;
  return true;
}

// All is out: the last token with a text of its own becomes the context.
Status StreamDecoder::settle() {
  std::size_t j = window_.size();
  while (j > 0) {
    NBL_ASSIGN(const std::string alone, tokenizer_->decode(std::span(window_).subspan(j - 1, 1), skip_special_));
    if (!alone.empty() && alone.find(kReplacement) == std::string::npos) break;
    --j;
  }
  if (j > 0) {
    window_.erase(window_.begin(), window_.begin() + static_cast<std::ptrdiff_t>(j - 1));
    has_context_ = true;
  }
  if (window_.size() >= kMaxWindow) window_.erase(window_.begin() + (has_context_ ? 1 : 0), window_.end());
  settled_ = window_.size();
  NBL_ASSIGN(shown_, tokenizer_->decode(window_, skip_special_));
  return {};
}

Result<std::string> StreamDecoder::finish() {
  NBL_ASSIGN(const std::string text, tokenizer_->decode(window_, skip_special_));
  std::string out = text.starts_with(shown_) ? text.substr(shown_.size()) : std::string();
  window_.clear();
  shown_.clear();
  settled_ = 0;
  has_context_ = false;
  return out;
}

}  // namespace nbl::text

#include "text/added_tokens.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/bounds.h"
#include "text/char_table.h"
#include "text/utf8.h"

namespace nbl::text {
namespace {

constexpr BoundOf<std::size_t> kMaxBytes{Bound::tokenizer_added_bytes};

// The character that ends at `end`, in valid text.
uint32_t char_before(std::string_view text, std::size_t end, std::size_t* begin) {
  std::size_t at = end - 1;
  while (at > 0 && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80) --at;
  *begin = at;
  const char* p = text.data() + at;
  return next_valid_utf8(p);
}

bool word_before(std::string_view text, std::size_t at) {
  if (at == 0) return false;
  std::size_t begin;
  const uint32_t c = char_before(text, at, &begin);
  return is_word_char(c, CharTable::get()[c]);
}

bool word_after(std::string_view text, std::size_t at) {
  if (at >= text.size()) return false;
  const char* p = text.data() + at;
  const uint32_t c = next_valid_utf8(p);
  return is_word_char(c, CharTable::get()[c]);
}

std::size_t spaces_before(std::string_view text, std::size_t at, std::size_t lowest) {
  while (at > lowest) {
    std::size_t begin;
    if (!(CharTable::get()[char_before(text, at, &begin)] & kSpace)) break;
    at = begin;
  }
  return std::max(at, lowest);
}

std::size_t spaces_after(std::string_view text, std::size_t at) {
  while (at < text.size()) {
    const char* p = text.data() + at;
    if (!(CharTable::get()[next_valid_utf8(p)] & kSpace)) break;
    at = static_cast<std::size_t>(p - text.data());
  }
  return at;
}

}  // namespace

Status AddedTokens::add(AddedToken token) {
  if (token.content.empty() || by_content_.contains(token.content)) return {};
  bytes_ += token.content.size();
  if (bytes_ > kMaxBytes) {
    return Status(Code::limit, fmt::format("the added tokens have more than {} bytes together", kMaxBytes.get()));
  }
  by_id_.try_emplace(token.id, tokens_.size());
  by_content_.emplace(token.content, tokens_.size());
  tokens_.push_back(std::move(token));
  return {};
}

Status AddedTokens::build(FunctionRef<Result<std::string>(std::string_view)> normalize) {
  for (const bool normalized : {false, true}) {
    std::vector<std::string> contents;
    pattern_[normalized].clear();
    for (std::size_t i = 0; i < tokens_.size(); ++i) {
      if (tokens_[i].normalized != normalized) continue;
      std::string content = tokens_[i].content;
      if (normalized) {
        NBL_ASSIGN(content, normalize(tokens_[i].content));
      }
      if (content.empty()) continue;
      contents.push_back(std::move(content));
      pattern_[normalized].push_back(i);
    }
    matcher_[normalized].build({contents.begin(), contents.end()});
  }
  return {};
}

void AddedTokens::split(std::string_view text, bool normalized, bool parse_special,
                        FunctionRef<bool(TokenId, std::string_view)> out) const {
  if (text.empty()) return;
  const MultiMatcher& matcher = matcher_[normalized];
  if (matcher.empty()) {
    out(-1, text);
    return;
  }
  std::size_t done = 0;  // everything before is given out
  std::size_t from = 0;
  std::size_t run_begin = 1, run_end = 0;  // white space that was looked at; none yet
  while (const auto match = matcher.find(text, from)) {
    from = match->end;
    const AddedToken& token = tokens_[pattern_[normalized][match->pattern]];
    if (token.special && !parse_special) continue;
    if (token.single_word && (word_before(text, match->begin) || word_after(text, match->end))) continue;
    std::size_t begin = match->begin;
    std::size_t end = match->end;
    // White space that the token before has swallowed is gone.
    if (token.lstrip) begin = begin <= done ? done : spaces_before(text, begin, done);
    if (token.rstrip) {
      // A run of spaces that are tokens themselves is walked once, not from each of them.
      if (end < run_begin || end > run_end) {
        run_begin = end;
        run_end = spaces_after(text, end);
      }
      end = run_end;
    }
    if (end <= begin) continue;  // itself white space that the token before has swallowed
    if (done < begin && !out(-1, text.substr(done, begin - done))) return;
    if (!out(token.id, {})) return;
    done = end;
  }
  if (done < text.size()) out(-1, text.substr(done));
}

const AddedToken* AddedTokens::find(TokenId id) const {
  const auto it = by_id_.find(id);
  return it == by_id_.end() ? nullptr : &tokens_[it->second];
}

const AddedToken* AddedTokens::find(std::string_view content) const {
  const auto it = by_content_.find(std::string(content));
  return it == by_content_.end() ? nullptr : &tokens_[it->second];
}

}  // namespace nbl::text

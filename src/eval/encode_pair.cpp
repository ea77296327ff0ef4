#include <algorithm>

#include "eval/characters.h"
#include "eval/eval.h"

namespace nbl::eval {
namespace {

using text::TokenId;

Result<TokenId> prefix_token(const text::Tokenizer& tokenizer) {
  const std::optional<TokenId> prefix = tokenizer.bos() ? tokenizer.bos() : tokenizer.eos();
  if (prefix) return *prefix;
  return Status(Code::unsupported,
                "an empty context needs a tokenizer with a BOS or EOS token, and this one has neither");
}

/// With the special tokens that the tokenizer adds by itself, unless the text already begins with them.
Result<std::vector<TokenId>> encode_whole(const text::Tokenizer& tokenizer, std::string_view utf8) {
  bool add = true;
  const std::optional<TokenId> prefix = tokenizer.bos() ? tokenizer.bos() : tokenizer.eos();
  if (prefix) {
    const TokenId id = *prefix;
    NBL_ASSIGN(const std::string spelt, tokenizer.decode({&id, 1}, false));
    add = spelt.empty() || !utf8.starts_with(spelt);
  }
  return tokenizer.encode(utf8, {.add_special = add, .parse_special = true});
}

}  // namespace

Result<ScoreRequest> encode_pair(const text::Tokenizer& tokenizer, std::string_view context,
                                 std::string_view continuation) {
  ScoreRequest request;
  if (context.empty()) {
    NBL_ASSIGN(const TokenId prefix, prefix_token(tokenizer));
    NBL_ASSIGN(request.continuation, tokenizer.encode(continuation, {.add_special = false, .parse_special = true}));
    request.context = {prefix};
    if (!request.continuation.empty() && request.continuation.front() == prefix) {
      request.continuation.erase(request.continuation.begin());
    }
    return request;
  }
  const std::size_t kept = rstripped(context);
  std::string whole(context);
  whole += continuation;
  NBL_ASSIGN(const std::vector<TokenId> all, encode_whole(tokenizer, whole));
  NBL_ASSIGN(request.context, encode_whole(tokenizer, context.substr(0, kept)));
  const std::size_t cut = std::min(request.context.size(), all.size());
  request.continuation.assign(all.begin() + static_cast<std::ptrdiff_t>(cut), all.end());
  if (request.context.empty()) {
    // A context of nothing but spaces leaves nothing to predict the first token from.
    NBL_ASSIGN(const TokenId prefix, prefix_token(tokenizer));
    request.context = {prefix};
  }
  return request;
}

}  // namespace nbl::eval

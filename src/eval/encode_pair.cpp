#include <algorithm>

#include "eval/eval.h"
#include "eval/unicode.h"

namespace nbl::eval {

using text::TokenId;

Result<ScoreRequest> encode_pair(const text::Tokenizer& tokenizer, std::string_view context,
                                 std::string_view continuation) {
  const text::EncodeOptions options{.add_special = false, .parse_special = true};
  ScoreRequest request;
  if (context.empty()) {
    const std::optional<TokenId> prefix = tokenizer.bos() ? tokenizer.bos() : tokenizer.eos();
    if (!prefix) {
      return Status(Code::unsupported,
                    "an empty context needs a tokenizer with a BOS or EOS token, and this one has neither");
    }
    request.context = {*prefix};
    NBL_ASSIGN(request.continuation, tokenizer.encode(continuation, options));
  } else {
    const std::size_t kept = rstripped(context);
    std::string whole(context);
    whole += continuation;
    NBL_ASSIGN(const std::vector<TokenId> all, tokenizer.encode(whole, options));
    NBL_ASSIGN(request.context, tokenizer.encode(context.substr(0, kept), options));
    const std::size_t cut = std::min(request.context.size(), all.size());
    request.continuation.assign(all.begin() + static_cast<std::ptrdiff_t>(cut), all.end());
    if (request.context.empty()) {
      // A context of nothing but spaces: lm-evaluation-harness would score the continuation from no context at all.
      const std::optional<TokenId> prefix = tokenizer.bos() ? tokenizer.bos() : tokenizer.eos();
      if (!prefix) return Status(Code::unsupported, "a blank context needs a tokenizer with a BOS or EOS token");
      request.context = {*prefix};
    }
  }
  return request;
}

}  // namespace nbl::eval

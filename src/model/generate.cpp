#include <algorithm>
#include <chrono>

#include "model/model.h"

namespace nbl::model {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

}  // namespace

Result<GenerateResult> generate(Session& session, std::span<const text::TokenId> prompt, const GenerateOptions& options,
                                const TokenFn& on_token) {
  if (options.max_new_tokens < 0) return Status(Code::invalid_argument, "max_new_tokens is negative");
  const std::vector<text::TokenId>& eos = session.model().config().eos;
  GenerateResult result;
  result.finish_reason = "length";
  result.ids.reserve(static_cast<std::size_t>(std::min<int64_t>(options.max_new_tokens, session.capacity())));
  Sampler sampler(options.sampling);

  const auto start = Clock::now();
  NBL_ASSIGN(std::span<const float> logits, session.append(prompt, Session::Logits::last));
  result.prefill_seconds = seconds_since(start);

  const auto decode_start = Clock::now();
  while (static_cast<int64_t>(result.ids.size()) < options.max_new_tokens) {
    NBL_ASSIGN(const text::TokenId token, sampler.sample(logits));
    if (options.stop_at_eos && std::find(eos.begin(), eos.end(), token) != eos.end()) {
      result.finish_reason = "eos";
      break;
    }
    result.ids.push_back(token);
    if (on_token && !on_token(token)) {
      result.finish_reason = "cancelled";
      break;
    }
    if (static_cast<int64_t>(result.ids.size()) == options.max_new_tokens) break;
    if (session.position() == session.capacity()) {
      result.finish_reason = "context";
      break;
    }
    NBL_ASSIGN(logits, session.append({&token, 1}, Session::Logits::last));
  }
  result.decode_seconds = seconds_since(decode_start);
  return result;
}

}  // namespace nbl::model

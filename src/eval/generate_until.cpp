#include "eval/generate_until.h"

#include <fmt/format.h>

#include <algorithm>

#include "model/beam_search.h"
#include "model/generation.h"

namespace nbl::eval {
namespace {

using text::TokenId;

std::string cut_at(std::string text, std::span<const std::string> until) {
  for (const std::string& stop : until) {
    if (stop.empty()) continue;
    const std::size_t at = text.find(stop);
    if (at != std::string::npos) text.resize(at);
  }
  return text;
}

bool contains_any(std::string_view text, std::span<const std::string> until) {
  return std::any_of(until.begin(), until.end(), [&](const std::string& stop) {
    return !stop.empty() && text.find(stop) != std::string_view::npos;
  });
}

}  // namespace

Result<std::vector<GeneratedText>> generate_until(std::shared_ptr<const model::Model> model, Team& team,
                                                  std::span<const std::string> contexts, const Generation& generation,
                                                  const ProgressFn& progress) {
  const text::Tokenizer* tokenizer = model->tokenizer();
  if (tokenizer == nullptr) return Status(Code::not_found, "the model carries no tokenizer, so it cannot write a text");
  const int64_t positions = model->config().max_positions;
  if (positions > 0 && generation.max_tokens >= positions) {
    return Status(Code::limit, fmt::format("the task asks for {} new tokens, the model has {} positions",
                                           generation.max_tokens, positions));
  }
  std::vector<std::string> until = generation.until;
  std::vector<TokenId> ends = model->config().eos;
  if (tokenizer->eos()) {
    const TokenId end = *tokenizer->eos();
    NBL_ASSIGN(const std::string eos, tokenizer->decode({&end, 1}, false));
    if (std::find(until.begin(), until.end(), eos) == until.end()) until.push_back(eos);
    if (std::find(ends.begin(), ends.end(), end) == ends.end()) ends.push_back(end);
  }

  std::vector<GeneratedText> results;
  std::unique_ptr<model::Session> session;
  for (std::size_t i = 0; i < contexts.size(); ++i) {
    NBL_TRY(report_progress(progress, {"generate", fmt::format("document {} of {}", i + 1, contexts.size()),
                                       static_cast<int64_t>(i), static_cast<int64_t>(contexts.size())}));
    NBL_ASSIGN(std::vector<TokenId> prompt,
               tokenizer->encode(contexts[i], {.add_special = true, .parse_special = true}));
    GeneratedText result;
    if (positions > 0 && static_cast<int64_t>(prompt.size()) > positions - generation.max_tokens) {
      result.truncated = true;
      prompt.erase(prompt.begin(), prompt.end() - static_cast<std::ptrdiff_t>(positions - generation.max_tokens));
    }
    if (prompt.empty()) {
      if (!tokenizer->bos()) return Status(Code::unsupported, "an empty context needs a tokenizer with a BOS token");
      prompt.push_back(*tokenizer->bos());
    }
    std::vector<TokenId> ids;
    if (generation.beams > 1) {
      const auto stops = [&](std::span<const TokenId> so_far) {
        auto text = tokenizer->decode(so_far, false);
        return text.ok() && contains_any(*text, until);
      };
      NBL_ASSIGN(const auto base, model::Session::create(model, team, static_cast<int64_t>(prompt.size())));
      NBL_ASSIGN(const auto logits, base->append(prompt, model::Session::Logits::last));
      model::BeamOptions options;
      options.beams = generation.beams;
      options.max_new_tokens = generation.max_tokens;
      options.ends = ends;
      NBL_ASSIGN(const auto beams, model::beam_search(*base, logits, options, stops));
      ids = beams[0].tokens;
    } else {
      const int64_t room = static_cast<int64_t>(prompt.size()) + generation.max_tokens;
      if (!session || session->capacity() < room) {
        NBL_ASSIGN(session, model::Session::create(model, team, room));
      }
      NBL_TRY(session->truncate(0));
      Status failed;
      model::GenerateOptions options;
      options.max_new_tokens = generation.max_tokens;
      auto generated = model::generate(*session, prompt, options, [&](TokenId id) {
        ids.push_back(id);
        // The last tokens are enough to see a stop string that just became whole, but tokens may share characters: all.
        auto text = tokenizer->decode(ids, false);
        if (!text.ok()) failed = text.status();
        return text.ok() && !contains_any(*text, until);
      });
      NBL_TRY(failed);
      if (!generated.ok()) return generated.status();
    }
    while (!ids.empty() && std::find(ends.begin(), ends.end(), ids.back()) != ends.end()) ids.pop_back();
    result.tokens = static_cast<int64_t>(ids.size());
    NBL_ASSIGN(std::string text, tokenizer->decode(ids, true));
    result.text = cut_at(std::move(text), until);
    results.push_back(std::move(result));
  }
  return results;
}

}  // namespace nbl::eval

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

/// What ends a text of this model under this task.
struct Ends {
  std::vector<std::string> strings;
  std::vector<TokenId> tokens;

  bool is_end(TokenId id) const { return std::find(tokens.begin(), tokens.end(), id) != tokens.end(); }
};

Result<Ends> ends_of(const model::Model& model, const text::Tokenizer& tokenizer, const Generation& generation) {
  Ends ends = {generation.until, model.config().eos};
  if (tokenizer.eos()) {
    const TokenId end = *tokenizer.eos();
    NBL_ASSIGN(const std::string eos, tokenizer.decode({&end, 1}, false));
    if (std::find(ends.strings.begin(), ends.strings.end(), eos) == ends.strings.end()) ends.strings.push_back(eos);
    if (!ends.is_end(end)) ends.tokens.push_back(end);
  }
  return ends;
}

/// The stream of random numbers that a continuation draws from.
std::size_t stream_of(std::size_t job, const GenerateSettings& settings) {
  const auto repeats = static_cast<std::size_t>(settings.repeats);
  return settings.streams.empty() ? job : settings.streams[job / repeats] * repeats + job % repeats;
}

struct Prompt {
  std::vector<TokenId> ids;
  bool truncated = false;
};

Result<Prompt> encode_prompt(const model::Model& model, const text::Tokenizer& tokenizer, const std::string& context,
                             int64_t max_tokens) {
  Prompt prompt;
  NBL_ASSIGN(prompt.ids, tokenizer.encode(context, {.add_special = true, .parse_special = true}));
  const int64_t positions = model.config().max_positions;
  if (positions > 0 && static_cast<int64_t>(prompt.ids.size()) > positions - max_tokens) {
    prompt.truncated = true;
    prompt.ids.erase(prompt.ids.begin(), prompt.ids.end() - static_cast<std::ptrdiff_t>(positions - max_tokens));
  }
  if (prompt.ids.empty()) {
    if (!tokenizer.bos()) return Status(Code::unsupported, "an empty context needs a tokenizer with a BOS token");
    prompt.ids.push_back(*tokenizer.bos());
  }
  return prompt;
}

/// Writes several texts side by side, a token each at a time; whoever is done makes room for the next.
class Writers {
 public:
  Writers(std::shared_ptr<const model::Model> model, Team& team, const GenerateSettings& settings, const Ends& ends)
      : model_(std::move(model)), team_(team), settings_(settings), ends_(ends) {}

  /// Job j continues prompts[j / repeats].
  Status run(const std::vector<Prompt>& prompts, const ProgressFn& progress, std::vector<GeneratedText>& results) {
    const std::size_t jobs = results.size();
    int64_t room = 1;
    for (const Prompt& p : prompts)
      room = std::max(room, static_cast<int64_t>(p.ids.size()) + settings_.generation.max_tokens);
    const std::size_t width = std::min(jobs, static_cast<std::size_t>(std::max<int64_t>(1, settings_.batch)));
    NBL_ASSIGN(const std::unique_ptr<model::Batch> batch,
               model::Batch::create(model_, team_, static_cast<int64_t>(width)));
    std::vector<Writer> writers(width);
    for (Writer& w : writers) {
      NBL_ASSIGN(w.session, model::Session::create(model_, team_, room));
    }
    std::size_t next = 0, done = 0;
    std::vector<Writer*> busy;
    std::vector<model::Session*> sessions;
    std::vector<TokenId> tokens;
    while (done < jobs) {
      busy.clear();
      for (Writer& w : writers) {
        while (!w.busy && next < jobs) {
          NBL_TRY(start(w, next++, prompts));
          if (!w.busy) NBL_TRY(finish(w, results, progress, &done));
        }
        if (w.busy) busy.push_back(&w);
      }
      if (busy.empty()) break;
      sessions.clear();
      tokens.clear();
      for (Writer* w : busy) {
        sessions.push_back(w->session.get());
        tokens.push_back(w->ids.back());
        w->seen.push_back(w->ids.back());
      }
      NBL_ASSIGN(const std::span<const float> logits, batch->step(sessions, tokens));
      const auto vocab = static_cast<std::size_t>(model_->config().vocab);
      for (std::size_t i = 0; i < busy.size(); ++i) {
        NBL_TRY(take(*busy[i], logits.subspan(i * vocab, vocab)));
        if (!busy[i]->busy) NBL_TRY(finish(*busy[i], results, progress, &done));
      }
    }
    return {};
  }

 private:
  struct Writer {
    std::unique_ptr<model::Session> session;
    std::unique_ptr<model::Sampler> sampler;
    std::vector<TokenId> seen;  ///< what the session holds
    std::vector<TokenId> ids;   ///< written
    std::size_t job = 0;
    bool busy = false;
  };

  Status start(Writer& w, std::size_t job, const std::vector<Prompt>& prompts) {
    const std::vector<TokenId>& prompt = prompts[job / static_cast<std::size_t>(settings_.repeats)].ids;
    w.job = job;
    w.ids.clear();
    w.busy = true;
    model::SamplingOptions sampling;
    sampling.temperature = settings_.generation.temperature;
    sampling.top_p = settings_.generation.top_p;
    sampling.seed = settings_.seed * 1000003 + stream_of(job, settings_);
    w.sampler = std::make_unique<model::Sampler>(sampling);
    // What the session holds already of this prompt (few-shot examples, say) is not computed again.
    const auto [x, y] = std::mismatch(w.seen.begin(), w.seen.end(), prompt.begin(), prompt.end());
    const std::size_t shared = std::min(static_cast<std::size_t>(y - prompt.begin()), prompt.size() - 1);
    NBL_TRY(w.session->truncate(static_cast<int64_t>(shared)));
    w.seen.assign(prompt.begin(), prompt.end());
    NBL_ASSIGN(const std::span<const float> logits,
               w.session->append(std::span(prompt).subspan(shared), model::Session::Logits::last));
    return take(w, logits);
  }

  /// The next token; clears busy when it was the last.
  Status take(Writer& w, std::span<const float> logits) {
    NBL_ASSIGN(const TokenId id, w.sampler->sample(logits));
    if (ends_.is_end(id)) {
      w.busy = false;
      return {};
    }
    w.ids.push_back(id);
    // Tokens may share characters, so that a stop string is looked for in the whole text.
    NBL_ASSIGN(const std::string text, model_->tokenizer()->decode(w.ids, false));
    w.busy = !contains_any(text, ends_.strings) && static_cast<int64_t>(w.ids.size()) < settings_.generation.max_tokens;
    return {};
  }

  Status finish(Writer& w, std::vector<GeneratedText>& results, const ProgressFn& progress, std::size_t* done) {
    GeneratedText& result = results[w.job];
    result.tokens = static_cast<int64_t>(w.ids.size());
    NBL_ASSIGN(std::string text, model_->tokenizer()->decode(w.ids, true));
    result.text = cut_at(std::move(text), ends_.strings);
    ++*done;
    if (settings_.finished) NBL_TRY(settings_.finished(w.job, result));
    return report_progress(progress, {"generate", fmt::format("text {} of {}", *done, results.size()),
                                      static_cast<int64_t>(*done), static_cast<int64_t>(results.size())});
  }

  std::shared_ptr<const model::Model> model_;
  Team& team_;
  const GenerateSettings& settings_;
  const Ends& ends_;
};

Status search_beams(const std::shared_ptr<const model::Model>& model, Team& team, const std::vector<Prompt>& prompts,
                    const GenerateSettings& settings, const Ends& ends, const ProgressFn& progress,
                    std::vector<GeneratedText>& results) {
  const text::Tokenizer& tokenizer = *model->tokenizer();
  std::vector<std::size_t> lengths;
  for (const std::string& stop : ends.strings) {
    NBL_ASSIGN(const std::vector<TokenId> ids, tokenizer.encode(stop, {.add_special = false, .parse_special = true}));
    lengths.push_back(ids.size());
  }
  for (std::size_t i = 0; i < results.size(); ++i) {
    NBL_TRY(report_progress(progress, {"generate", fmt::format("text {} of {}", i + 1, results.size()),
                                       static_cast<int64_t>(i), static_cast<int64_t>(results.size())}));
    // The harness looks for each stop string in the best beam's last tokens: two more than the string itself has.
    const auto stops = [&](std::span<const TokenId> so_far) {
      for (std::size_t s = 0; s < ends.strings.size(); ++s) {
        const std::size_t count = std::min(so_far.size(), lengths[s] + 2);
        const auto text = tokenizer.decode(so_far.last(count), false);
        if (text.ok() && contains_any(*text, std::span(ends.strings).subspan(s, 1))) return true;
      }
      return false;
    };
    const std::vector<TokenId>& prompt = prompts[i / static_cast<std::size_t>(settings.repeats)].ids;
    NBL_ASSIGN(const auto base, model::Session::create(model, team, static_cast<int64_t>(prompt.size())));
    NBL_ASSIGN(const auto logits, base->append(prompt, model::Session::Logits::last));
    model::BeamOptions options;
    options.beams = settings.generation.beams;
    options.max_new_tokens = settings.generation.max_tokens;
    if (settings.beams_know_end) options.ends = model->config().eos;
    NBL_ASSIGN(const auto beams, model::beam_search(*base, logits, options, stops));
    std::vector<TokenId> ids = beams[0].tokens;
    while (!ids.empty() && ends.is_end(ids.back())) ids.pop_back();
    results[i].tokens = static_cast<int64_t>(ids.size());
    NBL_ASSIGN(std::string text, tokenizer.decode(ids, true));
    results[i].text = cut_at(std::move(text), ends.strings);
    if (settings.finished) NBL_TRY(settings.finished(i, results[i]));
  }
  return {};
}

}  // namespace

Result<std::vector<GeneratedText>> generate_until(std::shared_ptr<const model::Model> model, Team& team,
                                                  std::span<const std::string> contexts,
                                                  const GenerateSettings& settings, const ProgressFn& progress) {
  const text::Tokenizer* tokenizer = model->tokenizer();
  if (tokenizer == nullptr) return Status(Code::not_found, "the model carries no tokenizer, so it cannot write a text");
  const int64_t positions = model->config().max_positions;
  if (positions > 0 && settings.generation.max_tokens >= positions) {
    return Status(Code::limit, fmt::format("the task asks for {} new tokens, the model has {} positions",
                                           settings.generation.max_tokens, positions));
  }
  NBL_ASSIGN(const Ends ends, ends_of(*model, *tokenizer, settings.generation));
  std::vector<Prompt> prompts;
  for (const std::string& context : contexts) {
    NBL_ASSIGN(Prompt prompt, encode_prompt(*model, *tokenizer, context, settings.generation.max_tokens));
    prompts.push_back(std::move(prompt));
  }
  std::vector<GeneratedText> results(contexts.size() * static_cast<std::size_t>(settings.repeats));
  for (std::size_t i = 0; i < results.size(); ++i) {
    results[i].truncated = prompts[i / static_cast<std::size_t>(settings.repeats)].truncated;
  }
  if (settings.generation.beams > 1) {
    NBL_TRY(search_beams(model, team, prompts, settings, ends, progress, results));
  } else {
    Writers writers(std::move(model), team, settings, ends);
    NBL_TRY(writers.run(prompts, progress, results));
  }
  return results;
}

}  // namespace nbl::eval

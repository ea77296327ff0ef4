#include "model/generation.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <optional>

#include "model/beam_search.h"
#include "model/drafting.h"
#include "model/text_output.h"
#include "model/token_chooser.h"

namespace nbl::model {
namespace {

using Clock = std::chrono::steady_clock;
using text::TokenId;

/// Tokens of a prompt between two chances to stop, and rows of logits kept at a time.
constexpr std::size_t kPromptPart = 512;
constexpr std::size_t kScoredPart = 64;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

/// One continuation on its way.
class Continuation {
 public:
  static Result<Continuation> create(const GenerateOptions& options, const Session& session, int64_t index,
                                     const TokenFn& on_token) {
    const text::Tokenizer* tokenizer = session.model().tokenizer();
    NBL_ASSIGN(TokenChooser chooser, TokenChooser::create(Sampler(options.sampling, static_cast<uint64_t>(index), tokenizer),
                                                          options.grammar));
    chooser.sampler().set_prompt(session.tokens());
    Continuation c(options, session.model().config().eos, index, on_token, std::move(chooser),
                   TextOutput(tokenizer, options.stop));
    return c;
  }

  bool done() const { return done_; }
  const std::vector<TokenId>& ids() const { return out_.ids; }
  Sampler& sampler() { return chooser_.sampler(); }
  std::optional<GrammarMatcher>& grammar() { return chooser_.grammar(); }
  Generated take() { return std::move(out_); }

  /// Chooses the next token from logits [vocab]. `room`: tokens that may still come, this one included. Afterwards either a
  /// token was added or done().
  Status step(std::span<const float> logits, int64_t room) {
    const int64_t left = std::min(room, options_->max_new_tokens - static_cast<int64_t>(out_.ids.size()));
    if (chooser_.finished()) return end("grammar"), Status();
    NBL_ASSIGN(const TokenId token, chooser_.choose(logits, left - 1, options_->stop_at_eos));
    if (options_->stop_at_eos && std::find(eos_->begin(), eos_->end(), token) != eos_->end()) return end("eos"), Status();
    NBL_TRY(chooser_.accept(token));
    out_.ids.push_back(token);
    if (options_->logprobs >= 0) out_.logprobs.push_back(position_logprobs(logits, token, options_->logprobs));
    NBL_ASSIGN(const std::string text, text_.push(token));
    if (!tell(token, text)) return end("cancelled"), Status();
    if (text_.stopped())
      end("stop");
    else if (chooser_.finished())
      end("grammar");
    else if (static_cast<int64_t>(out_.ids.size()) >= options_->max_new_tokens)
      end("length");
    return {};
  }

  void end(std::string_view reason) {
    done_ = true;
    out_.finish_reason = reason;
  }
  /// Gives out what was held back.
  Status finish() {
    NBL_ASSIGN(const std::string rest, text_.finish());
    if (!rest.empty() && out_.finish_reason != "cancelled") tell(TokenEvent::kText, rest);
    out_.text = text_.text();
    if (text_.stopped()) {
      if (out_.finish_reason != "cancelled") out_.finish_reason = "stop";
      out_.stop = text_.stop();
    }
    return {};
  }

 private:
  Continuation(const GenerateOptions& options, const std::vector<TokenId>& eos, int64_t index, const TokenFn& on_token,
               TokenChooser chooser, TextOutput text)
      : options_(&options),
        eos_(&eos),
        on_token_(&on_token),
        index_(index),
        chooser_(std::move(chooser)),
        text_(std::move(text)) {}

  bool tell(TokenId id, std::string_view text) const {
    if (id >= 0 && index_ == 0 && *on_token_ && !(*on_token_)(id)) return false;
    return !options_->on_event || options_->on_event({index_, id, text});
  }

  const GenerateOptions* options_;
  const std::vector<TokenId>* eos_;
  const TokenFn* on_token_;
  int64_t index_;
  TokenChooser chooser_;
  TextOutput text_;
  Generated out_;
  bool done_ = false;
};

Status check(const GenerateOptions& o) {
  const auto refuse = [](std::string message) { return Status(Code::invalid_argument, std::move(message)); };
  if (o.max_new_tokens < 0) return refuse("max_new_tokens is negative");
  if (o.samples < 1 || o.samples > 4096) return refuse(fmt::format("n is {}, not from 1 to 4096", o.samples));
  if (o.beams < 1 || o.beams > 4096) return refuse(fmt::format("beams is {}, not from 1 to 4096", o.beams));
  NBL_TRY(Sampler::check(o.sampling));
  const bool drafts = o.draft != nullptr || o.prompt_lookup > 0;
  if (o.draft != nullptr && o.prompt_lookup > 0) return refuse("prompt_lookup and a draft model do not go together");
  if (o.samples > 1 && drafts) return refuse("speculative decoding works with n = 1");
  if (o.beams > 1) {
    const char* other = o.sampling.temperature > 0 ? "a temperature"
                        : drafts                   ? "speculative decoding"
                        : o.grammar                ? "a grammar"
                        : o.logprobs >= 0          ? "logprobs"
                                                   : nullptr;
    const SamplingOptions& s = o.sampling;
    if (s.repetition_penalty != 1 || s.frequency_penalty != 0 || s.presence_penalty != 0 || s.dry.multiplier != 0 ||
        !s.logit_bias.empty() || !s.banned.empty())
      other = "penalties, biases and bans";
    if (other != nullptr) return refuse(fmt::format("beam search does not go together with {}", other));
    if (o.samples > o.beams) return refuse(fmt::format("{} beams cannot give {} samples", o.beams, o.samples));
  }
  return {};
}

struct Prefilled {
  std::span<const float> logits;  ///< after the last token
  bool cancelled = false;
};

/// Runs the prompt in parts; a cancelled one leaves the session as it was.
Result<Prefilled> prefill(Session& session, std::span<const TokenId> prompt, const GenerateOptions& options,
                          std::vector<PositionLogprobs>* scored) {
  const int64_t begin = session.position();
  if (prompt.empty()) return Status(Code::invalid_argument, "the prompt has no tokens");
  if (static_cast<int64_t>(prompt.size()) > session.capacity() - begin)
    return Status(Code::limit, fmt::format("the context is full: {} tokens after {} do not fit {} positions",
                                           prompt.size(), begin, session.capacity()));
  const bool scores = options.prompt_logprobs >= 0;
  const std::size_t part = scores ? kScoredPart : kPromptPart;
  const auto vocab = static_cast<std::size_t>(session.model().config().vocab);
  Prefilled out;
  for (std::size_t done = 0; done < prompt.size(); done += part) {
    if (done > 0 && options.on_event && !options.on_event({0, TokenEvent::kAlive, {}})) {
      out.cancelled = true;
      NBL_TRY(session.truncate(begin));
      return out;
    }
    const auto now = prompt.subspan(done, std::min(part, prompt.size() - done));
    const bool last = done + now.size() == prompt.size();
    auto logits = session.append(now, scores ? Session::Logits::all : last ? Session::Logits::last : Session::Logits::none);
    if (!logits.ok()) {
      NBL_TRY(session.truncate(begin));
      return logits.status();
    }
    if (scores) {
      for (std::size_t i = 0; i < now.size() && done + i + 1 < prompt.size(); ++i)
        scored->push_back(
            position_logprobs(logits->subspan(i * vocab, vocab), prompt[done + i + 1], options.prompt_logprobs));
    }
    if (last) out.logits = logits->last(vocab);
  }
  return out;
}

/// Tokens that may still be chosen before the context is full: the last one needs no place of its own.
int64_t room(const Session& session) { return session.capacity() - session.position() + 1; }

/// Lets the grammar's engine forget what no sample needs any more.
void trim_grammar(std::span<Continuation> all) {
  std::vector<GrammarEngine::State*> states;
  for (Continuation& c : all)
    if (c.grammar()) states.push_back(c.grammar()->state());
  if (!states.empty()) all[0].grammar()->engine().trim(states);
}

/// One sample, several tokens a step where a draft is right.
Status decode_drafted(Session& session, Continuation& c, const GenerateOptions& options, GenerateResult& result) {
  const auto vocab = static_cast<std::size_t>(session.model().config().vocab);
  Drafter drafter(session, options);
  std::vector<TokenId> step;
  while (!c.done()) {
    if (session.position() == session.capacity()) return c.end("context"), Status();
    const int64_t before = session.position();
    step = {c.ids().back()};
    const int64_t most = std::min(options.max_new_tokens - static_cast<int64_t>(c.ids().size()) - 1,
                                  session.capacity() - before - 1);
    NBL_TRY(drafter.propose(c.sampler(), most, step));
    const std::size_t drafted = step.size() - 1;
    NBL_ASSIGN(const std::span<const float> logits, session.append(step, Session::Logits::all));
    std::size_t row = 0;
    for (;; ++row) {
      const std::size_t count = c.ids().size();
      NBL_TRY(c.step(logits.subspan(row * vocab, vocab), session.capacity() - before - static_cast<int64_t>(row)));
      if (row == drafted || c.ids().size() == count || c.ids().back() != step[row + 1]) break;
      ++result.accepted;
      if (c.done()) break;
    }
    result.drafted += static_cast<int64_t>(drafted);
    drafter.learn(drafted, row);
    trim_grammar({&c, 1});
    NBL_TRY(session.truncate(before + 1 + static_cast<int64_t>(row)));
  }
  return {};
}

/// One step for each sample that goes on, as a batch where they are several.
Status decode(std::span<Session* const> sessions, std::vector<Continuation>& all) {
  const auto vocab = static_cast<std::size_t>(sessions[0]->model().config().vocab);
  std::unique_ptr<Batch> batch;
  std::vector<Session*> active;
  std::vector<TokenId> tokens;
  std::vector<Continuation*> who;
  while (true) {
    active.clear();
    tokens.clear();
    who.clear();
    for (std::size_t i = 0; i < all.size(); ++i) {
      if (all[i].done()) continue;
      if (sessions[i]->position() == sessions[i]->capacity()) {
        all[i].end("context");
        continue;
      }
      active.push_back(sessions[i]);
      who.push_back(&all[i]);
      tokens.push_back(all[i].ids().back());
    }
    if (active.empty()) return {};
    std::span<const float> logits;
    if (active.size() == 1) {
      NBL_ASSIGN(logits, active[0]->append(tokens, Session::Logits::last));
    } else {
      if (!batch) {
        NBL_ASSIGN(batch, Batch::create(sessions[0]->shared_model(), sessions[0]->team(), static_cast<int64_t>(all.size())));
      }
      NBL_ASSIGN(logits, batch->step(active, tokens));
    }
    for (std::size_t i = 0; i < who.size(); ++i)
      NBL_TRY(who[i]->step(logits.subspan(i * vocab, vocab), room(*active[i])));
    trim_grammar(all);
  }
}

Status run_beams(Session& session, std::span<const float> logits, const GenerateOptions& options, const TokenFn& on_token,
                 GenerateResult& result) {
  BeamOptions beam;
  beam.beams = options.beams;
  beam.returned = options.samples;
  beam.max_new_tokens = std::min(options.max_new_tokens, session.capacity() - session.position());
  beam.length_penalty = options.length_penalty;
  beam.early_stopping = options.early_stopping;
  beam.late_stopping = options.late_stopping;
  if (options.stop_at_eos) beam.ends = session.model().config().eos;
  const text::Tokenizer* tokenizer = session.model().tokenizer();
  BeamStop stop;
  bool cancelled = false;
  stop = [&](std::span<const TokenId> ids) {
    cancelled = cancelled || (options.on_event && !options.on_event({0, TokenEvent::kAlive, {}}));
    if (cancelled || options.stop.empty() || tokenizer == nullptr) return cancelled;
    TextOutput text(tokenizer, options.stop);
    for (const TokenId id : ids)
      if (!text.push(id).ok() || text.stopped()) break;
    return text.stopped();
  };
  NBL_ASSIGN(const std::vector<Beam> beams, beam_search(session, logits, beam, stop));
  for (const Beam& b : beams) {
    Generated g;
    g.score = b.score;
    g.ids = b.tokens;
    g.finish_reason = cancelled ? "cancelled" : beam.max_new_tokens < options.max_new_tokens ? "context" : "length";
    if (b.ended) {
      g.ids.pop_back();
      g.finish_reason = "eos";
    }
    TextOutput text(tokenizer, options.stop);
    const auto index = static_cast<int64_t>(result.samples.size());
    for (const TokenId id : g.ids) {
      NBL_ASSIGN(const std::string piece, text.push(id));
      if (index == 0 && on_token) on_token(id);
      if (options.on_event) options.on_event({index, id, piece});
      if (text.stopped()) break;
    }
    NBL_ASSIGN(const std::string rest, text.finish());
    if (!rest.empty() && options.on_event) options.on_event({index, TokenEvent::kText, rest});
    g.text = text.text();
    if (text.stopped()) {
      g.stop = text.stop();
      g.finish_reason = "stop";
    }
    result.samples.push_back(std::move(g));
  }
  // The session goes on from the best one.
  const std::vector<TokenId>& best = result.samples[0].ids;
  if (best.size() > 1) {
    auto appended = session.append(std::span(best).first(best.size() - 1), Session::Logits::none);
    if (!appended.ok()) return appended.status();
  }
  return {};
}

}  // namespace

Result<GenerateResult> generate(Session& session, std::span<const TokenId> prompt, const GenerateOptions& options,
                                const TokenFn& on_token) {
  NBL_TRY(check(options));
  NBL_TRY(check_draft(session, options));
  GenerateResult result;
  const auto start = Clock::now();
  NBL_ASSIGN(const Prefilled ready, prefill(session, prompt, options, &result.prompt_logprobs));
  result.prefill_seconds = seconds_since(start);
  const auto decode_start = Clock::now();

  if (ready.cancelled || options.max_new_tokens == 0) {
    result.samples.resize(static_cast<std::size_t>(options.samples));
    for (Generated& g : result.samples) g.finish_reason = ready.cancelled ? "cancelled" : "length";
  } else if (options.beams > 1) {
    NBL_TRY(run_beams(session, ready.logits, options, on_token, result));
  } else {
    std::vector<Continuation> all;
    for (int64_t i = 0; i < options.samples; ++i) {
      NBL_ASSIGN(Continuation c, Continuation::create(options, session, i, on_token));
      all.push_back(std::move(c));
    }
    std::vector<std::unique_ptr<Session>> copies;
    std::vector<Session*> sessions = {&session};
    for (int64_t i = 1; i < options.samples; ++i) {
      SessionOptions same;
      same.max_tokens = session.capacity();
      same.kv_type = session.kv_type();
      NBL_ASSIGN(std::unique_ptr<Session> copy, Session::create(session.shared_model(), session.team(), same));
      NBL_TRY(copy->copy_from(session));
      sessions.push_back(copy.get());
      copies.push_back(std::move(copy));
    }
    for (Continuation& c : all) NBL_TRY(c.step(ready.logits, room(session)));
    if (options.draft != nullptr || options.prompt_lookup > 0)
      NBL_TRY(decode_drafted(session, all[0], options, result));
    else
      NBL_TRY(decode(sessions, all));
    for (Continuation& c : all) {
      NBL_TRY(c.finish());
      result.samples.push_back(c.take());
    }
  }
  result.decode_seconds = seconds_since(decode_start);
  result.ids = result.samples[0].ids;
  result.finish_reason = result.samples[0].finish_reason;
  return result;
}

}  // namespace nbl::model

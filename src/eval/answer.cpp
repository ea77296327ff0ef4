#include "eval/answer.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <numeric>
#include <optional>

#include "base/hash.h"
#include "eval/answer_cache.h"
#include "eval/eval.h"
#include "eval/generate_until.h"
#include "eval/judge.h"
#include "eval/scorer.h"

namespace nbl::eval {
namespace {

using Model = std::shared_ptr<const model::Model>;

/// Tasks with the tag "multi_turn" ask the document's other "turns" too, each with what was said before.
Status ask_further_turns(const Model& model, Team& team, const Plan& plan, std::span<const std::size_t> documents,
                         const EvaluateOptions& options, GenerateSettings settings, const ProgressFn& progress,
                         std::vector<Answer>* answers) {
  for (std::size_t turn = 1;; ++turn) {
    std::vector<std::string> contexts;
    std::vector<std::size_t> who, streams;
    for (std::size_t i = 0; i < documents.size(); ++i) {
      const std::size_t d = documents[i];
      Fields fields(plan.documents.documents[d]);
      const std::vector<std::string> turns = fields.texts("turns");
      if (turn >= turns.size()) continue;
      const Answer& answer = (*answers)[i];
      std::string text = plan.asked[d].contexts.front();
      if (options.prompt.chat) {
        std::vector<ChatMessage> messages;
        if (!options.prompt.system_instruction.empty()) messages.push_back({"system", options.prompt.system_instruction, ""});
        for (std::size_t t = 0; t < turn; ++t) {
          messages.push_back({"user", turns[t], ""});
          messages.push_back({"assistant", answer.texts[t], ""});
        }
        messages.push_back({"user", turns[turn], ""});
        NBL_ASSIGN(text, options.prompt.chat(messages, true));
      } else {
        for (std::size_t t = 0; t < turn; ++t) text += answer.texts[t] + "\n\n" + turns[t + 1];
      }
      contexts.push_back(std::move(text));
      who.push_back(i);
      streams.push_back(d);
    }
    if (contexts.empty()) return {};
    settings.streams = streams;
    NBL_ASSIGN(std::vector<GeneratedText> texts, generate_until(model, team, contexts, settings, progress));
    for (std::size_t i = 0; i < who.size(); ++i) (*answers)[who[i]].texts.push_back(std::move(texts[i].text));
  }
}

/// Some of a plan's documents, which are answered together.
struct Part {
  const Plan& plan;
  std::span<const std::size_t> documents;
  std::function<Status(std::size_t d, Answer answer)> finished;  ///< called once for each of them
};

bool in_turns(const Task& task) { return std::find(task.tags.begin(), task.tags.end(), "multi_turn") != task.tags.end(); }

Status generate_answers(const Model& model, Team& team, const Part& part, const EvaluateOptions& options,
                        const ProgressFn& progress) {
  const Task& task = *part.plan.task;
  std::vector<std::string> contexts;
  for (const std::size_t d : part.documents) contexts.push_back(part.plan.asked[d].contexts.front());
  GenerateSettings settings = {task.generation, task.repeats, options.batch, options.seed, part.documents, options.beams_know_end, {}};
  if (options.max_tokens > 0) settings.generation.max_tokens = options.max_tokens;
  const auto repeats = static_cast<std::size_t>(task.repeats);
  std::vector<Answer> answers(part.documents.size());
  std::vector<std::size_t> missing(part.documents.size(), repeats);
  for (Answer& answer : answers) answer.texts.resize(repeats);
  const bool turns = in_turns(task);
  settings.finished = [&](std::size_t job, const GeneratedText& text) -> Status {
    const std::size_t i = job / repeats;
    answers[i].texts[job % repeats] = text.text;
    answers[i].truncated = answers[i].truncated || text.truncated;
    if (--missing[i] > 0) return {};
    answers[i].text = answers[i].texts.front();
    return turns ? Status() : part.finished(part.documents[i], answers[i]);
  };
  NBL_TRY(generate_until(model, team, contexts, settings, progress).status());
  if (!turns) return {};
  settings.finished = {};
  NBL_TRY(ask_further_turns(model, team, part.plan, part.documents, options, settings, progress, &answers));
  for (std::size_t i = 0; i < answers.size(); ++i) NBL_TRY(part.finished(part.documents[i], std::move(answers[i])));
  return {};
}

/// The requests of documents to be scored, and who answers them.
struct Scoring {
  std::vector<std::vector<ScoreRequest>> requests;  ///< of each document of the plan; empty where the cache knew
  std::unique_ptr<Scorer> scorer;
};

Result<Scoring> prepare_scoring(const Model& model, Team& team, const Plan& plan, const EvaluateOptions& options,
                                std::vector<std::size_t>& open) {
  Scoring scoring;
  scoring.requests.resize(plan.asked.size());
  std::vector<std::size_t> lengths(plan.asked.size());
  std::size_t longest = 1;
  for (const std::size_t d : open) {
    const Asked& a = plan.asked[d];
    for (std::size_t i = 0; i < a.contexts.size(); ++i) {
      NBL_ASSIGN(ScoreRequest request, encode_pair(*model->tokenizer(), a.contexts[i], a.continuations[i]));
      lengths[d] = std::max(lengths[d], request.context.size() + request.continuation.size());
      scoring.requests[d].push_back(std::move(request));
    }
    longest = std::max(longest, lengths[d]);
  }
  // The longest first: whether memory suffices shows at once, and those side by side are about equally long.
  std::stable_sort(open.begin(), open.end(), [&](std::size_t a, std::size_t b) { return lengths[a] > lengths[b]; });
  NBL_ASSIGN(scoring.scorer, Scorer::create(model, team, static_cast<int64_t>(longest), std::max(options.batch, Scorer::kContexts)));
  return scoring;
}

Status score_answers(Scoring& scoring, const Part& part, const EvaluateOptions& options, const ProgressFn& progress) {
  std::vector<ScoreRequest> requests;
  for (const std::size_t d : part.documents)
    requests.insert(requests.end(), scoring.requests[d].begin(), scoring.requests[d].end());
  NBL_ASSIGN(const std::vector<ScoreResult> scores, scoring.scorer->score(requests, progress));
  std::size_t at = 0;
  for (const std::size_t d : part.documents) {
    Answer answer;
    for (std::size_t i = 0; i < scoring.requests[d].size(); ++i, ++at) {
      answer.loglikelihoods.push_back(scores[at].logprob);
      answer.greedy.push_back(scores[at].is_greedy);
      answer.lengths.push_back(static_cast<int64_t>(scores[at].token_logprobs.size()));
      answer.truncated = answer.truncated || scores[at].truncated;
      if (options.sample_tokens) answer.token_ids.emplace_back(requests[at].context, requests[at].continuation);
    }
    NBL_TRY(part.finished(d, std::move(answer)));
  }
  return {};
}

Status score_texts(const Model& model, Team& team, const Part& part, const ProgressFn& progress) {
  for (const std::size_t d : part.documents) {
    NBL_ASSIGN(const Perplexity p,
               perplexity(model, team, part.plan.asked[d].continuations.front(), {.name = "rolling"}, progress));
    Answer answer;
    answer.loglikelihoods = {-p.nll * static_cast<double>(p.tokens)};
    answer.greedy = {false};
    NBL_TRY(part.finished(d, std::move(answer)));
  }
  return {};
}

/// What decides an answer, hashed: model, arithmetic, requests, how text is generated.
std::string key_of(const Plan& plan, std::size_t d, const EvaluateOptions& options) {
  const Task& task = *plan.task;
  const Generation& g = task.generation;
  std::string text = fmt::format("{}\n{}\n{}", options.identity, output_name(task.output), task.repeats);
  if (task.output == Output::generate) {
    // A sampled text depends on its place in the list.
    text += fmt::format("\n{} {} {} {} {} {}", options.max_tokens > 0 ? options.max_tokens : g.max_tokens, g.beams, g.temperature,
                        g.top_p, options.seed, g.temperature > 0 ? d : 0);
    if (g.beams > 1) text += options.beams_know_end ? " ends" : " does not end";
    for (const std::string& stop : g.until) text += fmt::format("\n{} {}", stop.size(), stop);
  }
  for (const auto* list : {&plan.asked[d].contexts, &plan.asked[d].continuations})
    for (const std::string& part : *list) text += fmt::format("\n{} {}", part.size(), part);
  return sha256_hex(std::as_bytes(std::span(text.data(), text.size())));
}

Json to_json(const Answer& answer) {
  Json lls = Json::array(), greedy = Json::array(), lengths = Json::array(), texts = Json::array();
  for (const double x : answer.loglikelihoods) lls.push_back(x);
  for (const bool x : answer.greedy) greedy.push_back(x);
  for (const int64_t x : answer.lengths) lengths.push_back(x);
  for (const std::string& x : answer.texts) texts.push_back(x);
  return Json::object({{"loglikelihoods", std::move(lls)}, {"greedy", std::move(greedy)}, {"lengths", std::move(lengths)},
                       {"texts", std::move(texts)}, {"truncated", answer.truncated}});
}

Result<Answer> from_json(const std::string& text) {
  NBL_ASSIGN(const Json j, Json::parse(text, "an answer in the cache"));
  Answer answer;
  const auto elements = [&](std::string_view key) {
    const Json* list = j.find_value(key);
    return list == nullptr ? std::span<const Json>() : list->elements();
  };
  for (const Json& x : elements("loglikelihoods")) answer.loglikelihoods.push_back(x.as_double());
  for (const Json& x : elements("greedy")) answer.greedy.push_back(x.as_bool());
  for (const Json& x : elements("lengths")) answer.lengths.push_back(x.as_int());
  for (const Json& x : elements("texts")) answer.texts.emplace_back(x.as_string());
  if (!answer.texts.empty()) answer.text = answer.texts.front();
  const Json* truncated = j.find_value("truncated");
  answer.truncated = truncated != nullptr && truncated->as_bool();
  return answer;
}

constexpr std::size_t kScoredTogether = 64;  ///< documents between two writes to the cache

/// What the cache knows already; the rest is `open`.
Status ask_cache(const Plan& plan, const EvaluateOptions& options, Answers* result, std::vector<std::string>* keys,
                 std::vector<std::size_t>* open) {
  for (std::size_t d = 0; d < plan.asked.size(); ++d) {
    keys->push_back(key_of(plan, d, options));
    NBL_ASSIGN(const std::optional<std::string> found, options.cache->find(keys->back()));
    if (!found) {
      open->push_back(d);
      continue;
    }
    NBL_ASSIGN(result->answers[d], from_json(*found));
    ++result->cached;
  }
  return {};
}

}  // namespace

Result<Answers> answer_plan(const Model& model, Team& team, const Plan& plan, const EvaluateOptions& options,
                            const ProgressFn& progress) {
  if (model->tokenizer() == nullptr)
    return Status(Code::not_found, "the model carries no tokenizer, so a task cannot be run with it");
  const Output output = plan.task->output;
  const bool scored = output == Output::multiple_choice || output == Output::loglikelihood;
  AnswerCache* const cache = options.sample_tokens && scored ? nullptr : options.cache;  // it keeps no tokens
  Answers result;
  result.answers.resize(plan.asked.size());
  std::vector<std::string> keys;
  std::vector<std::size_t> open;
  if (cache != nullptr) {
    NBL_TRY(ask_cache(plan, options, &result, &keys, &open));
  } else {
    open.resize(plan.asked.size());
    std::iota(open.begin(), open.end(), std::size_t{0});
  }
  RunningScore score(plan);
  if (progress) {
    std::vector<bool> is_open(plan.asked.size());
    for (const std::size_t d : open) is_open[d] = true;
    for (std::size_t d = 0; d < is_open.size(); ++d)
      if (!is_open[d]) score.add(d, result.answers[d]);
  }
  const auto total = static_cast<int64_t>(plan.asked.size());
  int64_t done = result.cached;
  std::vector<std::pair<std::string, std::string>> entries;
  Part part{plan, open, [&](std::size_t d, Answer answer) -> Status {
              ++done;
              if (progress) score.add(d, answer);
              if (cache != nullptr) entries.emplace_back(keys[d], to_json(answer).dump());
              result.answers[d] = std::move(answer);
              if (output == Output::generate && !entries.empty()) {  // a text takes long enough to be written down at once
                NBL_TRY(cache->store(entries));
                entries.clear();
              }
              return {};
            }};
  // Whatever is being counted inside, those who wait count documents.
  int64_t before = done, inside = static_cast<int64_t>(open.size());
  const ProgressFn documents = [&](const ProgressEvent& event) {
    const int64_t share = !scored || event.total <= 0 ? 0 : event.done * inside / event.total;
    const int64_t now = scored ? std::max(before + share, done) : done;
    std::string detail = fmt::format("document {} of {}", now, total);
    if (const std::string running = score.text(); !running.empty()) detail += ", " + running;
    return !progress || progress({event.stage, std::move(detail), now, total});
  };
  if (open.empty()) {
    // Nothing is left to ask.
  } else if (output == Output::generate) {
    NBL_TRY(generate_answers(model, team, part, options, documents));
  } else {
    Scoring scoring;
    if (scored) {
      NBL_ASSIGN(scoring, prepare_scoring(model, team, plan, options, open));
    }
    for (std::size_t first = 0; first < open.size(); first += kScoredTogether) {
      part.documents = std::span<const std::size_t>(open).subspan(first, std::min(kScoredTogether, open.size() - first));
      before = done;
      inside = static_cast<int64_t>(part.documents.size());
      NBL_TRY(scored ? score_answers(scoring, part, options, documents) : score_texts(model, team, part, documents));
      if (cache != nullptr) NBL_TRY(cache->store(entries));
      entries.clear();
    }
  }
  for (const Answer& answer : result.answers) result.truncated += answer.truncated ? 1 : 0;
  return result;
}

}  // namespace nbl::eval

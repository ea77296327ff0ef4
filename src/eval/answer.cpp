#include "eval/answer.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "base/hash.h"
#include "eval/answer_cache.h"
#include "eval/eval.h"
#include "eval/generate_until.h"

namespace nbl::eval {
namespace {

using Model = std::shared_ptr<const model::Model>;

/// Tasks with the tag "multi_turn" ask the document's other "turns" too, each with what was said before.
Status ask_further_turns(const Model& model, Team& team, const Plan& plan, const EvaluateOptions& options,
                         const GenerateSettings& settings, const ProgressFn& progress, Answers* out) {
  const std::vector<std::string>& tags = plan.task->tags;
  if (std::find(tags.begin(), tags.end(), "multi_turn") == tags.end()) return {};
  for (std::size_t turn = 1;; ++turn) {
    std::vector<std::string> contexts;
    std::vector<std::size_t> who;
    for (std::size_t d = 0; d < plan.asked.size(); ++d) {
      Fields fields(plan.documents.documents[d]);
      const std::vector<std::string> turns = fields.texts("turns");
      if (turn >= turns.size()) continue;
      const Answer& answer = out->answers[d];
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
      who.push_back(d);
    }
    if (contexts.empty()) return {};
    NBL_ASSIGN(std::vector<GeneratedText> texts, generate_until(model, team, contexts, settings, progress));
    for (std::size_t i = 0; i < who.size(); ++i) out->answers[who[i]].texts.push_back(std::move(texts[i].text));
  }
}

Status generate_answers(const Model& model, Team& team, const Plan& plan, const EvaluateOptions& options,
                        const ProgressFn& progress, Answers* out) {
  const Task& task = *plan.task;
  std::vector<std::string> contexts;
  for (const Asked& a : plan.asked) contexts.push_back(a.contexts.front());
  GenerateSettings settings = {task.generation, task.repeats, options.batch, options.seed};
  if (options.max_tokens > 0) settings.generation.max_tokens = options.max_tokens;
  NBL_ASSIGN(std::vector<GeneratedText> texts, generate_until(model, team, contexts, settings, progress));
  const auto repeats = static_cast<std::size_t>(task.repeats);
  for (std::size_t d = 0; d < plan.asked.size(); ++d) {
    Answer& answer = out->answers[d];
    for (std::size_t r = 0; r < repeats; ++r) answer.texts.push_back(std::move(texts[d * repeats + r].text));
    answer.text = answer.texts.front();
    answer.truncated = texts[d * repeats].truncated;
    out->truncated += answer.truncated ? 1 : 0;
  }
  return ask_further_turns(model, team, plan, options, settings, progress, out);
}

Status score_answers(const Model& model, Team& team, const Plan& plan, const EvaluateOptions& options,
                     const ProgressFn& progress, Answers* out) {
  std::vector<ScoreRequest> requests;
  for (const Asked& a : plan.asked) {
    for (std::size_t i = 0; i < a.contexts.size(); ++i) {
      NBL_ASSIGN(ScoreRequest request, encode_pair(*model->tokenizer(), a.contexts[i], a.continuations[i]));
      requests.push_back(std::move(request));
    }
  }
  NBL_ASSIGN(const std::vector<ScoreResult> scores, score(model, team, requests, progress));
  std::size_t at = 0;
  for (std::size_t d = 0; d < plan.asked.size(); ++d) {
    Answer& answer = out->answers[d];
    bool truncated = false;
    for (std::size_t i = 0; i < plan.asked[d].contexts.size(); ++i, ++at) {
      answer.loglikelihoods.push_back(scores[at].logprob);
      answer.greedy.push_back(scores[at].is_greedy);
      answer.lengths.push_back(static_cast<int64_t>(scores[at].token_logprobs.size()));
      truncated = truncated || scores[at].truncated;
      if (options.sample_tokens) answer.token_ids.emplace_back(requests[at].context, requests[at].continuation);
    }
    answer.truncated = truncated;
    out->truncated += truncated ? 1 : 0;
  }
  return {};
}

Status score_texts(const Model& model, Team& team, const Plan& plan, const ProgressFn& progress, Answers* out) {
  for (std::size_t d = 0; d < plan.asked.size(); ++d) {
    NBL_ASSIGN(const Perplexity p,
               perplexity(model, team, plan.asked[d].continuations.front(), {.name = "rolling"}, progress));
    out->answers[d].loglikelihoods = {-p.nll * static_cast<double>(p.tokens)};
    out->answers[d].greedy = {false};
  }
  return {};
}

Result<Answers> compute(const Model& model, Team& team, const Plan& plan, const EvaluateOptions& options,
                        const ProgressFn& progress) {
  Answers result;
  result.answers.resize(plan.asked.size());
  switch (plan.task->output) {
    case Output::generate:
      NBL_TRY(generate_answers(model, team, plan, options, progress, &result));
      break;
    case Output::rolling:
      NBL_TRY(score_texts(model, team, plan, progress, &result));
      break;
    case Output::multiple_choice:
    case Output::loglikelihood:
      NBL_TRY(score_answers(model, team, plan, options, progress, &result));
      break;
  }
  return result;
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

constexpr std::size_t kStored = 64;  ///< documents between two writes to the cache

}  // namespace

Result<Answers> answer_plan(const Model& model, Team& team, const Plan& plan, const EvaluateOptions& options,
                            const ProgressFn& progress) {
  if (model->tokenizer() == nullptr)
    return Status(Code::not_found, "the model carries no tokenizer, so a task cannot be run with it");
  if (options.cache == nullptr || options.sample_tokens) return compute(model, team, plan, options, progress);
  Answers result;
  result.answers.resize(plan.asked.size());
  std::vector<std::string> keys;
  std::vector<std::size_t> open;
  for (std::size_t d = 0; d < plan.asked.size(); ++d) {
    keys.push_back(key_of(plan, d, options));
    NBL_ASSIGN(const std::optional<std::string> found, options.cache->find(keys.back()));
    if (!found) {
      open.push_back(d);
      continue;
    }
    NBL_ASSIGN(result.answers[d], from_json(*found));
    result.truncated += result.answers[d].truncated ? 1 : 0;
    ++result.cached;
  }
  for (std::size_t first = 0; first < open.size(); first += kStored) {
    const std::span<const std::size_t> part = std::span(open).subspan(first, std::min(kStored, open.size() - first));
    Plan some;
    some.task = plan.task;
    for (const std::size_t d : part) {
      some.asked.push_back(plan.asked[d]);
      some.documents.documents.push_back(plan.documents.documents[d]);
    }
    const auto before = static_cast<int64_t>(result.cached + static_cast<int64_t>(first));
    const ProgressFn inner = [&](const ProgressEvent& event) {
      const int64_t inside = event.total > 0 ? event.done * static_cast<int64_t>(part.size()) / event.total : 0;
      return !progress || progress({event.stage, fmt::format("document {} of {}", before + inside, plan.asked.size()),
                                    before + inside, static_cast<int64_t>(plan.asked.size())});
    };
    NBL_ASSIGN(Answers computed, compute(model, team, some, options, inner));
    std::vector<std::pair<std::string, std::string>> entries;
    for (std::size_t i = 0; i < part.size(); ++i) {
      entries.emplace_back(keys[part[i]], to_json(computed.answers[i]).dump());
      result.answers[part[i]] = std::move(computed.answers[i]);
    }
    result.truncated += computed.truncated;
    NBL_TRY(options.cache->store(entries));
  }
  return result;
}

}  // namespace nbl::eval

#include "eval/answer.h"

#include "eval/eval.h"
#include "eval/generate_until.h"

namespace nbl::eval {
namespace {

using Model = std::shared_ptr<const model::Model>;

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
    out->truncated += texts[d * repeats].truncated ? 1 : 0;
  }
  return {};
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

}  // namespace

Result<Answers> answer_plan(const Model& model, Team& team, const Plan& plan, const EvaluateOptions& options,
                            const ProgressFn& progress) {
  if (model->tokenizer() == nullptr)
    return Status(Code::not_found, "the model carries no tokenizer, so a task cannot be run with it");
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

}  // namespace nbl::eval

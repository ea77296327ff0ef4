#include "eval/eval.h"
#include "eval/statistics.h"
#include "eval/characters.h"

namespace nbl::eval {

Result<ChoiceResult> multiple_choice(std::shared_ptr<const model::Model> model, Team& team,
                                     std::span<const ChoiceDoc> documents, const ProgressFn& progress) {
  const text::Tokenizer* tokenizer = model->tokenizer();
  if (tokenizer == nullptr)
    return Status(Code::not_found, "the model carries no tokenizer, so a task cannot be run with it");
  std::vector<ScoreRequest> requests;
  for (const ChoiceDoc& doc : documents) {
    for (const std::string& choice : doc.choices) {
      NBL_ASSIGN(ScoreRequest request, encode_pair(*tokenizer, doc.context, " " + choice));
      requests.push_back(std::move(request));
    }
  }
  NBL_ASSIGN(const std::vector<ScoreResult> scores, score(model, team, requests, progress));

  ChoiceResult result;
  std::vector<double> acc, acc_norm;
  std::size_t at = 0;
  for (const ChoiceDoc& doc : documents) {
    std::size_t best = 0, best_norm = 0;
    bool truncated = false;
    // Ties go to the first, as numpy's argmax has it.
    const auto normalized = [&](std::size_t c) {
      return scores[at + c].logprob / static_cast<double>(length_in_code_points(doc.choices[c]));
    };
    for (std::size_t c = 0; c < doc.choices.size(); ++c) {
      if (scores[at + c].logprob > scores[at + best].logprob) best = c;
      if (normalized(c) > normalized(best_norm)) best_norm = c;
      truncated = truncated || scores[at + c].truncated;
    }
    at += doc.choices.size();
    const bool right = static_cast<int64_t>(best) == doc.answer,
               right_norm = static_cast<int64_t>(best_norm) == doc.answer;
    result.correct.push_back(right);
    result.correct_norm.push_back(right_norm);
    acc.push_back(right ? 1.0 : 0.0);
    acc_norm.push_back(right_norm ? 1.0 : 0.0);
    result.truncated += truncated ? 1 : 0;
  }
  result.documents = static_cast<int64_t>(documents.size());
  result.acc = mean(acc);
  result.acc_stderr = mean_stderr(acc);
  result.acc_norm = mean(acc_norm);
  result.acc_norm_stderr = mean_stderr(acc_norm);
  return result;
}

}  // namespace nbl::eval

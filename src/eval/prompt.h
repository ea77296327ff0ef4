// The text that a model reads before it answers: description, examples, question.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/status.h"
#include "eval/task.h"

namespace nbl::eval {

struct ChatMessage {
  std::string role;      ///< "system", "user", "assistant"
  std::string content;
  std::string delimiter; ///< follows the content when there is no chat template
};

/// Renders a conversation with the model's own template. Without a generation prompt the last message is one to be gone on with.
using ChatRenderer = std::function<Result<std::string>(const std::vector<ChatMessage>&, bool add_generation_prompt)>;

struct PromptOptions {
  int64_t num_fewshot = 0;
  std::string system_instruction;
  ChatRenderer chat;               ///< empty: plain text
  bool fewshot_as_multiturn = false;
};

/// The contexts for one document: one, or one a choice where choices are contexts. `examples`: the documents to show first.
Result<std::vector<std::string>> build_contexts(const Task& task, const Json& document,
                                                const std::vector<const Json*>& examples, const PromptOptions& options);

}  // namespace nbl::eval

#include "eval/prompt.h"

#include <fmt/format.h>

#include <optional>

#include "eval/characters.h"

namespace nbl::eval {
namespace {

bool starts_with_space(std::string_view text) {
  std::size_t bytes = 1;
  return !text.empty() && is_space(code_point(text, 0, &bytes));
}

bool ends_with_space(std::string_view text) { return !text.empty() && rstripped(text) < text.size(); }

/// Joined by `delimiter` unless either side brings white space along.
std::string joined(const std::string& a, const std::string& b, const std::string& delimiter) {
  if (a.empty()) return b;
  if (b.empty()) return a;
  return ends_with_space(a) || starts_with_space(b) ? a + b : a + delimiter + b;
}

std::string plain(const std::vector<ChatMessage>& messages) {
  std::string text;
  for (const ChatMessage& m : messages) text += m.content + m.delimiter;
  return text;
}

/// Everything but the system's message in one message of the user, and the answer's beginning where there is one.
std::vector<ChatMessage> single_turn(std::vector<ChatMessage> messages) {
  std::vector<ChatMessage> result;
  if (messages.front().role == "system") {
    result.push_back(messages.front());
    messages.erase(messages.begin());
  }
  std::optional<ChatMessage> begun;
  if (messages.back().role == "assistant") {
    begun = messages.back();
    messages.pop_back();
  }
  messages.back().delimiter.clear();
  result.push_back({"user", plain(messages), ""});
  if (begun) result.push_back(*begun);
  return result;
}

/// A question, and its answer or the answer's beginning where there are such.
void add_turn(const std::string& question, const std::string& answer, const std::string& prefix, const Task& task,
              std::vector<ChatMessage>& messages) {
  const bool apart = prefix.empty() ? !answer.empty() : !question.empty() && !ends_with_space(question) && !starts_with_space(prefix);
  messages.push_back({"user", question, apart ? task.target_delimiter : ""});
  if (!answer.empty()) {
    messages.push_back({"assistant", joined(prefix, answer, " "), task.fewshot_delimiter});
  } else if (!prefix.empty()) {
    messages.push_back({"assistant", prefix, ""});
  }
}

/// The question of a document and its answer, as one shows them in an example.
Status add_example(const Task& task, const Json& document, std::vector<ChatMessage>& messages) {
  Fields fields(document);
  std::string question, answer;
  if (task.choices_are_contexts) {
    const std::vector<std::string> choices = task.choices(fields);
    const std::vector<int64_t> gold = task.gold(fields);
    if (!gold.empty() && gold[0] >= 0 && gold[0] < static_cast<int64_t>(choices.size())) question = choices[static_cast<std::size_t>(gold[0])];
    answer = task.target(fields);
  } else {
    question = task.text(fields);
    if (task.target) {
      answer = task.target(fields);
    } else {
      const std::vector<std::string> choices = task.choices(fields);
      const std::vector<int64_t> gold = task.gold(fields);
      if (gold.empty() || gold[0] < 0 || gold[0] >= static_cast<int64_t>(choices.size())) {
        fields.fail("an example's answer is not among its choices");
      } else {
        answer = choices[static_cast<std::size_t>(gold[0])];
      }
    }
  }
  const std::string prefix = task.prefix ? task.prefix(fields) : std::string();
  NBL_TRY(fields.status());
  add_turn(question, answer, prefix, task, messages);
  return {};
}

Result<std::string> render(std::vector<ChatMessage> messages, const PromptOptions& options) {
  if (!options.chat) return plain(messages);
  const bool asks = messages.back().role == "user";
  return options.chat(options.fewshot_as_multiturn ? messages : single_turn(std::move(messages)), asks);
}

}  // namespace

Result<std::vector<std::string>> build_contexts(const Task& task, const Json& document,
                                                const std::vector<const Json*>& examples,
                                                const PromptOptions& options) {
  std::vector<ChatMessage> messages;
  Fields fields(document);
  const std::string description = task.describe ? task.describe(fields) : task.description;
  const std::string system = joined(options.system_instruction, description, task.fewshot_delimiter);
  if (!system.empty()) messages.push_back({"system", system, ""});
  for (const Json* example : examples) NBL_TRY(add_example(task.example ? *task.example : task, *example, messages));

  std::vector<std::string> questions;
  if (task.choices_are_contexts) {
    questions = task.choices(fields);
  } else {
    questions = {task.text(fields)};
  }
  const std::string prefix = task.prefix ? task.prefix(fields) : std::string();
  NBL_TRY(fields.status());
  std::vector<std::string> contexts;
  for (const std::string& question : questions) {
    std::vector<ChatMessage> all = messages;
    add_turn(question, "", prefix, task, all);
    NBL_ASSIGN(std::string context, render(std::move(all), options));
    contexts.push_back(std::move(context));
  }
  return contexts;
}

}  // namespace nbl::eval

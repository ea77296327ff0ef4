// A conversation with a model: messages, the model's template, and the session that holds what was said already.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cli/cli.h"

namespace nibble::cli {

class Conversation {
 public:
  Conversation(const Model& model, int64_t context);

  Session::GenerateOptions options;
  /// Variables of the template, as JSON values by name ("chat_template" chooses another one).
  std::map<std::string, std::string> variables;
  std::optional<std::string> system;

  /// Any generation setting of the library's by name; `options` goes first. Error when the library does not take the value.
  void set(const std::string& name, const std::string& value);
  /// What was set so, by name.
  const std::map<std::string, std::string>& settings() const { return settings_; }

  struct Reply {
    std::string text;
    std::string finish_reason;  ///< "eos", "length", "context", "cancelled"
    std::string result;         ///< the library's JSON
  };
  /// Says something and lets the model answer. on_text gets the answer as it comes; false stops it. What came until
  /// then stays in the conversation.
  Reply say(std::string_view text, const std::function<bool(std::string_view)>& on_text);
  /// Takes the last message of the user and what followed it back; false when there is none.
  bool undo();
  void reset() { messages_.clear(); }

  /// {"messages": [...]}, the system message first.
  std::string json() const;
  /// Such a document, or the array alone. Failure(kBadInput) for anything else.
  void load(const std::string& json, const std::string& origin);

 private:
  struct Message {
    std::string role, json;
  };
  std::string messages_json() const;

  const Model& model_;
  Tokenizer tokenizer_;
  Session session_;
  std::vector<int32_t> held_;  // the session's tokens
  std::vector<int32_t> ends_;  // tokens that end an answer
  std::vector<Message> messages_;
  std::map<std::string, std::string> settings_;
};

/// {"role", "content"}.
std::string message_json(std::string_view role, std::string_view content);

/// What a template is given besides messages: {"add_generation_prompt": true, ...}.
std::string template_settings(const std::map<std::string, std::string>& variables);

/// NAME=VALUE, the value JSON or else a string, into `variables`. Failure(kUsage) without a name.
void set_variable(const std::string& assignment, std::map<std::string, std::string>& variables);

}  // namespace nibble::cli

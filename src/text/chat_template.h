// Conversations as text: a model's own template over messages, tools and flags.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/status.h"
#include "text/jinja.h"
#include "text/tokenizer.h"

namespace nbl::text {

/// The templates of one model and the texts of its special tokens. Immutable once built; usable from several threads.
class ChatTemplates {
 public:
  /// Adds a template under a name ("default", "tool_use", ...). It is compiled when first used: a model whose template
  /// is broken still loads.
  void add(std::string name, std::string source);
  bool empty() const noexcept { return sources_.empty(); }
  const std::map<std::string, std::string>& sources() const noexcept { return sources_; }
  /// "bos_token" and the like, which templates see as variables.
  void set_special(std::string name, std::string text) { special_[std::move(name)] = std::move(text); }
  const std::map<std::string, std::string>& special() const noexcept { return special_; }
  /// What messages call them: "the chat template of DIR".
  void set_origin(std::string origin) { origin_ = std::move(origin); }

  /// The conversation as text, as transformers' apply_chat_template(tokenize=False) gives it.
  ///   messages: an array of objects with "role" and "content"; tools: an array of JSON schemas, or null.
  ///   settings: an object or null. "add_generation_prompt" (false), "continue_final_message" (false) and
  ///   "chat_template" (a template's name or its source) mean what they mean there; every other member is a variable of
  ///   the template.
  /// Code::not_found without a template, Code::invalid_argument for arguments of another form, and the template's own
  /// errors with line and reason.
  Result<std::string> apply(const Json& messages, const Json& tools, const Json& settings,
                            const std::optional<std::tm>& now = {}) const;

 private:
  Result<std::string_view> choose(const Json& tools, const Json& settings) const;
  std::map<std::string, std::string> sources_, special_;
  std::string origin_ = "the chat template";
};

/// The options that chat templates are compiled with.
TemplateOptions chat_template_options();

/// What tokenizer_config.json (or special_tokens_map.json) says: "chat_template" as a text or as a list of {"name",
/// "template"}, and special tokens as texts or as objects with a "content".
Status read_chat_config(const Json& config, ChatTemplates* out);

/// Tokens that end a turn or a text: eos, and the special tokens that chat formats are known to end a turn with.
/// Ascending, no doubles.
std::vector<TokenId> turn_ends(const Tokenizer& tokenizer);

}  // namespace nbl::text

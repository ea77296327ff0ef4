#include "text/chat_template.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/bounds.h"
#include "text/jinja_value.h"

namespace nbl::text {
namespace {

// Put behind the message that is to be continued, to find it again in what the template made of it.
constexpr std::string_view kMark = "CONTINUE_FINAL_MESSAGE_TAG ";

constexpr std::array<std::string_view, 3> kReasoning = {"reasoning_content", "thinking", "reasoning"};
constexpr std::array<std::string_view, 8> kSpecialTokens = {"bos_token", "eos_token", "unk_token",  "sep_token",
                                                            "pad_token", "cls_token", "mask_token", "eot_token"};

constexpr std::array<std::string_view, 12> kTurnEnds = {"<|im_end|>",    "<|eot_id|>",
                                                        "<|eom_id|>",    "<end_of_turn>",
                                                        "<turn|>",       "<|end|>",
                                                        "<|endoftext|>", "<|return|>",
                                                        "<|user|>",      "<|END_OF_TURN_TOKEN|>",
                                                        "[EOT]",         "<\uFF5Cend\u2581of\u2581sentence\uFF5C>"};

/// Messages as templates expect them: members that are null left out, reasoning under its usual names.
Result<Json> normalized(const Json& messages) {
  if (!messages.is_array()) return Status(Code::invalid_argument, "messages must be a JSON array");
  if (messages.size() == 0) return Status(Code::invalid_argument, "a conversation needs at least one message");
  Json out = Json::array();
  for (const Json& message : messages.elements()) {
    if (!message.is_object()) {
      return Status(Code::invalid_argument, fmt::format("message {} is no JSON object", out.size() + 1));
    }
    const Json* reasoning = nullptr;
    for (const std::string_view name : kReasoning) {
      if (reasoning == nullptr) reasoning = message.find_value(name);
    }
    Json copy = Json::object();
    if (reasoning != nullptr) copy.set("thinking", *reasoning);
    for (const auto& [key, value] : message.members()) {
      if (!value.is_null()) copy.set(key, value);
    }
    if (reasoning != nullptr) copy.set("reasoning_content", *reasoning);
    out.push_back(std::move(copy));
  }
  return out;
}

/// Marks the end of the last message's text; returns that text.
Result<std::string> mark_final(Json& messages, const std::string& field) {
  Json marked = Json::array();
  std::string text;
  for (std::size_t i = 0; i < messages.size(); ++i) {
    Json message = messages.elements()[i];
    if (i + 1 == messages.size()) {
      const Json* content = message.find_value(field);
      if (content == nullptr) {
        return Status(Code::invalid_argument, fmt::format("the final message has no \"{}\" to continue", field));
      }
      if (content->is_string()) {
        text = std::string(content->as_string());
        message.set(field, text + std::string(kMark));
      } else {
        Json blocks = Json::array();
        std::size_t last = content->size();
        for (std::size_t j = 0; j < content->size(); ++j) {
          if (content->elements()[j].find_value("text") != nullptr) last = j;
        }
        if (last == content->size()) {
          return Status(Code::invalid_argument, "the final message has no text to continue");
        }
        for (std::size_t j = 0; j < content->size(); ++j) {
          Json block = content->elements()[j];
          if (j == last) {
            text = std::string(block.find_value("text")->as_string());
            block.set("text", text + std::string(kMark));
          }
          blocks.push_back(std::move(block));
        }
        message.set(field, std::move(blocks));
      }
    }
    marked.push_back(std::move(message));
  }
  messages = std::move(marked);
  return text;
}

Result<std::string> cut_at_mark(std::string text, std::string_view message, const std::string& origin) {
  const std::string_view mark = jinja::strip_right(kMark);
  const std::size_t at = text.rfind(mark);
  const std::string_view stripped = jinja::strip_left(jinja::strip_right(message));
  if (at == std::string::npos || text.find(stripped) == std::string::npos) {
    return Status(Code::corrupt,
                  fmt::format("{}: the final message, which is to be continued, does not appear in the text", origin));
  }
  const bool spacing_kept = std::string_view(text).substr(at).starts_with(kMark);
  text.resize(at);
  if (!spacing_kept) text.resize(jinja::strip_right(text).size());
  return text;
}

}  // namespace

TemplateOptions chat_template_options() {
  TemplateOptions options;
  options.trim_blocks = true;
  options.lstrip_blocks = true;
  options.limits.max_source_bytes = bound(Bound::template_bytes);
  options.limits.max_steps = bound(Bound::template_steps);
  options.limits.max_memory_bytes = bound(Bound::template_memory_bytes);
  options.limits.max_depth = static_cast<int>(bound(Bound::template_depth));
  return options;
}

void ChatTemplates::add(std::string name, std::string source) { sources_[std::move(name)] = std::move(source); }

Result<std::string_view> ChatTemplates::choose(const Json& tools, const Json& settings) const {
  if (const Json* given = settings.find_value("chat_template")) {
    if (!given->is_string()) return Status(Code::invalid_argument, "chat_template must be a string");
    const auto named = sources_.find(std::string(given->as_string()));
    return named != sources_.end() ? std::string_view(named->second) : given->as_string();
  }
  if (sources_.empty()) return Status(Code::not_found, fmt::format("{} is missing: the model carries none", origin_));
  if (sources_.size() == 1) return std::string_view(sources_.begin()->second);
  const auto tool_use = sources_.find("tool_use");
  if (!tools.is_null() && tool_use != sources_.end()) return std::string_view(tool_use->second);
  const auto by_default = sources_.find("default");
  if (by_default != sources_.end()) return std::string_view(by_default->second);
  std::string names;
  for (const auto& [name, source] : sources_) names += (names.empty() ? "" : ", ") + name;
  return Status(Code::invalid_argument, fmt::format("{} has no default; name one of {}", origin_, names));
}

Result<std::string> ChatTemplates::apply(const Json& messages, const Json& tools, const Json& settings,
                                         const std::optional<std::tm>& now) const {
  if (!settings.is_null() && !settings.is_object()) {
    return Status(Code::invalid_argument, "the settings of a chat template must be a JSON object");
  }
  if (!tools.is_null() && !tools.is_array()) return Status(Code::invalid_argument, "tools must be a JSON array");
  for (const Json& tool : tools.elements()) {
    if (!tool.is_object()) return Status(Code::invalid_argument, "a tool must be a JSON schema");
  }
  NBL_ASSIGN(const std::string_view source, choose(tools, settings));
  NBL_ASSIGN(Json chat, normalized(messages));
  NBL_ASSIGN(const bool prompt, settings.bool_or("add_generation_prompt", false));
  const Json* continued = settings.find_value("continue_final_message");
  const bool continues = continued != nullptr && (continued->is_string() || continued->as_bool());
  if (continues && prompt) {
    return Status(Code::invalid_argument, "continue_final_message and add_generation_prompt exclude each other");
  }
  std::string final_text;
  if (continues) {
    const std::string field(continued->as_string("content"));
    NBL_ASSIGN(final_text, mark_final(chat, field));
  }
  Json variables = Json::object();
  for (const auto& [name, text] : special_) variables.set(name, text);
  if (settings.is_object()) {
    for (const auto& [name, value] : settings.members()) {
      if (name != "chat_template" && name != "continue_final_message") variables.set(name, value);
    }
  }
  variables.set("messages", std::move(chat));
  variables.set("tools", tools);
  if (variables.find("documents") == nullptr) variables.set("documents", Json());
  variables.set("add_generation_prompt", prompt);
  NBL_ASSIGN(const Template compiled, Template::compile(source, origin_, chat_template_options()));
  NBL_ASSIGN(std::string out, compiled.render(variables, now));
  if (continues) return cut_at_mark(std::move(out), final_text, origin_);
  return out;
}

Status read_chat_config(const Json& config, ChatTemplates* out) {
  if (!config.is_object()) return {};
  if (const Json* given = config.find_value("chat_template")) {
    if (given->is_string()) out->add("default", std::string(given->as_string()));
    for (const Json& each : given->elements()) {
      NBL_ASSIGN(std::string name, each.get_string("name"));
      NBL_ASSIGN(std::string source, each.get_string("template"));
      out->add(std::move(name), std::move(source));
    }
  }
  for (const std::string_view name : kSpecialTokens) {
    const Json* token = config.find_value(name);
    if (token != nullptr && token->is_object()) token = token->find_value("content");
    if (token != nullptr && token->is_string()) out->set_special(std::string(name), std::string(token->as_string()));
  }
  return {};
}

std::vector<TokenId> turn_ends(const Tokenizer& tokenizer) {
  std::vector<TokenId> out;
  if (const auto eos = tokenizer.eos()) out.push_back(*eos);
  for (const std::string_view piece : kTurnEnds) {
    if (const auto id = tokenizer.find(piece); id && tokenizer.is_special(*id)) out.push_back(*id);
  }
  std::sort(out.begin(), out.end());
  out.erase(std::unique(out.begin(), out.end()), out.end());
  return out;
}

}  // namespace nbl::text

#include "cli/conversation.h"

#include <fmt/format.h>

#include <algorithm>

#include "cli/json_text.h"

namespace nibble::cli {

std::string message_json(std::string_view role, std::string_view content) {
  return ObjectText().set("role", role).set("content", content).text();
}

std::string template_settings(const std::map<std::string, std::string>& variables) {
  ObjectText out;
  out.set_raw("add_generation_prompt", "true");
  for (const auto& [name, value] : variables) {
    if (name != "add_generation_prompt") out.set_raw(name, value);
  }
  return out.text();
}

void set_variable(const std::string& assignment, std::map<std::string, std::string>& variables) {
  const std::size_t equals = assignment.find('=');
  if (equals == 0 || equals == std::string::npos) {
    throw Failure(kUsage, fmt::format("'{}': NAME=VALUE was expected", assignment));
  }
  const std::string value = assignment.substr(equals + 1);
  std::string json = json_string(value);
  try {
    const Doc doc(value);
    json = minified(doc.root());
  } catch (const simdjson::simdjson_error&) {
    // A plain word.
  }
  variables[assignment.substr(0, equals)] = std::move(json);
}

Conversation::Conversation(const Model& model, int64_t context)
    : model_(model), tokenizer_(model.tokenizer()), session_(model, context) {
  const Doc info(tokenizer_.info());
  for (const auto id : items(info.root(), "turn_ends")) ends_.push_back(static_cast<int32_t>(id.get_int64().value()));
}

void Conversation::set(const std::string& name, const std::string& value) {
  if (name == "kv_type") {  // of an empty session only; what was said is computed anew
    session_.truncate(0);
    held_.clear();
  }
  session_.set(name, value);
  settings_[name] = value;
}

std::string Conversation::messages_json() const {
  std::string out = "[";
  if (system) out += message_json("system", *system);
  for (const Message& message : messages_) out += (out.size() > 1 ? "," : "") + message.json;
  return out + "]";
}

std::string Conversation::json() const { return ObjectText().set_raw("messages", messages_json()).text(); }

void Conversation::load(const std::string& json, const std::string& origin) {
  std::vector<Message> loaded;
  std::optional<std::string> first;
  try {
    const Doc doc(json);
    const auto list = doc.root().is_array() ? elements(doc.root()) : items(doc.root(), "messages");
    for (const auto message : list) {
      const std::string role = text(message, "role");
      if (role.empty()) throw Failure(kBadInput, fmt::format("'{}': a message has no \"role\"", origin));
      if (role == "system" && loaded.empty() && !first && message["content"].is_string()) {
        first = text(message, "content");
      } else {
        loaded.push_back({role, minified(message)});
      }
    }
  } catch (const simdjson::simdjson_error& e) {
    throw Failure(kBadInput, fmt::format("'{}': no JSON: {}", origin, e.what()));
  }
  if (loaded.empty() && !first) throw Failure(kBadInput, fmt::format("'{}' holds no messages", origin));
  messages_ = std::move(loaded);
  system = std::move(first);
}

bool Conversation::undo() {
  const auto last =
      std::find_if(messages_.rbegin(), messages_.rend(), [](const Message& m) { return m.role == "user"; });
  if (last == messages_.rend()) return false;
  messages_.erase(std::prev(last.base()), messages_.end());
  return true;
}

Conversation::Reply Conversation::say(std::string_view said, const std::function<bool(std::string_view)>& on_text) {
  messages_.push_back({"user", message_json("user", said)});
  try {
    const std::string prompt = tokenizer_.apply_chat_template(messages_json(), {}, template_settings(variables));
    const std::vector<int32_t> ids = tokenizer_.encode(prompt);
    // What the session holds of it already need not be computed again; one token must remain to start from.
    std::size_t same = 0;
    while (same + 1 < ids.size() && same < held_.size() && ids[same] == held_[same]) ++same;
    if (static_cast<int64_t>(ids.size()) >= session_.capacity()) {
      throw Failure(kLimit,
                    fmt::format("the conversation has {} tokens, and there is room for {}: /reset it, /undo some of "
                                "it, or start with a larger --context",
                                ids.size(), session_.capacity()));
    }
    session_.truncate(static_cast<int64_t>(same));
    held_.assign(ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(same));
    std::vector<int32_t> chosen;
    bool ended = false, stopped = false;
    const std::string result =
        session_.generate(std::span(ids).subspan(same), options, [&](int32_t id, std::string_view piece) {
          if (id >= 0) chosen.push_back(id);
          ended = ended || std::find(ends_.begin(), ends_.end(), id) != ends_.end();
          if (!piece.empty() && !stopped) stopped = !on_text(piece);
          return !ended && !stopped;
        });
    held_ = ids;
    held_.insert(held_.end(), chosen.begin(), chosen.end());
    held_.resize(std::min(held_.size(), static_cast<std::size_t>(session_.position())));
    const Doc doc(result);
    Reply reply{text(doc.root(), "text"), text(doc.root(), "finish_reason"), result};
    if (ended && !stopped) reply.finish_reason = "eos";
    messages_.push_back({"assistant", message_json("assistant", reply.text)});
    return reply;
  } catch (...) {
    // What could not be answered was not said. The session may hold a part of it.
    if (!messages_.empty() && messages_.back().role == "user") messages_.pop_back();
    held_.resize(std::min(held_.size(), static_cast<std::size_t>(session_.position())));
    throw;
  }
}

}  // namespace nibble::cli

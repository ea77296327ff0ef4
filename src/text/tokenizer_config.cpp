#include "text/tokenizer_config.h"

#include <fmt/format.h>

#include <charconv>

#include "base/bounds.h"

namespace nbl::text {
namespace {

constexpr BoundOf<std::size_t> kMaxAdded{Bound::tokenizer_added};

// The id of a token that is given as a string or as an object with a content.
std::optional<TokenId> named_token(const Json& config, std::string_view key, const PipelineParts& parts) {
  const Json* value = config.find_value(key);
  if (value == nullptr) return std::nullopt;
  if (value->is_object()) value = value->find_value("content");
  if (value == nullptr || !value->is_string()) return std::nullopt;
  if (const AddedToken* added = parts.added.find(value->as_string())) return added->id;
  return parts.model->vocabulary().find(value->as_string());
}

Status add_listed_tokens(const Json& list, PipelineParts& parts) {
  if (list.size() > kMaxAdded) {
    return Status(Code::limit,
                  fmt::format("added_tokens_decoder has {} entries, more than {}", list.size(), kMaxAdded.get()));
  }
  for (const auto& [name, item] : list.members()) {
    int64_t id = -1;
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), id);
    if (error != std::errc() || end != name.data() + name.size() || id < 0 || id >= kMaxTokens) {
      return Status(Code::corrupt, fmt::format("added_tokens_decoder has the key \"{}\", no token id", name));
    }
    AddedToken token;
    NBL_ASSIGN(token.content, item.get_string("content"));
    if (parts.added.find(token.content) != nullptr) continue;
    token.id = parts.model->vocabulary().find(token.content).value_or(static_cast<TokenId>(id));
    NBL_ASSIGN(token.single_word, item.bool_or("single_word", false));
    NBL_ASSIGN(token.lstrip, item.bool_or("lstrip", false));
    NBL_ASSIGN(token.rstrip, item.bool_or("rstrip", false));
    NBL_ASSIGN(token.special, item.bool_or("special", false));
    NBL_ASSIGN(token.normalized, item.bool_or("normalized", !token.special));
    NBL_TRY(parts.added.add(std::move(token)));
  }
  return {};
}

// Classes that build their own template, whatever the tokenizer.json says.
bool builds_template(std::string_view name) {
  if (name.ends_with("Fast")) name.remove_suffix(4);
  return name == "LlamaTokenizer" || name == "CodeLlamaTokenizer" || name == "GemmaTokenizer" ||
         name == "CohereTokenizer";
}

}  // namespace

Status apply_tokenizer_config(const Json& config, PipelineParts& parts) {
  if (!config.is_object()) return {};
  if (const Json* listed = config.find_value("added_tokens_decoder")) NBL_TRY(add_listed_tokens(*listed, parts));
  if (const auto id = named_token(config, "bos_token", parts)) parts.bos = id;
  if (const auto id = named_token(config, "eos_token", parts)) parts.eos = id;
  const Json* class_name = config.find_value("tokenizer_class");
  const Json* add_bos = config.find_value("add_bos_token");
  const Json* add_eos = config.find_value("add_eos_token");
  if (class_name == nullptr || !builds_template(class_name->as_string()) || (add_bos == nullptr && add_eos == nullptr))
    return {};
  parts.prefix.clear();
  parts.suffix.clear();
  if ((add_bos == nullptr || add_bos->as_bool(true)) && parts.bos) parts.prefix.push_back(*parts.bos);
  if (add_eos != nullptr && add_eos->as_bool(false) && parts.eos) parts.suffix.push_back(*parts.eos);
  return {};
}

}  // namespace nbl::text

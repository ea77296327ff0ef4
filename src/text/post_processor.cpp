#include "text/post_processor.h"

#include <fmt/format.h>

#include <string>

#include "base/bounds.h"

namespace nbl::text {
namespace {

constexpr BoundOf<std::size_t> kMaxItems{Bound::tokenizer_template_items};

Result<TokenId> token_id(const Json& value, std::string_view where) {
  if (!value.is_int() || value.as_int() < 0 || value.as_int() > 0x7FFFFFFF) {
    return Status(Code::corrupt, fmt::format("{} has an id that is no token id: {}", where, value.dump()));
  }
  return static_cast<TokenId>(value.as_int());
}

Status parse_template(const Json& json, Surround& out) {
  const Json* single = json.find_value("single");
  if (single == nullptr || !single->is_array())
    return Status(Code::corrupt, "a TemplateProcessing has no list \"single\"");
  if (single->size() > kMaxItems) {
    return Status(Code::limit,
                  fmt::format("a TemplateProcessing has {} items, more than {}", single->size(), kMaxItems.get()));
  }
  const Json* tokens = json.find_value("special_tokens");
  bool seen_text = false;
  for (const Json& item : single->elements()) {
    if (const Json* sequence = item.find_value("Sequence")) {
      if (seen_text || sequence->find_value("id") == nullptr || sequence->find_value("id")->as_string() != "A") {
        return Status(Code::unsupported, "a TemplateProcessing uses another sequence than A once");
      }
      seen_text = true;
      continue;
    }
    const Json* special = item.find_value("SpecialToken");
    if (special == nullptr)
      return Status(Code::corrupt, "a TemplateProcessing item is neither Sequence nor SpecialToken");
    NBL_ASSIGN(const std::string name, special->get_string("id"));
    const Json* token = tokens != nullptr ? tokens->find_value(name) : nullptr;
    const Json* ids = token != nullptr ? token->find_value("ids") : nullptr;
    if (ids == nullptr || !ids->is_array() || ids->size() > kMaxItems) {
      return Status(Code::corrupt, fmt::format("the TemplateProcessing token \"{}\" has no list of ids", name));
    }
    for (const Json& id : ids->elements()) {
      NBL_ASSIGN(const TokenId value, token_id(id, name));
      (seen_text ? out.suffix : out.prefix).push_back(value);
    }
  }
  return {};
}

Status parse(const Json& json, int depth, Surround& out) {
  if (depth > 8) return Status(Code::limit, "the post-processors are nested more than 8 deep");
  NBL_ASSIGN(const std::string type, json.get_string("type"));
  if (type == "TemplateProcessing") return parse_template(json, out);
  if (type == "ByteLevel") return {};  // offsets only
  if (type == "RobertaProcessing" || type == "BertProcessing") {
    for (const char* key : {"cls", "sep"}) {
      const Json* pair = json.find_value(key);
      if (pair == nullptr || !pair->is_array() || pair->size() != 2) {
        return Status(Code::corrupt, fmt::format("a {} has no pair \"{}\"", type, key));
      }
      NBL_ASSIGN(const TokenId id, token_id(pair->elements()[1], key));
      (key[0] == 'c' ? out.prefix : out.suffix).push_back(id);
    }
    return {};
  }
  if (type == "Sequence") {
    const Json* list = json.find_value("processors");
    if (list == nullptr || !list->is_array() || list->size() > kMaxItems) {
      return Status(Code::corrupt, "a Sequence has no list \"processors\"");
    }
    for (const Json& item : list->elements()) {
      Surround inner;
      NBL_TRY(parse(item, depth + 1, inner));
      out.prefix.insert(out.prefix.begin(), inner.prefix.begin(), inner.prefix.end());
      out.suffix.insert(out.suffix.end(), inner.suffix.begin(), inner.suffix.end());
    }
    return {};
  }
  return Status(Code::unsupported, fmt::format("the post-processor \"{}\" is not implemented", type));
}

}  // namespace

Result<Surround> parse_post_processor(const Json& json) {
  Surround out;
  if (!json.is_null()) NBL_TRY(parse(json, 0, out));
  return out;
}

}  // namespace nbl::text

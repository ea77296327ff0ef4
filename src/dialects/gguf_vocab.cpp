#include "dialects/gguf_vocab.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <vector>

#include "dialects/gguf_vocab_json.h"
#include "text/assets.h"
#include "text/protobuf.h"
#include "text/tokenizer.h"

namespace nbl::dialects {
namespace {

constexpr std::string_view kSpace = "\xe2\x96\x81";  // sentencepiece's

const std::string* find(const Assets& assets, std::string_view name) {
  const auto it = assets.find(name);
  return it == assets.end() ? nullptr : &it->second;
}

// A GGUF file's own entries, with the types that GGUF gives them.
Status copy_entries(const std::string& text, io::GgufMetadata& out) {
  NBL_ASSIGN(const Json json, Json::parse(text, "tokenizer.gguf"));
  for (const auto& [key, value] : json.members()) {
    if (value.is_string()) {
      out.set_text(key, value.as_string());
    } else if (value.is_bool()) {
      out.set_bool(key, value.as_bool());
    } else if (value.is_int() && value.as_int() >= 0 && value.as_int() <= UINT32_MAX) {
      out.set_u32(key, static_cast<uint32_t>(value.as_int()));
    } else if (value.is_int()) {
      out.set_i32(key, static_cast<int32_t>(value.as_int()));
    } else if (value.is_number()) {
      out.set_f32(key, static_cast<float>(value.as_double()));
    } else if (value.is_array() && value.size() != 0) {
      const auto elements = value.elements();
      if (elements[0].is_string()) {
        std::vector<std::string> list;
        for (const Json& each : elements) list.emplace_back(each.as_string());
        out.set_texts(key, list);
      } else if (key.ends_with("precompiled_charsmap")) {
        std::vector<uint8_t> list;
        for (const Json& each : elements) list.push_back(static_cast<uint8_t>(each.as_int()));
        out.set_u8s(key, list);
      } else if (key.ends_with("scores")) {
        std::vector<float> list;
        for (const Json& each : elements) list.push_back(static_cast<float>(each.as_double()));
        out.set_f32s(key, list);
      } else {
        std::vector<int32_t> list;
        for (const Json& each : elements) list.push_back(static_cast<int32_t>(each.as_int()));
        out.set_i32s(key, list);
      }
    }
  }
  return {};
}

Result<GgufVocabulary> from_sentencepiece(std::string_view bytes) {
  GgufVocabulary v;
  v.model = "llama";
  text::ProtoReader model(bytes);
  while (!model.done()) {
    NBL_ASSIGN(const text::ProtoField field, model.next());
    if (field.number != 1 || field.wire != 2) continue;
    text::ProtoReader piece(field.bytes);
    std::string token;
    float score = 0;
    int32_t type = kNormalToken;
    while (!piece.done()) {
      NBL_ASSIGN(const text::ProtoField part, piece.next());
      if (part.number == 1) token = std::string(part.bytes);
      if (part.number == 2) score = part.as_float();
      if (part.number == 3) type = static_cast<int32_t>(part.as_int());
    }
    v.tokens.push_back(std::move(token));
    v.scores.push_back(score);
    v.types.push_back(type);
  }
  if (v.tokens.empty()) return Status(Code::corrupt, "tokenizer.model: no pieces");
  v.add_space_prefix = true;
  return v;
}

// llama2.c's: a score, a length and the bytes of each token; spaces are themselves there.
Result<GgufVocabulary> from_llama2c(std::string_view bytes, int64_t count) {
  GgufVocabulary v;
  v.model = "llama";
  std::size_t at = 4;
  for (int64_t id = 0; id < count; ++id) {
    float score = 0;
    int32_t length = 0;
    if (bytes.size() < at + 8) return Status(Code::corrupt, "tokenizer.bin: it ends within the vocabulary");
    std::memcpy(&score, bytes.data() + at, 4);
    std::memcpy(&length, bytes.data() + at + 4, 4);
    at += 8;
    if (length < 0 || static_cast<std::size_t>(length) > bytes.size() - at) {
      return Status(Code::corrupt, "tokenizer.bin: it ends within the vocabulary");
    }
    const std::string_view piece = bytes.substr(at, static_cast<std::size_t>(length));
    at += static_cast<std::size_t>(length);
    std::string token;
    for (const char c : piece) token += c == ' ' ? std::string(kSpace) : std::string(1, c);
    int32_t type = kNormalToken;
    if (id == 0) token = "<unk>", type = kUnknownToken;
    if (id == 1) token = "<s>", type = kControlToken;
    if (id == 2) token = "</s>", type = kControlToken;
    if (id >= 3 && id < 259) token = fmt::format("<0x{:02X}>", id - 3), type = kByteToken;
    v.tokens.push_back(std::move(token));
    v.scores.push_back(score);
    v.types.push_back(type);
  }
  v.bos = 1, v.eos = 2, v.unknown = 0;
  v.add_bos = true;
  v.add_space_prefix = true;
  return v;
}

std::optional<int64_t> id_in(const Json& config, const char* key) {
  const Json* value = config.find_value(key);
  if (value != nullptr && value->is_array() && value->size() != 0) value = &value->elements()[0];
  if (value == nullptr || !value->is_int() || value->as_int() < 0) return std::nullopt;
  return value->as_int();
}

// Ids and what is put around a text, as our own tokenizer of the same files has them.
void ask_tokenizer(const text::Tokenizer& tokenizer, GgufVocabulary& v) {
  if (tokenizer.bos()) v.bos = *tokenizer.bos();
  if (tokenizer.eos()) v.eos = *tokenizer.eos();
  const auto around = tokenizer.encode("", {.add_special = true, .parse_special = true});
  if (!around.ok()) return;
  v.add_bos = !around->empty() && v.bos && around->front() == *v.bos;
  v.add_eos = !around->empty() && v.eos && around->back() == *v.eos && (around->size() > 1 || !v.add_bos);
  if (!v.bos && !around->empty() && !v.add_eos) v.bos = around->front(), v.add_bos = true;
}

void fill_up(GgufVocabulary& v, int64_t rows) {
  const auto count = static_cast<std::size_t>(rows);
  for (std::size_t id = v.tokens.size(); id < count; ++id) {
    v.tokens.push_back(fmt::format("[PAD{}]", id));
    v.types.push_back(kUnusedToken);
    if (!v.scores.empty()) v.scores.push_back(-1000.0f);
  }
  // Tokens without a row cannot be computed with: the model's table is the shorter one.
  v.tokens.resize(count);
  v.types.resize(count);
  if (!v.scores.empty()) v.scores.resize(count);
}

void write(const GgufVocabulary& v, io::GgufMetadata& out) {
  out.set_text("tokenizer.ggml.model", v.model);
  if (!v.pre.empty()) out.set_text("tokenizer.ggml.pre", v.pre);
  out.set_texts("tokenizer.ggml.tokens", v.tokens);
  if (!v.scores.empty()) out.set_f32s("tokenizer.ggml.scores", v.scores);
  out.set_i32s("tokenizer.ggml.token_type", v.types);
  if (!v.merges.empty()) out.set_texts("tokenizer.ggml.merges", v.merges);
  if (!v.charsmap.empty()) out.set_u8s("tokenizer.ggml.precompiled_charsmap", v.charsmap);
  for (const auto& [key, id] : {std::pair{"bos", v.bos}, std::pair{"eos", v.eos}, std::pair{"unknown", v.unknown},
                                std::pair{"padding", v.padding}}) {
    if (id && *id < static_cast<int64_t>(v.tokens.size())) {
      out.set_u32(fmt::format("tokenizer.ggml.{}_token_id", key), static_cast<uint32_t>(*id));
    }
  }
  out.set_bool("tokenizer.ggml.add_bos_token", v.add_bos);
  out.set_bool("tokenizer.ggml.add_eos_token", v.add_eos);
  if (v.add_space_prefix) out.set_bool("tokenizer.ggml.add_space_prefix", *v.add_space_prefix);
}

// chat_template of tokenizer_config.json: a text, or a list of named ones.
void write_templates(const Assets& assets, io::GgufMetadata& out) {
  if (const std::string* more = find(assets, text::kAdditionalTemplates)) {
    const auto sources = Json::parse(*more, text::kAdditionalTemplates);
    std::vector<std::string> names;
    if (sources.ok()) {
      for (const auto& [name, source] : sources->members()) {
        names.push_back(name);
        out.set_text(fmt::format("tokenizer.chat_template.{}", name), source.as_string());
      }
      out.set_texts("tokenizer.chat_templates", names);
    }
  }
  if (const std::string* file = find(assets, "chat_template.jinja")) {
    out.set_text("tokenizer.chat_template", *file);
    return;
  }
  const std::string* text = find(assets, "tokenizer_config.json");
  if (text == nullptr) return;
  const auto config = Json::parse(*text, "tokenizer_config.json");
  const Json* value = config.ok() ? config->find_value("chat_template") : nullptr;
  if (value == nullptr) return;
  if (value->is_string()) out.set_text("tokenizer.chat_template", value->as_string());
  std::vector<std::string> names;
  for (const Json& each : value->elements()) {
    const Json *name = each.find_value("name"), *body = each.find_value("template");
    if (name == nullptr || body == nullptr) continue;
    if (name->as_string() == "default") {
      out.set_text("tokenizer.chat_template", body->as_string());
    } else {
      names.emplace_back(name->as_string());
      out.set_text(fmt::format("tokenizer.chat_template.{}", name->as_string()), body->as_string());
    }
  }
  if (!names.empty()) out.set_texts("tokenizer.chat_templates", names);
}

}  // namespace

Status gguf_vocabulary(const Assets& assets, const Json& config, int64_t rows, io::GgufMetadata& out) {
  if (const std::string* own = find(assets, "tokenizer.gguf")) {
    NBL_TRY(copy_entries(*own, out));
    if (!out.has("tokenizer.chat_template")) write_templates(assets, out);
    return {};
  }
  GgufVocabulary v;
  if (const std::string* json = find(assets, "tokenizer.json")) {
    const std::string* extra = find(assets, "tokenizer_config.json");
    NBL_ASSIGN(const Json parsed, Json::parse(*json, "tokenizer.json"));
    NBL_ASSIGN(v, vocabulary_of_json(parsed, rows));
    const auto tokenizer = text::load_tokenizer_json(*json, extra == nullptr ? std::string_view() : *extra, "tokenizer.json");
    if (tokenizer.ok()) ask_tokenizer(**tokenizer, v);
  } else if (const std::string* model = find(assets, "tokenizer.model")) {
    NBL_ASSIGN(v, from_sentencepiece(*model));
    const std::string* extra = find(assets, "tokenizer_config.json");
    const auto tokenizer =
        text::load_tokenizer_sentencepiece(*model, extra == nullptr ? std::string_view() : *extra, "tokenizer.model");
    if (tokenizer.ok()) ask_tokenizer(**tokenizer, v);
  } else if (const std::string* bin = find(assets, "tokenizer.bin")) {
    NBL_ASSIGN(v, from_llama2c(*bin, rows));
  } else {
    out.set_text("tokenizer.ggml.model", "none");  // a key that readers insist on
    return {};
  }
  if (!v.bos) v.bos = id_in(config, "bos_token_id");
  if (!v.eos) v.eos = id_in(config, "eos_token_id");
  if (!v.padding) v.padding = id_in(config, "pad_token_id");
  fill_up(v, rows);
  write(v, out);
  write_templates(assets, out);
  // The original description too: it says more than the entries above can.
  if (const std::string* json = find(assets, "tokenizer.json")) out.set_text("tokenizer.huggingface.json", *json);
  return {};
}

}  // namespace nbl::dialects

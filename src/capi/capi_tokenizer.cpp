// Tokenizers and chat templates.
#include <fmt/format.h>

#include "capi/handles.h"
#include "text/assets.h"

namespace nbl::capi {
namespace {

Json token_or_null(const std::optional<text::TokenId>& id) { return id ? Json(static_cast<int64_t>(*id)) : Json(); }

Status make_tokenizer(const text::Assets& assets, nbl_tokenizer** out) {
  NBL_ASSIGN(std::shared_ptr<const text::Tokenizer> tokenizer, text::load_tokenizer(assets));
  NBL_ASSIGN(auto chat, text::load_chat_templates(assets, tokenizer.get()));
  *out = new nbl_tokenizer{std::move(tokenizer), std::move(chat)};
  return {};
}

Result<Json> parse_argument(const char* text, const char* name) {
  if (text == nullptr || *text == '\0') return Json();
  auto parsed = Json::parse(text, name);
  if (!parsed.ok()) return Status(Code::invalid_argument, parsed.status().message());
  return parsed;
}

}  // namespace
}  // namespace nbl::capi

using nbl::Code;
using nbl::Json;
using nbl::Status;
using namespace nbl::capi;

extern "C" {

nbl_status nbl_tokenizer_from_checkpoint(nbl_checkpoint* checkpoint, nbl_tokenizer** out_tokenizer) {
  if (out_tokenizer != nullptr) *out_tokenizer = nullptr;
  return guard(checkpoint, [&]() -> Status {
    NBL_TRY(require(checkpoint, "checkpoint"));
    NBL_TRY(require(out_tokenizer, "out_tokenizer"));
    return make_tokenizer(nbl::text::assets_of(*checkpoint->checkpoint), out_tokenizer);
  });
}

nbl_status nbl_tokenizer_open(nbl_runtime* runtime, const char* path, nbl_tokenizer** out_tokenizer) {
  if (out_tokenizer != nullptr) *out_tokenizer = nullptr;
  return guard(runtime, [&]() -> Status {
    NBL_TRY(require(runtime, "runtime"));
    NBL_TRY(require(path, "path"));
    NBL_TRY(require(out_tokenizer, "out_tokenizer"));
    // A model's own reader first: it knows more kinds. Where it fails, the vocabulary may still stand alone.
    const auto checkpoint = nbl::pipeline::open_checkpoint(path);
    if (checkpoint.ok()) return make_tokenizer(nbl::text::assets_of(**checkpoint), out_tokenizer);
    const auto assets = nbl::text::assets_at(path);
    if (!assets.ok()) return checkpoint.status();
    return make_tokenizer(*assets, out_tokenizer);
  });
}

nbl_status nbl_tokenizer_from_model(nbl_model* model, nbl_tokenizer** out_tokenizer) {
  if (out_tokenizer != nullptr) *out_tokenizer = nullptr;
  return guard(model, [&]() -> Status {
    NBL_TRY(require(model, "model"));
    NBL_TRY(require(out_tokenizer, "out_tokenizer"));
    const nbl::text::Tokenizer* tokenizer = model->model->tokenizer();
    if (tokenizer == nullptr) return model->model->tokenizer_status();
    // Shares the model's ownership: the tokenizer lives in it.
    *out_tokenizer =
        new nbl_tokenizer{std::shared_ptr<const nbl::text::Tokenizer>(model->model, tokenizer), model->chat};
    return {};
  });
}

void nbl_tokenizer_destroy(nbl_tokenizer* tokenizer) { delete tokenizer; }

nbl_status nbl_tokenizer_encode(nbl_tokenizer* tokenizer, const char* text, size_t size, uint32_t flags,
                                nbl_buffer** out_ids) {
  if (out_ids != nullptr) *out_ids = nullptr;
  return guard([&]() -> Status {
    NBL_TRY(require(tokenizer, "tokenizer"));
    if (size > 0) NBL_TRY(require(text, "text"));
    NBL_TRY(require(out_ids, "out_ids"));
    if ((flags & ~static_cast<uint32_t>(NBL_ENCODE_SPECIAL | NBL_ENCODE_LITERAL)) != 0) {
      return {Code::invalid_argument, fmt::format("flags is {}; NBL_ENCODE_* was expected", flags)};
    }
    nbl::text::EncodeOptions options;
    options.add_special = (flags & NBL_ENCODE_SPECIAL) != 0;
    options.parse_special = (flags & NBL_ENCODE_LITERAL) == 0;
    NBL_ASSIGN(const auto ids, tokenizer->tokenizer->encode({text, size}, options));
    *out_ids = make_buffer(ids.data(), ids.size() * sizeof(int32_t));
    return {};
  });
}

nbl_status nbl_tokenizer_decode(nbl_tokenizer* tokenizer, const int32_t* ids, int64_t count, int32_t skip_special,
                                nbl_buffer** out_text) {
  if (out_text != nullptr) *out_text = nullptr;
  return guard([&]() -> Status {
    NBL_TRY(require(tokenizer, "tokenizer"));
    if (count < 0) return {Code::invalid_argument, "count is negative"};
    if (count > 0) NBL_TRY(require(ids, "ids"));
    NBL_TRY(require(out_text, "out_text"));
    NBL_ASSIGN(const std::string text,
               tokenizer->tokenizer->decode({ids, static_cast<std::size_t>(count)}, skip_special != 0));
    *out_text = make_buffer(text);
    return {};
  });
}

nbl_status nbl_tokenizer_piece(nbl_tokenizer* tokenizer, int32_t id, nbl_buffer** out_text) {
  if (out_text != nullptr) *out_text = nullptr;
  return guard([&]() -> Status {
    NBL_TRY(require(tokenizer, "tokenizer"));
    NBL_TRY(require(out_text, "out_text"));
    NBL_ASSIGN(const std::string text, tokenizer->tokenizer->piece(id));
    *out_text = make_buffer(text);
    return {};
  });
}

nbl_status nbl_tokenizer_find(nbl_tokenizer* tokenizer, const char* piece, int32_t* out_id) {
  if (out_id != nullptr) *out_id = 0;
  return guard([&]() -> Status {
    NBL_TRY(require(tokenizer, "tokenizer"));
    NBL_TRY(require(piece, "piece"));
    NBL_TRY(require(out_id, "out_id"));
    const auto id = tokenizer->tokenizer->find(piece);
    if (!id) return {Code::not_found, fmt::format("the vocabulary has no piece \"{}\"", piece)};
    *out_id = *id;
    return {};
  });
}

nbl_status nbl_tokenizer_info(nbl_tokenizer* tokenizer, nbl_buffer** out_json) {
  if (out_json != nullptr) *out_json = nullptr;
  return guard([&]() -> Status {
    NBL_TRY(require(tokenizer, "tokenizer"));
    NBL_TRY(require(out_json, "out_json"));
    const nbl::text::Tokenizer& t = *tokenizer->tokenizer;
    Json j = Json::object();
    j.set("kind", t.kind());
    j.set("vocab_size", t.vocab_size());
    j.set("bos", token_or_null(t.bos()));
    j.set("eos", token_or_null(t.eos()));
    Json ends = Json::array();
    for (const nbl::text::TokenId id : nbl::text::turn_ends(t)) ends.push_back(int64_t{id});
    j.set("turn_ends", std::move(ends));
    Json templates = Json::array();
    if (tokenizer->chat != nullptr) {
      for (const auto& [name, source] : tokenizer->chat->sources()) templates.push_back(name);
    }
    j.set("chat_templates", std::move(templates));
    *out_json = make_json_buffer(j);
    return {};
  });
}

nbl_status nbl_tokenizer_apply_chat_template(nbl_tokenizer* tokenizer, const char* messages_json,
                                             const char* tools_json, const char* settings_json, nbl_buffer** out_text) {
  if (out_text != nullptr) *out_text = nullptr;
  return guard([&]() -> Status {
    NBL_TRY(require(tokenizer, "tokenizer"));
    NBL_TRY(require(messages_json, "messages_json"));
    NBL_TRY(require(out_text, "out_text"));
    NBL_ASSIGN(const Json messages, parse_argument(messages_json, "messages_json"));
    NBL_ASSIGN(const Json tools, parse_argument(tools_json, "tools_json"));
    NBL_ASSIGN(const Json settings, parse_argument(settings_json, "settings_json"));
    const nbl::text::ChatTemplates none;
    const nbl::text::ChatTemplates& chat = tokenizer->chat == nullptr ? none : *tokenizer->chat;
    NBL_ASSIGN(const std::string text, chat.apply(messages, tools, settings));
    *out_text = make_buffer(text);
    return {};
  });
}

}  // extern "C"

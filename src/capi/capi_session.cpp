// Sessions: stepping and generating.
#include <fmt/format.h>

#include <algorithm>

#include "capi/handles.h"

namespace nbl::capi {
namespace {

constexpr int64_t kDefaultTokens = 4096;

Status check_ids(const int32_t* ids, int64_t count) {
  if (count < 0) return {Code::invalid_argument, fmt::format("count is {}; it cannot be negative", count)};
  if (count > 0) return require(ids, "ids");
  return {};
}

Status generate(nbl_session* s, const int32_t* prompt, int64_t count, const nbl_generate_options& o, Json* out) {
  model::GenerateOptions options;
  options.max_new_tokens = o.max_new_tokens > 0 ? o.max_new_tokens : 128;
  options.sampling.temperature = o.temperature;
  options.sampling.top_k = o.top_k;
  options.sampling.top_p = o.top_p > 0 ? o.top_p : 1.0f;
  options.sampling.seed = o.seed;
  options.stop_at_eos = o.ignore_eos == 0;

  const text::Tokenizer* tokenizer = s->model->tokenizer();
  std::optional<text::StreamDecoder> decoder;
  if (tokenizer != nullptr) decoder.emplace(*tokenizer);
  std::string text;
  Status trouble;
  const auto on_token = [&](text::TokenId id) -> bool {
    std::string piece;
    if (decoder) {
      auto pushed = decoder->push(id);
      if (!pushed.ok()) {
        trouble = pushed.status();
        return false;
      }
      piece = std::move(pushed).value();
      text += piece;
    }
    return o.on_token == nullptr || o.on_token(o.on_token_user, id, piece.data(), piece.size()) == 0;
  };
  NBL_ASSIGN(const model::GenerateResult r,
             model::generate(*s->session, {prompt, static_cast<std::size_t>(count)}, options, on_token));
  NBL_TRY(trouble);
  if (decoder) {
    NBL_ASSIGN(const std::string rest, decoder->finish());
    text += rest;
    if (!rest.empty() && o.on_token != nullptr) o.on_token(o.on_token_user, -1, rest.data(), rest.size());
  }

  const auto rate = [](std::size_t tokens, double seconds) {
    return seconds > 0 ? static_cast<double>(tokens) / seconds : 0.0;
  };
  Json j = result_header(*s->runtime);
  j.set("prompt_tokens", count);
  j.set("text", tokenizer == nullptr ? Json() : Json(std::move(text)));
  Json ids = Json::array();
  for (const text::TokenId id : r.ids) ids.push_back(static_cast<int64_t>(id));
  j.set("token_ids", std::move(ids));
  j.set("finish_reason", r.finish_reason);
  j.set("prefill_tok_s", rate(static_cast<std::size_t>(count), r.prefill_seconds));
  // The first token comes out of the prefill.
  j.set("decode_tok_s", r.ids.size() > 1 ? rate(r.ids.size() - 1, r.decode_seconds) : 0.0);
  j.set("prefill_seconds", r.prefill_seconds);
  j.set("decode_seconds", r.decode_seconds);
  *out = std::move(j);
  return {};
}

}  // namespace
}  // namespace nbl::capi

using nbl::Code;
using nbl::Json;
using nbl::Status;
using namespace nbl::capi;

extern "C" {

nbl_status nbl_session_create(nbl_model* model, const nbl_session_options* options, nbl_session** out_session) {
  if (out_session != nullptr) *out_session = nullptr;
  return guard([&]() -> Status {
    NBL_TRY(require(model, "model"));
    NBL_TRY(require(out_session, "out_session"));
    nbl_session_options o = NBL_SESSION_OPTIONS_INIT;
    NBL_TRY(read_options(options, sizeof(nbl_session_options), "nbl_session_options", &o));
    if (o.max_tokens < 0) return {Code::invalid_argument, "max_tokens is negative; 0 means the model's own length"};
    const int64_t longest = model->model->config().max_positions;
    const int64_t room = o.max_tokens > 0 ? o.max_tokens
                         : longest > 0    ? std::min(longest, kDefaultTokens)
                                          : kDefaultTokens;
    auto session = std::make_unique<nbl_session>();
    session->runtime = model->runtime;
    session->model = model->model;
    NBL_ASSIGN(session->session, nbl::model::Session::create(model->model, model->runtime->team, room));
    *out_session = session.release();
    return {};
  });
}

void nbl_session_destroy(nbl_session* session) { delete session; }

int64_t nbl_session_position(const nbl_session* session) {
  return session == nullptr ? 0 : session->session->position();
}
int64_t nbl_session_capacity(const nbl_session* session) {
  return session == nullptr ? 0 : session->session->capacity();
}

nbl_status nbl_session_append(nbl_session* session, const int32_t* ids, int64_t count, int32_t want,
                              const float** out_logits, int64_t* out_rows) {
  if (out_logits != nullptr) *out_logits = nullptr;
  if (out_rows != nullptr) *out_rows = 0;
  return guard([&]() -> Status {
    NBL_TRY(require(session, "session"));
    NBL_TRY(check_ids(ids, count));
    if (want < NBL_LOGITS_NONE || want > NBL_LOGITS_ALL) {
      return {Code::invalid_argument, fmt::format("want is {}; NBL_LOGITS_NONE, LAST or ALL was expected", want)};
    }
    if (want != NBL_LOGITS_NONE) {
      NBL_TRY(require(out_logits, "out_logits"));
      NBL_TRY(require(out_rows, "out_rows"));
    }
    BusyLock lock(session->busy);
    NBL_TRY(lock.status("session"));
    using Logits = nbl::model::Session::Logits;
    const Logits logits = want == NBL_LOGITS_ALL ? Logits::all : want == NBL_LOGITS_LAST ? Logits::last : Logits::none;
    NBL_ASSIGN(const auto rows, session->session->append({ids, static_cast<std::size_t>(count)}, logits));
    if (want != NBL_LOGITS_NONE) {
      *out_logits = rows.data();
      *out_rows = static_cast<int64_t>(rows.size()) / session->model->config().vocab;
    }
    return {};
  });
}

nbl_status nbl_session_truncate(nbl_session* session, int64_t position) {
  return guard([&]() -> Status {
    NBL_TRY(require(session, "session"));
    BusyLock lock(session->busy);
    NBL_TRY(lock.status("session"));
    return session->session->truncate(position);
  });
}

nbl_status nbl_session_generate(nbl_session* session, const int32_t* prompt, int64_t count,
                                const nbl_generate_options* options, nbl_buffer** out_result) {
  if (out_result != nullptr) *out_result = nullptr;
  return guard([&]() -> Status {
    NBL_TRY(require(session, "session"));
    NBL_TRY(check_ids(prompt, count));
    nbl_generate_options o = NBL_GENERATE_OPTIONS_INIT;
    NBL_TRY(read_options(options, sizeof(nbl_generate_options), "nbl_generate_options", &o));
    // Written so that NaN is refused too.
    if (!(o.temperature >= 0) || !(o.top_p >= 0 && o.top_p <= 1) || o.top_k < 0 || o.max_new_tokens < 0) {
      return {
          Code::invalid_argument,
          fmt::format("temperature {}, top_p {}, top_k {}, max_new_tokens {}: none may be negative, nor top_p above 1",
                      o.temperature, o.top_p, o.top_k, o.max_new_tokens)};
    }
    BusyLock lock(session->busy);
    NBL_TRY(lock.status("session"));
    Json result;
    NBL_TRY(generate(session, prompt, count, o, &result));
    if (out_result != nullptr) *out_result = make_json_buffer(result);
    return {};
  });
}

}  // extern "C"

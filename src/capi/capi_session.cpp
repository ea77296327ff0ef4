// Sessions: stepping and generating.
#include <fmt/format.h>

#include <algorithm>

#include "capi/handles.h"
#include "eval/speed_report.h"
#include "model/drafting.h"
#include "model/generation.h"
#include "model/session_file.h"

namespace nbl::capi {
namespace {

constexpr int64_t kDefaultTokens = 4096;

Status check_ids(const int32_t* ids, int64_t count) {
  if (count < 0) return {Code::invalid_argument, fmt::format("count is {}; it cannot be negative", count)};
  if (count > 0) return require(ids, "ids");
  return {};
}

Json logprob_json(const model::PositionLogprobs& p, const text::Tokenizer* tokenizer) {
  const auto one = [&](const model::TokenLogprob& t) {
    Json o = Json::object({{"id", static_cast<int64_t>(t.id)}});
    if (tokenizer != nullptr) {
      auto text = tokenizer->decode({&t.id, 1}, false);
      o.set("token", text.ok() ? Json(std::move(text).value()) : Json());
    }
    o.set("logprob", static_cast<double>(t.logprob));
    return o;
  };
  Json o = one(p.chosen);
  Json top = Json::array();
  for (const model::TokenLogprob& t : p.top) top.push_back(one(t));
  o.set("top", std::move(top));
  return o;
}

Json logprobs_json(std::span<const model::PositionLogprobs> all, const text::Tokenizer* tokenizer) {
  Json list = Json::array();
  for (const model::PositionLogprobs& p : all) list.push_back(logprob_json(p, tokenizer));
  return list;
}

/// Adds "text", "token_ids", "finish_reason" and what goes with them.
void add_sample(Json& j, const model::Generated& g, const model::GenerateOptions& options,
                const text::Tokenizer* tokenizer) {
  j.set("text", tokenizer == nullptr ? Json() : Json(g.text));
  Json ids = Json::array();
  for (const text::TokenId id : g.ids) ids.push_back(static_cast<int64_t>(id));
  j.set("token_ids", std::move(ids));
  j.set("finish_reason", g.finish_reason);
  if (!g.stop.empty()) j.set("stop", g.stop);
  if (options.beams > 1) j.set("score", g.score);
  if (options.logprobs >= 0) j.set("logprobs", logprobs_json(g.logprobs, tokenizer));
}

Status generate(nbl_session* s, const int32_t* prompt, int64_t count, const nbl_generate_options& o, Json* out) {
  NBL_ASSIGN(model::GenerateOptions options, model::make_generate_options(s->settings, *s->model, s->grammar));
  if (o.max_new_tokens > 0) options.max_new_tokens = o.max_new_tokens;
  if (o.temperature > 0) options.sampling.temperature = o.temperature;
  if (o.top_k > 0) options.sampling.top_k = o.top_k;
  if (o.top_p > 0) options.sampling.top_p = o.top_p;
  if (o.seed != 0) options.sampling.seed = o.seed;
  if (o.ignore_eos != 0) options.stop_at_eos = false;
  options.draft = s->draft.get();
  options.on_event = [&](const model::TokenEvent& e) -> bool {
    if (o.on_token == nullptr) return true;
    if (e.sample > 0) return o.on_token(o.on_token_user, model::TokenEvent::kAlive, "", 0) == 0;
    return o.on_token(o.on_token_user, e.id, e.text.empty() ? "" : e.text.data(), e.text.size()) == 0;
  };
  model::SessionProfile profile;
  if (options.profile) s->session->set_profile(&profile);
  const auto generated = model::generate(*s->session, {prompt, static_cast<std::size_t>(count)}, options);
  s->session->set_profile(nullptr);
  if (!generated.ok()) return generated.status();
  const model::GenerateResult& r = *generated;

  const auto rate = [](std::size_t tokens, double seconds) {
    return seconds > 0 ? static_cast<double>(tokens) / seconds : 0.0;
  };
  const text::Tokenizer* tokenizer = s->model->tokenizer();
  Json j = result_header(*s->runtime);
  j.set("prompt_tokens", count);
  add_sample(j, r.samples[0], options, tokenizer);
  std::size_t decoded = 0;  // the first token of each sample comes out of the prefill
  for (const model::Generated& g : r.samples) decoded += g.ids.empty() ? 0 : g.ids.size() - 1;
  j.set("prefill_tok_s", rate(static_cast<std::size_t>(count), r.prefill_seconds));
  j.set("decode_tok_s", rate(decoded, r.decode_seconds));
  j.set("prefill_seconds", r.prefill_seconds);
  j.set("decode_seconds", r.decode_seconds);
  if (options.prompt_logprobs >= 0) j.set("prompt_logprobs", logprobs_json(r.prompt_logprobs, tokenizer));
  if (r.samples.size() > 1 || options.samples > 1 || options.beams > 1) {
    Json samples = Json::array();
    for (const model::Generated& g : r.samples) {
      Json one = Json::object();
      add_sample(one, g, options, tokenizer);
      samples.push_back(std::move(one));
    }
    j.set("samples", std::move(samples));
  }
  if (options.draft != nullptr || options.prompt_lookup > 0) {
    j.set("drafted_tokens", r.drafted);
    j.set("accepted_tokens", r.accepted);
  }
  if (options.profile) j.set("profile", eval::profile_json(profile));
  *out = std::move(j);
  return {};
}

Status set_kv_type(nbl_session* s, const std::string& value) {
  static constexpr std::pair<std::string_view, model::KvType> kTypes[] = {{"auto", model::KvType::automatic},
                                                                          {"f32", model::KvType::f32},
                                                                          {"f16", model::KvType::f16},
                                                                          {"bf16", model::KvType::bf16},
                                                                          {"q8", model::KvType::q8},
                                                                          {"q4", model::KvType::q4}};
  std::string known;
  for (const auto& [name, type] : kTypes) {
    known += (known.empty() ? "" : ", ") + std::string(name);
    if (name != value) continue;
    if (s->session->position() > 0)
      return {Code::invalid_argument, "kv_type can only be set while the session is empty: truncate it to 0 first"};
    model::SessionOptions options;
    options.max_tokens = s->session->capacity();
    options.kv_type = type;
    s->session.reset();  // the two caches need not fit the memory together
    auto made = model::Session::create(s->model, s->runtime->team, options);
    if (!made.ok()) {
      options.kv_type = model::KvType::automatic;
      NBL_ASSIGN(s->session, model::Session::create(s->model, s->runtime->team, options));
      return made.status();
    }
    s->session = std::move(made).value();
    return {};
  }
  return {Code::invalid_argument, fmt::format("generation.kv_type is \"{}\", expected one of {}", value, known)};
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
  return guard(model, [&]() -> Status {
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
  return guard(session, [&]() -> Status {
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
  return guard(session, [&]() -> Status {
    NBL_TRY(require(session, "session"));
    BusyLock lock(session->busy);
    NBL_TRY(lock.status("session"));
    return session->session->truncate(position);
  });
}

nbl_status nbl_session_tokens(nbl_session* session, nbl_buffer** out_ids) {
  if (out_ids != nullptr) *out_ids = nullptr;
  return guard(session, [&]() -> Status {
    NBL_TRY(require(session, "session"));
    NBL_TRY(require(out_ids, "out_ids"));
    BusyLock lock(session->busy);
    NBL_TRY(lock.status("session"));
    const auto tokens = session->session->tokens();
    *out_ids = make_buffer(tokens.data(), tokens.size_bytes());
    return {};
  });
}

nbl_status nbl_session_set(nbl_session* session, const char* name, const char* value) {
  return guard(session, [&]() -> Status {
    NBL_TRY(require(session, "session"));
    NBL_TRY(require(name, "name"));
    NBL_TRY(require(value, "value"));
    BusyLock lock(session->busy);
    NBL_TRY(lock.status("session"));
    if (std::string_view(name) == "kv_type") return set_kv_type(session, value);
    return nbl::model::set_generation_setting(session->settings, name, value);
  });
}

nbl_status nbl_session_set_draft(nbl_session* session, nbl_model* draft) {
  return guard(session, [&]() -> Status {
    NBL_TRY(require(session, "session"));
    BusyLock lock(session->busy);
    NBL_TRY(lock.status("session"));
    session->draft.reset();
    if (draft == nullptr) return {};
    NBL_ASSIGN(auto drafting, nbl::model::Session::create(draft->model, session->runtime->team, session->session->capacity()));
    nbl::model::GenerateOptions options;
    options.draft = drafting.get();
    NBL_TRY(nbl::model::check_draft(*session->session, options));
    session->draft = std::move(drafting);
    return {};
  });
}

nbl_status nbl_batch_create(nbl_model* model, int64_t max_sessions, nbl_batch** out_batch) {
  if (out_batch != nullptr) *out_batch = nullptr;
  return guard(model, [&]() -> Status {
    NBL_TRY(require(model, "model"));
    NBL_TRY(require(out_batch, "out_batch"));
    auto batch = std::make_unique<nbl_batch>();
    batch->runtime = model->runtime;
    batch->model = model->model;
    NBL_ASSIGN(batch->batch, nbl::model::Batch::create(model->model, model->runtime->team, max_sessions));
    *out_batch = batch.release();
    return {};
  });
}

void nbl_batch_destroy(nbl_batch* batch) { delete batch; }

nbl_status nbl_batch_step(nbl_batch* batch, nbl_session* const* sessions, const int32_t* tokens, int64_t count,
                          const float** out_logits) {
  if (out_logits != nullptr) *out_logits = nullptr;
  return guard(batch, [&]() -> Status {
    NBL_TRY(require(batch, "batch"));
    NBL_TRY(require(out_logits, "out_logits"));
    NBL_TRY(check_ids(tokens, count));
    if (count > 0) NBL_TRY(require(sessions, "sessions"));
    BusyLock lock(batch->busy);
    NBL_TRY(lock.status("batch"));
    std::vector<nbl::model::Session*> all;
    std::vector<std::unique_ptr<BusyLock>> locks;
    for (int64_t i = 0; i < count; ++i) {
      NBL_TRY(require(sessions[i], "a session of the batch"));
      if (std::find(sessions, sessions + i, sessions[i]) != sessions + i) {
        return {Code::invalid_argument, fmt::format("session {} is in the batch twice", i)};
      }
      locks.push_back(std::make_unique<BusyLock>(sessions[i]->busy));
      NBL_TRY(locks.back()->status("session"));
      all.push_back(sessions[i]->session.get());
    }
    NBL_ASSIGN(const auto logits, batch->batch->step(all, {tokens, static_cast<std::size_t>(count)}));
    *out_logits = logits.data();
    return {};
  });
}

nbl_status nbl_session_save(nbl_session* session, const char* path) {
  return guard(session, [&]() -> Status {
    NBL_TRY(require(session, "session"));
    NBL_TRY(require(path, "path"));
    BusyLock lock(session->busy);
    NBL_TRY(lock.status("session"));
    return nbl::model::save_session(*session->session, path);
  });
}

nbl_status nbl_session_load(nbl_session* session, const char* path) {
  return guard(session, [&]() -> Status {
    NBL_TRY(require(session, "session"));
    NBL_TRY(require(path, "path"));
    BusyLock lock(session->busy);
    NBL_TRY(lock.status("session"));
    return nbl::model::load_session(*session->session, path);
  });
}

nbl_status nbl_session_generate(nbl_session* session, const int32_t* prompt, int64_t count,
                                const nbl_generate_options* options, nbl_buffer** out_result) {
  if (out_result != nullptr) *out_result = nullptr;
  return guard(session, [&]() -> Status {
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

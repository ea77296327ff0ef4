// Models and tokenizers.
#include <fmt/format.h>

#include <chrono>

#include "capi/handles.h"

namespace nbl::capi {
namespace {

Status load(const RuntimePtr& runtime, const std::shared_ptr<const Checkpoint>& checkpoint, const nbl_model_options* given, nbl_model** out) {
  nbl_model_options o = NBL_MODEL_OPTIONS_INIT;
  NBL_TRY(read_options(given, sizeof(nbl_model_options), "nbl_model_options", &o));
  NBL_TRY(check_compute(o.compute));
  Monitor monitor(runtime, o.progress, o.progress_user);
  const auto start = std::chrono::steady_clock::now();
  model::ModelOptions options;
  options.compute = runtime->compute(o.compute);
  auto loaded = model::Model::load(*checkpoint, options, runtime->team, monitor.fn());
  NBL_TRY(monitor.outcome(loaded.status()));
  auto model = std::make_unique<nbl_model>();
  model->runtime = runtime;
  model->model = std::move(loaded).value();
  model->checkpoint = checkpoint;
  if (const Status& status = model->model->tokenizer_status(); !status.ok() && status.code() != Code::not_found) {
    runtime->warn(status.message());
  }
  model->load_seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  *out = model.release();
  return {};
}

Json token_or_null(const std::optional<text::TokenId>& id) { return id ? Json(static_cast<int64_t>(*id)) : Json(); }

}  // namespace
}  // namespace nbl::capi

using nbl::Code;
using nbl::Json;
using nbl::Status;
using namespace nbl::capi;

extern "C" {

nbl_status nbl_model_load(nbl_checkpoint* checkpoint, const nbl_model_options* options, nbl_model** out_model) {
  if (out_model != nullptr) *out_model = nullptr;
  return guard([&]() -> Status {
    NBL_TRY(require(checkpoint, "checkpoint"));
    NBL_TRY(require(out_model, "out_model"));
    return load(checkpoint->runtime, checkpoint->checkpoint, options, out_model);
  });
}

nbl_status nbl_model_open(nbl_runtime* runtime, const char* path, const nbl_model_options* options,
                          nbl_model** out_model) {
  if (out_model != nullptr) *out_model = nullptr;
  return guard([&]() -> Status {
    NBL_TRY(require(runtime, "runtime"));
    NBL_TRY(require(path, "path"));
    NBL_TRY(require(out_model, "out_model"));
    NBL_ASSIGN(const std::shared_ptr<const nbl::Checkpoint> checkpoint, nbl::pipeline::open_checkpoint(path));
    for (const std::string& warning : checkpoint->warnings()) runtime->state->warn(warning);
    return load(runtime->state, checkpoint, options, out_model);
  });
}

void nbl_model_destroy(nbl_model* model) { delete model; }

int64_t nbl_model_vocab_size(const nbl_model* model) { return model == nullptr ? 0 : model->model->config().vocab; }
int64_t nbl_model_max_positions(const nbl_model* model) {
  return model == nullptr ? 0 : model->model->config().max_positions;
}

nbl_status nbl_model_info(nbl_model* model, nbl_buffer** out_json) {
  if (out_json != nullptr) *out_json = nullptr;
  return guard([&]() -> Status {
    NBL_TRY(require(model, "model"));
    NBL_TRY(require(out_json, "out_json"));
    const nbl::model::Model& m = *model->model;
    const nbl::model::Config& c = m.config();
    Json j = result_header(*model->runtime);
    j.set("architecture", c.architecture);
    j.set("parameters", m.parameters());
    j.set("weight_bytes", m.weight_bytes());
    j.set("vocab_size", c.vocab);
    j.set("hidden_size", c.hidden);
    j.set("layers", c.layers);
    j.set("heads", c.heads);
    j.set("kv_heads", c.kv_heads);
    j.set("head_dim", c.head_dim);
    j.set("ffn_size", c.ffn);
    j.set("max_positions", c.max_positions);
    j.set("has_tokenizer", m.tokenizer() != nullptr);
    j.set("compute", compute_name(m.compute().compute));
    j.set("isa", nbl::isa_name(m.compute().isa));
    j.set("load_ms", model->load_seconds * 1e3);
    *out_json = make_json_buffer(j);
    return {};
  });
}

nbl_status nbl_tokenizer_from_checkpoint(nbl_checkpoint* checkpoint, nbl_tokenizer** out_tokenizer) {
  if (out_tokenizer != nullptr) *out_tokenizer = nullptr;
  return guard([&]() -> Status {
    NBL_TRY(require(checkpoint, "checkpoint"));
    NBL_TRY(require(out_tokenizer, "out_tokenizer"));
    NBL_ASSIGN(auto tokenizer, nbl::pipeline::load_tokenizer(*checkpoint->checkpoint));
    *out_tokenizer = new nbl_tokenizer{std::move(tokenizer)};
    return {};
  });
}

nbl_status nbl_tokenizer_from_model(nbl_model* model, nbl_tokenizer** out_tokenizer) {
  if (out_tokenizer != nullptr) *out_tokenizer = nullptr;
  return guard([&]() -> Status {
    NBL_TRY(require(model, "model"));
    NBL_TRY(require(out_tokenizer, "out_tokenizer"));
    const nbl::text::Tokenizer* tokenizer = model->model->tokenizer();
    if (tokenizer == nullptr) return model->model->tokenizer_status();
    // Shares the model's ownership: the tokenizer lives in it.
    *out_tokenizer = new nbl_tokenizer{std::shared_ptr<const nbl::text::Tokenizer>(model->model, tokenizer)};
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
    *out_json = make_json_buffer(j);
    return {};
  });
}

}  // extern "C"

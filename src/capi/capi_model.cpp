// Models.
#include <fmt/format.h>

#include <chrono>

#include "capi/handles.h"
#include "model/lora.h"
#include "text/assets.h"

namespace nbl::capi {
namespace {

Status load(const RuntimePtr& runtime, const std::shared_ptr<const Checkpoint>& checkpoint,
            const nbl_model_options* given, nbl_model** out) {
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
  // A model whose template cannot be read is as good as one without.
  if (auto chat = text::load_chat_templates(text::assets_of(*checkpoint), model->model->tokenizer()); chat.ok()) {
    model->chat = std::move(*chat);
  } else {
    runtime->warn(chat.status().message());
  }
  model->load_seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  *out = model.release();
  return {};
}

}  // namespace
}  // namespace nbl::capi

using nbl::Json;
using nbl::Status;
using namespace nbl::capi;

extern "C" {

nbl_status nbl_model_load(nbl_checkpoint* checkpoint, const nbl_model_options* options, nbl_model** out_model) {
  if (out_model != nullptr) *out_model = nullptr;
  return guard(checkpoint, [&]() -> Status {
    NBL_TRY(require(checkpoint, "checkpoint"));
    NBL_TRY(require(out_model, "out_model"));
    return load(checkpoint->runtime, checkpoint->checkpoint, options, out_model);
  });
}

nbl_status nbl_model_open(nbl_runtime* runtime, const char* path, const nbl_model_options* options,
                          nbl_model** out_model) {
  if (out_model != nullptr) *out_model = nullptr;
  return guard(runtime, [&]() -> Status {
    NBL_TRY(require(runtime, "runtime"));
    NBL_TRY(require(path, "path"));
    NBL_TRY(require(out_model, "out_model"));
    NBL_ASSIGN(const std::shared_ptr<const nbl::Checkpoint> checkpoint, nbl::pipeline::open_checkpoint(path));
    for (const std::string& warning : checkpoint->warnings()) runtime->state->warn(warning);
    return load(runtime->state, checkpoint, options, out_model);
  });
}

nbl_status nbl_model_add_adapter(nbl_model* model, const char* path, float scale, nbl_model** out_model) {
  if (out_model != nullptr) *out_model = nullptr;
  return guard(model, [&]() -> Status {
    NBL_TRY(require(model, "model"));
    NBL_TRY(require(path, "path"));
    NBL_TRY(require(out_model, "out_model"));
    NBL_ASSIGN(auto adapter, nbl::model::load_lora(path, scale));
    auto adapted = std::make_unique<nbl_model>();
    adapted->runtime = model->runtime;
    adapted->load_seconds = model->load_seconds;
    adapted->chat = model->chat;
    NBL_ASSIGN(adapted->model, nbl::model::Model::with_adapter(model->model, std::move(adapter)));
    *out_model = adapted.release();
    return {};
  });
}

void nbl_model_destroy(nbl_model* model) { delete model; }

int64_t nbl_model_vocab_size(const nbl_model* model) { return model == nullptr ? 0 : model->model->config().vocab; }
int64_t nbl_model_max_positions(const nbl_model* model) {
  return model == nullptr ? 0 : model->model->config().max_positions;
}

nbl_status nbl_model_info(nbl_model* model, nbl_buffer** out_json) {
  if (out_json != nullptr) *out_json = nullptr;
  return guard(model, [&]() -> Status {
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

}  // extern "C"

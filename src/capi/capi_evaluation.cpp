// Evaluations: collect models, text and tasks, then measure.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "capi/catalog.h"
#include "capi/evaluation_tasks.h"
#include "eval/evaluate.h"
#include "eval/own_task.h"
#include "eval/speed_report.h"
#include "capi/handles.h"

namespace nbl::capi {
namespace {

using quant::Options;

eval::Protocol protocol_of(const Options& settings) {
  eval::Protocol protocol;
  protocol.name = settings.text("protocol");
  protocol.max_windows = settings.integer("windows");
  return protocol;
}

Status need_text(const nbl_evaluation& e, const char* what) {
  if (e.has_text && !e.text.empty()) return {};
  return {Code::invalid_argument, e.has_text ? fmt::format("{}: the text {} is empty", what, e.text_source)
                                             : fmt::format("{} needs a text: nbl_evaluation_set_text", what)};
}

/// Adds the members of `from` behind those of `to`.
void append(Json* to, const Json& from) {
  for (const auto& [name, value] : from.members()) to->set(name, value);
}

Status perplexity(nbl_evaluation* e, Json* out) {
  NBL_TRY(need_models(*e, 1, "perplexity"));
  NBL_TRY(need_text(*e, "perplexity"));
  NBL_ASSIGN(const Options settings, settings_of(*e));
  Monitor monitor(e->runtime, e->progress, e->progress_user);
  const auto result = eval::perplexity(e->models[0], e->runtime->team, e->text, protocol_of(settings), monitor.fn());
  NBL_TRY(monitor.outcome(result.status()));
  Json j = result_header(*e->runtime);
  j.set("model", e->names[0]);
  j.set("text", e->text_source);
  append(&j, eval::to_json(*result));
  *out = std::move(j);
  return {};
}

Status compare(nbl_evaluation* e, Json* out) {
  NBL_TRY(need_models(*e, 2, "a comparison"));
  NBL_TRY(need_text(*e, "a comparison"));
  NBL_ASSIGN(const Options settings, settings_of(*e));
  Monitor monitor(e->runtime, e->progress, e->progress_user);
  const std::span models(e->models);
  const std::span names(e->names);
  auto rows = eval::compare(models[0], models.subspan(1), names.subspan(1), e->runtime->team, e->text,
                                  protocol_of(settings), monitor.fn());
  NBL_TRY(monitor.outcome(rows.status()));
  for (std::size_t c = 0; settings.boolean("layers") && c < rows->size(); ++c) {
    auto layers = eval::compare_layers(*e->checkpoints[0], *e->checkpoints[c + 1], e->models[0], e->runtime->team, e->text,
                                       protocol_of(settings), monitor.fn());
    NBL_TRY(monitor.outcome(layers.status()));
    (*rows)[c].layers = std::move(layers).value();
  }
  Json j = result_header(*e->runtime);
  j.set("reference", e->names[0]);
  j.set("text", e->text_source);
  j.set("protocol", settings.text("protocol"));
  Json list = Json::array();
  for (const eval::Comparison& row : rows.value()) {
    list.push_back(eval::to_json(row));
  }
  j.set("candidates", std::move(list));
  *out = std::move(j);
  return {};
}

Status read_ids(const Json& list, const std::string& where, std::vector<text::TokenId>* out) {
  if (!list.is_array()) return {Code::corrupt, where + " is no array of token ids"};
  for (const Json& id : list.elements()) {
    if (!id.is_int() || id.as_int() < 0 || id.as_int() > INT32_MAX)
      return {Code::corrupt, where + " holds something that is no token id"};
    out->push_back(static_cast<text::TokenId>(id.as_int()));
  }
  return {};
}

/// One line of requests.
Result<eval::ScoreRequest> read_request(std::string_view line, int64_t number, const text::Tokenizer* tokenizer) {
  const std::string where = fmt::format("request {}", number);
  NBL_ASSIGN(const Json j, Json::parse(line, where));
  const Json* continuation_ids = j.find_value("continuation_ids");
  if (continuation_ids != nullptr) {
    eval::ScoreRequest request;
    const Json* context_ids = j.find_value("context_ids");
    if (context_ids != nullptr) NBL_TRY(read_ids(*context_ids, where + ": context_ids", &request.context));
    NBL_TRY(read_ids(*continuation_ids, where + ": continuation_ids", &request.continuation));
    return request;
  }
  if (tokenizer == nullptr) {
    return Status(Code::invalid_argument,
                  where + " has no continuation_ids, and the model carries no tokenizer for its text");
  }
  auto context = j.string_or("context", "");
  if (!context.ok()) return context.status().with_context(where);
  auto continuation = j.get_string("continuation");
  if (!continuation.ok()) return continuation.status().with_context(where);
  auto request = eval::encode_pair(*tokenizer, *context, *continuation);
  if (!request.ok()) return request.status().with_context(where);
  return request;
}

Json ids_json(const std::vector<text::TokenId>& ids) {
  Json j = Json::array();
  for (const text::TokenId id : ids) j.push_back(static_cast<int64_t>(id));
  return j;
}

Status score(nbl_evaluation* e, std::string_view lines, Json* out) {
  NBL_TRY(need_models(*e, 1, "scoring"));
  const text::Tokenizer* tokenizer = e->models[0]->tokenizer();
  std::vector<eval::ScoreRequest> requests;
  int64_t number = 0;
  while (!lines.empty()) {
    const std::size_t end = lines.find('\n');
    const std::string_view line = lines.substr(0, end);
    lines = end == std::string_view::npos ? std::string_view() : lines.substr(end + 1);
    ++number;
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    NBL_ASSIGN(eval::ScoreRequest request, read_request(line, number, tokenizer));
    requests.push_back(std::move(request));
  }
  Monitor monitor(e->runtime, e->progress, e->progress_user);
  const auto results = eval::score(e->models[0], e->runtime->team, requests, monitor.fn());
  NBL_TRY(monitor.outcome(results.status()));
  Json list = Json::array();
  for (std::size_t i = 0; i < results->size(); ++i) {
    const eval::ScoreResult& r = (*results)[i];
    Json o = Json::object();
    o.set("logprob", r.logprob);
    o.set("is_greedy", r.is_greedy);
    o.set("truncated", r.truncated);
    o.set("tokens", static_cast<int64_t>(r.token_logprobs.size()));
    Json each = Json::array();
    for (const double l : r.token_logprobs) each.push_back(l);
    o.set("token_logprobs", std::move(each));
    o.set("context_ids", ids_json(requests[i].context));
    o.set("continuation_ids", ids_json(requests[i].continuation));
    list.push_back(std::move(o));
  }
  Json j = result_header(*e->runtime);
  j.set("model", e->names[0]);
  j.set("results", std::move(list));
  *out = std::move(j);
  return {};
}

/// "1,8,64", each between least and most.
Result<std::vector<int64_t>> numbers_of(const Options& settings, std::string_view key, int64_t least, int64_t most) {
  std::vector<int64_t> numbers;
  const std::string& text = settings.text(key);
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find(',', at), text.size());
    int64_t value = 0;
    const auto [stop, error] = std::from_chars(text.data() + at, text.data() + end, value);
    if (error != std::errc() || stop != text.data() + end || value < least || value > most)
      return Status(Code::invalid_argument, fmt::format("{}: found \"{}\", expected numbers from {} to {} with commas between", key,
                                                        text.substr(at, end - at), least, most));
    numbers.push_back(value);
    at = end + 1;
  }
  return numbers;
}

Status speed(nbl_evaluation* e, Json* out) {
  NBL_TRY(need_models(*e, 1, "measuring speed"));
  NBL_ASSIGN(const Options settings, settings_of(*e));
  eval::SpeedRequest request;
  eval::BenchOptions& options = request.options;
  options.prompt = settings.integer("speed.prompt");
  options.gen = settings.integer("speed.gen");
  options.depth = settings.integer("speed.depth");
  options.reps = settings.integer("speed.reps");
  request.batch = settings.integer("speed.batch");
  request.profile = settings.boolean("speed.profile");
  request.bandwidth = settings.boolean("speed.bandwidth");
  request.powercap = settings.text("speed.powercap");
  NBL_ASSIGN(request.contexts, numbers_of(settings, "speed.contexts", 0, 1000000));
  NBL_ASSIGN(request.batches, numbers_of(settings, "speed.batches", 1, 4096));
  Monitor monitor(e->runtime, e->progress, e->progress_user);
  auto result = eval::report_speed(e->models[0], e->runtime->team, request, monitor.fn());
  NBL_TRY(monitor.outcome(result.status()));
  Json j = result_header(*e->runtime);
  j.set("model", e->names[0]);
  j.set("prompt", options.prompt);
  j.set("gen", options.gen);
  j.set("depth", options.depth);
  j.set("reps", options.reps);
  append(&j, *result);
  *out = std::move(j);
  return {};
}

/// What every measuring function does around its work.
template <class Work>
nbl_status measure(nbl_evaluation* evaluation, nbl_buffer** out_json, Work&& work) {
  if (out_json != nullptr) *out_json = nullptr;
  return guard(evaluation, [&]() -> Status {
    NBL_TRY(require(evaluation, "evaluation"));
    NBL_TRY(require(out_json, "out_json"));
    BusyLock lock(evaluation->busy);
    NBL_TRY(lock.status("evaluation"));
    Json result;
    NBL_TRY(work(&result));
    *out_json = make_json_buffer(result);
    return {};
  });
}

template <class Work>
nbl_status change(nbl_evaluation* evaluation, Work&& work) {
  return guard(evaluation, [&]() -> Status {
    NBL_TRY(require(evaluation, "evaluation"));
    BusyLock lock(evaluation->busy);
    NBL_TRY(lock.status("evaluation"));
    return work();
  });
}

}  // namespace
}  // namespace nbl::capi

using nbl::Code;
using nbl::Json;
using nbl::Status;
using namespace nbl::capi;

extern "C" {

nbl_status nbl_evaluation_create(nbl_runtime* runtime, nbl_evaluation** out_evaluation) {
  if (out_evaluation != nullptr) *out_evaluation = nullptr;
  return guard(runtime, [&]() -> Status {
    NBL_TRY(require(runtime, "runtime"));
    NBL_TRY(require(out_evaluation, "out_evaluation"));
    auto e = std::make_unique<nbl_evaluation>();
    e->runtime = runtime->state;
    *out_evaluation = e.release();
    return {};
  });
}

void nbl_evaluation_destroy(nbl_evaluation* evaluation) { delete evaluation; }

nbl_status nbl_evaluation_set(nbl_evaluation* evaluation, const char* name, const char* value) {
  return change(evaluation, [&]() -> Status {
    NBL_TRY(require(name, "name"));
    NBL_TRY(require(value, "value"));
    auto settings = evaluation->settings;
    settings[name] = value;
    NBL_ASSIGN(const auto checked, nbl::quant::Options::create(evaluation_settings(), settings, "evaluation"));
    (void)checked;
    evaluation->settings = std::move(settings);
    return {};
  });
}

nbl_status nbl_evaluation_add_model(nbl_evaluation* evaluation, nbl_model* model, const char* name) {
  return change(evaluation, [&]() -> Status {
    NBL_TRY(require(model, "model"));
    if (model->runtime != evaluation->runtime) {
      return {Code::invalid_argument, "the model belongs to another runtime than the evaluation"};
    }
    evaluation->models.push_back(model->model);
    evaluation->checkpoints.push_back(model->checkpoint);
    evaluation->names.push_back(name != nullptr ? name : fmt::format("model {}", evaluation->models.size()));
    return {};
  });
}

nbl_status nbl_evaluation_set_text(nbl_evaluation* evaluation, const char* text, size_t size, const char* source) {
  return change(evaluation, [&]() -> Status {
    NBL_TRY(require(text, "text"));
    evaluation->text.assign(text, size);
    evaluation->text_source = source == nullptr ? "memory" : source;
    evaluation->has_text = true;
    return {};
  });
}

nbl_status nbl_evaluation_add_task(nbl_evaluation* evaluation, const char* name, const char* jsonl, size_t size) {
  return change(evaluation, [&]() -> Status {
    NBL_TRY(require(name, "name"));
    NBL_TRY(require(jsonl, "jsonl"));
    for (const nbl::eval::Task& other : evaluation->tasks) {
      if (other.id == name) return {Code::invalid_argument, fmt::format("a task named {} has been added already", name)};
    }
    NBL_ASSIGN(const auto documents, nbl::eval::parse_choice_jsonl({jsonl, size}, name));
    if (documents.empty()) return {Code::corrupt, fmt::format("task {} has no questions", name)};
    evaluation->tasks.push_back(nbl::eval::choice_task(name, documents));
    return {};
  });
}

nbl_status nbl_evaluation_add_task_definition(nbl_evaluation* evaluation, const char* definition, size_t size,
                                              const char* source) {
  return change(evaluation, [&]() -> Status {
    NBL_TRY(require(definition, "definition"));
    NBL_ASSIGN(nbl::eval::Task task,
               nbl::eval::parse_task({definition, size}, source == nullptr ? "the task definition" : source));
    for (const nbl::eval::Task& other : evaluation->tasks) {
      if (other.id == task.id) return {Code::invalid_argument, fmt::format("a task named {} has been added already", task.id)};
    }
    evaluation->tasks.push_back(std::move(task));
    return {};
  });
}

nbl_status nbl_evaluation_set_progress(nbl_evaluation* evaluation, nbl_progress_fn progress, void* user) {
  return change(evaluation, [&]() -> Status {
    evaluation->progress = progress;
    evaluation->progress_user = user;
    return {};
  });
}

nbl_status nbl_evaluation_perplexity(nbl_evaluation* evaluation, nbl_buffer** out_json) {
  return measure(evaluation, out_json, [&](Json* out) { return perplexity(evaluation, out); });
}

nbl_status nbl_evaluation_compare(nbl_evaluation* evaluation, nbl_buffer** out_json) {
  return measure(evaluation, out_json, [&](Json* out) { return compare(evaluation, out); });
}

nbl_status nbl_evaluation_tasks(nbl_evaluation* evaluation, nbl_buffer** out_json) {
  return measure(evaluation, out_json, [&](Json* out) { return run_evaluation_tasks(evaluation, out); });
}

nbl_status nbl_evaluation_score(nbl_evaluation* evaluation, const char* requests, size_t size, nbl_buffer** out_json) {
  return measure(evaluation, out_json, [&](Json* out) -> Status {
    if (size > 0) NBL_TRY(require(requests, "requests"));
    return score(evaluation, {requests, size}, out);
  });
}

nbl_status nbl_evaluation_speed(nbl_evaluation* evaluation, nbl_buffer** out_json) {
  return measure(evaluation, out_json, [&](Json* out) { return speed(evaluation, out); });
}

}  // extern "C"

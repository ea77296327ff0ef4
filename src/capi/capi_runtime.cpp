// The runtime: threads, instruction set, memory cap.
#include "base/plain_text.h"
#include "capi/catalog.h"
#include "capi/handles.h"
#include "tensor/limits.h"

namespace nbl::capi {
namespace {

std::string megabytes(int64_t bytes) { return std::to_string(bytes / 1000000) + " MB"; }

}  // namespace

void RuntimeState::warn(const std::string& message) const {
  if (log != nullptr) log(log_user, NBL_LOG_WARNING, plain_text(message).c_str());
}

void RuntimeState::note(const std::string& message) const {
  if (log != nullptr) log(log_user, NBL_LOG_INFO, plain_text(message).c_str());
}

ComputeOptions RuntimeState::compute(int32_t mode) { return compute(mode == NBL_COMPUTE_EXACT ? Compute::exact : Compute::fast); }

ComputeOptions RuntimeState::compute(Compute mode) { return {mode, isa, tune ? &tuner : nullptr}; }

Status check_compute(int32_t mode) {
  if (mode >= NBL_COMPUTE_DEFAULT && mode <= NBL_COMPUTE_FAST) return {};
  return {Code::invalid_argument,
          "compute is " + std::to_string(mode) + "; NBL_COMPUTE_DEFAULT, EXACT or FAST was expected"};
}

const char* compute_name(Compute compute) noexcept { return compute == Compute::exact ? "exact" : "fast"; }

ProgressFn Monitor::fn() {
  if (fn_ == nullptr && runtime_->max_memory_bytes == 0) return {};
  return [this](const ProgressEvent& e) { return event(e); };
}

bool Monitor::event(const ProgressEvent& e) {
  const int64_t memory = current_rss_bytes();
  if (runtime_->max_memory_bytes > 0 && memory > runtime_->max_memory_bytes) {
    over_cap_bytes_ = memory;
    return false;
  }
  if (fn_ == nullptr) return true;
  const nbl_progress p{sizeof(nbl_progress), 0, e.stage.c_str(), e.detail.c_str(), e.done, e.total, memory};
  return fn_(user_, &p) == 0;
}

Status Monitor::outcome(Status status) const {
  if (status.code() == Code::cancelled && over_cap_bytes_ > 0) {
    return {Code::limit, "the job was stopped: the process holds " + megabytes(over_cap_bytes_) +
                             " of memory, and the cap is " + megabytes(runtime_->max_memory_bytes) +
                             "; raise the cap or use a smaller model"};
  }
  return status;
}

Json result_header(const RuntimeState& runtime) {
  Json j = Json::object();
  j.set("nibble_version", nbl_version());
  Json machine = Json::object();
  machine.set("cpu", cpu_model_name());
  machine.set("processors", available_processors());
  machine.set("memory_bytes", physical_memory_bytes());
  machine.set("isa", isa_name(runtime.isa));
  machine.set("threads", runtime.team.size());
  j.set("machine", std::move(machine));
  return j;
}

}  // namespace nbl::capi

using nbl::Code;
using nbl::Json;
using nbl::Status;
using namespace nbl::capi;

extern "C" {

nbl_status nbl_runtime_create(const nbl_runtime_options* options, nbl_runtime** out_runtime) {
  if (out_runtime != nullptr) *out_runtime = nullptr;
  return guard([&]() -> Status {
    NBL_TRY(require(out_runtime, "out_runtime"));
    nbl_runtime_options o = NBL_RUNTIME_OPTIONS_INIT;
    NBL_TRY(read_options(options, offsetof(nbl_runtime_options, allocate), "nbl_runtime_options", &o));
    if (o.threads < 0 || o.threads > 1024) {
      return {Code::invalid_argument,
              "threads is " + std::to_string(o.threads) + "; 0 (all processors) to 1024 was expected"};
    }
    if (o.max_memory_bytes < 0) return {Code::invalid_argument, "max_memory_bytes is negative; 0 means no cap"};
    if ((o.allocate == nullptr) != (o.deallocate == nullptr)) {
      return {Code::invalid_argument, "allocate and deallocate belong together: one of them is NULL"};
    }
    nbl::Isa isa = nbl::best_isa();
    if (o.isa != nullptr && *o.isa != '\0') {
      NBL_ASSIGN(isa, nbl::isa_from_name(o.isa));
      if (!nbl::isa_usable(isa)) {
        std::string usable;
        for (const nbl::Isa each : nbl::usable_isas())
          usable += std::string(usable.empty() ? "" : ", ") + nbl::isa_name(each);
        return {Code::limit, std::string("instruction set ") + o.isa + " is not usable on this processor (" +
                                 nbl::cpu_model_name() + "); usable: " + usable};
      }
    }
    auto runtime = std::make_unique<nbl_runtime>();
    runtime->state = std::make_shared<RuntimeState>(o.threads);
    runtime->state->isa = isa;
    runtime->state->max_memory_bytes = o.max_memory_bytes;
    runtime->state->allocator = {o.allocate, o.deallocate, o.allocator_user};
    runtime->state->log = o.log;
    runtime->state->log_user = o.log_user;
    *out_runtime = runtime.release();
    return {};
  });
}

void nbl_runtime_destroy(nbl_runtime* runtime) { delete runtime; }

nbl_status nbl_runtime_set(nbl_runtime* runtime, const char* name, const char* value) {
  return guard(runtime, [&]() -> Status {
    NBL_TRY(require(runtime, "runtime"));
    NBL_TRY(require(name, "name"));
    NBL_TRY(require(value, "value"));
    NBL_ASSIGN(const auto settings, nbl::quant::Options::create(runtime_settings(), {{name, value}}, "runtime"));
    const std::string_view given(name);
    if (given == "tune") runtime->state->tune = settings.text("tune") == "on";
    if (given == "mmap") runtime->state->mmap = settings.text("mmap") == "on";
    return {};
  });
}

int32_t nbl_runtime_threads(const nbl_runtime* runtime) { return runtime == nullptr ? 0 : runtime->state->team.size(); }

nbl_status nbl_runtime_info(nbl_runtime* runtime, nbl_buffer** out_json) {
  if (out_json != nullptr) *out_json = nullptr;
  return guard(runtime, [&]() -> Status {
    NBL_TRY(require(runtime, "runtime"));
    NBL_TRY(require(out_json, "out_json"));
    const RuntimeState& state = *runtime->state;
    Json j = result_header(state);
    j.set("isa", nbl::isa_name(state.isa));
    Json available = Json::array();
    for (const nbl::Isa isa : nbl::usable_isas()) available.push_back(nbl::isa_name(isa));
    j.set("isa_available", std::move(available));
    j.set("threads", state.team.size());
    j.set("tune", state.tune ? "on" : "off");
    j.set("mmap", state.mmap ? "on" : "off");
    Json tuned = Json::array();
    for (const nbl::KernelTuner::Entry& e : state.tuner.entries()) {
      tuned.push_back(Json::object(
          {{"shape", e.shape}, {"choice", e.choice}, {"us", e.microseconds}, {"default_us", e.default_microseconds}}));
    }
    j.set("tuned", std::move(tuned));
    j.set("methods", methods_catalog());
    j.set("dialects", dialects_catalog());
    j.set("architectures", architectures_catalog());
    j.set("tasks", tasks_catalog());
    j.set("protocols", protocols_catalog());
    Json limits = Json::object();
    limits.set("physical_memory_bytes", nbl::physical_memory_bytes());
    limits.set("last_level_cache_bytes", nbl::last_level_cache_bytes());
    limits.set("max_memory_bytes", state.max_memory_bytes);
    j.set("limits", std::move(limits));
    *out_json = make_json_buffer(j);
    return {};
  });
}

nbl_status nbl_runtime_measure_limits(nbl_runtime* runtime, nbl_buffer** out_json) {
  if (out_json != nullptr) *out_json = nullptr;
  return guard(runtime, [&]() -> Status {
    NBL_TRY(require(runtime, "runtime"));
    NBL_TRY(require(out_json, "out_json"));
    NBL_ASSIGN(const nbl::MachineLimits limits, nbl::measure_limits(runtime->state->team));
    const auto measured = [](const nbl::Measured& m) {
      return m.one > 0 ? Json::object({{"one", m.one}, {"team", m.team}}) : Json();
    };
    Json j = result_header(*runtime->state);
    j.set("threads", limits.threads);
    j.set("dram_read", measured(limits.dram));
    j.set("l2_read", measured(limits.l2));
    j.set("f32_fma", measured(limits.f32_fma));
    j.set("int8_dot", measured(limits.int8_dot));
    j.set("bf16_dot", measured(limits.bf16_dot));
    j.set("amx_int8", measured(limits.amx_int8));
    j.set("amx_bf16", measured(limits.amx_bf16));
    j.set("disturbed", limits.disturbed);
    *out_json = make_json_buffer(j);
    return {};
  });
}

}  // extern "C"

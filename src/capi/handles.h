// What the opaque handles of nibble.h hold. A handle keeps everything it needs alive, so they may be destroyed in any
// order.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "base/allocator.h"
#include "base/cpu.h"
#include "base/file.h"
#include "base/parallel.h"
#include "base/progress.h"
#include "capi/guard.h"
#include "eval/eval.h"
#include "eval/task.h"
#include "model/generation_settings.h"
#include "model/model.h"
#include "nibble/nibble.h"
#include "pipeline/pipeline.h"
#include "tensor/checkpoint.h"
#include "tensor/kernel_tuner.h"
#include "tensor/linear.h"
#include "tensor/qtensor.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace nbl::capi {

struct RuntimeState {
  explicit RuntimeState(int threads) : team(threads) {}
  Team team;
  Isa isa = Isa::scalar;
  KernelTuner tuner;
  std::atomic<bool> tune{false};  ///< whether models made from now on ask the tuner
  std::atomic<bool> mmap{true};   ///< whether files opened from now on are mapped
  int64_t max_memory_bytes = 0;
  Allocator allocator;  ///< without functions: the system's memory
  nbl_log_fn log = nullptr;
  void* log_user = nullptr;

  void warn(const std::string& message) const;
  void note(const std::string& message) const;
  ComputeOptions compute(int32_t mode);
  ComputeOptions compute(Compute mode);
};
using RuntimePtr = std::shared_ptr<RuntimeState>;

/// A caller's progress function together with the runtime's memory cap.
class Monitor {
 public:
  Monitor(RuntimePtr runtime, nbl_progress_fn fn, void* user) : runtime_(std::move(runtime)), fn_(fn), user_(user) {}
  /// Empty when there is nothing to watch. Valid as long as the Monitor.
  ProgressFn fn();
  /// The job's status; a cancellation that the memory cap caused becomes Code::limit.
  Status outcome(Status status) const;

 private:
  bool event(const ProgressEvent& event);
  RuntimePtr runtime_;
  nbl_progress_fn fn_;
  void* user_;
  int64_t over_cap_bytes_ = 0;
};

/// NBL_COMPUTE_* as an error-checked value.
Status check_compute(int32_t mode);
const char* compute_name(Compute compute) noexcept;

/// "nibble_version" and "machine", with which every result begins.
Json result_header(const RuntimeState& runtime);

}  // namespace nbl::capi

struct nbl_runtime {
  nbl::capi::RuntimePtr state;
};

struct nbl_checkpoint {
  nbl::capi::RuntimePtr runtime;
  std::shared_ptr<const nbl::Checkpoint> checkpoint;
  nbl::Json measured{};  ///< what exports carry in their model card
};

struct nbl_model {
  nbl::capi::RuntimePtr runtime;
  std::shared_ptr<const nbl::model::Model> model;
  std::shared_ptr<const nbl::text::ChatTemplates> chat;
  std::shared_ptr<const nbl::Checkpoint> checkpoint;  ///< what it was made of
  double load_seconds = 0;
};

struct nbl_tokenizer {
  std::shared_ptr<const nbl::text::Tokenizer> tokenizer;
  std::shared_ptr<const nbl::text::ChatTemplates> chat;
};

struct nbl_session {
  nbl::capi::RuntimePtr runtime;
  std::shared_ptr<const nbl::model::Model> model;
  std::unique_ptr<nbl::model::Session> session;
  nbl::model::GenerationSettings settings;
  nbl::model::GrammarCache grammar;
  std::unique_ptr<nbl::model::Session> draft;
  std::atomic<bool> busy{false};
};

struct nbl_batch {
  nbl::capi::RuntimePtr runtime;
  std::shared_ptr<const nbl::model::Model> model;
  std::unique_ptr<nbl::model::Batch> batch;
  std::atomic<bool> busy{false};
};

struct nbl_quantizer {
  nbl::capi::RuntimePtr runtime;
  std::string method;                           ///< id
  std::map<std::string, std::string> options;   ///< as given: recipe, then nbl_quantizer_set
  std::map<std::string, std::string> settings;  ///< of nbl_quantizer_settings_json, checked
  std::vector<std::pair<std::string, std::string>> overrides;
  std::string calibration_text, calibration_source;
  nbl::pipeline::Calibration calibration;  ///< given as ids
  bool has_text = false;
  nbl_progress_fn progress = nullptr;
  void* progress_user = nullptr;
  std::atomic<bool> busy{false};
};

struct nbl_evaluation {
  nbl::capi::RuntimePtr runtime;
  std::map<std::string, std::string> settings;
  std::vector<std::shared_ptr<const nbl::model::Model>> models;
  std::vector<std::shared_ptr<const nbl::Checkpoint>> checkpoints;  ///< of the models
  std::vector<std::string> names;
  std::string text, text_source;
  bool has_text = false;
  std::vector<nbl::eval::Task> tasks;  ///< the caller's own
  nbl_progress_fn progress = nullptr;
  void* progress_user = nullptr;
  std::atomic<bool> busy{false};
};

struct nbl_qtensor {
  nbl::capi::RuntimePtr runtime;
  nbl::QTensor tensor;
  double error = 0;
  bool has_error = false;
  std::vector<std::string> notes;
  std::mutex mutex;        ///< guards the making of the linears
  nbl::Linear linears[2];  ///< exact, fast; made on first use
  bool made[2] = {false, false};
};

namespace nbl::capi {

inline const RuntimeState* runtime_of(const nbl_runtime* runtime) { return runtime->state.get(); }
template <class Handle>
const RuntimeState* runtime_of(const Handle* handle) {
  return handle->runtime.get();
}

/// guard() for a function of this handle: large blocks come from its runtime's allocator, and its settings say how files are read.
template <class Handle, class Body>
nbl_status guard(const Handle* handle, Body&& body) noexcept {
  const RuntimeState* runtime = handle == nullptr ? nullptr : runtime_of(handle);
  const bool own = runtime != nullptr && runtime->allocator.allocate != nullptr;
  const AllocatorScope scope(own ? &runtime->allocator : nullptr);
  const FileReadingScope reading(runtime != nullptr && !runtime->mmap.load());
  return guard(std::forward<Body>(body));
}

}  // namespace nbl::capi

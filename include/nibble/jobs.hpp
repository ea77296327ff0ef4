// jobs.hpp - the part of nibble.hpp, which includes it, that is about whole jobs: quantize a checkpoint, write it in another format,
// measure models.
#ifndef NIBBLE_JOBS_HPP
#define NIBBLE_JOBS_HPP

#include "nibble/nibble.hpp"

namespace nibble {

class Quantizer {
 public:
  Quantizer(const Runtime& runtime, const std::string& recipe)
      : progress_(std::make_unique<detail::Callback<ProgressFn>>()),
        handle_(detail::make_handle<nbl_quantizer, nbl_quantizer_destroy>(
            [&](nbl_quantizer** out) { return nbl_quantizer_create(runtime.get(), recipe.c_str(), out); })) {}
  nbl_quantizer* get() const noexcept { return handle_.get(); }
  void set(const std::string& name, const std::string& value) {
    check(nbl_quantizer_set(get(), name.c_str(), value.c_str()));
  }
  void add_override(const std::string& regex, const std::string& recipe) {
    check(nbl_quantizer_add_override(get(), regex.c_str(), recipe.c_str()));
  }
  void set_calibration_text(std::string_view text, const std::string& source = "memory") {
    check(nbl_quantizer_set_calibration_text(get(), text.data(), text.size(), source.c_str()));
  }
  void set_calibration_ids(std::span<const int32_t> ids, int64_t windows, const std::string& source = "memory") {
    if (windows < 1) throw Error(NBL_E_INVALID_ARGUMENT, "windows must be at least 1");
    check(nbl_quantizer_set_calibration_ids(get(), ids.data(), windows, static_cast<int64_t>(ids.size()) / windows,
                                            source.c_str()));
  }
  void set_progress(ProgressFn fn) {
    progress_->fn = std::move(fn);
    check(nbl_quantizer_set_progress(get(), progress_->fn ? detail::on_progress : nullptr, progress_.get()));
  }
  /// The report, JSON.
  std::string run(const Checkpoint& input, const std::string& output_path) {
    nbl_buffer* raw = nullptr;
    const nbl_status status = nbl_quantizer_run(get(), input.get(), output_path.c_str(), &raw);
    const detail::Buffer report(raw);
    progress_->rethrow();
    check(status);
    return nbl_buffer_text(report.get());
  }

 private:
  std::unique_ptr<detail::Callback<ProgressFn>> progress_;
  detail::Handle<nbl_quantizer, nbl_quantizer_destroy> handle_;
};

/// Writes checkpoints in another format, by settings of nbl_export_settings_json().
class Export {
 public:
  explicit Export(const Runtime& runtime, const std::string& format = "native")
      : progress_(std::make_unique<detail::Callback<ProgressFn>>()),
        handle_(detail::make_handle<nbl_export, nbl_export_destroy>(
            [&](nbl_export** out) { return nbl_export_create(runtime.get(), format.c_str(), out); })) {}
  nbl_export* get() const noexcept { return handle_.get(); }
  void set(const std::string& name, const std::string& value) {
    check(nbl_export_set(get(), name.c_str(), value.c_str()));
  }
  void set_progress(ProgressFn fn) {
    progress_->fn = std::move(fn);
    check(nbl_export_set_progress(get(), progress_->fn ? detail::on_progress : nullptr, progress_.get()));
  }
  /// The report, JSON; *ok: written and not found different.
  std::string run(const Checkpoint& input, const std::string& output_path, bool* ok = nullptr) {
    nbl_buffer* raw = nullptr;
    int32_t good = 0;
    const nbl_status status = nbl_export_run(get(), input.get(), output_path.c_str(), &good, &raw);
    const detail::Buffer report(raw);
    progress_->rethrow();
    check(status);
    if (ok != nullptr) *ok = good != 0;
    return nbl_buffer_text(report.get());
  }

 private:
  std::unique_ptr<detail::Callback<ProgressFn>> progress_;
  detail::Handle<nbl_export, nbl_export_destroy> handle_;
};

class Evaluation {
 public:
  explicit Evaluation(const Runtime& runtime)
      : progress_(std::make_unique<detail::Callback<ProgressFn>>()),
        handle_(detail::make_handle<nbl_evaluation, nbl_evaluation_destroy>(
            [&](nbl_evaluation** out) { return nbl_evaluation_create(runtime.get(), out); })) {}
  nbl_evaluation* get() const noexcept { return handle_.get(); }
  void set(const std::string& name, const std::string& value) {
    check(nbl_evaluation_set(get(), name.c_str(), value.c_str()));
  }
  /// The first one is the reference.
  void add_model(const Model& model, const std::string& name) {
    check(nbl_evaluation_add_model(get(), model.get(), name.c_str()));
  }
  void set_text(std::string_view text, const std::string& source = "memory") {
    check(nbl_evaluation_set_text(get(), text.data(), text.size(), source.c_str()));
  }
  void add_task(const std::string& name, std::string_view jsonl) {
    check(nbl_evaluation_add_task(get(), name.c_str(), jsonl.data(), jsonl.size()));
  }
  /// YAML or JSON; `source`: its path or name.
  void add_task_definition(std::string_view definition, const std::string& source) {
    check(nbl_evaluation_add_task_definition(get(), definition.data(), definition.size(), source.c_str()));
  }
  void set_progress(ProgressFn fn) {
    progress_->fn = std::move(fn);
    check(nbl_evaluation_set_progress(get(), progress_->fn ? detail::on_progress : nullptr, progress_.get()));
  }
  // Each returns JSON.
  std::string perplexity() { return measure(nbl_evaluation_perplexity); }
  std::string compare() { return measure(nbl_evaluation_compare); }
  std::string tasks() { return measure(nbl_evaluation_tasks); }
  std::string speed() { return measure(nbl_evaluation_speed); }
  std::string score(std::string_view requests) {
    return measure([&](nbl_evaluation* e, nbl_buffer** out) {
      return nbl_evaluation_score(e, requests.data(), requests.size(), out);
    });
  }

 private:
  template <class Call>
  std::string measure(Call&& call) {
    nbl_buffer* raw = nullptr;
    const nbl_status status = call(get(), &raw);
    const detail::Buffer result(raw);
    progress_->rethrow();
    check(status);
    return nbl_buffer_text(result.get());
  }
  std::unique_ptr<detail::Callback<ProgressFn>> progress_;
  detail::Handle<nbl_evaluation, nbl_evaluation_destroy> handle_;
};

}  // namespace nibble

#endif

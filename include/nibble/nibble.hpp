// nibble.hpp - nibble.h in C++20 clothes: move-only handles that destroy themselves, spans and strings instead of
// pointers and sizes, exceptions (or, with attempt(), results that hold a value or an error) instead of statuses. Header only,
// no state, nothing that nibble.h does not do; read that first.
//
//   nibble::Runtime runtime;
//   nibble::Checkpoint original(runtime, "models/prose");
//   nibble::Quantizer quantizer(runtime, "gptq:bits=4,group=64");
//   quantizer.set_calibration_text(text, "my text");
//   std::string report = quantizer.run(original, "prose-4bit.safetensors");
//
//   nibble::Model model(runtime, "prose-4bit.safetensors");
//   nibble::Session session(model);
//   session.generate(model.tokenizer().encode("It was"), {.max_new_tokens = 40},
//                    [](int32_t, std::string_view text) { std::cout << text; return true; });
#ifndef NIBBLE_HPP
#define NIBBLE_HPP

#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "nibble/nibble.h"

namespace nibble {

/// A status that was not NBL_OK, with nbl_last_error().
class Error : public std::runtime_error {
 public:
  Error(nbl_status status, const std::string& message) : std::runtime_error(message), status_(status) {}
  nbl_status status() const noexcept { return status_; }

 private:
  nbl_status status_;
};

inline void check(nbl_status status) {
  if (status != NBL_OK) throw Error(status, nbl_last_error());
}

/// A value, or the Error that came instead of it: std::expected<T, Error> in C++20.
template <class T>
class [[nodiscard]] Expected {
 public:
  Expected(T value) : held_(std::in_place_index<0>, std::move(value)) {}
  Expected(Error error) : held_(std::in_place_index<1>, std::move(error)) {}

  bool has_value() const noexcept { return held_.index() == 0; }
  explicit operator bool() const noexcept { return has_value(); }
  /// Throws the error where there is no value.
  T& value() & { return has_value() ? std::get<0>(held_) : throw error(); }
  const T& value() const& { return has_value() ? std::get<0>(held_) : throw error(); }
  T&& value() && { return has_value() ? std::get<0>(std::move(held_)) : throw error(); }
  T& operator*() noexcept { return *std::get_if<0>(&held_); }
  const T& operator*() const noexcept { return *std::get_if<0>(&held_); }
  T* operator->() noexcept { return std::get_if<0>(&held_); }
  const T* operator->() const noexcept { return std::get_if<0>(&held_); }
  template <class U>
  T value_or(U&& other) const& { return has_value() ? **this : static_cast<T>(std::forward<U>(other)); }
  /// Only where there is no value.
  const Error& error() const noexcept { return *std::get_if<1>(&held_); }

 private:
  std::variant<T, Error> held_;
};

/// What `call` returns, or the Error that it threw, for those who prefer results to exceptions. A call that returns nothing gives true.
///   auto model = nibble::attempt([&] { return nibble::Model(runtime, path); });
///   if (!model) return report(model.error().status(), model.error().what());
template <class Call>
auto attempt(Call&& call) {
  using Value = std::invoke_result_t<Call>;
  if constexpr (std::is_void_v<Value>) {
    try {
      std::forward<Call>(call)();
      return Expected<bool>(true);
    } catch (const Error& error) {
      return Expected<bool>(error);
    }
  } else {
    try {
      return Expected<Value>(std::forward<Call>(call)());
    } catch (const Error& error) {
      return Expected<Value>(error);
    }
  }
}

namespace detail {

template <class T, void (*Destroy)(T*)>
struct Deleter {
  void operator()(T* handle) const noexcept { Destroy(handle); }
};
template <class T, void (*Destroy)(T*)>
using Handle = std::unique_ptr<T, Deleter<T, Destroy>>;

/// Calls make(&handle) and owns the outcome.
template <class T, void (*Destroy)(T*), class Make>
Handle<T, Destroy> make_handle(Make&& make) {
  T* raw = nullptr;
  check(make(&raw));
  return Handle<T, Destroy>(raw);
}

using Buffer = Handle<nbl_buffer, nbl_buffer_destroy>;

template <class Make>
std::string text_of(Make&& make) {
  const Buffer buffer = make_handle<nbl_buffer, nbl_buffer_destroy>(std::forward<Make>(make));
  return {nbl_buffer_text(buffer.get()), nbl_buffer_size(buffer.get())};
}

}  // namespace detail

/// How far a job has come; nbl_progress in C++.
struct Progress {
  std::string_view stage, detail;
  int64_t done = 0, total = 0, memory_bytes = 0;
};
/// Return false to cancel: the job then throws Error with NBL_E_CANCELLED.
using ProgressFn = std::function<bool(const Progress&)>;
/// A token and the text that became certain with it; id -1 brings the rest. Return false to stop.
using TokenFn = std::function<bool(int32_t id, std::string_view text)>;
using LogFn = std::function<void(int32_t level, std::string_view message)>;

namespace detail {

// An exception thrown by a caller's function must not travel through C: it is kept, the job cancelled, and thrown again
// when the call is back.
template <class Fn>
struct Callback {
  Fn fn;
  std::exception_ptr thrown;
  void rethrow() {
    if (thrown) std::rethrow_exception(std::exchange(thrown, nullptr));
  }
};

inline int32_t on_progress(void* user, const nbl_progress* p) {
  auto* callback = static_cast<Callback<ProgressFn>*>(user);
  try {
    return callback->fn(Progress{p->stage, p->detail, p->done, p->total, p->memory_bytes}) ? 0 : 1;
  } catch (...) {
    callback->thrown = std::current_exception();
    return 1;
  }
}

inline int32_t on_token(void* user, int32_t id, const char* text, size_t size) {
  auto* callback = static_cast<Callback<TokenFn>*>(user);
  try {
    return callback->fn(id, std::string_view(text, size)) ? 0 : 1;
  } catch (...) {
    callback->thrown = std::current_exception();
    return 1;
  }
}

inline void on_log(void* user, int32_t level, const char* message) {
  try {
    (*static_cast<LogFn*>(user))(level, message);
  } catch (...) {  // a log function has nowhere to report to
  }
}

}  // namespace detail

class Runtime {
 public:
  struct Options {
    int32_t threads = 0;
    std::string isa = {};
    int64_t max_memory_bytes = 0;
    LogFn log = {};
  };
  Runtime() : Runtime(Options{}) {}
  explicit Runtime(Options options) {
    nbl_runtime_options o = NBL_RUNTIME_OPTIONS_INIT;
    o.threads = options.threads;
    o.isa = options.isa.empty() ? nullptr : options.isa.c_str();
    o.max_memory_bytes = options.max_memory_bytes;
    if (options.log) {
      log_ = std::make_unique<LogFn>(std::move(options.log));
      o.log = detail::on_log;
      o.log_user = log_.get();
    }
    handle_ = detail::make_handle<nbl_runtime, nbl_runtime_destroy>(
        [&](nbl_runtime** out) { return nbl_runtime_create(&o, out); });
  }
  nbl_runtime* get() const noexcept { return handle_.get(); }
  int32_t threads() const noexcept { return nbl_runtime_threads(get()); }
  /// One of nbl_runtime_settings_json(), for models made from then on.
  void set(const std::string& name, const std::string& value) { check(nbl_runtime_set(get(), name.c_str(), value.c_str())); }
  /// JSON.
  std::string info() const {
    return detail::text_of([&](nbl_buffer** out) { return nbl_runtime_info(get(), out); });
  }

  /// JSON.
  std::string measure_limits() const {
    return detail::text_of([&](nbl_buffer** out) { return nbl_runtime_measure_limits(get(), out); });
  }

 private:
  std::unique_ptr<LogFn> log_;  // outlives the handle; keep the Runtime as long as anything made with it when you log
  detail::Handle<nbl_runtime, nbl_runtime_destroy> handle_;
};

class Tokenizer {
 public:
  explicit Tokenizer(nbl_tokenizer* owned) : handle_(owned) {}
  /// Of a model, or of a place that has a vocabulary and no weights.
  Tokenizer(const Runtime& runtime, const std::string& path)
      : handle_(detail::make_handle<nbl_tokenizer, nbl_tokenizer_destroy>(
            [&](nbl_tokenizer** out) { return nbl_tokenizer_open(runtime.get(), path.c_str(), out); })) {}
  nbl_tokenizer* get() const noexcept { return handle_.get(); }
  std::vector<int32_t> encode(std::string_view text, uint32_t flags = 0) const {
    const detail::Buffer ids = detail::make_handle<nbl_buffer, nbl_buffer_destroy>(
        [&](nbl_buffer** out) { return nbl_tokenizer_encode(get(), text.data(), text.size(), flags, out); });
    const int32_t* first = nbl_buffer_ids(ids.get());
    return {first, first + nbl_buffer_size(ids.get()) / sizeof(int32_t)};
  }
  std::string decode(std::span<const int32_t> ids, bool skip_special = true) const {
    return detail::text_of([&](nbl_buffer** out) {
      return nbl_tokenizer_decode(get(), ids.data(), static_cast<int64_t>(ids.size()), skip_special ? 1 : 0, out);
    });
  }
  std::string piece(int32_t id) const {
    return detail::text_of([&](nbl_buffer** out) { return nbl_tokenizer_piece(get(), id, out); });
  }
  /// JSON.
  std::string info() const {
    return detail::text_of([&](nbl_buffer** out) { return nbl_tokenizer_info(get(), out); });
  }
  /// Messages, tools and settings as JSON, the last two maybe empty; see nbl_tokenizer_apply_chat_template().
  std::string apply_chat_template(const std::string& messages, const std::string& tools = {},
                                  const std::string& settings = {}) const {
    return detail::text_of([&](nbl_buffer** out) {
      return nbl_tokenizer_apply_chat_template(get(), messages.c_str(), tools.c_str(), settings.c_str(), out);
    });
  }

 private:
  detail::Handle<nbl_tokenizer, nbl_tokenizer_destroy> handle_;
};

class Checkpoint {
 public:
  Checkpoint(const Runtime& runtime, const std::string& path)
      : handle_(detail::make_handle<nbl_checkpoint, nbl_checkpoint_destroy>(
            [&](nbl_checkpoint** out) { return nbl_checkpoint_open(runtime.get(), path.c_str(), out); })) {}
  /// A model that lies in memory: files by name, as nbl_checkpoint_open_files() takes them.
  Checkpoint(const Runtime& runtime, std::span<const nbl_file> files)
      : handle_(detail::make_handle<nbl_checkpoint, nbl_checkpoint_destroy>([&](nbl_checkpoint** out) {
          return nbl_checkpoint_open_files(runtime.get(), files.data(), static_cast<int64_t>(files.size()), out);
        })) {}
  nbl_checkpoint* get() const noexcept { return handle_.get(); }
  /// JSON. flags: NBL_INSPECT_*.
  std::string inspect(uint32_t flags = 0) const {
    return detail::text_of([&](nbl_buffer** out) { return nbl_checkpoint_inspect(get(), flags, out); });
  }
  /// With a LoRA adapter merged into the weights.
  Checkpoint with_adapter(const std::string& path, float scale = 1) const {
    nbl_checkpoint* raw = nullptr;
    check(nbl_checkpoint_add_adapter(get(), path.c_str(), scale, &raw));
    return Checkpoint(raw);
  }
  /// JSON {"ok", "differences"}.
  std::string verify(ProgressFn progress = {}) const {
    detail::Callback<ProgressFn> callback{std::move(progress), nullptr};
    nbl_buffer* raw = nullptr;
    int32_t ok = 0;
    const nbl_status status =
        nbl_checkpoint_verify(get(), callback.fn ? detail::on_progress : nullptr, &callback, &ok, &raw);
    const detail::Buffer result(raw);
    callback.rethrow();
    check(status);
    return nbl_buffer_text(result.get());
  }
  /// JSON {"checks"}; no text: calibration is not checked.
  std::string examine(std::string_view calibration_text = {}, ProgressFn progress = {}) const {
    detail::Callback<ProgressFn> callback{std::move(progress), nullptr};
    nbl_buffer* raw = nullptr;
    const nbl_status status = nbl_checkpoint_examine(get(), calibration_text.data(), calibration_text.size(),
                                                     callback.fn ? detail::on_progress : nullptr, &callback, &raw);
    const detail::Buffer result(raw);
    callback.rethrow();
    check(status);
    return nbl_buffer_text(result.get());
  }
  /// Figures for the model cards of exports: JSON of perplexity, compare, eval or sweep; empty: none.
  void set_measured(const std::string& results_json) { check(nbl_checkpoint_set_measured(get(), results_json.c_str())); }
  /// JSON {"written", "lossless", "refused", ...}; *ok: written and not found different. flags: NBL_CONVERT_*.
  std::string convert(const std::string& output_path, const std::string& format, uint32_t flags = 0,
                      ProgressFn progress = {}, bool* ok = nullptr) const {
    detail::Callback<ProgressFn> callback{std::move(progress), nullptr};
    nbl_buffer* raw = nullptr;
    int32_t good = 0;
    const nbl_status status =
        nbl_checkpoint_convert(get(), output_path.c_str(), format.c_str(), flags,
                               callback.fn ? detail::on_progress : nullptr, &callback, &good, &raw);
    const detail::Buffer result(raw);
    callback.rethrow();
    check(status);
    if (ok != nullptr) *ok = good != 0;
    return nbl_buffer_text(result.get());
  }
  Tokenizer tokenizer() const {
    nbl_tokenizer* raw = nullptr;
    check(nbl_tokenizer_from_checkpoint(get(), &raw));
    return Tokenizer(raw);
  }

 private:
  explicit Checkpoint(nbl_checkpoint* owned) : handle_(owned) {}
  detail::Handle<nbl_checkpoint, nbl_checkpoint_destroy> handle_;
};

class Model {
 public:
  struct Options {
    int32_t compute = NBL_COMPUTE_DEFAULT;
    ProgressFn progress = {};
  };
  Model(const Runtime& runtime, const std::string& path) : Model(runtime, path, Options{}) {}
  Model(const Runtime& runtime, const std::string& path, Options options) {
    load(std::move(options), [&](const nbl_model_options* o, nbl_model** out) {
      return nbl_model_open(runtime.get(), path.c_str(), o, out);
    });
  }
  explicit Model(const Checkpoint& checkpoint) : Model(checkpoint, Options{}) {}
  Model(const Checkpoint& checkpoint, Options options) {
    load(std::move(options),
         [&](const nbl_model_options* o, nbl_model** out) { return nbl_model_load(checkpoint.get(), o, out); });
  }
  nbl_model* get() const noexcept { return handle_.get(); }
  /// With a LoRA adapter beside the weights, which the two models share.
  Model with_adapter(const std::string& path, float scale = 1) const {
    nbl_model* raw = nullptr;
    check(nbl_model_add_adapter(get(), path.c_str(), scale, &raw));
    return Model(raw);
  }
  int64_t vocab_size() const noexcept { return nbl_model_vocab_size(get()); }
  int64_t max_positions() const noexcept { return nbl_model_max_positions(get()); }
  /// JSON.
  std::string info() const {
    return detail::text_of([&](nbl_buffer** out) { return nbl_model_info(get(), out); });
  }
  Tokenizer tokenizer() const {
    nbl_tokenizer* raw = nullptr;
    check(nbl_tokenizer_from_model(get(), &raw));
    return Tokenizer(raw);
  }

 private:
  explicit Model(nbl_model* owned) : handle_(owned) {}
  template <class Open>
  void load(Options options, Open&& open) {
    detail::Callback<ProgressFn> progress{std::move(options.progress), nullptr};
    nbl_model_options o = NBL_MODEL_OPTIONS_INIT;
    o.compute = options.compute;
    if (progress.fn) {
      o.progress = detail::on_progress;
      o.progress_user = &progress;
    }
    nbl_model* raw = nullptr;
    const nbl_status status = open(&o, &raw);
    handle_.reset(raw);
    progress.rethrow();
    check(status);
  }
  detail::Handle<nbl_model, nbl_model_destroy> handle_;
};

class Session {
 public:
  /// What is 0 leaves the session's setting of that name.
  struct GenerateOptions {
    int64_t max_new_tokens = 0;
    float temperature = 0;
    int32_t top_k = 0;
    float top_p = 0;
    uint64_t seed = 0;
    bool ignore_eos = false;
  };
  explicit Session(const Model& model, int64_t max_tokens = 0) : vocab_(model.vocab_size()) {
    nbl_session_options o = NBL_SESSION_OPTIONS_INIT;
    o.max_tokens = max_tokens;
    handle_ = detail::make_handle<nbl_session, nbl_session_destroy>(
        [&](nbl_session** out) { return nbl_session_create(model.get(), &o, out); });
  }
  nbl_session* get() const noexcept { return handle_.get(); }
  int64_t position() const noexcept { return nbl_session_position(get()); }
  int64_t capacity() const noexcept { return nbl_session_capacity(get()); }
  void truncate(int64_t position) { check(nbl_session_truncate(get(), position)); }
  std::vector<int32_t> tokens() const {
    const detail::Buffer ids = detail::make_handle<nbl_buffer, nbl_buffer_destroy>(
        [&](nbl_buffer** out) { return nbl_session_tokens(get(), out); });
    const int32_t* first = nbl_buffer_ids(ids.get());
    return {first, first + nbl_buffer_size(ids.get()) / sizeof(int32_t)};
  }
  /// One of nbl_generation_settings_json(), or "kv_type".
  void set(const std::string& name, const std::string& value) {
    check(nbl_session_set(get(), name.c_str(), value.c_str()));
  }
  void set_draft(const Model& draft) { check(nbl_session_set_draft(get(), draft.get())); }
  void save(const std::string& path) const { check(nbl_session_save(get(), path.c_str())); }
  void load(const std::string& path) { check(nbl_session_load(get(), path.c_str())); }
  /// Logits [rows, vocab_size] as `want` (NBL_LOGITS_*) says; borrowed until the session's next call.
  std::span<const float> append(std::span<const int32_t> ids, int32_t want = NBL_LOGITS_LAST) {
    const float* logits = nullptr;
    int64_t rows = 0;
    check(nbl_session_append(get(), ids.data(), static_cast<int64_t>(ids.size()), want, &logits, &rows));
    return {logits, static_cast<std::size_t>(rows * vocab_)};
  }
  /// The result, JSON.
  std::string generate(std::span<const int32_t> prompt, const GenerateOptions& options, TokenFn on_token = {}) {
    detail::Callback<TokenFn> callback{std::move(on_token), nullptr};
    nbl_generate_options o = NBL_GENERATE_OPTIONS_INIT;
    o.max_new_tokens = options.max_new_tokens;
    o.temperature = options.temperature;
    o.top_k = options.top_k;
    o.top_p = options.top_p;
    o.seed = options.seed;
    o.ignore_eos = options.ignore_eos ? 1 : 0;
    if (callback.fn) {
      o.on_token = detail::on_token;
      o.on_token_user = &callback;
    }
    nbl_buffer* raw = nullptr;
    const nbl_status status = nbl_session_generate(get(), prompt.data(), static_cast<int64_t>(prompt.size()), &o, &raw);
    const detail::Buffer result(raw);
    callback.rethrow();
    check(status);
    return nbl_buffer_text(result.get());
  }

 private:
  int64_t vocab_;
  detail::Handle<nbl_session, nbl_session_destroy> handle_;
};

/// Several sessions of one model decoded together.
class Batch {
 public:
  Batch(const Model& model, int64_t max_sessions)
      : vocab_(model.vocab_size()), handle_(detail::make_handle<nbl_batch, nbl_batch_destroy>([&](nbl_batch** out) {
          return nbl_batch_create(model.get(), max_sessions, out);
        })) {}
  nbl_batch* get() const noexcept { return handle_.get(); }
  /// Logits [sessions, vocab_size]; borrowed until the next step.
  std::span<const float> step(std::span<Session* const> sessions, std::span<const int32_t> tokens) {
    if (sessions.size() != tokens.size()) throw Error(NBL_E_INVALID_ARGUMENT, "one token a session was expected");
    std::vector<nbl_session*> raw;
    for (Session* session : sessions) raw.push_back(session->get());
    const float* logits = nullptr;
    check(nbl_batch_step(get(), raw.data(), tokens.data(), static_cast<int64_t>(raw.size()), &logits));
    return {logits, raw.size() * static_cast<std::size_t>(vocab_)};
  }

 private:
  int64_t vocab_;
  detail::Handle<nbl_batch, nbl_batch_destroy> handle_;
};

/// Chooses tokens as sessions do, over logits of the caller's.
class Sampler {
 public:
  explicit Sampler(int64_t vocab_size, const Tokenizer* tokenizer = nullptr)
      : vocab_(vocab_size), handle_(detail::make_handle<nbl_sampler, nbl_sampler_destroy>([&](nbl_sampler** out) {
          return nbl_sampler_create(vocab_size, tokenizer != nullptr ? tokenizer->get() : nullptr, out);
        })) {}
  nbl_sampler* get() const noexcept { return handle_.get(); }
  /// Another one that stands where this one stands.
  Sampler clone() const {
    nbl_sampler* raw = nullptr;
    check(nbl_sampler_clone(get(), &raw));
    return Sampler(vocab_, raw);
  }
  /// One of nbl_sampler_settings_json().
  void set(const std::string& name, const std::string& value) {
    check(nbl_sampler_set(get(), name.c_str(), value.c_str()));
  }
  void reset(std::span<const int32_t> prompt = {}) {
    check(nbl_sampler_reset(get(), prompt.data(), static_cast<int64_t>(prompt.size())));
  }
  /// The next token out of logits [vocab_size], which stays to be accepted; -1: a grammar's text is complete.
  int32_t choose(std::span<const float> logits) { return next(nbl_sampler_choose, logits); }
  void accept(int32_t id) { check(nbl_sampler_accept(get(), id)); }
  /// Both in one.
  int32_t sample(std::span<const float> logits) { return next(nbl_sampler_sample, logits); }
  /// Whether the token accepted last ends a text.
  bool ended() const noexcept { return nbl_sampler_ended(get()) != 0; }

 private:
  Sampler(int64_t vocab_size, nbl_sampler* owned) : vocab_(vocab_size), handle_(owned) {}
  int32_t next(nbl_status (*call)(nbl_sampler*, const float*, int32_t*), std::span<const float> logits) {
    if (static_cast<int64_t>(logits.size()) != vocab_) throw Error(NBL_E_INVALID_ARGUMENT, "one row of logits was expected");
    int32_t id = 0;
    check(call(get(), logits.data(), &id));
    return id;
  }

  int64_t vocab_;
  detail::Handle<nbl_sampler, nbl_sampler_destroy> handle_;
};

class QTensor {
 public:
  /// weight [n, k] row-major.
  QTensor(const Runtime& runtime, std::span<const float> weight, int64_t n, int64_t k, const std::string& recipe) {
    if (n < 1 || k < 1 || static_cast<int64_t>(weight.size()) / n < k) {
      throw Error(NBL_E_INVALID_ARGUMENT, "the span holds fewer than n * k floats");
    }
    handle_ = detail::make_handle<nbl_qtensor, nbl_qtensor_destroy>([&](nbl_qtensor** out) {
      return nbl_qtensor_quantize(runtime.get(), weight.data(), n, k, k, recipe.c_str(), nullptr, out);
    });
  }
  QTensor(const Checkpoint& checkpoint, const std::string& name)
      : handle_(detail::make_handle<nbl_qtensor, nbl_qtensor_destroy>(
            [&](nbl_qtensor** out) { return nbl_qtensor_from_checkpoint(checkpoint.get(), name.c_str(), out); })) {}
  nbl_qtensor* get() const noexcept { return handle_.get(); }
  int64_t rows() const noexcept { return nbl_qtensor_rows(get()); }
  int64_t columns() const noexcept { return nbl_qtensor_columns(get()); }
  /// JSON.
  std::string info() const {
    return detail::text_of([&](nbl_buffer** out) { return nbl_qtensor_info(get(), out); });
  }
  std::vector<float> dequantize() const {
    std::vector<float> out(static_cast<std::size_t>(rows() * columns()));
    check(nbl_qtensor_dequantize(get(), 0, rows(), out.data(), columns()));
    return out;
  }
  /// x [m, columns] to [m, rows].
  std::vector<float> matmul(std::span<const float> x, int32_t compute = NBL_COMPUTE_DEFAULT) const {
    const int64_t m = static_cast<int64_t>(x.size()) / columns();
    std::vector<float> y(static_cast<std::size_t>(m * rows()));
    check(nbl_qtensor_matmul(get(), compute, x.data(), columns(), m, y.data(), rows()));
    return y;
  }

 private:
  detail::Handle<nbl_qtensor, nbl_qtensor_destroy> handle_;
};

}  // namespace nibble

#include "nibble/jobs.hpp"

#endif  // NIBBLE_HPP

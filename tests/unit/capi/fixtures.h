// Handles that end with their test, and the built-in model.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>

#include "base/json.h"
#include "nibble/nibble.h"

namespace nbl::test {

inline std::string source_file(const char* below) { return std::string(NIBBLE_SOURCE_DIR) + "/" + below; }
inline std::string model_path() { return source_file("examples/models/prose-3.7m"); }

inline std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file) << path;
  return {std::istreambuf_iterator<char>(file), {}};
}

template <class T, void (*Destroy)(T*)>
struct Deleter {
  void operator()(T* handle) const { Destroy(handle); }
};
#define NBL_TEST_HANDLE(Name, type) using Name = std::unique_ptr<type, Deleter<type, type##_destroy>>
NBL_TEST_HANDLE(Buffer, nbl_buffer);
NBL_TEST_HANDLE(Runtime, nbl_runtime);
NBL_TEST_HANDLE(Checkpoint, nbl_checkpoint);
NBL_TEST_HANDLE(Quantizer, nbl_quantizer);
NBL_TEST_HANDLE(Model, nbl_model);
NBL_TEST_HANDLE(Tokenizer, nbl_tokenizer);
NBL_TEST_HANDLE(Session, nbl_session);
NBL_TEST_HANDLE(Evaluation, nbl_evaluation);
NBL_TEST_HANDLE(Sampler, nbl_sampler);
NBL_TEST_HANDLE(Export, nbl_export);
NBL_TEST_HANDLE(QTensor, nbl_qtensor);
#undef NBL_TEST_HANDLE

/// Fails the test with the library's sentence when the call failed.
#define ASSERT_NBL_OK(call) ASSERT_EQ(call, NBL_OK) << nbl_last_error()
#define EXPECT_NBL_OK(call) EXPECT_EQ(call, NBL_OK) << nbl_last_error()
/// The call is refused with `code`, and the sentence holds `word`.
#define EXPECT_REFUSED(code, word, call)                                                        \
  do {                                                                                          \
    EXPECT_EQ(call, code) << nbl_last_error();                                                  \
    EXPECT_NE(std::string(nbl_last_error()).find(word), std::string::npos) << nbl_last_error(); \
  } while (false)

/// A result's JSON; the buffer is destroyed.
inline Json json_of(nbl_buffer* buffer) {
  const Buffer owned(buffer);
  EXPECT_EQ(std::strlen(nbl_buffer_text(buffer)), nbl_buffer_size(buffer));
  auto parsed = Json::parse({nbl_buffer_text(buffer), nbl_buffer_size(buffer)}, "result");
  EXPECT_TRUE(parsed.ok()) << parsed.status().message();
  return parsed.ok() ? std::move(parsed).value() : Json();
}

inline Runtime make_runtime(int32_t threads = 2) {
  nbl_runtime_options options = NBL_RUNTIME_OPTIONS_INIT;
  options.threads = threads;
  nbl_runtime* out = nullptr;
  EXPECT_NBL_OK(nbl_runtime_create(&options, &out));
  return Runtime(out);
}

inline Checkpoint open_checkpoint(const Runtime& runtime, const std::string& path = model_path()) {
  nbl_checkpoint* out = nullptr;
  EXPECT_NBL_OK(nbl_checkpoint_open(runtime.get(), path.c_str(), &out));
  return Checkpoint(out);
}

inline Model open_model(const Runtime& runtime, int32_t compute = NBL_COMPUTE_DEFAULT,
                        const std::string& path = model_path()) {
  nbl_model_options options = NBL_MODEL_OPTIONS_INIT;
  options.compute = compute;
  nbl_model* out = nullptr;
  EXPECT_NBL_OK(nbl_model_open(runtime.get(), path.c_str(), &options, &out));
  return Model(out);
}

inline Session make_session(const Model& model, int64_t max_tokens = 0) {
  nbl_session_options options = NBL_SESSION_OPTIONS_INIT;
  options.max_tokens = max_tokens;
  nbl_session* out = nullptr;
  EXPECT_NBL_OK(nbl_session_create(model.get(), &options, &out));
  return Session(out);
}

/// A directory that goes away with everything in it.
class Scratch {
 public:
  Scratch() {
    std::string pattern = (std::filesystem::temp_directory_path() / "nibble-capi-XXXXXX").string();
    path_ = mkdtemp(pattern.data());
  }
  ~Scratch() {
    std::error_code ec;
    std::filesystem::remove_all(path_, ec);
  }
  std::string file(const char* name) const { return (path_ / name).string(); }
  std::size_t entries() const {
    return static_cast<std::size_t>(std::distance(std::filesystem::directory_iterator(path_), {}));
  }

 private:
  std::filesystem::path path_;
};

}  // namespace nbl::test

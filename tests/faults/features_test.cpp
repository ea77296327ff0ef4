// The same as faults_test.cpp for what a plain run does not pass: a job that goes on from its journal; and the features of sessions one
// after the other: adapter, kinds of cached keys and values, samples, saving and loading, grammars, beams, drafts, batches, templates.
#include <gtest/gtest.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "faults/faults.h"
#include "nibble/nibble.h"
#include "support/safetensors_file.h"
#include "support/temp_dir.h"

namespace nbl::faults {
namespace {
namespace fs = std::filesystem;

constexpr const char* kModel = NIBBLE_SOURCE_DIR "/tests/golden/logits/tiny/llama";

const fs::path& work() {
  static const test::TempDir folder;
  return folder.path();
}

void write(const fs::path& path, const std::string& bytes) { std::ofstream(path, std::ios::binary) << bytes; }

/// What a job came to; `said` and the results are filled into memory of its own, so that the test's is not at stake.
struct Outcome {
  nbl_status status = NBL_OK;
  const char* step = "";
  char said[1024] = "";
  int32_t ids[256] = {};
  std::size_t count = 0;

  bool begin(const char* name) {
    if (status != NBL_OK) return false;
    step = name;
    return true;
  }
  void keep(const nbl_buffer* buffer) {
    const std::size_t n = nbl_buffer_size(buffer) / sizeof(int32_t);
    const int32_t* p = nbl_buffer_ids(buffer);
    for (std::size_t i = 0; i < n && count < std::size(ids); ++i) ids[count++] = p[i];
  }
  void end() {
    if (status != NBL_OK) std::strncpy(said, nbl_last_error(), sizeof said - 1);
  }
  std::string where(Kind kind, int64_t n) const {
    return std::string(name(kind)) + " " + std::to_string(n) + " at " + step + ": " + said;
  }
};

struct Fault {
  Kind kind;
  int error;
  bool short_io = false;
};

std::string label(const Fault& fault) { return std::string(name(fault.kind)) + "_" + (fault.short_io ? "short" : strerrorname_np(fault.error)); }
std::string fault_name(const testing::TestParamInfo<Fault>& info) { return label(info.param); }

void expect_an_error_that_says_why(const Outcome& got, const std::string& where) {
  ASSERT_NE(got.said[0], '\0') << where;
  ASSERT_NE(got.status, NBL_E_INTERNAL) << where;
  ASSERT_NE(got.status, NBL_E_CANCELLED) << where;
}

// --- a job that goes on

Outcome quantize(const char* output, int stop_after) {
  Outcome o;
  nbl_runtime* runtime = nullptr;
  nbl_checkpoint* original = nullptr;
  nbl_quantizer* quantizer = nullptr;
  nbl_buffer* report = nullptr;
  nbl_runtime_options options = NBL_RUNTIME_OPTIONS_INIT;
  options.threads = 1;
  if (o.begin("runtime")) o.status = nbl_runtime_create(&options, &runtime);
  if (o.begin("open")) o.status = nbl_checkpoint_open(runtime, kModel, &original);
  if (o.begin("quantizer")) o.status = nbl_quantizer_create(runtime, "gptq:bits=4,group=16", &quantizer);
  if (o.begin("resume")) o.status = nbl_quantizer_set(quantizer, "resume", "true");
  int32_t ids[64];
  for (int i = 0; i < 64; ++i) ids[i] = (i * 7 + 3) % 67;
  if (o.begin("calibration")) o.status = nbl_quantizer_set_calibration_ids(quantizer, ids, 4, 16, "ids");
  int left = stop_after;
  if (stop_after >= 0 && o.begin("progress")) {
    o.status = nbl_quantizer_set_progress(
        quantizer, [](void* user, const nbl_progress*) -> int32_t { return --*static_cast<int*>(user) < 0 ? 1 : 0; }, &left);
  }
  if (o.begin("run")) o.status = nbl_quantizer_run(quantizer, original, output, &report);
  o.end();
  nbl_buffer_destroy(report);
  nbl_quantizer_destroy(quantizer);
  nbl_checkpoint_destroy(original);
  nbl_runtime_destroy(runtime);
  disarm();
  return o;
}

/// The files of a folder, hidden ones too.
std::vector<std::pair<fs::path, std::string>> files_of(const fs::path& folder) {
  std::vector<std::pair<fs::path, std::string>> files;
  for (const auto& entry : fs::directory_iterator(folder)) files.emplace_back(entry.path(), test::read_all(entry.path()));
  return files;
}

class Resumed : public testing::TestWithParam<Fault> {};

TEST_P(Resumed, EndsWithTheSameBytesOrCanBeDoneAgain) {
  const Fault& c = GetParam();
  const fs::path folder = work() / ("resumed-" + label(c));
  fs::create_directories(folder);
  const std::string output = (folder / "out.safetensors").string();
  ASSERT_EQ(quantize(output.c_str(), -1).status, NBL_OK);
  const std::string expected = test::read_all(output);
  fs::remove(output);

  // Cancelled after so many steps that a layer stands in the journal.
  std::vector<std::pair<fs::path, std::string>> begun;
  for (int steps = 1; steps < 200; ++steps) {
    const Outcome o = quantize(output.c_str(), steps);
    if (o.status == NBL_OK) break;
    ASSERT_EQ(o.status, NBL_E_CANCELLED) << o.said;
    auto files = files_of(folder);
    std::size_t bytes = 0;
    for (const auto& file : files) bytes += file.second.size();
    for (const auto& file : files) fs::remove(file.first);
    if (files.size() == 1 && bytes > 4000) begun = files;  // the last one before the end
  }
  fs::remove(output);
  ASSERT_EQ(begun.size(), 1U) << "no journal to go on from";

  const int64_t before = live_blocks();
  int64_t struck_calls = 0, errors = 0;
  for (int64_t n = 0; n < 100'000; ++n) {
    for (const auto& [path, bytes] : begun) write(path, bytes);
    arm(c.kind, n, c.error, c.short_io);
    const Outcome got = quantize(output.c_str(), -1);
    const bool met = struck();
    const std::string where = got.where(c.kind, n);
    if (got.status != NBL_OK) {
      ++errors;
      expect_an_error_that_says_why(got, where);
      if (HasFatalFailure()) return;
      ASSERT_FALSE(c.short_io || c.error == EINTR) << where;
      ASSERT_FALSE(fs::exists(output) && test::read_all(output) != expected) << where;
      const Outcome again = quantize(output.c_str(), -1);
      ASSERT_EQ(again.status, NBL_OK) << "after " << where << ": " << again.said;
    }
    ASSERT_EQ(test::read_all(output), expected) << where;
    for (const auto& [path, bytes] : files_of(folder)) ASSERT_EQ(path, output) << where;
    fs::remove(output);
    if (!met) break;
    ++struck_calls;
  }
  std::printf("%lld faults, %lld errors\n", static_cast<long long>(struck_calls), static_cast<long long>(errors));
  EXPECT_GT(struck_calls, 0);
  EXPECT_LT(live_blocks() - before, 64);
  fs::remove_all(folder);
}

INSTANTIATE_TEST_SUITE_P(All, Resumed,
                         testing::Values(Fault{Kind::open, EACCES}, Fault{Kind::open, EINTR}, Fault{Kind::read, EIO}, Fault{Kind::read, EINTR},
                                         Fault{Kind::read, 0, true}, Fault{Kind::write, ENOSPC}, Fault{Kind::write, EINTR},
                                         Fault{Kind::write, 0, true}, Fault{Kind::sync, EIO}, Fault{Kind::sync, EINTR}, Fault{Kind::rename, EACCES},
                                         Fault{Kind::map, ENOMEM}, Fault{Kind::truncate, EIO}, Fault{Kind::truncate, EINTR}, Fault{Kind::remove, EACCES}),
                         fault_name);
INSTANTIATE_TEST_SUITE_P(FullMemory, Resumed, testing::Values(Fault{Kind::allocate, ENOMEM}), fault_name);

// --- features of sessions

/// The tiny model with a tokenizer of 67 tokens and a template, and an adapter for it.
const fs::path& model_folder() {
  static const fs::path folder = [] {
    fs::path path = work() / "model";
    fs::create_directories(path);
    for (const char* each : {"config.json", "model.safetensors"}) fs::copy_file(fs::path(kModel) / each, path / each);
    std::string vocabulary = R"("<unk>": 0, "<s>": 1, "</s>": 2)";
    int id = 3;
    for (const char c : std::string("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 .")) {
      vocabulary += std::string(", \"") + c + "\": " + std::to_string(id++);
    }
    write(path / "tokenizer.json", R"({"normalizer": {"type": "NFC"}, "pre_tokenizer": {"type": "Split", "pattern": {"Regex": "\\w+|\\W"}, "behavior": "Isolated"},
      "added_tokens": [{"id": 1, "content": "<s>", "special": true}, {"id": 2, "content": "</s>", "special": true}],
      "model": {"type": "BPE", "unk_token": "<unk>", "vocab": {)" + vocabulary + R"(}, "merges": []}})");
    write(path / "tokenizer_config.json", R"({"bos_token": "<s>", "eos_token": "</s>",
      "chat_template": "{% for m in messages %}{{ bos_token }}{{ m.role | upper }} {{ m.content | trim }}{% endfor %}"})");
    const fs::path adapter = work() / "adapter";
    fs::create_directories(adapter);
    write(adapter / "adapter_config.json", R"({"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"]})");
    const std::vector<float> values(64, 0.25f);
    const std::string at = "base_model.model.model.layers.0.self_attn.q_proj.lora_";
    test::write_safetensors(adapter / "adapter_model.safetensors",
                            {{at + "A.weight", "F32", {2, 32}, test::raw(values)}, {at + "B.weight", "F32", {32, 2}, test::raw(values)}});
    return path;
  }();
  return folder;
}

Outcome features(const char* model_path, const char* adapter, const char* saved) {
  Outcome o;
  nbl_runtime* runtime = nullptr;
  nbl_model *plain = nullptr, *model = nullptr;
  nbl_session *first = nullptr, *second = nullptr, *third = nullptr;
  nbl_batch* batch = nullptr;
  nbl_tokenizer* tokenizer = nullptr;
  nbl_buffer *prompt = nullptr, *text = nullptr, *tokens = nullptr, *result = nullptr, *last = nullptr;
  nbl_runtime_options options = NBL_RUNTIME_OPTIONS_INIT;
  options.threads = 1;
  if (o.begin("runtime")) o.status = nbl_runtime_create(&options, &runtime);
  if (o.begin("model")) o.status = nbl_model_open(runtime, model_path, nullptr, &plain);
  if (o.begin("adapter")) o.status = nbl_model_add_adapter(plain, adapter, 1.0f, &model);
  if (o.begin("tokenizer")) o.status = nbl_tokenizer_from_model(model, &tokenizer);
  if (o.begin("template"))
    o.status = nbl_tokenizer_apply_chat_template(tokenizer, R"([{"role": "user", "content": " It was "}])", nullptr, nullptr, &text);
  if (o.begin("encode")) o.status = nbl_tokenizer_encode(tokenizer, nbl_buffer_text(text), nbl_buffer_size(text), 0, &prompt);
  const int32_t* ids = o.status == NBL_OK ? nbl_buffer_ids(prompt) : nullptr;
  const auto count = static_cast<int64_t>(o.status == NBL_OK ? nbl_buffer_size(prompt) / sizeof *ids : 0);

  nbl_generate_options generate = NBL_GENERATE_OPTIONS_INIT;
  generate.max_new_tokens = 4;
  generate.ignore_eos = 1;
  const auto session = [&](nbl_session** out, std::initializer_list<std::pair<const char*, const char*>> settings) {
    if (o.begin("session")) o.status = nbl_session_create(model, nullptr, out);
    for (const auto& [key, value] : settings)
      if (o.begin(key)) o.status = nbl_session_set(*out, key, value);
  };
  session(&first, {{"kv_type", "q8"}, {"n", "2"}, {"temperature", "0.8"}, {"seed", "3"}, {"logprobs", "2"}, {"stop", "[\"zzzz\"]"}});
  if (o.begin("samples")) o.status = nbl_session_generate(first, ids, count, &generate, &result);
  if (o.begin("save")) o.status = nbl_session_save(first, saved);
  session(&second, {{"kv_type", "q8"}});
  if (o.begin("load")) o.status = nbl_session_load(second, saved);
  if (o.begin("beams")) o.status = nbl_session_set(second, "beams", "2");
  if (o.begin("search")) o.status = nbl_session_generate(second, ids, 2, &generate, nullptr);
  if (o.begin("one beam")) o.status = nbl_session_set(second, "beams", "");
  if (o.begin("grammar")) o.status = nbl_session_set(second, "grammar", "root ::= [a-z ]+");
  if (o.begin("follow")) o.status = nbl_session_generate(second, ids, 1, &generate, nullptr);
  if (o.begin("tokens")) o.status = nbl_session_tokens(second, &tokens);
  session(&third, {{"kv_type", "q4"}, {"json_schema", R"({"type": "integer"})"}, {"draft_tokens", "2"}});
  if (o.begin("draft")) o.status = nbl_session_set_draft(third, plain);
  if (o.begin("drafted")) o.status = nbl_session_generate(third, ids, count, &generate, nullptr);
  if (o.begin("batch")) o.status = nbl_batch_create(model, 2, &batch);
  nbl_session* both[] = {first, third};
  const int32_t next[] = {5, 6};
  const float* logits = nullptr;
  if (o.begin("step")) o.status = nbl_batch_step(batch, both, next, 2, &logits);
  if (o.begin("last tokens")) o.status = nbl_session_tokens(third, &last);
  if (o.status == NBL_OK) {
    o.keep(prompt);
    o.keep(tokens);
    o.keep(last);
  }
  o.end();
  nbl_buffer_destroy(last);
  nbl_buffer_destroy(result);
  nbl_buffer_destroy(tokens);
  nbl_buffer_destroy(text);
  nbl_buffer_destroy(prompt);
  nbl_batch_destroy(batch);
  nbl_session_destroy(third);
  nbl_session_destroy(second);
  nbl_session_destroy(first);
  nbl_tokenizer_destroy(tokenizer);
  nbl_model_destroy(model);
  nbl_model_destroy(plain);
  nbl_runtime_destroy(runtime);
  disarm();
  return o;
}

class Features : public testing::TestWithParam<Fault> {};

TEST_P(Features, AreAnErrorOrUnharmed) {
  const Fault& c = GetParam();
  const std::string model = model_folder().string(), adapter = (work() / "adapter").string();
  const fs::path folder = work() / "saved";
  fs::create_directories(folder);
  const std::string saved = (folder / "session.bin").string();
  const Outcome clean = features(model.c_str(), adapter.c_str(), saved.c_str());
  ASSERT_EQ(clean.status, NBL_OK) << clean.step << ": " << clean.said;
  ASSERT_GT(clean.count, 20U);
  const std::string expected = test::read_all(saved);

  const int64_t before = live_blocks();
  int64_t struck_calls = 0, errors = 0;
  for (int64_t n = 0; n < 200'000; ++n) {
    fs::remove(saved);
    arm(c.kind, n, c.error, c.short_io);
    const Outcome got = features(model.c_str(), adapter.c_str(), saved.c_str());
    if (!struck()) break;
    ++struck_calls;
    const std::string where = got.where(c.kind, n);
    if (got.status != NBL_OK) {
      ++errors;
      expect_an_error_that_says_why(got, where);
      if (HasFatalFailure()) return;
      ASSERT_FALSE(c.short_io || c.error == EINTR) << where;
    } else {
      ASSERT_EQ(std::vector<int32_t>(got.ids, got.ids + got.count), std::vector<int32_t>(clean.ids, clean.ids + clean.count)) << where;
    }
    for (const auto& [path, bytes] : files_of(folder)) {
      ASSERT_EQ(path, saved) << where;
      ASSERT_EQ(bytes, expected) << where;
    }
  }
  std::printf("%lld faults, %lld errors\n", static_cast<long long>(struck_calls), static_cast<long long>(errors));
  EXPECT_GT(struck_calls, 0);
  EXPECT_LT(live_blocks() - before, 64);
}

INSTANTIATE_TEST_SUITE_P(All, Features,
                         testing::Values(Fault{Kind::open, EACCES}, Fault{Kind::open, EINTR}, Fault{Kind::read, EIO}, Fault{Kind::read, EINTR},
                                         Fault{Kind::read, 0, true}, Fault{Kind::write, ENOSPC}, Fault{Kind::write, EINTR},
                                         Fault{Kind::write, 0, true}, Fault{Kind::sync, EIO}, Fault{Kind::sync, EINTR}, Fault{Kind::rename, EACCES},
                                         Fault{Kind::map, ENOMEM}),
                         fault_name);
INSTANTIATE_TEST_SUITE_P(FullMemory, Features, testing::Values(Fault{Kind::allocate, ENOMEM}), fault_name);

}  // namespace
}  // namespace nbl::faults

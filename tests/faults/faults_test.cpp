// Load, quantize, run and evaluate on a tiny model while the n-th allocation, open, read, write, sync, rename or mapping fails,
// for every n: a clear error or an unharmed result, nothing half-written under the final name, nothing leaked.
#include "faults/faults.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <string>
#include <thread>

#include "nibble/nibble.h"
#include "support/temp_dir.h"

namespace nbl::faults {
namespace {
namespace fs = std::filesystem;

constexpr const char* kModel = NIBBLE_SOURCE_DIR "/tests/golden/logits/tiny/llama";

const fs::path& work() {
  static const test::TempDir folder;
  return folder.path();
}

struct Outcome {
  nbl_status status = NBL_OK;
  std::string message;  // filled after the fault is out of the way
  const char* step = "";
};

/// The job. Everything it makes is destroyed again. The handles are plain, so that the test's own memory is not at stake.
Outcome job(const char* recipe, const char* output, int32_t threads = 1, bool mapped = true) {
  static char message[2048];
  message[0] = '\0';
  const char* step = "";
  nbl_runtime* runtime = nullptr;
  nbl_checkpoint* original = nullptr;
  nbl_quantizer* quantizer = nullptr;
  nbl_model* model = nullptr;
  nbl_session* session = nullptr;
  nbl_evaluation* evaluation = nullptr;
  nbl_buffer *report = nullptr, *generated = nullptr, *scores = nullptr;
  nbl_status status = NBL_OK;
  const auto next = [&](const char* name) {
    step = name;
    return status == NBL_OK;
  };

  nbl_runtime_options options = NBL_RUNTIME_OPTIONS_INIT;
  options.threads = threads;
  if (next("runtime")) status = nbl_runtime_create(&options, &runtime);
  if (!mapped && status == NBL_OK && next("setting")) status = nbl_runtime_set(runtime, "mmap", "off");
  if (status == NBL_OK && next("open")) status = nbl_checkpoint_open(runtime, kModel, &original);
  if (status == NBL_OK && next("quantizer")) status = nbl_quantizer_create(runtime, recipe, &quantizer);
  int32_t ids[64];
  for (int i = 0; i < 64; ++i) ids[i] = (i * 7 + 3) % 67;
  if (status == NBL_OK && next("calibration")) status = nbl_quantizer_set_calibration_ids(quantizer, ids, 4, 16, "ids");
  if (status == NBL_OK && next("quantize")) status = nbl_quantizer_run(quantizer, original, output, &report);
  if (status == NBL_OK && next("load")) status = nbl_model_open(runtime, output, nullptr, &model);
  if (status == NBL_OK && next("session")) status = nbl_session_create(model, nullptr, &session);
  nbl_generate_options generate = NBL_GENERATE_OPTIONS_INIT;
  generate.max_new_tokens = 4;
  generate.ignore_eos = 1;
  if (status == NBL_OK && next("generate")) status = nbl_session_generate(session, ids, 8, &generate, &generated);
  if (status == NBL_OK && next("evaluation")) status = nbl_evaluation_create(runtime, &evaluation);
  if (status == NBL_OK && next("add")) status = nbl_evaluation_add_model(evaluation, model, "m");
  static const char kRequests[] = "{\"context_ids\":[1,2,3],\"continuation_ids\":[4,5]}\n";
  if (status == NBL_OK && next("score"))
    status = nbl_evaluation_score(evaluation, kRequests, sizeof kRequests - 1, &scores);
  if (status != NBL_OK) std::strncpy(message, nbl_last_error(), sizeof message - 1);

  nbl_buffer_destroy(scores);
  nbl_buffer_destroy(generated);
  nbl_buffer_destroy(report);
  nbl_evaluation_destroy(evaluation);
  nbl_session_destroy(session);
  nbl_model_destroy(model);
  nbl_quantizer_destroy(quantizer);
  nbl_checkpoint_destroy(original);
  nbl_runtime_destroy(runtime);
  disarm();
  return {status, message, step};
}

struct Case {
  Kind kind;
  int error;
  bool short_io;
  const char* recipe;
  bool mapped = true;
};

class EveryFault : public testing::TestWithParam<Case> {};

TEST_P(EveryFault, IsAnErrorOrNoHarm) {
  const Case& c = GetParam();
  const fs::path folder = work() / testing::UnitTest::GetInstance()->current_test_info()->name();
  fs::create_directories(folder);
  const std::string output = (folder / "out.safetensors").string();

  const Outcome clean = job(c.recipe, output.c_str(), 1, c.mapped);
  ASSERT_EQ(clean.status, NBL_OK) << clean.step << ": " << clean.message;
  const std::string expected = test::read_all(output);
  ASSERT_FALSE(expected.empty());

  const int64_t before = live_blocks();
  int64_t struck_calls = 0;
  for (int64_t n = 0;; ++n) {
    fs::remove(output);
    arm(c.kind, n, c.error, c.short_io);
    const Outcome got = job(c.recipe, output.c_str(), 1, c.mapped);
    if (!struck()) break;  // there is no n-th call any more
    ++struck_calls;
    const std::string where = std::string(name(c.kind)) + " " + std::to_string(n) + " at " + got.step + ": " + got.message;
    if (got.status != NBL_OK) {
      ASSERT_FALSE(got.message.empty()) << where;
      ASSERT_NE(got.status, NBL_E_INTERNAL) << where;
      ASSERT_NE(got.status, NBL_E_CANCELLED) << where;
    }
    if (c.short_io || c.error == EINTR) {
      ASSERT_EQ(got.status, NBL_OK) << where;
    }
    // The final name holds the whole file or nothing, and nothing else is left lying about.
    if (fs::exists(output)) {
      ASSERT_EQ(test::read_all(output), expected) << where;
    }
    for (const auto& entry : fs::directory_iterator(folder)) ASSERT_EQ(entry.path(), output) << where;
    ASSERT_LT(n, 200'000);
  }
  RecordProperty("faults", static_cast<int>(struck_calls));
  std::printf("%lld faults\n", static_cast<long long>(struck_calls));
  EXPECT_GT(struck_calls, 0);
  // A leak in every round would be thousands of blocks.
  EXPECT_LT(live_blocks() - before, 64);
  fs::remove_all(folder);
}

// A process at its limit of threads: the team is smaller, and the bytes are the same. On a thread of its own each time: OpenMP's
// threads, where they are used, belong to the thread that calls.
TEST(Threads, FewerThanAskedForAreEnough) {
  const fs::path folder = work() / "threads";
  fs::create_directories(folder);
  const std::string output = (folder / "out.safetensors").string();
  const Outcome clean = job("gptq:bits=4,group=16", output.c_str(), 3);
  ASSERT_EQ(clean.status, NBL_OK) << clean.message;
  const std::string expected = test::read_all(output);
  for (int64_t n = 0; n < 2; ++n) {
    fs::remove(output);
    Outcome got;
    bool met = false;
    std::thread([&] {
      arm(Kind::thread, n, EAGAIN);
      got = job("gptq:bits=4,group=16", output.c_str(), 3);
      met = struck();
    }).join();
    EXPECT_TRUE(met) << "thread " << n << " was never made";
    EXPECT_EQ(got.status, NBL_OK) << "thread " << n << " at " << got.step << ": " << got.message;
    EXPECT_EQ(test::read_all(output), expected) << "thread " << n;
  }
  fs::remove_all(folder);
}

TEST(Clocks, ThatJumpChangeNothing) {
  const fs::path folder = work() / "clocks";
  fs::create_directories(folder);
  const std::string output = (folder / "out.safetensors").string();
  ASSERT_EQ(job("gptq:bits=4,group=16", output.c_str()).status, NBL_OK);
  const std::string expected = test::read_all(output);
  fs::remove(output);
  let_clocks_jump(true);
  const Outcome got = job("gptq:bits=4,group=16", output.c_str());
  let_clocks_jump(false);
  EXPECT_EQ(got.status, NBL_OK) << got.step << ": " << got.message;
  EXPECT_EQ(test::read_all(output), expected);
  fs::remove_all(folder);
}

std::string case_name(const testing::TestParamInfo<Case>& info) {
  std::string text = std::string(name(info.param.kind)) + "_" +
                     (info.param.short_io ? "short" : std::string(strerrorname_np(info.param.error))) + "_" + info.param.recipe +
                     (info.param.mapped ? "" : "_read_whole");
  for (char& c : text) {
    if (std::isalnum(static_cast<unsigned char>(c)) == 0) c = '_';
  }
  return text;
}

constexpr const char* kPlain = "rtn:bits=4,group=16";
constexpr const char* kCalibrated = "gptq:bits=4,group=16";
INSTANTIATE_TEST_SUITE_P(All, EveryFault,
                         testing::Values(Case{Kind::allocate, ENOMEM, false, kPlain}, Case{Kind::open, EACCES, false, kCalibrated},
                                         Case{Kind::open, EINTR, false, kPlain}, Case{Kind::read, EIO, false, kCalibrated},
                                         Case{Kind::read, EINTR, false, kPlain}, Case{Kind::read, 0, true, kPlain},
                                         Case{Kind::write, ENOSPC, false, kCalibrated}, Case{Kind::write, EIO, false, kPlain},
                                         Case{Kind::write, EINTR, false, kPlain}, Case{Kind::write, 0, true, kPlain},
                                         Case{Kind::sync, EIO, false, kCalibrated}, Case{Kind::rename, EACCES, false, kCalibrated},
                                         Case{Kind::map, ENOMEM, false, kCalibrated}, Case{Kind::read, EIO, false, kPlain, false},
                                         Case{Kind::read, EINTR, false, kPlain, false}, Case{Kind::read, 0, true, kPlain, false}),
                         case_name);
// Takes minutes: every allocation of a calibrated method.
INSTANTIATE_TEST_SUITE_P(FullCalibrated, EveryFault, testing::Values(Case{Kind::allocate, ENOMEM, false, kCalibrated}), case_name);

}  // namespace
}  // namespace nbl::faults

// Memory that runs out in the middle of every method, in whichever thread: an error that says so, or the same file as ever. Some
// allocations of each job, drawn by a fixed seed; faults_test.cpp fails every one of two methods.
#include <gtest/gtest.h>

#include <cstdio>
#include <cstring>
#include <filesystem>
#include <limits>
#include <ostream>
#include <string>

#include "base/random.h"
#include "faults/faults.h"
#include "nibble/nibble.h"
#include "support/golden_model.h"
#include "support/temp_dir.h"

namespace nbl::faults {
namespace {
namespace fs = std::filesystem;

constexpr int kDrawn = 40;
constexpr uint64_t kSeed = 20260;

struct Outcome {
  nbl_status status = NBL_OK;
  char said[1024] = "";
  int64_t allocations = 0;
};

/// fail_at < 0: none fails.
Outcome quantize(const char* model, const char* recipe, const char* output, int64_t fail_at) {
  Outcome o;
  nbl_runtime* runtime = nullptr;
  nbl_checkpoint* original = nullptr;
  nbl_quantizer* quantizer = nullptr;
  nbl_buffer* report = nullptr;
  int32_t ids[64];
  for (int i = 0; i < 64; ++i) ids[i] = (i * 7 + 3) % 67;
  nbl_runtime_options options = NBL_RUNTIME_OPTIONS_INIT;
  options.threads = 3;
  arm_allocations(fail_at < 0 ? std::numeric_limits<int64_t>::max() : fail_at);
  o.status = nbl_runtime_create(&options, &runtime);
  if (o.status == NBL_OK) o.status = nbl_checkpoint_open(runtime, model, &original);
  if (o.status == NBL_OK) o.status = nbl_quantizer_create(runtime, recipe, &quantizer);
  if (o.status == NBL_OK) o.status = nbl_quantizer_set_calibration_ids(quantizer, ids, 4, 16, "ids");
  if (o.status == NBL_OK) o.status = nbl_quantizer_run(quantizer, original, output, &report);
  if (o.status != NBL_OK) std::strncpy(o.said, nbl_last_error(), sizeof o.said - 1);
  nbl_buffer_destroy(report);
  nbl_quantizer_destroy(quantizer);
  nbl_checkpoint_destroy(original);
  nbl_runtime_destroy(runtime);
  o.allocations = disarm_allocations();
  return o;
}

struct Job {
  const char *name, *recipe;
  const char* architecture = "qwen3";
};
void PrintTo(const Job& job, std::ostream* out) { *out << job.recipe << " of " << job.architecture; }

class EveryMethod : public testing::TestWithParam<Job> {};

TEST_P(EveryMethod, SaysThatMemoryRanOut) {
  const Job& job = GetParam();
  const test::GoldenModel model(job.architecture);
  const test::TempDir folder;
  const std::string output = (folder.path() / "out.safetensors").string(), source = model.directory.path().string();
  const Outcome whole = quantize(source.c_str(), job.recipe, output.c_str(), -1);
  ASSERT_EQ(whole.status, NBL_OK) << whole.said;
  const std::string expected = test::read_all(output);
  Random random(kSeed);
  int errors = 0;
  for (int i = 0; i < kDrawn; ++i) {
    fs::remove(output);
    const auto at = static_cast<int64_t>(random.below(static_cast<uint64_t>(whole.allocations)));
    const Outcome got = quantize(source.c_str(), job.recipe, output.c_str(), at);
    SCOPED_TRACE("allocation " + std::to_string(at) + " of " + std::to_string(whole.allocations) + ": " + got.said);
    if (got.status != NBL_OK) {
      ++errors;
      ASSERT_EQ(got.status, NBL_E_OUT_OF_MEMORY);
    }
    if (got.status == NBL_OK || fs::exists(output)) {
      ASSERT_EQ(test::read_all(output), expected);
    }
  }
  std::printf("%lld allocations, %d of %d drawn were errors\n", static_cast<long long>(whole.allocations), errors, kDrawn);
  EXPECT_GT(errors, 0);
}

INSTANTIATE_TEST_SUITE_P(
    All, EveryMethod,
    testing::Values(Job{"rtn", "rtn:bits=3,group=16,mse=20"}, Job{"int8", "int8"}, Job{"llm_int8", "llm_int8"}, Job{"smoothquant", "smoothquant"},
                    Job{"fp8", "fp8"}, Job{"nf4", "nf4"}, Job{"fp4", "fp4"}, Job{"hqq", "hqq:bits=3,group=32"}, Job{"kquant", "kquant:type=Q4_0"},
                    Job{"binary", "binary"}, Job{"ternary", "ternary"}, Job{"gptq", "gptq:bits=3,group=16"},
                    Job{"trellis", "trellis:bits=2"}, Job{"awq", "awq:bits=3,group=16"}, Job{"awq_gptq", "awq+gptq:bits=3,group=16"},
                    Job{"autoround", "autoround:bits=3,group=16"}, Job{"autoround_model", "autoround:bits=3,group=16,epochs=1"},
                    Job{"spqr", "spqr"}, Job{"mixture", "autoround:bits=3,group=16", "mixtral"}, Job{"capped", "autoround:bits=3,group=16", "gemma2"}),
    [](const testing::TestParamInfo<Job>& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace nbl::faults

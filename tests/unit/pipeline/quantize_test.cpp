#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>

#include <cmath>
#include <limits>

#include "base/file.h"
#include "pipeline/pipeline.h"
#include "support/memory_checkpoint.h"
#include "support/scratch.h"

namespace nbl::pipeline {
namespace {

using nbl::testing::MemoryCheckpoint;
using nbl::testing::Scratch;

Calibration tokens(int64_t windows, int64_t length, int64_t vocab) {
  Calibration c;
  c.windows = windows;
  c.length = length;
  c.source = "random";
  Random random(4);
  for (int64_t i = 0; i < windows * length; ++i)
    c.ids.push_back(static_cast<text::TokenId>(random.below(static_cast<uint64_t>(vocab))));
  return c;
}

QuantizeOptions options_for(const std::string& recipe) {
  QuantizeOptions options;
  auto parsed = quant::parse_recipe(recipe);
  EXPECT_TRUE(parsed.ok()) << parsed.status().message();
  options.recipe = std::move(parsed).value();
  options.calibration = tokens(6, 32, 257);
  return options;
}

class Quantize : public ::testing::Test {
 protected:
  Scratch scratch_;
  Team team_{2};
  MemoryCheckpoint model_{MemoryCheckpoint::Shape2{}};
  std::filesystem::path output() const { return scratch_.path() / "out.safetensors"; }
};

TEST_F(Quantize, EveryRecipeGivesAFileThatReadsBack) {
  for (const char* recipe :
       {"rtn:bits=4,group=32", "gptq:bits=4,group=32", "awq:bits=4,group=32", "autoround:bits=4,group=32,iters=6",
        "nf4:block=64", "int8", "fp16"}) {
    SCOPED_TRACE(recipe);
    const QuantizeOptions options = options_for(recipe);
    auto report = quantize(model_, output(), options, team_, nullptr);
    ASSERT_TRUE(report.ok()) << report.status().message();
    EXPECT_EQ(report->layers.size(), 14u);
    EXPECT_EQ(report->file_bytes, static_cast<int64_t>(std::filesystem::file_size(output())));
    EXPECT_EQ(report->output_sha256.size(), 64u);
    double bits = 0;
    for (const LayerReport& layer : report->layers) {
      EXPECT_GE(layer.error, 0.0) << layer.name;
      EXPECT_LT(layer.error, 0.05) << layer.name;
      bits = std::max(bits, layer.bits);
    }
    EXPECT_GT(report->bits_per_weight, 3.9);
    EXPECT_LE(report->bits_per_weight, bits + 1e-9);
    auto read = open_checkpoint(output());
    ASSERT_TRUE(read.ok()) << read.status().message();
    for (const TensorInfo& info : model_.tensors()) {
      EXPECT_TRUE((*read)->has(info.name)) << info.name;
    }
    EXPECT_EQ((*read)->config().get_int("hidden_size").value(), 64);
    auto manifest = (*read)->asset("manifest.json");
    ASSERT_TRUE(manifest.ok()) << manifest.status().message();
    EXPECT_NE(manifest->find(options.recipe.text), std::string::npos);
    EXPECT_EQ(scratch_.entries(), 1);
  }
}

TEST_F(Quantize, TheSameBytesForAnyNumberOfThreads) {
  for (const char* recipe : {"gptq:bits=3,group=32", "awq:bits=4,group=32", "autoround:bits=3,group=32,iters=6"}) {
    std::string first;
    for (int threads : {1, 2, 3}) {
      Team team(threads);
      auto report = quantize(model_, output(), options_for(recipe), team, nullptr);
      ASSERT_TRUE(report.ok()) << report.status().message();
      if (first.empty()) first = report->output_sha256;
      EXPECT_EQ(report->output_sha256, first) << recipe << ", " << threads << " threads";
    }
  }
}

TEST_F(Quantize, OverridesChooseAndKeep) {
  QuantizeOptions options = options_for("rtn:bits=4,group=32");
  options.overrides = {{"model\\.layers\\.0\\.mlp\\..*", ""}, {".*v_proj.weight", "rtn:bits=8,group=32"}};
  auto report = quantize(model_, output(), options, team_, nullptr);
  ASSERT_TRUE(report.ok()) << report.status().message();
  EXPECT_EQ(report->layers.size(), 11u);
  for (const LayerReport& layer : report->layers) {
    EXPECT_EQ(layer.name.find("layers.0.mlp"), std::string::npos);
    EXPECT_EQ(layer.bits > 8, layer.name.find("v_proj") != std::string::npos) << layer.name;
  }
  auto read = open_checkpoint(output());
  ASSERT_TRUE(read.ok());
  auto kept = (*read)->array("model.layers.0.mlp.up_proj.weight");
  ASSERT_TRUE(kept.ok());
  EXPECT_EQ(kept->to_f32().value(), model_.values("model.layers.0.mlp.up_proj.weight"));
  options.overrides = {{"model.layers.9.*", ""}};
  auto none = quantize(model_, output(), options, team_, nullptr);
  ASSERT_FALSE(none.ok());
  EXPECT_NE(none.status().message().find("override \"model.layers.9.*\" matches no linear layer"), std::string::npos)
      << none.status().message();
}

TEST_F(Quantize, ColumnsThatTheGroupDoesNotDivide) {
  MemoryCheckpoint odd({.hidden = 80, .ffn = 112, .heads = 4, .kv_heads = 2});
  for (const char* recipe : {"rtn:bits=4,group=64", "gptq:bits=4,group=64", "awq:bits=4,group=64", "nf4:block=64"}) {
    auto report = quantize(odd, output(), options_for(recipe), team_, nullptr);
    ASSERT_TRUE(report.ok()) << recipe << ": " << report.status().message();
    for (const LayerReport& layer : report->layers) EXPECT_LT(layer.error, 0.05) << layer.name;
  }
}

TEST_F(Quantize, CancellingAtAnyMomentLeavesNothing) {
  for (const char* recipe : {"rtn:bits=4,group=32", "gptq:bits=4,group=32"}) {
    const QuantizeOptions options = options_for(recipe);
    int calls = 0;
    auto counted = quantize(model_, output(), options, team_, [&](const ProgressEvent&) { return ++calls, true; });
    ASSERT_TRUE(counted.ok());
    std::filesystem::remove(output());
    for (int stop = 1; stop <= calls; stop += std::max(1, calls / 25)) {
      int seen = 0;
      auto report = quantize(model_, output(), options, team_, [&](const ProgressEvent&) { return ++seen < stop; });
      ASSERT_FALSE(report.ok()) << stop;
      EXPECT_EQ(report.status().code(), Code::cancelled) << report.status().message();
      EXPECT_EQ(scratch_.entries(), 0) << "cancelled at call " << stop << " of " << calls;
    }
  }
}

TEST_F(Quantize, AFailureKeepsTheOlderFile) {
  ASSERT_TRUE(write_text_file(output(), "older").ok());
  int calls = 0;
  auto report =
      quantize(model_, output(), options_for("rtn"), team_, [&](const ProgressEvent&) { return ++calls < 5; });
  ASSERT_FALSE(report.ok());
  EXPECT_EQ(read_text_file(output(), 100).value(), "older");
  EXPECT_EQ(scratch_.entries(), 1);
}

TEST_F(Quantize, AFullDiskIsSaidAndNothingIsLeft) {
  signal(SIGXFSZ, SIG_IGN);
  rlimit old{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &old), 0);
  const rlimit tight{65536, old.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &tight), 0);
  auto report = quantize(model_, output(), options_for("rtn:bits=4"), team_, nullptr);
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &old), 0);
  ASSERT_FALSE(report.ok());
  EXPECT_TRUE(report.status().code() == Code::io || report.status().code() == Code::limit) << report.status().message();
  EXPECT_NE(report.status().message().find("out.safetensors"), std::string::npos) << report.status().message();
  EXPECT_EQ(scratch_.entries(), 0);
}

TEST_F(Quantize, AnOutputThatCannotBeWrittenIsSaidBeforeTheWork) {
  int calls = 0;
  auto report = quantize(model_, "/proc/nibble/out.safetensors", options_for("gptq:bits=4"), team_,
                         [&](const ProgressEvent&) { return ++calls, true; });
  ASSERT_FALSE(report.ok());
  EXPECT_NE(report.status().message().find("/proc/nibble"), std::string::npos) << report.status().message();
  EXPECT_EQ(calls, 0);
}

TEST_F(Quantize, ANaNInAWeightIsNamed) {
  model_.values("model.layers.1.mlp.up_proj.weight")[3 * 64 + 5] = std::numeric_limits<float>::quiet_NaN();
  for (const char* recipe : {"rtn:bits=4,group=32", "nf4", "gptq:bits=4,group=32", "awq:bits=4,group=32", "int8"}) {
    auto report = quantize(model_, output(), options_for(recipe), team_, nullptr);
    ASSERT_FALSE(report.ok()) << recipe;
    const std::string message = report.status().message();
    EXPECT_NE(message.find("model.layers.1.mlp.up_proj.weight"), std::string::npos) << recipe << ": " << message;
    EXPECT_NE(message.find("row 3"), std::string::npos) << recipe << ": " << message;
    EXPECT_NE(message.find("column 5"), std::string::npos) << recipe << ": " << message;
    EXPECT_EQ(scratch_.entries(), 0);
  }
}

TEST_F(Quantize, CalibrationThatDoesNotFitIsRefused) {
  QuantizeOptions options = options_for("gptq:bits=4,group=32");
  options.calibration = {};
  auto missing = quantize(model_, output(), options, team_, nullptr);
  ASSERT_FALSE(missing.ok());
  EXPECT_NE(missing.status().message().find("no calibration text was given"), std::string::npos);
  options.calibration = tokens(2, 16, 257);
  options.calibration.ids[7] = 257;
  auto alien = quantize(model_, output(), options, team_, nullptr);
  ASSERT_FALSE(alien.ok());
  EXPECT_NE(alien.status().message().find("token id 257"), std::string::npos) << alien.status().message();
  options.calibration = tokens(1, 300, 257);
  auto longer = quantize(model_, output(), options, team_, nullptr);
  ASSERT_FALSE(longer.ok());
  EXPECT_NE(longer.status().message().find("300 tokens are longer than the 256 positions"), std::string::npos);
  EXPECT_EQ(scratch_.entries(), 0);
  // Methods that need none do not ask.
  options = options_for("rtn");
  options.calibration = {};
  EXPECT_TRUE(quantize(model_, output(), options, team_, nullptr).ok());
}

TEST_F(Quantize, OneTokenOfCalibrationIsEnoughToFinish) {
  QuantizeOptions options = options_for("gptq:bits=4,group=32");
  options.calibration = tokens(1, 1, 257);
  auto report = quantize(model_, output(), options, team_, nullptr);
  ASSERT_TRUE(report.ok()) << report.status().message();
  for (const LayerReport& layer : report->layers) EXPECT_TRUE(std::isfinite(layer.error)) << layer.name;
}

TEST_F(Quantize, AMissingTensorIsNamed) {
  model_.erase("model.layers.1.self_attn.k_proj.weight");
  auto report = quantize(model_, output(), options_for("rtn"), team_, nullptr);
  ASSERT_FALSE(report.ok());
  EXPECT_NE(report.status().message().find("model.layers.1.self_attn.k_proj"), std::string::npos)
      << report.status().message();
}

}  // namespace
}  // namespace nbl::pipeline

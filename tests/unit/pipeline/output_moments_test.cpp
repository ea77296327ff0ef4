// Second moments of the gradients at outputs: that they are the curvature of the divergence, wherever they are kept, and what quantize()
// makes of them.
#include "pipeline/output_moments.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/random.h"
#include "pipeline/output_gradient.h"
#include "pipeline/pipeline.h"
#include "support/memory_checkpoint.h"
#include "support/scratch.h"

namespace nbl::pipeline {
namespace {

using Floats = std::vector<float>;
using nbl::testing::MemoryCheckpoint;
using nbl::testing::Scratch;

class OutputMomentsTest : public ::testing::Test {
 protected:
  static constexpr int64_t kWindows = 6, kLength = 32;

  OutputMomentsTest() {
    arch_ = *model::find_architecture(model_.config(), "test");
    config_ = *arch_->read_config(model_.config(), "test");
    Random random(4);
    calibration_.windows = kWindows;
    calibration_.length = kLength;
    calibration_.source = "random";
    for (int64_t i = 0; i < kWindows * kLength; ++i) calibration_.ids.push_back(static_cast<text::TokenId>(random.below(257)));
  }
  QuantizeOptions options_for(const std::string& recipe) const {
    QuantizeOptions options;
    options.recipe = *quant::parse_recipe(recipe);
    options.calibration = calibration_;
    return options;
  }
  OutputMoments measure(const OutputMoments::Options& options) {
    auto made = OutputMoments::measure(model_, *arch_, config_, team_, calibration_.ids, options, [](int64_t, bool) { return Status(); });
    EXPECT_TRUE(made.ok()) << made.status().message();
    return std::move(made).value();
  }
  OutputMoments::Options options() const {
    OutputMoments::Options o;
    o.windows = kWindows;
    o.length = kLength;
    o.compute = Compute::exact;
    return o;
  }
  std::filesystem::path output() const { return scratch_.path() / "out.safetensors"; }

  Scratch scratch_;
  Team team_{2};
  MemoryCheckpoint model_{MemoryCheckpoint::Shape2{}};
  const model::Architecture* arch_ = nullptr;
  model::Config config_;
  Calibration calibration_;
};

TEST_F(OutputMomentsTest, ProbesHaveTheCurvatureOfTheDivergence) {
  constexpr int64_t kTokens = 8;
  OutputGradient output = *OutputGradient::create(model_, *arch_, config_, team_, kTokens, Compute::exact);
  Random random(9);
  const auto normal = [&] {
    Floats out(static_cast<std::size_t>(kTokens * config_.hidden));
    for (float& v : out) v = static_cast<float>(random.normal());
    return out;
  };
  const Floats hidden = normal(), way = normal();
  // KL(hidden || hidden + step way) is step^2 / 2 way F way, summed over the tokens.
  const float step = 0.02f;
  Floats there = hidden, back = hidden;
  for (std::size_t i = 0; i < way.size(); ++i) {
    there[i] += step * way[i];
    back[i] -= step * way[i];
  }
  const double divergence = *output.run(there.data(), hidden.data(), nullptr) + *output.run(back.data(), hidden.data(), nullptr);
  const double curvature = divergence * kTokens / (static_cast<double>(step) * static_cast<double>(step));
  double sum = 0;
  constexpr int kProbes = 600;
  Floats dx(hidden.size());
  for (int p = 0; p < kProbes; ++p) {
    ASSERT_TRUE(output.probe(hidden.data(), static_cast<uint64_t>(p) * kTokens, dx.data()).ok());
    for (int64_t t = 0; t < kTokens; ++t) {
      double along = 0;
      for (int64_t i = t * config_.hidden; i < (t + 1) * config_.hidden; ++i) along += static_cast<double>(dx[static_cast<std::size_t>(i)]) * static_cast<double>(way[static_cast<std::size_t>(i)]);
      sum += along * along;
    }
  }
  // Of 4,800 squares of what is about normally distributed: within 2 % by chance.
  EXPECT_NEAR(sum / kProbes, curvature, 0.08 * curvature);
}

TEST_F(OutputMomentsTest, AreTheSameInMemoryOnDiskForAnyTeamAndFirstLayer) {
  const OutputMoments first = measure(options());
  EXPECT_EQ(first.gradients(), OutputMoments::kProbes * kWindows * kLength);
  OutputMoments::Options o = options();
  o.spill = o.spill_moments = scratch_.path();
  const OutputMoments spilled = measure(o);
  o = options();
  o.first_layer = 1;
  const OutputMoments later = measure(o);
  Team one(1);
  const auto alone = *OutputMoments::measure(model_, *arch_, config_, one, calibration_.ids, options(), [](int64_t, bool) { return Status(); });
  for (int64_t l = 0; l < config_.layers; ++l) {
    for (const model::Role role : {model::Role::q, model::Role::v, model::Role::attn_out, model::Role::up, model::Role::down}) {
      const Floats moments = *first.load(l, role);
      const std::size_t n = static_cast<std::size_t>(role == model::Role::v ? 32 : role == model::Role::up ? 96 : 64);
      ASSERT_EQ(moments.size(), n * n);
      EXPECT_GT(moments.front(), 0.0f);
      EXPECT_EQ(moments[1], moments[n]);
      EXPECT_EQ(moments, *spilled.load(l, role));
      EXPECT_EQ(moments, *alone.load(l, role));
      EXPECT_EQ(*later.load(l, role), l == 0 ? Floats{} : moments);
    }
    EXPECT_TRUE(first.load(l, model::Role::qkv)->empty());
  }
}

TEST_F(OutputMomentsTest, QuantizingWithThemIsSaidAndDoesNotDependOnThreadsOrMemory) {
  for (const char* recipe : {"gptq:bits=3,group=32,output_tokens=96", "trellis:bits=2,output_tokens=192", "autoround:bits=3,group=32,iters=2,output_tokens=1"}) {
    SCOPED_TRACE(recipe);
    std::string first;
    for (int threads : {1, 3}) {
      Team team(threads);
      auto report = quantize(model_, output(), options_for(recipe), team, nullptr);
      ASSERT_TRUE(report.ok()) << report.status().message();
      if (first.empty()) first = report->output_sha256;
      EXPECT_EQ(report->output_sha256, first) << threads << " threads";
      const std::string words = recipe[0] == 'g' ? "(192 gradients" : recipe[0] == 't' ? "(384 gradients" : "(64 gradients";
      for (const LayerReport& layer : report->layers) {
        bool said = false;
        for (const std::string& note : layer.notes) said = said || note.find(words) != std::string::npos;
        EXPECT_TRUE(said) << layer.name;
      }
    }
    QuantizeOptions without = options_for(std::string(recipe).substr(0, std::string(recipe).find(",output_tokens")));
    auto plain = quantize(model_, output(), without, team_, nullptr);
    ASSERT_TRUE(plain.ok());
    EXPECT_NE(plain->output_sha256, first);
  }
}

TEST_F(OutputMomentsTest, ANaNInALaterLayerIsNamedBeforeThePass) {
  model_.values("model.layers.1.mlp.up_proj.weight")[70] = std::numeric_limits<float>::quiet_NaN();
  int64_t gradients = 0;
  const auto report = quantize(model_, output(), options_for("gptq:bits=3,group=32,output_tokens=192"), team_, [&](const ProgressEvent& p) {
    gradients += p.stage == "gradients" ? 1 : 0;
    return true;
  });
  ASSERT_FALSE(report.ok());
  EXPECT_NE(report.status().message().find("model.layers.1.mlp.up_proj.weight holds nan at row 1, column 6"), std::string::npos) << report.status().message();
  EXPECT_EQ(gradients, 0);
}

TEST_F(OutputMomentsTest, AnInterruptedJobGoesOn) {
  QuantizeOptions options = options_for("gptq:bits=3,group=32,output_tokens=192");
  const auto whole = quantize(model_, output(), options, team_, nullptr);
  ASSERT_TRUE(whole.ok());
  options.resume = true;
  int64_t back = 0;
  for (const char* stage : {"gradients", "quantize"}) {  // in the pass back; in the second layer
    auto stopped = quantize(model_, scratch_.path() / "again.safetensors", options, team_, [&](const ProgressEvent& p) {
      back += p.stage == "gradients" && p.detail.find("back") != std::string::npos ? 1 : 0;
      return !(p.stage == stage && (p.detail.find("layers.1.mlp.up_proj") != std::string::npos || p.detail == "layer 1, back"));
    });
    ASSERT_FALSE(stopped.ok());
    EXPECT_EQ(stopped.status().code(), Code::cancelled);
  }
  EXPECT_GT(back, 1);
  const auto resumed = quantize(model_, scratch_.path() / "again.safetensors", options, team_, nullptr);
  ASSERT_TRUE(resumed.ok()) << resumed.status().message();
  EXPECT_EQ(resumed->resumed_layers, 1);
  EXPECT_EQ(resumed->output_sha256, whole->output_sha256);
}

}  // namespace
}  // namespace nbl::pipeline

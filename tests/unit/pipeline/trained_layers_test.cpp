// On every layer of a trained model: error feedback loses no more of the output than rounding to nearest, on what it was calibrated on.
#include <gtest/gtest.h>

#include <filesystem>
#include <optional>

#include "base/file.h"
#include "pipeline/gram.h"
#include "pipeline/pipeline.h"
#include "model/block.h"

namespace nbl::pipeline {
namespace {

TEST(TrainedLayers, GptqIsNoWorseThanRtnOnAnyOfThem) {
  const std::filesystem::path examples = std::filesystem::path(NIBBLE_SOURCE_DIR) / "examples";
  const auto checkpoint = open_checkpoint(examples / "models" / "prose-3.7m");
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
  const auto tokenizer = load_tokenizer(**checkpoint);
  ASSERT_TRUE(tokenizer.ok());
  const auto text = read_text_file(examples / "data" / "calibration.txt", int64_t{16} << 20);
  ASSERT_TRUE(text.ok());
  const Calibration c = *make_calibration(**tokenizer, *text, "test", 4, 128);
  const model::Architecture* arch = *model::find_architecture((*checkpoint)->config(), "test");
  const model::Config config = *arch->read_config((*checkpoint)->config(), "test");
  Team team(2);
  std::vector<float> hidden(c.ids.size() * static_cast<std::size_t>(config.hidden));
  ASSERT_TRUE(model::embed(**checkpoint, *arch, config, c.ids, c.length, hidden.data()).ok());
  quant::MethodContext context;
  context.team = &team;
  int compared = 0;
  for (int64_t l = 0; l < config.layers; ++l) {
    const model::LayerWeights weights = *model::load_layer(**checkpoint, *arch, config, l);
    const std::vector<model::InputGroup> groups = model::layer_groups(*arch, config, l);
    std::vector<std::optional<StatsAccumulator>> sums(groups.size());
    const model::InputObserver observer = [&](std::size_t g, const float* x, int64_t ldx, int64_t m, int64_t k) -> Status {
      if (!sums[g]) {
        NBL_ASSIGN(sums[g], StatsAccumulator::create(k, quant::kNeedHessian));
      }
      Sample sample;
      sample.x = x;
      sample.ldx = ldx;
      sample.m = m;
      sums[g]->add(sample, team);
      return {};
    };
    ASSERT_TRUE(model::run_layer(weights, *arch, config, team, c.windows, c.length, hidden.data(), observer, l).ok());
    for (std::size_t g = 0; g < groups.size(); ++g) {
      if (!sums[g]) continue;
      const quant::InputStats stats = *sums[g]->finish(team);
      for (const model::Part& part : groups[g].linears) {
        const auto m = weights.matrices.find(part);
        if (m == weights.matrices.end()) continue;
        const quant::LinearTask task{"layer", m->second.n, m->second.k, m->second.w, &stats};
        for (const char* options : {"bits=2,group=64", "bits=4,group=128"}) {
          const auto error = [&](const std::string& method) {
            const quant::Recipe recipe = *quant::parse_recipe(method + ":" + options);
            return recipe.method->quantize(task, recipe.options, context)->error;
          };
          EXPECT_LE(error("gptq"), error("rtn")) << "layer " << l << ", role " << static_cast<int>(part.role) << ", " << options;
          ++compared;
        }
      }
    }
  }
  EXPECT_EQ(compared, config.layers * 7 * 2);
}

}  // namespace
}  // namespace nbl::pipeline

// Single layers as calibration runs them.
#include "model/block.h"

#include <gtest/gtest.h>

#include <cstring>

#include "memory_checkpoint.h"
#include "reference_model.h"

namespace nbl::model {
namespace {

using test::MemoryCheckpoint;
using test::ReferenceModel;

struct Case {
  Case(const Json& json, uint64_t seed) : checkpoint(json, seed) {
    arch = *find_architecture(json, "test");
    config = *arch->read_config(json, "test");
    Random random(seed);
    for (int64_t i = 0; i < kWindows * kLength; ++i)
      ids.push_back(static_cast<text::TokenId>(random.below(static_cast<uint64_t>(config.vocab))));
    hidden.resize(ids.size() * static_cast<std::size_t>(config.hidden));
    EXPECT_TRUE(embed(checkpoint, *arch, config, ids, kLength, hidden.data()).ok());
  }
  static constexpr int64_t kWindows = 5, kLength = 18;
  MemoryCheckpoint checkpoint;
  const Architecture* arch = nullptr;
  Config config;
  std::vector<text::TokenId> ids;
  std::vector<float> hidden;
};

TEST(Block, LayersEqualDoublePrecisionWindowByWindow) {
  for (const auto& [name, json] : test::model_kinds()) {
    Case s(json, 3);
    const ReferenceModel reference(s.checkpoint, s.config, *s.arch);
    Team team(2);
    for (int64_t layer = 0; layer <= s.config.layers; ++layer) {
      double worst = 0, largest = 0;
      for (int64_t w = 0; w < Case::kWindows; ++w) {
        const std::vector<text::TokenId> window(s.ids.begin() + w * Case::kLength,
                                                s.ids.begin() + (w + 1) * Case::kLength);
        const auto want = reference.hidden(window, layer);
        for (std::size_t t = 0; t < want.size(); ++t)
          for (std::size_t i = 0; i < want[t].size(); ++i) {
            const float got = s.hidden[(static_cast<std::size_t>(w * Case::kLength) + t) * want[t].size() + i];
            worst = std::max(worst, std::fabs(got - want[t][i]));
            largest = std::max(largest, std::fabs(want[t][i]));
          }
      }
      EXPECT_LT(worst, 1e-5 * largest) << name << " before layer " << layer;
      if (layer == s.config.layers) break;
      const auto weights = load_layer(s.checkpoint, *s.arch, s.config, layer);
      ASSERT_TRUE(weights.ok()) << weights.status().message();
      const Status ran =
          run_layer(*weights, *s.arch, s.config, team, Case::kWindows, Case::kLength, s.hidden.data(), {}, layer);
      ASSERT_TRUE(ran.ok()) << ran.message();
    }
  }
}

TEST(Block, SameBytesForAnyTeamAndSplit) {
  for (const auto& [name, json] : test::model_kinds()) {
    Case s(json, 5);
    const auto weights = load_layer(s.checkpoint, *s.arch, s.config, 0);
    ASSERT_TRUE(weights.ok());
    std::vector<float> reference = s.hidden, other = s.hidden, one_by_one = s.hidden;
    Team one(1), three(3);
    ASSERT_TRUE(run_layer(*weights, *s.arch, s.config, one, Case::kWindows, Case::kLength, reference.data(), {}).ok());
    ASSERT_TRUE(run_layer(*weights, *s.arch, s.config, three, Case::kWindows, Case::kLength, other.data(), {}).ok());
    for (int64_t w = 0; w < Case::kWindows; ++w)
      ASSERT_TRUE(run_layer(*weights, *s.arch, s.config, one, 1, Case::kLength,
                            one_by_one.data() + w * Case::kLength * s.config.hidden, {})
                      .ok());
    EXPECT_EQ(std::memcmp(reference.data(), other.data(), reference.size() * 4), 0) << name;
    EXPECT_EQ(std::memcmp(reference.data(), one_by_one.data(), reference.size() * 4), 0) << name;
  }
}

/// What the observer sees, multiplied by the weight, is what the layer computes: checked on the last group, whose
/// product is the MLP's contribution.
TEST(Block, ObserverSeesEveryGroupsInput) {
  for (const auto& [name, json] : test::model_kinds()) {
    Case s(json, 7);
    const auto weights = load_layer(s.checkpoint, *s.arch, s.config, 0);
    ASSERT_TRUE(weights.ok());
    Team team(2);
    std::vector<std::vector<float>> seen(s.arch->groups.size());
    std::vector<int64_t> columns(s.arch->groups.size());
    const InputObserver observer = [&](std::size_t group, const float* x, int64_t ldx, int64_t m, int64_t k) -> Status {
      EXPECT_LT(group, seen.size());
      columns[group] = k;
      for (int64_t r = 0; r < m; ++r) seen[group].insert(seen[group].end(), x + r * ldx, x + r * ldx + k);
      return {};
    };
    const std::vector<float> before = s.hidden;
    ASSERT_TRUE(
        run_layer(*weights, *s.arch, s.config, team, Case::kWindows, Case::kLength, s.hidden.data(), observer).ok());
    std::vector<double> sum(before.begin(), before.end());
    for (std::size_t g = 0; g < seen.size(); ++g) {
      for (const Part& part : s.arch->groups[g].linears) {
        const Role role = part.role;
        const auto& m = weights->matrices.at(part);
        EXPECT_EQ(columns[g], m.k) << name << ' ' << s.arch->groups[g].name;
        EXPECT_EQ(seen[g].size(), s.ids.size() * static_cast<std::size_t>(m.k))
            << name << ' ' << s.arch->groups[g].name;
        if (role != Role::attn_out && role != Role::down) continue;
        for (std::size_t t = 0; t < s.ids.size(); ++t)
          for (int64_t r = 0; r < m.n; ++r) {
            double y = m.bias.empty() ? 0 : m.bias[static_cast<std::size_t>(r)];
            for (int64_t c = 0; c < m.k; ++c)
              y += static_cast<double>(m.w[static_cast<std::size_t>(r * m.k + c)]) *
                   seen[g][t * static_cast<std::size_t>(m.k) + static_cast<std::size_t>(c)];
            sum[t * static_cast<std::size_t>(m.n) + static_cast<std::size_t>(r)] += y;
          }
      }
    }
    for (std::size_t i = 0; i < sum.size(); ++i) ASSERT_NEAR(sum[i], s.hidden[i], 1e-4) << name << " at " << i;

    const InputObserver failing = [](std::size_t, const float*, int64_t, int64_t, int64_t) {
      return Status(Code::cancelled, "stop");
    };
    EXPECT_EQ(run_layer(*weights, *s.arch, s.config, team, 1, Case::kLength, s.hidden.data(), failing).code(),
              Code::cancelled);
  }
}

TEST(Block, EmbedRefusesStrangers) {
  Case s(test::bigcode_config(true), 1);
  std::vector<text::TokenId> ids = {1, 97};
  EXPECT_EQ(embed(s.checkpoint, *s.arch, s.config, ids, 2, s.hidden.data()).code(), Code::invalid_argument);
  EXPECT_EQ(embed(s.checkpoint, *s.arch, s.config, ids, 601, s.hidden.data()).code(), Code::limit);
}

}  // namespace
}  // namespace nbl::model

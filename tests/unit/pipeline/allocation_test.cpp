#include "pipeline/allocation.h"

#include <gtest/gtest.h>

#include <cmath>

namespace nbl::pipeline {
namespace {

TensorSensitivity tensor(const std::string& name, int64_t k, double sensitivity) {
  TensorSensitivity t{name, 64, k, sensitivity, {}};
  for (const int bits : {2, 3, 4, 5, 6, 8}) {
    for (const int64_t group : {128, 32}) {
      const double stored = bits + 20.0 / static_cast<double>(group);
      t.choices.push_back({bits, group, stored, std::pow(0.25, bits) * (group == 32 ? 0.9 : 1.0)});
    }
  }
  return t;
}

double bits_of(const Sensitivities& s, const std::vector<Choice>& chosen) {
  double bits = 0, total = 0;
  for (std::size_t i = 0; i < chosen.size(); ++i) {
    const double size = static_cast<double>(s.tensors[i].n * s.tensors[i].k);
    bits += size * chosen[i].stored_bits;
    total += size;
  }
  return bits / total;
}

double loss_of(const Sensitivities& s, const std::vector<Choice>& chosen) {
  double loss = 0;
  for (std::size_t i = 0; i < chosen.size(); ++i) loss += s.tensors[i].sensitivity * chosen[i].error;
  return loss;
}

const std::vector<int> kAll = {2, 3, 4, 5, 6, 8};

TEST(Allocation, KeepsTheTargetAndBeatsUniformBits) {
  Sensitivities s;
  for (int i = 0; i < 20; ++i) s.tensors.push_back(tensor("t" + std::to_string(i), 256 << (i % 3), 1.0 + 100.0 * (i % 7 == 0)));
  for (const double target : {2.2, 3.0, 3.16, 4.16, 5.5, 8.2}) {
    const auto chosen = allocate(s, target, kAll);
    ASSERT_TRUE(chosen.ok()) << chosen.status().message();
    EXPECT_LE(bits_of(s, *chosen), target + 1e-9);
    EXPECT_GT(bits_of(s, *chosen), target - 0.35);
    if (target < 3.16) continue;
    const int bits = static_cast<int>(target);
    if (bits > 5) continue;
    std::vector<Choice> uniform;
    for (const TensorSensitivity& t : s.tensors) {
      for (const Choice& c : t.choices) {
        if (c.bits == bits && c.group == 128) uniform.push_back(c);
      }
    }
    EXPECT_LT(loss_of(s, *chosen), loss_of(s, uniform)) << target;
  }
}

TEST(Allocation, SensitiveTensorsGetMoreAndTheSmallestTargetIsNamed) {
  Sensitivities s;
  s.tensors = {tensor("plain", 256, 1), tensor("dear", 256, 50)};
  const auto chosen = allocate(s, 4.2, kAll);
  ASSERT_TRUE(chosen.ok());
  EXPECT_LT((*chosen)[0].bits, (*chosen)[1].bits);
  const auto small = allocate(s, 2.0, kAll);
  ASSERT_FALSE(small.ok());
  EXPECT_NE(small.status().message().find("2.156 is the smallest that works"), std::string::npos) << small.status().message();
}

TEST(Allocation, AChangeIsReachedWithFewBits) {
  Sensitivities s;
  for (int i = 0; i < 10; ++i) s.tensors.push_back(tensor("t" + std::to_string(i), 256 << (i % 3), 1.0 + 20.0 * (i % 4 == 0)));
  double previous = 0;
  for (const double target : {10.0, 1.0, 0.1, 0.02}) {
    const auto chosen = allocate_to_change(s, target, kAll);
    ASSERT_TRUE(chosen.ok()) << chosen.status().message();
    EXPECT_LE(loss_of(s, *chosen), target * (1 + 1e-9));
    EXPECT_GE(bits_of(s, *chosen), previous);
    previous = bits_of(s, *chosen);
    // The same bits given out to a size lose no less.
    EXPECT_GE(loss_of(s, *allocate(s, previous, kAll)), loss_of(s, *chosen) * (1 - 1e-9));
  }
  EXPECT_FALSE(allocate_to_change(s, 1e-9, kAll).ok());
}

TEST(Allocation, AMeasurementSurvivesItsFile) {
  Sensitivities s;
  s.model = "llama 2 64";
  s.tokens = 1024;
  s.tensors = {tensor("a.weight", 256, 0.125), tensor("b.weight", 512, 3)};
  const auto back = sensitivities_from_json(to_json(s), "m.json");
  ASSERT_TRUE(back.ok()) << back.status().message();
  EXPECT_EQ(to_json(*back).dump(), to_json(s).dump());
  EXPECT_FALSE(sensitivities_from_json(Json::object(), "m.json").ok());
}

}  // namespace
}  // namespace nbl::pipeline

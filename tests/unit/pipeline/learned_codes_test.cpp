// Codes and scales on their way: where they begin, back there, and on again.
#include "pipeline/learned_codes.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/random.h"

namespace nbl::pipeline {
namespace {

TEST(LearnedCodes, GoBackToWhereTheyBeganAndOnAgain) {
  Team team(2);
  Random random(4);
  quant::GridRule rule;
  rule.bits = 3;
  quant::AffineCodes codes = quant::AffineCodes::create(6, 64, 32, rule);
  quant::MethodContext context;
  context.team = &team;
  std::vector<float> original(6 * 64), gradient(original.size());
  for (float& v : original) v = static_cast<float>(random.normal());
  for (float& v : gradient) v = static_cast<float>(random.normal());
  quant::round_to_nearest(original, rule, {}, context, &codes);

  LearnedCodes learned;
  std::vector<float> began, there, now;
  learned.begin(&codes, original, team);
  learned.materialize(team, &began);
  for (int64_t i = 0; i < 10; ++i) learned.step(gradient, i + 1, 0.05f, 0.01f, team);
  learned.materialize(team, &there);
  EXPECT_NE(there, began);
  learned.stretch(0.5f, original, team);
  learned.materialize(team, &now);
  EXPECT_NE(now, began);
  EXPECT_NE(now, there);
  learned.stretch(2.0f, original, team);
  learned.materialize(team, &now);
  int64_t apart = 0;  // a code that stood right between two may fall to the other side, a scale one step of 16 bits
  for (std::size_t i = 0; i < now.size(); ++i)
    apart += std::abs(now[i] - there[i]) > 0.002f * std::abs(there[i]) ? 1 : 0;
  EXPECT_LE(apart, 2);
  learned.stretch(0.0f, original, team);
  learned.materialize(team, &now);
  EXPECT_EQ(now, began);
}

}  // namespace
}  // namespace nbl::pipeline

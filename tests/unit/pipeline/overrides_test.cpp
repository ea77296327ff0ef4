#include "pipeline/overrides.h"

#include <gtest/gtest.h>

#include "pipeline/pipeline.h"
#include "support/byte_tokenizer.h"

namespace nbl::pipeline {
namespace {

TEST(Overrides, FirstMatchOfTheWholeNameWins) {
  auto standard = quant::parse_recipe("rtn:bits=4");
  ASSERT_TRUE(standard.ok());
  auto rules = Overrides::create(
      {{"model\\.layers\\.0\\..*", ""}, {".*down_proj\\.weight", "rtn:bits=8"}, {"down_proj", "rtn:bits=2"}},
      *standard);
  ASSERT_TRUE(rules.ok()) << rules.status().message();
  auto kept = rules->find("model.layers.0.mlp.down_proj.weight");
  ASSERT_TRUE(kept.ok());
  EXPECT_EQ(*kept, nullptr);
  auto eight = rules->find("model.layers.1.mlp.down_proj.weight");
  ASSERT_TRUE(eight.ok());
  EXPECT_EQ((*eight)->options.integer("bits"), 8);
  auto other = rules->find("model.layers.1.mlp.up_proj.weight");
  ASSERT_TRUE(other.ok());
  EXPECT_EQ((*other)->options.integer("bits"), 4);
  EXPECT_EQ(rules->unused(), (std::vector<std::string>{"down_proj"}));
}

TEST(Overrides, BadExpressionsAndRecipesAreNamed) {
  auto standard = quant::parse_recipe("rtn");
  ASSERT_TRUE(standard.ok());
  auto broken = Overrides::create({{"layers.(", ""}}, *standard);
  ASSERT_FALSE(broken.ok());
  EXPECT_NE(broken.status().message().find("override \"layers.(\" is no regular expression"), std::string::npos)
      << broken.status().message();
  auto unknown = Overrides::create({{".*", "magic"}}, *standard);
  ASSERT_FALSE(unknown.ok());
  EXPECT_NE(unknown.status().message().find("magic"), std::string::npos);
  auto slow = Overrides::create({{"(a+)+", ""}}, *standard);
  ASSERT_TRUE(slow.ok());
  EXPECT_FALSE(slow->find(std::string(64, 'a') + "!").ok()) << "catastrophic backtracking must end in an error";
}

TEST(Calibration, WindowsAreSpreadOverTheText) {
  const nbl::testing::ByteTokenizer tokenizer(true);
  std::string text;
  for (int i = 0; i < 103; ++i) text.push_back(static_cast<char>(i));
  auto c = make_calibration(tokenizer, text, "t.txt", 4, 20);
  ASSERT_TRUE(c.ok());
  EXPECT_EQ(c->windows, 4);
  EXPECT_EQ(c->length, 20);
  EXPECT_EQ(c->source, "t.txt");
  EXPECT_EQ(c->text_tokens, 103);
  EXPECT_EQ(c->text_sha256.size(), 64u);
  ASSERT_EQ(c->ids.size(), 80u);
  EXPECT_EQ(c->ids.front(), 1);
  EXPECT_EQ(c->ids.back(), 103);
  for (std::size_t w = 0; w < 4; ++w)
    for (std::size_t i = 1; i < 20; ++i) EXPECT_EQ(c->ids[w * 20 + i], c->ids[w * 20 + i - 1] + 1);
  for (std::size_t w = 1; w < 4; ++w) EXPECT_GT(c->ids[w * 20], c->ids[w * 20 - 1]);
}

TEST(Calibration, ShortTextsGiveFewerWindowsAndEmptyOnesAnError) {
  const nbl::testing::ByteTokenizer tokenizer;
  auto fewer = make_calibration(tokenizer, std::string(50, 'a'), "t", 128, 20);
  ASSERT_TRUE(fewer.ok());
  EXPECT_EQ(fewer->windows, 2);
  auto one = make_calibration(tokenizer, "abcde", "t", 128, 512);
  ASSERT_TRUE(one.ok());
  EXPECT_EQ(one->windows, 1);
  EXPECT_EQ(one->length, 5);
  auto none = make_calibration(tokenizer, "", "empty.txt", 128, 512);
  ASSERT_FALSE(none.ok());
  EXPECT_EQ(none.status().message(), "the calibration text empty.txt holds 0 tokens; at least 2 are needed");
}

}  // namespace
}  // namespace nbl::pipeline

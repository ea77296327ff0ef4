#include <gtest/gtest.h>

#include "quant/method.h"

namespace nbl::quant {
namespace {

TEST(Recipe, FillsDefaultsAndUnderstandsShortNames) {
  const auto recipe = parse_recipe("gptq:bits=3, group=64 ,desc_act=yes");
  ASSERT_TRUE(recipe.ok()) << recipe.status().message();
  EXPECT_EQ(recipe->method->id(), "gptq");
  EXPECT_EQ(recipe->options.integer("bits"), 3);
  EXPECT_EQ(recipe->options.integer("group_size"), 64);
  EXPECT_TRUE(recipe->options.boolean("desc_act"));
  EXPECT_DOUBLE_EQ(recipe->options.real("damp"), 0.01);
  EXPECT_EQ(recipe->text, "gptq:bits=3,group_size=64,desc_act=true");
  EXPECT_NEAR(recipe->method->nominal_bits(recipe->options), 3 + 19.0 / 64, 1e-12);
}

TEST(Recipe, BlockOfNf4IsItsBlockSize) {
  const auto recipe = parse_recipe("nf4:block=128");
  ASSERT_TRUE(recipe.ok()) << recipe.status().message();
  EXPECT_EQ(recipe->options.integer("block_size"), 128);
  EXPECT_DOUBLE_EQ(recipe->method->nominal_bits(recipe->options), 4.25);
}

TEST(Recipe, RefusalsSayWhatWasExpected) {
  const auto message = [](std::string_view text) { return parse_recipe(text).status().message(); };
  EXPECT_NE(message("gqtp").find("unknown quantization method \"gqtp\"; known are: fp32, fp16"), std::string::npos);
  EXPECT_NE(message("gptq:bits=9").find("gptq.bits is \"9\", expected an integer from 2 to 8"), std::string::npos);
  EXPECT_NE(message("gptq:bits=four").find("expected an integer"), std::string::npos);
  EXPECT_NE(message("gptq:sym=maybe").find("expected true or false"), std::string::npos);
  EXPECT_NE(message("gptq:damp=inf").find("expected a number from 0 to 1"), std::string::npos);
  EXPECT_NE(message("gptq:colour=red").find("gptq has no option \"colour\"; its options are: bits,"), std::string::npos);
  EXPECT_NE(message("gptq:bits").find("found \"bits\", expected option=value"), std::string::npos);
  EXPECT_NE(message("rtn:bits=4,bits=3").find("sets bits twice"), std::string::npos);
  EXPECT_NE(message("rtn:group=64,group_size=32").find("sets group_size twice"), std::string::npos);
  EXPECT_NE(message("rtn:group=100").find("expected -1 (one group a row) or a multiple of 16"), std::string::npos);
  EXPECT_NE(message("").find("names no method"), std::string::npos);
  EXPECT_NE(message("fp16:bits=3").find("fp16 has no option \"bits\"; its options are: none"), std::string::npos);
}

TEST(Methods, EveryOneDescribesItselfAndItsDefaultsAreLegal) {
  ASSERT_FALSE(methods().empty());
  for (const Method* method : methods()) {
    SCOPED_TRACE(method->id());
    EXPECT_FALSE(method->summary().empty());
    const auto recipe = parse_recipe(method->id());
    ASSERT_TRUE(recipe.ok()) << recipe.status().message();
    EXPECT_EQ(recipe->text, method->id());
    EXPECT_GT(method->nominal_bits(recipe->options), 0);
    for (const OptionSpec& spec : method->options()) {
      EXPECT_FALSE(spec.help.empty()) << spec.name;
      EXPECT_EQ(recipe->options.all().count(std::string(spec.name)), 1u) << spec.name;
    }
  }
}

}  // namespace
}  // namespace nbl::quant

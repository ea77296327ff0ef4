// Which block type each matrix of a model of eight layers gets: what llama.cpp's own quantizer wrote (llama-cpp-python 0.3, a Llama with
// four query heads a key head; the types that it means before rows that are no multiple of 256 get another).
#include <gtest/gtest.h>

#include <string>

#include "quant/block_mixtures.h"

namespace nbl::quant {
namespace {

using Kind = LinearPlace::Kind;

std::string types(std::string_view mixture, Kind kind) {
  std::string text;
  for (int64_t layer = 0; layer < 8; ++layer) text += type_in_mixture(*find_mixture(mixture), {kind, layer, 8})[1];
  return text;
}

TEST(BlockMixtures, AreLlamaCpps) {
  EXPECT_EQ(types("Q3_K_S", Kind::value), "33333333");
  EXPECT_EQ(types("Q3_K_S", Kind::down), "33333333");
  EXPECT_EQ(types("Q3_K_M", Kind::value), "55444444");
  EXPECT_EQ(types("Q3_K_M", Kind::down), "44444444");
  EXPECT_EQ(types("Q3_K_M", Kind::attention_output), "44444444");
  EXPECT_EQ(types("Q3_K_L", Kind::value), "55555555");
  EXPECT_EQ(types("Q3_K_L", Kind::down), "55555555");
  EXPECT_EQ(types("Q3_K_L", Kind::attention_output), "55555555");
  EXPECT_EQ(types("Q4_K_S", Kind::value), "55554444");
  EXPECT_EQ(types("Q4_K_S", Kind::down), "54444444");
  EXPECT_EQ(types("Q4_K_M", Kind::value), "64464466");
  EXPECT_EQ(types("Q4_K_M", Kind::down), "64464466");
  EXPECT_EQ(types("Q4_K_M", Kind::attention_output), "44444444");
  EXPECT_EQ(types("Q5_K_S", Kind::value), "55555555");
  EXPECT_EQ(types("Q5_K_M", Kind::value), "65565566");
  EXPECT_EQ(types("Q5_K_M", Kind::down), "65565566");
  for (const char* name : {"Q3_K_S", "Q3_K_M", "Q3_K_L", "Q4_K_S", "Q4_K_M", "Q5_K_S", "Q5_K_M"}) {
    SCOPED_TRACE(name);
    EXPECT_EQ(types(name, Kind::other), std::string(8, name[1]));
    EXPECT_EQ(type_in_mixture(*find_mixture(name), {Kind::output}), "Q6_K");
  }
  EXPECT_EQ(find_mixture("Q4_K"), nullptr);
}

}  // namespace
}  // namespace nbl::quant

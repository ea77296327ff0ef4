// Fine-grained FP8 and AutoRound directories, made by hand from their descriptions.
#include <gtest/gtest.h>

#include "base/half.h"
#include "dialects/dialects.h"
#include "support/safetensors_file.h"
#include "support/temp_dir.h"

namespace nbl::dialects {
namespace {

using test::raw;
using test::TempDir;
using test::write_safetensors;

TEST(Fp8, BlocksMultiplyTheirScales) {
  constexpr int64_t kRows = 20, kColumns = 40;  // blocks of 16 x 32, the last ones short
  for (const bool powers : {false, true}) {
    TempDir dir;
    dir.write("config.json", R"({"quantization_config":{"quant_method":"fp8","weight_block_size":[16,32]}})");
    std::vector<uint8_t> codes(kRows * kColumns);
    for (std::size_t i = 0; i < codes.size(); ++i) codes[i] = static_cast<uint8_t>((i * 7) % 126);
    const std::vector<float> scales =
        powers ? std::vector<float>{0.5f, 2, 4, 0.25f} : std::vector<float>{0.1f, 0.7f, 3.3f, 1};
    write_safetensors(dir / "model.safetensors", {{"model.a.weight_scale_inv", "F32", {2, 2}, raw(scales)},
                                                  {"model.a.weight", "F8_E4M3", {kRows, kColumns}, raw(codes)}});
    auto model = open(dir.path());
    ASSERT_TRUE(model.ok()) << model.status().message();
    EXPECT_EQ((*model)->format(), "fp8");
    auto tensor = (*model)->matrix("model.a.weight");
    ASSERT_TRUE(tensor.ok()) << tensor.status().message();
    EXPECT_EQ(tensor->segments[0].value_type, DType::e4m3);
    EXPECT_TRUE(tensor->segments[0].scaled);
    std::vector<float> row(kColumns);
    for (int64_t r = 0; r < kRows; ++r) {
      tensor->dequantize_row(r, row.data());
      for (int64_t c = 0; c < kColumns; ++c) {
        const float scale = scales[static_cast<std::size_t>(r / 16 * 2 + c / 32)];
        ASSERT_EQ(row[static_cast<std::size_t>(c)],
                  e4m3_to_f32(codes[static_cast<std::size_t>(r * kColumns + c)]) * scale);
      }
    }
  }
}

TEST(Fp8, WrongScalesAndNaNs) {
  const auto message = [](const std::string& type, Shape shape, std::size_t floats, uint8_t code) {
    TempDir dir;
    dir.write("config.json", R"({"quantization_config":{"quant_method":"fp8"}})");
    write_safetensors(dir / "model.safetensors",
                      {{"a.weight_scale_inv", "F32", std::move(shape), raw(std::vector<float>(floats, 1))},
                       {"a.weight", type, {4, 4}, std::string(16, static_cast<char>(code))}});
    auto model = open(dir.path());
    if (!model.ok()) return model.status().message();
    return (*model)->matrix("a.weight").status().message();
  };
  EXPECT_EQ(message("F8_E4M3", {1, 1}, 1, 8), "");
  EXPECT_NE(message("F8_E4M3", {2, 1}, 2, 8).find("weight_scale_inv"), std::string::npos);
  EXPECT_NE(message("I8", {1, 1}, 1, 8).find("F8_E4M3"), std::string::npos);
  EXPECT_NE(message("F8_E4M3", {1, 1}, 1, 0x7f).find("not finite in row 0, column 0"), std::string::npos);
}

TEST(AutoRound, ZerosFollowThePackingFormat) {
  // 8 rows, 32 columns, one group, 4 bits: all codes 9, all stored zeros 4.
  for (const auto& [packing, zero] :
       {std::pair{"auto_round:auto_gptq", 5}, std::pair{"auto_round:gptqmodel", 4}, std::pair{"auto_round", 4}}) {
    TempDir dir;
    dir.write(
        "config.json",
        std::string(R"({"quantization_config":{"quant_method":"auto-round","bits":4,"group_size":32,"sym":false,)") +
            R"("packing_format":")" + packing + "\"}}");
    write_safetensors(dir / "model.safetensors",
                      {{"m.qweight", "I32", {4, 8}, raw(std::vector<uint32_t>(32, 0x99999999u))},
                       {"m.qzeros", "I32", {1, 1}, raw(std::vector<uint32_t>(1, 0x44444444u))},
                       {"m.scales", "F16", {1, 8}, raw(std::vector<uint16_t>(8, 0x3c00))}});
    auto model = open(dir.path());
    ASSERT_TRUE(model.ok()) << model.status().message();
    EXPECT_EQ((*model)->format(), "autoround");
    auto tensor = (*model)->matrix("m.weight");
    ASSERT_TRUE(tensor.ok()) << tensor.status().message();
    std::vector<float> row(32);
    tensor->dequantize_row(7, row.data());
    EXPECT_EQ(row[31], static_cast<float>(9 - zero)) << packing;
  }
  TempDir dir;
  dir.write("config.json", R"({"quantization_config":{"quant_method":"auto-round","packing_format":"odd"}})");
  write_safetensors(dir / "model.safetensors", {{"m.qweight", "I32", {4, 8}, std::string(128, '\0')}});
  EXPECT_NE(open(dir.path()).status().message().find("'odd' is not read"), std::string::npos);
}

}  // namespace
}  // namespace nbl::dialects

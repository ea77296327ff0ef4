// What a format says of several weights at once: schemes side by side, and scales beside a weight.
#include <gtest/gtest.h>

#include <random>

#include "base/file.h"
#include "dialects/dialects.h"
#include "support/random_qtensor.h"
#include "support/temp_dir.h"

namespace nbl::dialects {
namespace {

using test::TempDir;

Json config_of(std::string_view type) {
  Json config = Json::object();
  config.set("model_type", type);
  config.set("hidden_size", int64_t{64});
  return config;
}

void expect_same(const QTensor& a, const QTensor& b) {
  ASSERT_EQ(a.n, b.n);
  ASSERT_EQ(a.k, b.k);
  std::vector<float> x(static_cast<std::size_t>(a.k)), y(x.size());
  for (int64_t r = 0; r < a.n; ++r) {
    a.dequantize_row(r, x.data());
    b.dequantize_row(r, y.data());
    ASSERT_EQ(x, y) << "row " << r;
  }
  const auto sa = a.input_scale.as<float>(), sb = b.input_scale.as<float>();
  ASSERT_TRUE(std::equal(sa.begin(), sa.end(), sb.begin(), sb.end()));
}

// Writes the weights, reads them back, and returns the quantization_config.
Json round_trip(std::string_view format, std::string_view type, const std::map<std::string, QTensor>& weights) {
  TempDir dir;
  auto writer = create(format, dir / "model");
  EXPECT_TRUE(writer.ok()) << writer.status().message();
  EXPECT_TRUE((*writer)->set_config(config_of(type)).ok());
  for (const auto& [name, weight] : weights) {
    const Status status = (*writer)->add_matrix(name + ".weight", weight);
    EXPECT_TRUE(status.ok()) << status.message();
  }
  const auto hash = (*writer)->finish();
  EXPECT_TRUE(hash.ok()) << hash.status().message();
  const auto model = open(dir / "model");
  EXPECT_TRUE(model.ok()) << model.status().message();
  for (const auto& [name, weight] : weights) {
    SCOPED_TRACE(name);
    const auto back = (*model)->matrix(name + ".weight");
    EXPECT_TRUE(back.ok()) << back.status().message();
    if (back.ok()) expect_same(weight, *back);
  }
  const auto text = read_text_file(dir / "model" / "config.json", 1 << 20);
  return *Json::parse(*text, "config.json")->find("quantization_config");
}

TEST(CompressedTensors, SeveralSchemesAreSeveralConfigGroups) {
  std::mt19937 rng(5);
  const std::map<std::string, QTensor> weights = {
      {"model.layers.0.a", test::random_affine(rng, 32, 128, 4, 32, ZeroKind::symmetric)},
      {"model.layers.0.b", test::random_affine(rng, 32, 128, 4, 64, ZeroKind::code)},
      {"model.layers.0.c", test::random_affine(rng, 32, 128, 8, 0, ZeroKind::symmetric)},
      {"model.layers.0.d", test::random_affine(rng, 32, 128, 3, 32, ZeroKind::symmetric)},
      {"model.layers.1.a", test::random_affine(rng, 48, 128, 4, 32, ZeroKind::symmetric)}};
  for (const char* format : {"compressed-tensors", "compressed-tensors-int", "compressed-tensors-naive"}) {
    SCOPED_TRACE(format);
    const Json config = round_trip(format, "llama", weights);
    const auto groups = config.find("config_groups")->members();
    ASSERT_EQ(groups.size(), 4u);
    EXPECT_EQ(groups[0].second.find("targets")->dump(), R"(["model.layers.0.a","model.layers.1.a"])");
    const std::string wanted = std::string(format) == "compressed-tensors" ? "pack-quantized"
                               : std::string(format).ends_with("int")      ? "int-quantized"
                                                                           : "naive-quantized";
    EXPECT_EQ(config.find("format")->as_string(), wanted);
  }
}

TEST(CompressedTensors, IntegersBesideFloatsAreMixedPrecision) {
  std::mt19937 rng(6);
  const std::map<std::string, QTensor> weights = {
      {"model.layers.0.a", test::random_affine(rng, 32, 128, 4, 32, ZeroKind::symmetric)},
      {"model.layers.0.b", test::random_fp8(rng, 32, 128, 0)},
      {"model.layers.0.c", test::random_fp8(rng, 128, 256, 128)}};
  const Json config = round_trip("compressed-tensors", "llama", weights);
  EXPECT_EQ(config.find("format")->as_string(), "mixed-precision");
  const auto groups = config.find("config_groups")->members();
  ASSERT_EQ(groups.size(), 3u);
  EXPECT_EQ(groups[0].second.find("format")->as_string(), "pack-quantized");
  EXPECT_EQ(groups[1].second.find("format")->as_string(), "float-quantized");
  round_trip("compressed-tensors-naive", "llama", weights);
}

// Other tools name modules by patterns; what a module's tensors can be decides.
TEST(CompressedTensors, PatternsAreResolvedByTheTensors) {
  std::mt19937 rng(7);
  TempDir dir;
  const QTensor four = test::random_affine(rng, 32, 128, 4, 32, ZeroKind::symmetric),
                eight = test::random_affine(rng, 32, 128, 8, 0, ZeroKind::symmetric);
  auto writer = create("compressed-tensors", dir / "model");
  ASSERT_TRUE(writer.ok());
  ASSERT_TRUE((*writer)->set_config(config_of("llama")).ok());
  ASSERT_TRUE((*writer)->add_matrix("model.layers.0.up_proj.weight", four).ok());
  ASSERT_TRUE((*writer)->add_matrix("model.layers.0.down_proj.weight", eight).ok());
  ASSERT_TRUE((*writer)->finish().ok());
  const auto path = dir / "model" / "config.json";
  std::string text = *read_text_file(path, 1 << 20);
  for (const char* name : {"up_proj", "down_proj"}) {
    const std::string own = std::string("model.layers.0.") + name;
    const std::size_t at = text.find(own);
    ASSERT_NE(at, std::string::npos);
    text.replace(at, own.size(), std::string("re:.*") + name);
  }
  ASSERT_TRUE(write_text_file(path, text).ok());
  const auto model = open(dir / "model");
  ASSERT_TRUE(model.ok()) << model.status().message();
  expect_same(four, (*model)->matrix("model.layers.0.up_proj.weight").value());
  expect_same(eight, (*model)->matrix("model.layers.0.down_proj.weight").value());
}

TEST(Awq, ScaledActivationsComeBack) {
  std::mt19937 rng(8);
  for (const auto& [type, module] : {std::pair{"mpt", "transformer.blocks.0.ffn.down_proj"},
                                     std::pair{"bloom", "transformer.h.0.mlp.dense_4h_to_h"},
                                     std::pair{"gptj", "transformer.h.0.mlp.fc_out"},
                                     std::pair{"starcoder2", "model.layers.0.mlp.c_proj"}}) {
    SCOPED_TRACE(type);
    QTensor weight = test::random_affine(rng, 32, 128, 4, 32, ZeroKind::code);
    std::vector<float> scale(128);
    // As a reader finds them: reciprocals of what the file holds.
    for (float& s : scale) s = 1.0f / std::uniform_real_distribution<float>(0.1f, 9.0f)(rng);
    weight.input_scale = test::storage_of(scale);
    round_trip("awq", type, {{module, weight}});
  }
}

TEST(Awq, ScaledActivationsAreRefusedWhereReadersWouldMissThem) {
  std::mt19937 rng(9);
  QTensor weight = test::random_affine(rng, 32, 128, 4, 32, ZeroKind::code);
  weight.input_scale = test::storage_of(std::vector<float>(128, 0.5f));
  TempDir dir;
  for (const auto& [type, module] : {std::pair{"llama", "model.layers.0.mlp.down_proj.weight"},
                                     std::pair{"mpt", "transformer.blocks.0.ffn.up_proj.weight"}}) {
    auto writer = create("awq", dir / type);
    ASSERT_TRUE(writer.ok());
    ASSERT_TRUE((*writer)->set_config(config_of(type)).ok());
    const Status status = (*writer)->add_matrix(module, weight);
    EXPECT_EQ(status.code(), Code::unsupported);
    EXPECT_NE(status.message().find(module), std::string::npos) << status.message();
  }
}

}  // namespace
}  // namespace nbl::dialects

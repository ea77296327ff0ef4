// A file of each released version of the native format, kept as it was written. What is expected was read by
// tests/golden/native/read_native.py, which knows the format from docs/formats.md alone.
#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <random>

#include "dialects/dialects.h"
#include "support/random_qtensor.h"
#include "support/temp_dir.h"

namespace nbl::dialects {
namespace {

const std::filesystem::path kFolder = std::filesystem::path(NIBBLE_SOURCE_DIR) / "tests" / "golden" / "native";

void write_golden(const std::filesystem::path& path) {
  std::mt19937 rng(2024);
  auto writer = find_dialect("native").value()->make_writer(path);
  ASSERT_TRUE(writer.ok());
  ASSERT_TRUE((*writer)->set_config(Json::object({{"model_type", "none"}})).ok());
  for (const auto& [name, tensor] : test::random_qtensors(rng)) {
    ASSERT_TRUE((*writer)->add_matrix(name + ".weight", tensor).ok());
  }
  ASSERT_TRUE((*writer)->add_array("norm.weight", Array::from_f32({1, 2, 3}, {3}).value()).ok());
  ASSERT_TRUE((*writer)->add_asset("tokenizer.json", std::string(3000, 'x')).ok());
  ASSERT_TRUE((*writer)->finish().ok());
}

TEST(NativeGolden, VersionOne) {
  const auto path = kFolder / "v1.safetensors";
  if (std::getenv("NIBBLE_UPDATE_GOLDEN") != nullptr) {
    std::filesystem::remove(path);
    write_golden(path);
  }
  auto model = open(path);
  ASSERT_TRUE(model.ok()) << model.status().message();
  EXPECT_TRUE((*model)->verify({}).value().empty());
  EXPECT_EQ((*model)->asset("tokenizer.json").value(), std::string(3000, 'x'));
  EXPECT_EQ((*model)->array("norm.weight").value().to_f32().value(), (std::vector<float>{1, 2, 3}));
  const std::string expected = test::read_all(kFolder / "v1.expected.bin");
  std::vector<std::string> names;
  for (const TensorInfo& info : (*model)->tensors()) {
    if (info.shape.size() == 2) names.push_back(info.name);
  }
  std::sort(names.begin(), names.end());
  std::size_t at = 0;
  for (const std::string& name : names) {
    SCOPED_TRACE(name);
    auto tensor = (*model)->matrix(name);
    ASSERT_TRUE(tensor.ok()) << tensor.status().message();
    ASSERT_TRUE(tensor->validate(name).ok());
    std::vector<float> row(static_cast<std::size_t>(tensor->k)), want(row.size());
    for (int64_t r = 0; r < tensor->n; ++r) {
      ASSERT_LE(at + 4 * row.size(), expected.size());
      std::memcpy(want.data(), expected.data() + at, 4 * row.size());
      at += 4 * row.size();
      tensor->dequantize_row(r, row.data());
      ASSERT_EQ(row, want) << "row " << r;
    }
  }
  EXPECT_EQ(at, expected.size());
  EXPECT_GT(names.size(), 30u);
}

}  // namespace
}  // namespace nbl::dialects

// Checkpoints that the ecosystem's own tools wrote, against the values that those tools decode them to.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>

#include "dialects/dialects.h"
#include "io/container.h"

namespace nbl::dialects {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> golden_checkpoints() {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(fs::path(NIBBLE_SOURCE_DIR) / "tests" / "golden" / "checkpoints")) {
    if (fs::exists(entry.path() / "expected.safetensors")) names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

class Golden : public ::testing::TestWithParam<std::string> {};

TEST_P(Golden, ValuesAreThoseOfItsOwnTools) {
  const fs::path path = fs::path(NIBBLE_SOURCE_DIR) / "tests" / "golden" / "checkpoints" / GetParam();
  auto model = open(path);
  ASSERT_TRUE(model.ok()) << model.status().message();
  for (const std::string& warning : (*model)->warnings()) std::printf("%s\n", warning.c_str());
  auto expected = io::open_safetensors(path / "expected.safetensors");
  ASSERT_TRUE(expected.ok()) << expected.status().message();
  ASSERT_FALSE((*expected)->tensors().empty());
  for (const io::RawTensor& raw : (*expected)->tensors()) {
    SCOPED_TRACE(raw.name);
    auto values = io::to_array(raw);
    ASSERT_TRUE(values.ok());
    auto floats = values->to_f32();
    ASSERT_TRUE(floats.ok());
    auto tensor = (*model)->matrix(raw.name);
    ASSERT_TRUE(tensor.ok()) << tensor.status().message();
    ASSERT_EQ((Shape{tensor->n, tensor->k}), raw.shape);
    std::vector<float> row(static_cast<std::size_t>(tensor->k)), rounded(row.size());
    std::vector<std::byte> stored(4 * row.size());
    int64_t wrong = 0;
    for (int64_t r = 0; r < tensor->n; ++r) {
      tensor->dequantize_row(r, row.data());
      // Tools that compute in 16 bits round the exact value once more.
      convert_from_f32(row.data(), tensor->k, values->dtype, stored.data());
      convert_to_f32(values->dtype, stored.data(), tensor->k, rounded.data());
      for (int64_t c = 0; c < tensor->k; ++c) {
        const float want = (*floats)[static_cast<std::size_t>(r * tensor->k + c)],
                    got = rounded[static_cast<std::size_t>(c)];
        if (got != want && ++wrong <= 5)
          ADD_FAILURE() << "row " << r << " column " << c << ": " << got << " for " << want;
      }
    }
    EXPECT_EQ(wrong, 0);
  }
  for (const TensorInfo& info : (*model)->tensors()) {
    EXPECT_TRUE((*model)->has(info.name)) << info.name;
    EXPECT_TRUE((*model)->array(info.name).ok()) << info.name;
  }
}

INSTANTIATE_TEST_SUITE_P(Checkpoints, Golden, ::testing::ValuesIn(golden_checkpoints()),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace nbl::dialects

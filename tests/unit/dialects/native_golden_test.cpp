// A file of each released version of the native format, kept as it was written, and one of an encoding that came later. What is expected was read by
// tests/golden/native/read_native.py, which knows the format from docs/formats.md alone.
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <random>

#include "base/hash.h"
#include "dialects/dialects.h"
#include "support/random_qtensor.h"
#include "support/temp_dir.h"

namespace nbl::dialects {
namespace {

const std::filesystem::path kFolder = std::filesystem::path(NIBBLE_SOURCE_DIR) / "tests" / "golden" / "native";

using Tensors = std::map<std::string, QTensor>;

Tensors trellis_tensors() {
  std::mt19937 rng(2026);
  Tensors out;
  for (int bits = 1; bits <= 4; ++bits) out["trellis" + std::to_string(bits)] = test::random_trellis(rng, 19, 150, bits, bits == 2 ? 0 : 64);
  return out;
}

void write_golden(const std::filesystem::path& path, const Tensors& tensors) {
  auto writer = find_dialect("native").value()->make_writer(path);
  ASSERT_TRUE(writer.ok());
  ASSERT_TRUE((*writer)->set_config(Json::object({{"model_type", "none"}})).ok());
  for (const auto& [name, tensor] : tensors) {
    ASSERT_TRUE((*writer)->add_matrix(name + ".weight", tensor).ok());
  }
  ASSERT_TRUE((*writer)->add_array("norm.weight", Array::from_f32({1, 2, 3}, {3}).value()).ok());
  ASSERT_TRUE((*writer)->add_asset("tokenizer.json", std::string(3000, 'x')).ok());
  ASSERT_TRUE((*writer)->finish().ok());
}

/// The file's contents are those that the reader of the golden values found, more than `least` weights.
void expect_golden(const char* file, const char* values_file, std::size_t least, const Tensors& fresh) {
  const auto path = kFolder / file;
  if (std::getenv("NIBBLE_UPDATE_GOLDEN") != nullptr) {
    std::filesystem::remove(path);
    write_golden(path, fresh);
  }
  auto model = open(path);
  ASSERT_TRUE(model.ok()) << model.status().message();
  EXPECT_TRUE((*model)->verify({}).value().empty());
  EXPECT_EQ((*model)->asset("tokenizer.json").value(), std::string(3000, 'x'));
  EXPECT_EQ((*model)->array("norm.weight").value().to_f32().value(), (std::vector<float>{1, 2, 3}));
  std::ifstream expected(kFolder / values_file);
  std::string name, hash;
  std::size_t count = 0;
  while (expected >> name >> hash) {
    SCOPED_TRACE(name);
    auto tensor = (*model)->matrix(name);
    ASSERT_TRUE(tensor.ok()) << tensor.status().message();
    ASSERT_TRUE(tensor->validate(name).ok());
    std::vector<float> values(static_cast<std::size_t>(tensor->n * tensor->k));
    for (int64_t r = 0; r < tensor->n; ++r) tensor->dequantize_row(r, values.data() + r * tensor->k);
    EXPECT_EQ(sha256_hex(std::as_bytes(std::span(values))), hash);
    ++count;
  }
  EXPECT_GT(count, least);
}

TEST(NativeGolden, VersionOne) {
  std::mt19937 rng(2024);
  expect_golden("v1.safetensors", "v1.expected.txt", 30, test::random_qtensors(rng));
}

TEST(NativeGolden, Trellis) { expect_golden("trellis.safetensors", "trellis.expected.txt", 3, trellis_tensors()); }

}  // namespace
}  // namespace nbl::dialects

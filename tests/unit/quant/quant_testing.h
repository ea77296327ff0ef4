// What the tests of this layer share: random weights and statistics, recipes by text, results as plain numbers.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "base/random.h"
#include "quant/method.h"

namespace nbl::quant::testing {

struct Layer {
  int64_t n = 0, k = 0;
  std::vector<float> weight;
  InputStats stats;

  LinearTask task(bool with_stats = true) const {
    return {"layers.0.test.weight", n, k, weight, with_stats ? &stats : nullptr};
  }
};

/// Weights whose columns differ in size, inputs that are correlated and have a few large channels.
inline Layer random_layer(int64_t n, int64_t k, uint64_t seed, int64_t tokens = 0) {
  Random random(seed);
  Layer layer;
  layer.n = n;
  layer.k = k;
  layer.weight.resize(static_cast<std::size_t>(n * k));
  for (float& w : layer.weight) w = static_cast<float>(0.05 * random.normal());
  if (tokens == 0) tokens = 2 * k;
  std::vector<double> size(static_cast<std::size_t>(k));
  for (double& s : size) s = random.uniform() < 0.05f ? 8.0 : 0.3 + static_cast<double>(random.uniform());
  std::vector<double> h(static_cast<std::size_t>(k * k)), mean(static_cast<std::size_t>(k)), x(static_cast<std::size_t>(k));
  for (int64_t t = 0; t < tokens; ++t) {
    double previous = 0;
    for (int64_t i = 0; i < k; ++i) {
      previous = 0.7 * previous + random.normal();
      x[static_cast<std::size_t>(i)] = previous * size[static_cast<std::size_t>(i)];
    }
    for (int64_t i = 0; i < k; ++i) {
      mean[static_cast<std::size_t>(i)] += std::fabs(x[static_cast<std::size_t>(i)]);
      for (int64_t j = 0; j < k; ++j) {
        h[static_cast<std::size_t>(i * k + j)] += x[static_cast<std::size_t>(i)] * x[static_cast<std::size_t>(j)];
      }
    }
  }
  layer.stats.k = k;
  layer.stats.tokens = tokens;
  layer.stats.hessian.assign(h.begin(), h.end());
  for (double m : mean) layer.stats.abs_mean.push_back(static_cast<float>(m / static_cast<double>(tokens)));
  return layer;
}

inline MethodContext context() {
  static Team team(2);
  MethodContext result;
  result.team = &team;
  return result;
}

inline LinearResult quantize(const std::string& recipe_text, const LinearTask& task) {
  const auto recipe = parse_recipe(recipe_text);
  EXPECT_TRUE(recipe.ok()) << recipe.status().message();
  if (!recipe.ok()) return {};
  auto result = recipe->method->quantize(task, recipe->options, context());
  EXPECT_TRUE(result.ok()) << result.status().message();
  if (!result.ok()) return {};
  EXPECT_TRUE(result->tensor.validate(task.name).ok()) << result->tensor.validate(task.name).message();
  return std::move(result).value();
}

inline std::vector<float> dequantize(const QTensor& tensor) {
  std::vector<float> out(static_cast<std::size_t>(tensor.n * tensor.k));
  for (int64_t row = 0; row < tensor.n; ++row) tensor.dequantize_row(row, out.data() + row * tensor.k);
  return out;
}

/// Golden files are arrays of little-endian numbers one after the other.
class GoldenReader {
 public:
  explicit GoldenReader(const std::string& name) {
    std::ifstream file(std::string(NIBBLE_SOURCE_DIR) + "/tests/golden/quant/" + name, std::ios::binary);
    bytes_.assign(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  }
  bool empty() const { return bytes_.empty(); }
  template <class T>
  std::vector<T> read(int64_t count) {
    std::vector<T> out(static_cast<std::size_t>(count));
    const std::size_t size = out.size() * sizeof(T);
    EXPECT_LE(at_ + size, bytes_.size());
    if (at_ + size > bytes_.size()) return out;
    std::memcpy(out.data(), bytes_.data() + at_, size);
    at_ += size;
    return out;
  }
  int32_t read_int() { return read<int32_t>(1)[0]; }

 private:
  std::vector<char> bytes_;
  std::size_t at_ = 0;
};

}  // namespace nbl::quant::testing

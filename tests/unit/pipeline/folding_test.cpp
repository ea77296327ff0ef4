#include "pipeline/folding.h"

#include <gtest/gtest.h>

#include "base/random.h"

namespace nbl::pipeline {
namespace {

using model::InputGroup;
using model::LayerWeights;
using model::Role;

LayerWeights::Matrix random_matrix(Random& random, int64_t n, int64_t k, bool bias) {
  LayerWeights::Matrix m;
  m.n = n;
  m.k = k;
  m.w.resize(static_cast<std::size_t>(n * k));
  for (float& w : m.w) w = static_cast<float>(random.normal());
  if (bias) {
    m.bias.resize(static_cast<std::size_t>(n));
    for (float& b : m.bias) b = static_cast<float>(random.normal());
  }
  return m;
}

std::vector<float> product(const LayerWeights::Matrix& m, const std::vector<float>& x) {
  std::vector<float> y(static_cast<std::size_t>(m.n));
  for (int64_t r = 0; r < m.n; ++r) {
    double sum = m.bias.empty() ? 0.0 : static_cast<double>(m.bias[static_cast<std::size_t>(r)]);
    for (int64_t c = 0; c < m.k; ++c)
      sum += static_cast<double>(m.w[static_cast<std::size_t>(r * m.k + c)]) *
             static_cast<double>(x[static_cast<std::size_t>(c)]);
    y[static_cast<std::size_t>(r)] = static_cast<float>(sum);
  }
  return y;
}

TEST(Folding, IntoANormKeepsTheProduct) {
  Random random(1);
  LayerWeights layer;
  const model::Config config;
  layer.matrices[Role::q] = random_matrix(random, 6, 4, false);
  layer.matrices[Role::k] = random_matrix(random, 3, 4, true);
  layer.norms[Role::attn_norm] = {{1.0f, 2.0f, -0.5f, 3.0f}, {0.5f, 0.0f, 1.0f, -1.0f}};
  const std::vector<float> normalized = {0.3f, -1.2f, 0.7f, 2.0f};
  const auto input = [&] {
    std::vector<float> x(4);
    for (std::size_t c = 0; c < 4; ++c)
      x[c] = normalized[c] * layer.norms[Role::attn_norm].w[c] + layer.norms[Role::attn_norm].bias[c];
    return x;
  };
  const std::vector<float> q = product(layer.matrices[Role::q], input()), k = product(layer.matrices[Role::k], input());
  InputGroup group{"attn.in", {Role::q, Role::k}, InputGroup::Producer::norm, Role::attn_norm};
  quant::InputStats stats;
  stats.k = 4;
  stats.abs_mean = {1, 2, 3, 4};
  stats.hessian.assign(16, 2.0f);
  const std::vector<float> s = {2.0f, 0.5f, 4.0f, 1.0f};
  auto folded = fold_input_scales(layer, config, group, s, stats);
  ASSERT_TRUE(folded.ok());
  EXPECT_EQ(folded->where, Folded::norm);
  const std::vector<float> q2 = product(layer.matrices[Role::q], input()),
                           k2 = product(layer.matrices[Role::k], input());
  for (std::size_t i = 0; i < q.size(); ++i) EXPECT_NEAR(q[i], q2[i], 1e-5);
  for (std::size_t i = 0; i < k.size(); ++i) EXPECT_NEAR(k[i], k2[i], 1e-5);
  EXPECT_EQ(stats.abs_mean, (std::vector<float>{0.5f, 4.0f, 0.75f, 4.0f}));
  EXPECT_FLOAT_EQ(stats.hessian[0 * 4 + 2], 2.0f / 8.0f);
  EXPECT_FLOAT_EQ(stats.hessian[2 * 4 + 0], 2.0f / 8.0f);
}

TEST(Folding, IntoTheLastRowsOfALinear) {
  Random random(2);
  LayerWeights layer;
  const model::Config config;
  layer.matrices[Role::gate_up] = random_matrix(random, 8, 3, true);  // gate 4 rows, up 4 rows
  layer.matrices[Role::down] = random_matrix(random, 3, 4, false);
  const std::vector<float> x = {1.0f, -2.0f, 0.5f};
  const auto output = [&] {
    const std::vector<float> gu = product(layer.matrices[Role::gate_up], x);
    std::vector<float> h(4);
    for (std::size_t i = 0; i < 4; ++i) h[i] = std::max(gu[i], 0.0f) * gu[4 + i];
    return product(layer.matrices[Role::down], h);
  };
  const std::vector<float> before = output();
  InputGroup group{"mlp.down", {Role::down}, InputGroup::Producer::linear, Role::gate_up};
  quant::InputStats stats;
  const std::vector<float> s = {2.0f, 0.25f, 3.0f, 0.7f};
  auto folded = fold_input_scales(layer, config, group, s, stats);
  ASSERT_TRUE(folded.ok());
  EXPECT_EQ(folded->where, Folded::linear);
  EXPECT_EQ(folded->changed, Role::gate_up);
  const std::vector<float> after = output();
  for (std::size_t i = 0; i < 3; ++i) EXPECT_NEAR(before[i], after[i], 1e-4);
}

TEST(Folding, QueryHeadsThatShareAValueHeadShareItsScales) {
  Random random(4);
  LayerWeights layer;
  model::Config config;
  config.heads = 4;
  config.kv_heads = 2;
  config.head_dim = 3;
  layer.matrices[Role::v] = random_matrix(random, 6, 5, true);
  layer.matrices[Role::attn_out] = random_matrix(random, 5, 12, false);
  const std::vector<float> x = {0.4f, -1.0f, 2.0f, 0.1f, -0.6f};
  const auto output = [&] {  // attention weights of one: heads are their value heads
    const std::vector<float> v = product(layer.matrices[Role::v], x);
    std::vector<float> heads;
    for (std::size_t h = 0; h < 4; ++h) heads.insert(heads.end(), v.begin() + static_cast<std::ptrdiff_t>(h / 2 * 3), v.begin() + static_cast<std::ptrdiff_t>(h / 2 * 3 + 3));
    return product(layer.matrices[Role::attn_out], heads);
  };
  const std::vector<float> before = output(), v = layer.matrices[Role::v].w;
  InputGroup group{"attn.out", {Role::attn_out}, InputGroup::Producer::linear, Role::v};
  const std::vector<int64_t> rows = producing_rows(layer, group, config);
  EXPECT_EQ(rows, (std::vector<int64_t>{0, 1, 2, 0, 1, 2, 3, 4, 5, 3, 4, 5}));
  quant::InputStats stats;
  auto folded = fold_input_scales(layer, config, group, std::vector<float>{2, 3, 4, 2, 3, 4, 0.5f, 1, 6, 0.5f, 1, 6}, stats);
  ASSERT_TRUE(folded.ok());
  EXPECT_EQ(folded->where, Folded::linear);
  EXPECT_FLOAT_EQ(layer.matrices[Role::v].w[5], v[5] / 3);
  const std::vector<float> after = output();
  for (std::size_t i = 0; i < after.size(); ++i) EXPECT_NEAR(before[i], after[i], 1e-4);
  // Scales that differ between heads of one group stay at the input.
  folded = fold_input_scales(layer, config, group, std::vector<float>{2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}, stats);
  ASSERT_TRUE(folded.ok());
  EXPECT_EQ(folded->where, Folded::input_scale);
}

TEST(Folding, GroupedQueriesAndActivationsKeepTheScaleAtTheInput) {
  Random random(3);
  LayerWeights layer;
  const model::Config config;
  layer.matrices[Role::v] = random_matrix(random, 2, 4, false);  // one key-value head for two query heads
  layer.matrices[Role::attn_out] = random_matrix(random, 4, 4, false);
  const std::vector<float> v = layer.matrices[Role::v].w, out = layer.matrices[Role::attn_out].w;
  InputGroup group{"attn.out", {Role::attn_out}, InputGroup::Producer::linear, Role::v};
  quant::InputStats stats;
  auto folded = fold_input_scales(layer, config, group, std::vector<float>{2, 2, 2, 2}, stats);
  ASSERT_TRUE(folded.ok());
  EXPECT_EQ(folded->where, Folded::input_scale);
  EXPECT_EQ(layer.matrices[Role::v].w, v);
  EXPECT_FLOAT_EQ(layer.matrices[Role::attn_out].w[0], 2 * out[0]);
  auto bad = fold_input_scales(layer, config, group, std::vector<float>{2, 0, 2, 2}, stats);
  EXPECT_FALSE(bad.ok());
}

}  // namespace
}  // namespace nbl::pipeline

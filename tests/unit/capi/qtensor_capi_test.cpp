// Matrices on their own: strides, statistics, agreement of product and definition.
#include <array>
#include <cmath>
#include <random>
#include <vector>

#include "base/json.h"
#include "unit/capi/fixtures.h"

namespace nbl::test {
namespace {

std::vector<float> noise(std::size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float& v : values) v = normal(random);
  return values;
}

TEST(QTensor, QuantizesDequantizesAndMultipliesWithStrides) {
  const Runtime runtime = make_runtime();
  constexpr int64_t n = 37, k = 150, m = 5, wide = 161;
  const std::vector<float> weight = noise(n * wide, 1), x = noise(m * wide, 2);
  for (const char* recipe :
       {"fp32", "rtn:bits=8,group=-1", "rtn:bits=4,group=64", "rtn:bits=3,group=32", "nf4:block=64", "int8"}) {
    SCOPED_TRACE(recipe);
    nbl_qtensor* raw = nullptr;
    ASSERT_NBL_OK(nbl_qtensor_quantize(runtime.get(), weight.data(), n, k, wide, recipe, nullptr, &raw));
    const QTensor q(raw);
    EXPECT_EQ(nbl_qtensor_rows(raw), n);
    EXPECT_EQ(nbl_qtensor_columns(raw), k);
    std::vector<float> w(n * wide, -77.0f), rows(2 * k);
    ASSERT_NBL_OK(nbl_qtensor_dequantize(raw, 0, n, w.data(), wide));
    EXPECT_EQ(w[k], -77.0f) << "wrote between the rows";
    ASSERT_NBL_OK(nbl_qtensor_dequantize(raw, 3, 2, rows.data(), k));
    EXPECT_EQ(rows[k + 9], w[4 * wide + 9]);
    double error = 0, size = 0;
    for (int64_t r = 0; r < n; ++r) {
      for (int64_t c = 0; c < k; ++c) {
        const auto at = static_cast<std::size_t>(r * wide + c);
        error += (w[at] - weight[at]) * (w[at] - weight[at]);
        size += weight[at] * weight[at];
      }
    }
    EXPECT_LT(error / size, 0.05);
    std::vector<float> y(m * wide, -77.0f);
    ASSERT_NBL_OK(nbl_qtensor_matmul(raw, NBL_COMPUTE_EXACT, x.data(), wide, m, y.data(), wide));
    EXPECT_EQ(y[n], -77.0f);
    std::vector<float> fast(m * n);
    ASSERT_NBL_OK(nbl_qtensor_matmul(raw, NBL_COMPUTE_FAST, x.data(), wide, m, fast.data(), n));
    double worst_exact = 0, worst_fast = 0;
    for (int64_t i = 0; i < m; ++i) {
      for (int64_t r = 0; r < n; ++r) {
        double sum = 0;
        for (int64_t c = 0; c < k; ++c) {
          sum += static_cast<double>(w[static_cast<std::size_t>(r * wide + c)]) *
                 x[static_cast<std::size_t>(i * wide + c)];
        }
        worst_exact = std::max(worst_exact, std::abs(sum - y[static_cast<std::size_t>(i * wide + r)]));
        worst_fast = std::max(worst_fast, std::abs(sum - fast[static_cast<std::size_t>(i * n + r)]));
      }
    }
    EXPECT_LT(worst_exact, 1e-4);
    EXPECT_LT(worst_fast, 1.0);
    nbl_buffer* info = nullptr;
    ASSERT_NBL_OK(nbl_qtensor_info(raw, &info));
    const Buffer owned(info);
    const Json j = Json::parse(nbl_buffer_text(info), "info").value();
    EXPECT_NEAR(j.get_double("error").value(), error / size, 1e-3 * error / size + 1e-9);
  }
}

TEST(QTensor, MethodsThatNeedStatisticsSayWhich) {
  const Runtime runtime = make_runtime(1);
  constexpr int64_t n = 16, k = 64, tokens = 200;
  const std::vector<float> weight = noise(n * k, 3), x = noise(tokens * k, 4);
  nbl_qtensor* raw = nullptr;
  EXPECT_REFUSED(NBL_E_INVALID_ARGUMENT, "hessian",
                 nbl_qtensor_quantize(runtime.get(), weight.data(), n, k, k, "gptq:bits=3,group=32", nullptr, &raw));
  std::vector<float> hessian(k * k);
  for (int64_t t = 0; t < tokens; ++t) {
    for (int64_t a = 0; a < k; ++a) {
      for (int64_t b = 0; b < k; ++b) {
        hessian[static_cast<std::size_t>(a * k + b)] +=
            x[static_cast<std::size_t>(t * k + a)] * x[static_cast<std::size_t>(t * k + b)];
      }
    }
  }
  nbl_qtensor_options options = NBL_QTENSOR_OPTIONS_INIT;
  options.hessian = hessian.data();
  EXPECT_REFUSED(NBL_E_INVALID_ARGUMENT, "tokens",
                 nbl_qtensor_quantize(runtime.get(), weight.data(), n, k, k, "gptq:bits=3,group=32", &options, &raw));
  options.tokens = tokens;
  ASSERT_NBL_OK(nbl_qtensor_quantize(runtime.get(), weight.data(), n, k, k, "gptq:bits=3,group=32", &options, &raw));
  nbl_qtensor_destroy(raw);
}

TEST(QTensor, RefusesWhatIsNoMatrix) {
  const Runtime runtime = make_runtime(1);
  std::vector<float> weight = noise(64, 5);
  nbl_qtensor* raw = nullptr;
  for (const auto& [n, k, stride] :
       {std::array<int64_t, 3>{0, 8, 8}, {8, 0, 8}, {8, 8, 7}, {-1, 8, 8}, {int64_t{1} << 40, 8, 8}}) {
    EXPECT_EQ(nbl_qtensor_quantize(runtime.get(), weight.data(), n, k, stride, "rtn", nullptr, &raw),
              NBL_E_INVALID_ARGUMENT);
  }
  weight[8 * 3 + 2] = std::nanf("");
  EXPECT_EQ(nbl_qtensor_quantize(runtime.get(), weight.data(), 8, 8, 8, "rtn", nullptr, &raw), NBL_E_CORRUPT)
      << nbl_last_error();
  EXPECT_NE(std::string(nbl_last_error()).find("3"), std::string::npos);
  weight[8 * 3 + 2] = 0;
  ASSERT_NBL_OK(nbl_qtensor_quantize(runtime.get(), weight.data(), 8, 8, 8, "rtn", nullptr, &raw));
  const QTensor q(raw);
  float out[64];
  EXPECT_EQ(nbl_qtensor_dequantize(raw, 7, 2, out, 8), NBL_E_INVALID_ARGUMENT);
  EXPECT_EQ(nbl_qtensor_dequantize(raw, 0, 1, out, 7), NBL_E_INVALID_ARGUMENT);
  EXPECT_EQ(nbl_qtensor_matmul(raw, 9, out, 8, 1, out, 8), NBL_E_INVALID_ARGUMENT);
  EXPECT_EQ(nbl_qtensor_matmul(raw, 0, out, 7, 1, out, 8), NBL_E_INVALID_ARGUMENT);
  EXPECT_NBL_OK(nbl_qtensor_matmul(raw, 0, nullptr, 8, 0, nullptr, 8));
}

TEST(QTensor, OfACheckpoint) {
  const Runtime runtime = make_runtime(1);
  const Checkpoint checkpoint = open_checkpoint(runtime);
  nbl_qtensor* raw = nullptr;
  ASSERT_NBL_OK(nbl_qtensor_from_checkpoint(checkpoint.get(), "model.layers.0.self_attn.k_proj.weight", &raw));
  const QTensor q(raw);
  EXPECT_EQ(nbl_qtensor_rows(raw), 128);
  EXPECT_EQ(nbl_qtensor_columns(raw), 256);
  EXPECT_REFUSED(NBL_E_NOT_FOUND, "no.such.weight",
                 nbl_qtensor_from_checkpoint(checkpoint.get(), "no.such.weight", &raw));
}

}  // namespace
}  // namespace nbl::test

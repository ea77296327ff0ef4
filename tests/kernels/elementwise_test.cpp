#include "kernels/elementwise/elementwise.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>

#include "base/foreign.h"
#include "base/random.h"
#include "guarded_floats.h"

namespace nbl::kernels {
namespace {

using test::Guarded;

const std::vector<int64_t> kSizes = {1, 2, 7, 15, 16, 17, 31, 32, 33, 63, 64, 100, 255, 576, 1000};

std::vector<float> random_floats(Random& random, int64_t n, double scale = 1) {
  std::vector<float> v(static_cast<std::size_t>(n));
  for (float& x : v) x = static_cast<float>(random.normal() * scale);
  return v;
}

/// One test a variant that this machine can run; the variants it cannot are named.
class ElementwiseTest : public testing::TestWithParam<Isa> {
 protected:
  void SetUp() override {
    if (!isa_usable(GetParam())) GTEST_SKIP() << isa_name(GetParam()) << " cannot run on this processor";
    k_ = &elementwise_kernels(GetParam());
    ASSERT_EQ(k_->isa, GetParam()) << "no variant of its own";
  }
  const ElementwiseKernels* k_ = nullptr;
};

void expect_near(const std::vector<float>& got, const std::vector<double>& want, double tolerance,
                 const std::string& what) {
  ASSERT_EQ(got.size(), want.size());
  for (std::size_t i = 0; i < got.size(); ++i)
    ASSERT_NEAR(got[i], want[i], tolerance * (1 + std::fabs(want[i])))
        << what << " element " << i << " of " << got.size();
}

TEST_P(ElementwiseTest, NormsEqualDoublePrecision) {
  for (int64_t n : kSizes) {
    Random random(static_cast<uint64_t>(n));
    Guarded<float> x(random_floats(random, n, 3)), w(random_floats(random, n)), b(random_floats(random, n));
    Guarded<float> y(static_cast<std::size_t>(n));
    double squares = 0, mean = 0, variance = 0;
    for (float v : x.copy()) squares += static_cast<double>(v) * v, mean += v;
    mean /= static_cast<double>(n);
    for (float v : x.copy()) variance += (v - mean) * (v - mean);
    const double count = static_cast<double>(n), eps = 1e-5;
    std::vector<double> rms, layer, no_bias;
    for (std::size_t i = 0; i < x.size(); ++i) {
      rms.push_back(w[i] * x[i] / std::sqrt(squares / count + eps));
      no_bias.push_back(w[i] * (x[i] - mean) / std::sqrt(variance / count + eps));
      layer.push_back(no_bias.back() + b[i]);
    }
    k_->rms_norm(x.data(), w.data(), n, 1e-5f, y.data());
    expect_near(y.copy(), rms, 2e-6, "rms_norm");
    if (n > 2) {  // two close values make a variance that single precision cannot hold
      k_->layer_norm(x.data(), w.data(), b.data(), n, 1e-5f, y.data());
      expect_near(y.copy(), layer, 5e-6, "layer_norm");
      k_->layer_norm(x.data(), w.data(), nullptr, n, 1e-5f, y.data());
      expect_near(y.copy(), no_bias, 5e-6, "layer_norm without bias");
    }
    k_->rms_norm(x.data(), w.data(), n, 1e-5f, x.data());
    expect_near(x.copy(), rms, 2e-6, "rms_norm in place");
  }
}

TEST_P(ElementwiseTest, ActivationsEqualDoublePrecision) {
  const auto reference = [](Act act, double x) {
    switch (act) {
      case Act::silu:
        return x / (1 + std::exp(-x));
      case Act::gelu_tanh:
        return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
      case Act::gelu_erf:
        return 0.5 * x * (1 + std::erf(x / std::sqrt(2.0)));
      case Act::relu:
        return x > 0 ? x : 0.0;
      case Act::relu_squared:
        return std::max(x, 0.0) * std::max(x, 0.0);
      case Act::quick_gelu:
        return x / (1 + std::exp(-1.702 * x));
      case Act::sigmoid:
        return 1 / (1 + std::exp(-x));
      case Act::tanh:
        return std::tanh(x);
      case Act::gelu_clipped:
        return std::clamp(0.5 * x * (1 + std::erf(x / std::sqrt(2.0))), -10.0, 10.0);
      case Act::mish:
        return x * std::tanh(std::log1p(std::exp(x)));
      case Act::leaky_relu:
        return x > 0 ? x : 0.01 * x;
      case Act::relu6:
        return std::clamp(x, 0.0, 6.0);
      case Act::hard_swish:
        return x * std::clamp(x + 3, 0.0, 6.0) / 6;
      case Act::linear:
        return x;
    }
    return 0.0;
  };
  for (Act act : {Act::silu, Act::gelu_tanh, Act::gelu_erf, Act::relu, Act::relu_squared, Act::quick_gelu, Act::sigmoid, Act::tanh, Act::gelu_clipped,
                  Act::mish, Act::leaky_relu, Act::relu6, Act::hard_swish, Act::linear}) {
    for (int64_t n : kSizes) {
      Random random(static_cast<uint64_t>(n) * 7);
      Guarded<float> gate(random_floats(random, n, 4)), up(random_floats(random, n));
      Guarded<float> y(static_cast<std::size_t>(n));
      std::vector<double> plain, gated;
      for (std::size_t i = 0; i < gate.size(); ++i) {
        plain.push_back(reference(act, gate[i]));
        gated.push_back(plain.back() * up[i]);
      }
      k_->activate(act, gate.data(), nullptr, y.data(), n);
      expect_near(y.copy(), plain, 1e-6, "plain");
      k_->activate(act, gate.data(), up.data(), y.data(), n);
      expect_near(y.copy(), gated, 1e-6, "gated");
      k_->activate(act, gate.data(), up.data(), gate.data(), n);
      expect_near(gate.copy(), gated, 1e-6, "in place");
    }
  }
  // Far out, where e^x overflows: no NaN, the right limits.
  Guarded<float> far(std::vector<float>{-1e30f, -1000, -100, 100, 1000, 1e30f}), y(6);
  for (Act act : {Act::silu, Act::gelu_tanh, Act::gelu_erf, Act::mish}) {
    k_->activate(act, far.data(), nullptr, y.data(), 6);
    for (std::size_t i = 0; i < 3; ++i) EXPECT_NEAR(y[i], 0, 1e-30) << i;
    for (std::size_t i = 3; i < 6; ++i) EXPECT_EQ(y[i], far[i]) << i;
  }
  Guarded<float> nan(std::vector<float>{std::nanf("")}), out(1);
  for (Act act : {Act::silu, Act::gelu_tanh, Act::gelu_erf}) {
    k_->activate(act, nan.data(), nullptr, out.data(), 1);
    EXPECT_TRUE(std::isnan(out[0])) << "a NaN must stay one";
  }
}

TEST_P(ElementwiseTest, RopeTurnsPairs) {
  for (int64_t pairs : {1, 3, 8, 15, 16, 17, 32, 40, 64}) {
    Random random(static_cast<uint64_t>(pairs));
    const std::size_t p = static_cast<std::size_t>(pairs);
    Guarded<float> x(random_floats(random, 2 * pairs)), cos(p), sin(p);
    for (std::size_t i = 0; i < p; ++i) {
      const double a = random.normal();
      cos[i] = static_cast<float>(std::cos(a));
      sin[i] = static_cast<float>(std::sin(a));
    }
    std::vector<double> half(2 * p), adjacent(2 * p);
    for (std::size_t i = 0; i < p; ++i) {
      half[i] = static_cast<double>(x[i]) * cos[i] - static_cast<double>(x[i + p]) * sin[i];
      half[i + p] = static_cast<double>(x[i + p]) * cos[i] + static_cast<double>(x[i]) * sin[i];
      adjacent[2 * i] = static_cast<double>(x[2 * i]) * cos[i] - static_cast<double>(x[2 * i + 1]) * sin[i];
      adjacent[2 * i + 1] = static_cast<double>(x[2 * i + 1]) * cos[i] + static_cast<double>(x[2 * i]) * sin[i];
    }
    Guarded<float> y(x.copy());
    k_->rope_half(y.data(), cos.data(), sin.data(), pairs);
    expect_near(y.copy(), half, 1e-6, "half");
    Guarded<float> z(x.copy());
    k_->rope_adjacent(z.data(), cos.data(), sin.data(), pairs);
    expect_near(z.copy(), adjacent, 1e-6, "adjacent");
  }
}

TEST_P(ElementwiseTest, SumsCapsAndExponentials) {
  for (int64_t n : kSizes) {
    Random random(static_cast<uint64_t>(n) + 99);
    Guarded<float> x(random_floats(random, n, 10)), y(random_floats(random, n, 10));
    std::vector<double> sum, scaled, capped, weights;
    double top = -1e9, total = 0;
    for (float v : x.copy()) top = std::max<double>(top, v);
    for (std::size_t i = 0; i < x.size(); ++i) {
      sum.push_back(static_cast<double>(x[i]) + y[i]);
      scaled.push_back(static_cast<double>(x[i]) * 0.37f);
      capped.push_back(30 * std::tanh(x[i] / 30.0));
      weights.push_back(std::exp(x[i] - top));
      total += weights.back();
    }
    Guarded<float> a(x.copy()), b(x.copy()), c(x.copy()), d(x.copy());
    k_->add(a.data(), y.data(), n);
    expect_near(a.copy(), sum, 1e-7, "add");
    k_->scale(b.data(), 0.37f, n);
    expect_near(b.copy(), scaled, 1e-7, "scale");
    k_->soft_cap(c.data(), 30, n);
    expect_near(c.copy(), capped, 1e-5, "soft_cap");
    const float s = k_->exp_sum(d.data(), n);
    expect_near(d.copy(), weights, 4e-7, "exp");
    EXPECT_NEAR(s, total, 1e-5 * total);
  }
  Guarded<float> masked(std::vector<float>{0, -INFINITY, -1e30f});
  EXPECT_EQ(k_->exp_sum(masked.data(), 3), 1);
  EXPECT_EQ(masked[1], 0);
  EXPECT_EQ(masked[2], 0);
}

#ifdef NBL_MEMORY_SANITIZER
/// A run in which the memory sanitizer finds nothing says something only if it looks into every variant.
TEST_P(ElementwiseTest, AnUnwrittenNumberIsFoundBehindTheKernel) {
  Guarded<float> x(std::size_t{33}, 1.0f);
  k_->scale(x.data(), 2, 33);
  EXPECT_EQ(x[32], 2);
  unwritten(&x[32], sizeof(float));
  k_->scale(x.data(), 2, 33);
  EXPECT_EQ(x[31], 4);
  EXPECT_DEATH(
      {
        if (x[32] > 3) std::abort();
      },
      "use-of-uninitialized-value");
}
#endif

/// The exponential over its whole range: within 2 units in the last place where the result is a normal number.
TEST_P(ElementwiseTest, ExponentialIsAccurate) {
  double worst = 0;
  for (double x = -87; x <= 0; x += 0.000913) {
    float v[2] = {0, static_cast<float>(x)};
    const double want = std::exp(static_cast<double>(v[1]));
    k_->exp_sum(v, 2);
    const double ulp = std::ldexp(1.0, std::ilogb(want) - 23);
    worst = std::max(worst, std::fabs(v[1] - want) / ulp);
  }
  EXPECT_LT(worst, 2.0);
}

/// All instruction sets give the same bytes: the sums run in the same lanes everywhere.
TEST_P(ElementwiseTest, SameBytesAsScalar) {
  const ElementwiseKernels& scalar = elementwise_kernels(Isa::scalar);
  for (int64_t n : kSizes) {
    Random random(static_cast<uint64_t>(n) + 5);
    const std::vector<float> x = random_floats(random, n, 5), w = random_floats(random, n),
                             b = random_floats(random, n);
    const auto both = [&](const char* what,
                          const std::function<void(const ElementwiseKernels&, std::vector<float>&)>& f) {
      std::vector<float> mine = x, theirs = x;
      f(*k_, mine);
      f(scalar, theirs);
      EXPECT_EQ(std::memcmp(mine.data(), theirs.data(), mine.size() * 4), 0) << what << " n=" << n;
    };
    both("rms", [&](const auto& k, auto& v) { k.rms_norm(v.data(), w.data(), n, 1e-5f, v.data()); });
    both("layer", [&](const auto& k, auto& v) { k.layer_norm(v.data(), w.data(), b.data(), n, 1e-5f, v.data()); });
    for (Act act : {Act::silu, Act::gelu_tanh, Act::gelu_erf, Act::relu, Act::relu_squared, Act::quick_gelu, Act::sigmoid, Act::tanh, Act::gelu_clipped,
                    Act::mish, Act::leaky_relu, Act::relu6, Act::hard_swish, Act::linear})
      both("act", [&](const auto& k, auto& v) { k.activate(act, v.data(), w.data(), v.data(), n); });
    both("cap", [&](const auto& k, auto& v) { k.soft_cap(v.data(), 20, n); });
    both("exp", [&](const auto& k, auto& v) { v[0] += k.exp_sum(v.data(), n); });
    both("rope", [&](const auto& k, auto& v) { k.rope_half(v.data(), w.data(), b.data(), n / 2); });
    both("rope", [&](const auto& k, auto& v) { k.rope_adjacent(v.data(), w.data(), b.data(), n / 2); });
  }
}

#if defined(__x86_64__)
INSTANTIATE_TEST_SUITE_P(Isas, ElementwiseTest, testing::Values(Isa::scalar, Isa::avx2, Isa::avx512),
                         [](const auto& info) { return std::string(isa_name(info.param)); });
#else
INSTANTIATE_TEST_SUITE_P(Isas, ElementwiseTest, testing::Values(Isa::scalar, Isa::neon_dotprod),
                         [](const auto& info) { return std::string(isa_name(info.param)); });
#endif

}  // namespace
}  // namespace nbl::kernels

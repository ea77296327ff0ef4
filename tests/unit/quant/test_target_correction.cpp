// The corrections for what earlier layers got wrong, and the refinement after rounding, against plain double precision.
#include <gtest/gtest.h>

#include "quant_testing.h"

namespace nbl::quant {
namespace {

/// Inputs x as the quantized model has them, u as the original has them, r the error of the stream; all statistics from these.
struct Drift {
  static constexpr int64_t kN = 24, kK = 96, kTokens = 400;
  testing::Layer layer;
  std::vector<double> x, u, r;  ///< [tokens][k], [tokens][k], [tokens][n]

  explicit Drift(uint64_t seed) {
    Random random(seed);
    layer = testing::random_layer(kN, kK, seed, 1);
    layer.stats.tokens = kTokens;
    std::vector<double> h(kK * kK), cross(kK * kK), residual(kN * kK);
    for (int64_t t = 0; t < kTokens; ++t) {
      double carried = 0;
      for (int64_t i = 0; i < kK; ++i) {
        carried = 0.6 * carried + random.normal();
        u.push_back(carried);
        // The drift is in part a function of the input, as a quantized layer's is; that part can be corrected.
        x.push_back(0.9 * carried + 0.1 * random.normal());
      }
      for (int64_t i = 0; i < kN; ++i) {
        r.push_back(0.2 * x[static_cast<std::size_t>(t * kK + i)] + 0.05 * random.normal());
      }
      const double *xt = &x[static_cast<std::size_t>(t * kK)], *ut = &u[static_cast<std::size_t>(t * kK)];
      for (int64_t i = 0; i < kK; ++i) {
        for (int64_t j = 0; j < kK; ++j) {
          h[static_cast<std::size_t>(i * kK + j)] += xt[i] * xt[j];
          cross[static_cast<std::size_t>(i * kK + j)] += xt[i] * (ut[j] - xt[j]);
        }
        for (int64_t o = 0; o < kN; ++o) {
          residual[static_cast<std::size_t>(o * kK + i)] += r[static_cast<std::size_t>(t * kN + o)] * xt[i];
        }
      }
    }
    layer.stats.hessian.assign(h.begin(), h.end());
    layer.stats.cross.assign(cross.begin(), cross.end());
    layer.stats.residual.assign(residual.begin(), residual.end());
  }

  /// |W (x + alpha (u - x)) + beta r - Q x|^2 over all tokens.
  double output_error(const std::vector<float>& q, double alpha, double beta) const {
    double sum = 0;
    for (int64_t t = 0; t < kTokens; ++t) {
      for (int64_t o = 0; o < kN; ++o) {
        double e = beta * r[static_cast<std::size_t>(t * kN + o)];
        for (int64_t i = 0; i < kK; ++i) {
          const std::size_t at = static_cast<std::size_t>(t * kK + i), w = static_cast<std::size_t>(o * kK + i);
          e += static_cast<double>(layer.weight[w]) * (x[at] + alpha * (u[at] - x[at])) - static_cast<double>(q[w]) * x[at];
        }
        sum += e * e;
      }
    }
    return sum;
  }
};

TEST(Correction, ReachesTheLeastSquaresTarget) {
  const Drift drift(3);
  // Gradient descent on the output error, from the weight, in double precision: an independent way to the optimum.
  for (const auto& [alpha, beta] : {std::pair{1.0, 0.0}, std::pair{0.0, 1.0}, std::pair{0.5, 0.5}}) {
    SCOPED_TRACE(::testing::Message() << "alpha " << alpha << ", beta " << beta);
    const std::string text = "gptq:bits=8,group=32,damp=0.00001,alpha=" + std::to_string(alpha) + ",beta=" + std::to_string(beta);
    const auto corrected = testing::dequantize(testing::quantize(text, drift.layer.task()).tensor);
    const auto plain = testing::dequantize(testing::quantize("gptq:bits=8,group=32,alpha=0,beta=0", drift.layer.task()).tensor);
    const double before = drift.output_error(plain, alpha, beta), after = drift.output_error(corrected, alpha, beta);
    EXPECT_LT(after, 0.5 * before);
    // At the optimum the residual error is orthogonal to every input.
    double worst = 0, size = 0;
    for (int64_t o = 0; o < Drift::kN; ++o) {
      for (int64_t i = 0; i < Drift::kK; ++i) {
        double slope = 0, reference = 0;
        for (int64_t t = 0; t < Drift::kTokens; ++t) {
          double e = beta * drift.r[static_cast<std::size_t>(t * Drift::kN + o)];
          for (int64_t j = 0; j < Drift::kK; ++j) {
            const std::size_t at = static_cast<std::size_t>(t * Drift::kK + j), w = static_cast<std::size_t>(o * Drift::kK + j);
            e += static_cast<double>(drift.layer.weight[w]) * (drift.x[at] + alpha * (drift.u[at] - drift.x[at])) -
                 static_cast<double>(corrected[w]) * drift.x[at];
          }
          const double xi = drift.x[static_cast<std::size_t>(t * Drift::kK + i)];
          slope += e * xi;
          reference += xi * xi;
        }
        worst = std::max(worst, std::fabs(slope));
        size = std::max(size, reference);
      }
    }
    EXPECT_LT(worst, 0.003 * size);
  }
}

TEST(Correction, LowersTheOutputErrorAtFewBits) {
  const Drift drift(9);
  const auto error = [&](const char* text) {
    return drift.output_error(testing::dequantize(testing::quantize(text, drift.layer.task()).tensor), 1, 1);
  };
  const double none = error("gptq:bits=3,group=32,alpha=0,beta=0"), half = error("gptq:bits=3,group=32,alpha=0.5,beta=0.5");
  const double full = error("gptq:bits=3,group=32,alpha=1,beta=1");
  EXPECT_LT(half, none);
  EXPECT_LT(full, half);
}

TEST(Refinement, LowersTheErrorOfEveryMatrix) {
  for (uint64_t seed : {1u, 2u, 3u}) {
    const testing::Layer layer = testing::random_layer(40, 160, seed);
    for (const char* options : {"bits=2,group=32", "bits=3,group=64", "bits=4,group=-1,sym=true", "bits=3,group=32,desc_act=true",
                                "bits=3,group=32,static_groups=true"}) {
      SCOPED_TRACE(options);
      double previous = 1e30;
      for (int rounds : {0, 1, 3}) {
        const double error =
            testing::quantize(std::string("gptq:") + options + ",refine=" + std::to_string(rounds), layer.task()).error;
        EXPECT_LT(error, previous);
        previous = error;
      }
    }
  }
}

TEST(Search, ClippingLowersTheErrorAtFewBits) {
  const testing::Layer layer = testing::random_layer(40, 256, 5);
  for (const char* method : {"rtn:bits=2,group=128", "rtn:bits=3,group=128,sym=true"}) {
    EXPECT_LT(testing::quantize(std::string(method) + ",mse=40", layer.task(false)).error,
              testing::quantize(std::string(method) + ",mse=0", layer.task(false)).error);
  }
}

}  // namespace
}  // namespace nbl::quant

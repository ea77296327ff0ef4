// Random cases of the families around the products: norms and activations, sums of outer products, panels, rows of logits. Each case is
// a random variant that this processor can run against double precision, and against the reference where all give the same bytes.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "base/cpu.h"
#include "base/random.h"
#include "guarded_floats.h"
#include "kernels/elementwise/elementwise.h"
#include "kernels/gram/gram.h"
#include "kernels/guard_pages.h"
#include "kernels/logits/logits.h"
#include "kernels/panel/panel.h"
#include "random_cases.h"

namespace nbl {
namespace {

using kernels::Act;
using kernels::kPanelRows;
using test::random_cases;
using test::test_seed;

constexpr double kHalfUlp = 0x1p-24;

/// 1 to 70, now and then a few thousand.
int64_t some_length(Random& random) {
  return random.below(64) == 0 ? 4095 + static_cast<int64_t>(random.below(3)) : 1 + static_cast<int64_t>(random.below(70));
}

std::vector<float> normals(Random& random, int64_t n, double scale = 1) {
  std::vector<float> v(static_cast<std::size_t>(n));
  for (float& x : v) x = static_cast<float>(random.normal() * scale);
  if (random.below(8) == 0) v[random.below(v.size())] = 1e-41f;  // a denormal
  return v;
}

template <class Variant>
std::vector<const Variant*> usable(const Variant* all, int count) {
  std::vector<const Variant*> some;
  for (int v = 0; v < count; ++v)
    if (isa_usable(static_cast<Isa>(all[v].isa))) some.push_back(all + v);
  return some;
}

double activation(Act act, double x) {
  switch (act) {
    case Act::silu:
      return x / (1 + std::exp(-x));
    case Act::gelu_tanh:
      return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case Act::gelu_erf:
      return 0.5 * x * std::erfc(-x / std::sqrt(2.0));
    case Act::relu:
      return std::max(x, 0.0);
    case Act::relu_squared:
      return std::max(x, 0.0) * std::max(x, 0.0);
    case Act::quick_gelu:
      return x / (1 + std::exp(-1.702 * x));
    case Act::sigmoid:
      return 1 / (1 + std::exp(-x));
    case Act::tanh:
      return std::tanh(x);
    case Act::gelu_clipped:
      return std::clamp(0.5 * x * std::erfc(-x / std::sqrt(2.0)), -10.0, 10.0);
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
  return 0;
}

/// One call: what it does to a row, what should come out, and how far off it may be (a bound an element).
struct RowCase {
  std::string name;
  std::function<void(const kernels::ElementwiseKernels&, float* row)> run;
  std::vector<double> want, allowed;
};

RowCase norm_case(Random& random, const std::vector<float>& x, bool layer, test::Guarded<float>& w, test::Guarded<float>& b) {
  const auto n = static_cast<int64_t>(x.size());
  const double count = static_cast<double>(n), eps = 1e-5f;
  double squares = 0, mean = 0, variance = 0, reach = 0;
  for (const float v : x) {
    squares += static_cast<double>(v) * v;
    mean += v / count;
    reach = std::max(reach, std::fabs(static_cast<double>(v)));
  }
  for (const float v : x) variance += (v - mean) * (v - mean) / count;
  const bool bias = layer && random.below(2) == 0;
  RowCase c{layer ? "layer_norm" : "rms_norm", {}, {}, {}};
  const double deviation = std::sqrt((layer ? variance : squares / count) + eps);
  // Sums of n terms in 16 lanes, n / 16 + 4 roundings deep; what is off in the mean counts as often as it is larger than the deviation.
  const double relative = (count / 16 + 12) * kHalfUlp;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double value = (layer ? x[i] - mean : x[i]) / deviation * w[i];
    c.want.push_back(value + (bias ? b[i] : 0.0f));
    c.allowed.push_back(relative * (std::fabs(value) + (layer ? 2 * reach / deviation * std::fabs(w[i]) : 0) + (bias ? std::fabs(b[i]) : 0)) + 1e-37);
  }
  c.run = [&w, &b, n, layer, bias](const kernels::ElementwiseKernels& k, float* row) {
    if (layer)
      k.layer_norm(row, w.data(), bias ? b.data() : nullptr, n, 1e-5f, row);
    else
      k.rms_norm(row, w.data(), n, 1e-5f, row);
  };
  return c;
}

RowCase row_case(Random& random, const std::vector<float>& x, test::Guarded<float>& w, test::Guarded<float>& b) {
  const auto n = static_cast<int64_t>(x.size());
  const uint64_t kind = random.below(8);
  if (kind < 2) return norm_case(random, x, kind == 1, w, b);
  RowCase c;
  const auto expect = [&](double want, double allowed) {
    c.want.push_back(want);
    c.allowed.push_back(allowed);
  };
  if (kind == 2) {
    const float s = static_cast<float>(random.normal());
    const bool sum = random.below(2) == 0;
    c.name = sum ? "add" : "scale";
    for (std::size_t i = 0; i < x.size(); ++i) {
      const double want = sum ? static_cast<double>(x[i]) + w[i] : static_cast<double>(x[i]) * s;
      expect(want, std::fabs(want) * kHalfUlp + 1e-45);
    }
    c.run = [&w, n, s, sum](const auto& k, float* row) { sum ? k.add(row, w.data(), n) : k.scale(row, s, n); };
  } else if (kind == 3) {
    const bool half = random.below(2) == 0;
    const int64_t pairs = n / 2;
    c.name = half ? "rope_half" : "rope_adjacent";
    for (std::size_t i = 0; i < x.size(); ++i) expect(x[i], 0);
    for (int64_t p = 0; p < pairs; ++p) {
      const auto i = static_cast<std::size_t>(half ? p : 2 * p), j = static_cast<std::size_t>(half ? p + pairs : 2 * p + 1);
      const double cos = w[static_cast<std::size_t>(p)], sin = b[static_cast<std::size_t>(p)], u = x[i], v = x[j];
      c.want[i] = u * cos - v * sin;
      c.want[j] = v * cos + u * sin;
      c.allowed[i] = 2 * kHalfUlp * (std::fabs(u * cos) + std::fabs(v * sin)) + 1e-37;
      c.allowed[j] = 2 * kHalfUlp * (std::fabs(v * cos) + std::fabs(u * sin)) + 1e-37;
    }
    c.run = [&w, &b, pairs, half](const auto& k, float* row) {
      half ? k.rope_half(row, w.data(), b.data(), pairs) : k.rope_adjacent(row, w.data(), b.data(), pairs);
    };
  } else if (kind == 4) {
    const float cap = 5 + 40 * random.uniform();
    c.name = "soft_cap";
    for (const float v : x) expect(cap * std::tanh(v / cap), 4e-7 * cap);
    c.run = [n, cap](const auto& k, float* row) { k.soft_cap(row, cap, n); };
  } else if (kind == 5) {
    c.name = "exp_sum";
    const double top = *std::max_element(x.begin(), x.end());
    for (const float v : x) expect(std::exp(v - top), 4 * kHalfUlp * (1 + std::fabs(v - top)) * std::exp(v - top) + 2e-38);
    c.run = [n](const auto& k, float* row) { k.exp_sum(row, n); };
  } else {
    const auto act = static_cast<Act>(random.below(14));
    const bool gated = random.below(2) == 0;
    c.name = "activation " + std::to_string(static_cast<int>(act));
    for (std::size_t i = 0; i < x.size(); ++i) {
      const double plain = activation(act, x[i]), factor = gated ? static_cast<double>(w[i]) : 1.0;
      expect(plain * factor, 1e-6 * (1 + std::fabs(plain)) * std::fabs(factor) + 1e-37);
    }
    c.run = [&w, n, act, gated](const auto& k, float* row) { k.activate(act, row, gated ? w.data() : nullptr, row, n); };
  }
  return c;
}

TEST(FullElementwise, RandomCases) {
  const uint64_t seed = test_seed(2031);
  SCOPED_TRACE("NIBBLE_TEST_SEED=" + std::to_string(seed));
  Random random(seed);
  std::vector<const kernels::ElementwiseKernels*> variants;
  for (const Isa isa : usable_isas()) {
    const auto* k = &kernels::elementwise_kernels(isa);
    if (std::find(variants.begin(), variants.end(), k) == variants.end()) variants.push_back(k);
  }
  const kernels::ElementwiseKernels& reference = kernels::elementwise_kernels(Isa::scalar);
  for (int i = 0; i < random_cases(); ++i) {
    const int64_t n = some_length(random);
    const std::vector<float> x = normals(random, n, std::exp(3 * random.normal()));
    test::Guarded<float> w(normals(random, n)), b(normals(random, n)), row(x);
    const RowCase c = row_case(random, x, w, b);
    const kernels::ElementwiseKernels& k = *variants[random.below(variants.size())];
    SCOPED_TRACE("case " + std::to_string(i) + " " + c.name + " on " + k.name + ", n " + std::to_string(n));
    c.run(k, row.data());
    std::vector<float> same = x;
    c.run(reference, same.data());
    ASSERT_EQ(std::memcmp(same.data(), row.data(), same.size() * 4), 0) << "not the reference's bytes";
    for (std::size_t e = 0; e < x.size(); ++e)
      ASSERT_NEAR(row[e], c.want[e], c.allowed[e]) << "element " << e << ", x " << x[e];
  }
}

void check_gram(Random& random, const kernels::GramVariant& variant, int64_t steps) {
  constexpr int64_t kPanel = kernels::kGramPanel;
  testing::Guarded<float> a(static_cast<std::size_t>(steps * kPanel)), b(a.size()), c(kPanel * kPanel);
  const double scale = std::exp(3 * random.normal());
  for (float& x : a.span()) x = static_cast<float>(random.normal() * scale);
  for (float& x : b.span()) x = static_cast<float>(random.normal());
  const bool same = random.below(4) == 0;  // b may be a
  std::vector<double> expected, bound;
  for (float& x : c.span()) {
    x = static_cast<float>(random.normal());
    expected.push_back(x);
    bound.push_back(std::fabs(x));
  }
  const float* other = same ? a.data() : b.data();
  for (int64_t t = 0; t < steps; ++t) {
    for (std::size_t i = 0; i < kPanel; ++i) {
      const double left = a[static_cast<std::size_t>(t * kPanel) + i];
      for (std::size_t j = 0; j < kPanel; ++j) {
        const double p = left * other[static_cast<std::size_t>(t * kPanel) + j];
        expected[i * kPanel + j] += p;
        bound[i * kPanel + j] += std::fabs(p);
      }
    }
  }
  kernels::GramArgs args;
  args.a = a.data();
  args.b = other;
  args.c = c.data();
  args.steps = steps;
  variant.fn(&args);
  for (std::size_t e = 0; e < c.size(); ++e)
    ASSERT_NEAR(c[e], expected[e], static_cast<double>(steps + 1) * 2 * kHalfUlp * bound[e]) << "element " << e;
}

TEST(FullGram, RandomCases) {
  const uint64_t seed = test_seed(2032);
  SCOPED_TRACE("NIBBLE_TEST_SEED=" + std::to_string(seed));
  Random random(seed);
  int count = 0;
  const kernels::GramVariant* all = kernels::gram_variants(&count);
  const auto variants = usable(all, count);
  for (int i = 0; i < random_cases(); ++i) {
    const kernels::GramVariant& variant = *variants[random.below(variants.size())];
    const int64_t steps = random.below(256) == 0 ? 511 + static_cast<int64_t>(random.below(3)) : 1 + static_cast<int64_t>(random.below(20));
    SCOPED_TRACE("case " + std::to_string(i) + " on " + variant.name + ", " + std::to_string(steps) + " steps");
    check_gram(random, variant, steps);
    if (HasFatalFailure()) return;
  }
}

void check_feedback(Random& random, const kernels::PanelKernels& k, const kernels::PanelKernels& reference) {
  const auto length = static_cast<int64_t>(random.below(70)), begin = static_cast<int64_t>(random.below(static_cast<uint64_t>(length + 1)));
  const int columns = 1 + static_cast<int>(random.below(kernels::kFeedbackColumns));
  const int64_t lda = length + static_cast<int64_t>(random.below(9));
  testing::Guarded<float> a(static_cast<std::size_t>((columns - 1) * lda + length)), panel(static_cast<std::size_t>(length * kPanelRows)),
      out(static_cast<std::size_t>(columns * kPanelRows));
  for (float& x : a.span()) x = static_cast<float>(random.normal());
  for (float& x : panel.span()) x = static_cast<float>(random.normal() * 5);
  alignas(64) float same[kernels::kFeedbackColumns * kPanelRows];
  k.feedback({a.data(), lda, columns, panel.data(), begin, length, out.data()});
  reference.feedback({a.data(), lda, columns, panel.data(), begin, length, same});
  ASSERT_EQ(std::memcmp(out.data(), same, out.size() * 4), 0) << length << " long from " << begin << ", " << columns << " columns";
  for (int64_t e = 0; e < columns * kPanelRows; ++e) {
    double sum = 0, bound = 0;
    for (int64_t i = begin; i < length; ++i) {
      const double p = static_cast<double>(a[static_cast<std::size_t>(e / kPanelRows * lda + i)]) *
                       static_cast<double>(panel[static_cast<std::size_t>(i * kPanelRows + e % kPanelRows)]);
      sum += p;
      bound += std::fabs(p);
    }
    ASSERT_NEAR(out[static_cast<std::size_t>(e)], sum, static_cast<double>(length + 1) * kHalfUlp * bound);
  }
}

void check_feedback64(Random& random, const kernels::PanelKernels& k, const kernels::PanelKernels& reference) {
  const auto length = static_cast<int64_t>(random.below(70));
  const int columns = 1 + static_cast<int>(random.below(kernels::kFeedbackColumns));
  const int64_t rows = kernels::kPanelRows64;
  testing::Guarded<double> a(static_cast<std::size_t>(columns * length)), panel(static_cast<std::size_t>(length * rows)),
      out(static_cast<std::size_t>(columns * rows));
  for (double& x : a.span()) x = random.normal();
  for (double& x : panel.span()) x = random.normal();
  alignas(64) double same[kernels::kFeedbackColumns * kernels::kPanelRows64];
  k.feedback64({a.data(), length, columns, panel.data(), 0, length, out.data()});
  reference.feedback64({a.data(), length, columns, panel.data(), 0, length, same});
  ASSERT_EQ(std::memcmp(out.data(), same, out.size() * 8), 0) << length << " long, " << columns << " columns";
  for (int64_t e = 0; e < columns * rows; ++e) {
    long double sum = 0, bound = 0;
    for (int64_t i = 0; i < length; ++i) {
      const long double p = static_cast<long double>(a[static_cast<std::size_t>(e / rows * length + i)]) *
                            static_cast<long double>(panel[static_cast<std::size_t>(i * rows + e % rows)]);
      sum += p;
      bound += std::fabs(p);
    }
    ASSERT_NEAR(out[static_cast<std::size_t>(e)], static_cast<double>(sum), static_cast<double>(bound) * static_cast<double>(length + 1) * 0x1p-53);
  }
}

void check_grid_error(Random& random, const kernels::PanelKernels& k, const kernels::PanelKernels& reference) {
  const int64_t columns = some_length(random);
  const float largest = static_cast<float>((2u << random.below(8)) - 1u);  // of 1 to 8 bits
  const bool weighted = random.below(2) == 0;
  testing::Guarded<float> panel(static_cast<std::size_t>(columns * kPanelRows)), importance(static_cast<std::size_t>(columns)),
      scale(kPanelRows), inverse(kPanelRows), zero(kPanelRows), out(kPanelRows);
  for (float& x : panel.span()) x = static_cast<float>(random.normal());
  for (float& x : importance.span()) x = random.uniform();
  for (std::size_t r = 0; r < scale.size(); ++r) {
    scale[r] = (0.05f + random.uniform()) * 8 / (largest + 1);
    inverse[r] = 1.0f / scale[r];
    zero[r] = std::floor(random.uniform() * (largest + 1));
  }
  alignas(64) float same[kPanelRows];
  kernels::GridErrorArgs args{panel.data(), columns,     weighted ? importance.data() : nullptr, scale.data(), inverse.data(),
                              zero.data(),  largest, out.data()};
  k.grid_error(args);
  args.out = same;
  reference.grid_error(args);
  ASSERT_EQ(std::memcmp(out.data(), same, sizeof(same)), 0) << columns << " columns, largest code " << largest;
  for (std::size_t r = 0; r < scale.size(); ++r) {
    double sum = 0, bound = 0;
    for (int64_t c = 0; c < columns; ++c) {
      const double w = panel[static_cast<std::size_t>(c * kPanelRows) + r], s = scale[r], z = zero[r];
      const double e = w - s * (std::nearbyint(std::clamp(w / s + z, 0.0, static_cast<double>(largest))) - z);
      const double weight = weighted ? static_cast<double>(importance[static_cast<std::size_t>(c)]) : 1.0;
      // e is the difference of numbers as large as w, and rounding may go the other way where it is a tie, for as much again.
      const double off = 4 * kHalfUlp * (std::fabs(w) + s * (std::fabs(z) + static_cast<double>(largest)));
      sum += weight * e * e;
      bound += weight * off * (2 * std::fabs(e) + off);
    }
    ASSERT_NEAR(out[r], sum, bound + static_cast<double>(columns + 3) * kHalfUlp * sum) << "row " << r;
  }
}

TEST(FullPanel, RandomCases) {
  const uint64_t seed = test_seed(2033);
  SCOPED_TRACE("NIBBLE_TEST_SEED=" + std::to_string(seed));
  Random random(seed);
  int count = 0;
  const kernels::PanelKernels* all = kernels::panel_variants(&count);
  const auto variants = usable(all, count);
  for (int i = 0; i < random_cases(); ++i) {
    const kernels::PanelKernels& k = *variants[random.below(variants.size())];
    SCOPED_TRACE("case " + std::to_string(i) + " on " + k.name);
    const uint64_t kind = random.below(3);
    if (kind == 0) {
      check_feedback(random, k, all[count - 1]);
    } else if (kind == 1) {
      check_feedback64(random, k, all[count - 1]);
    } else {
      check_grid_error(random, k, all[count - 1]);
    }
    if (HasFatalFailure()) return;
  }
}

TEST(FullLogits, RandomCases) {
  const uint64_t seed = test_seed(2034);
  SCOPED_TRACE("NIBBLE_TEST_SEED=" + std::to_string(seed));
  Random random(seed);
  int count = 0;
  const kernels::LogitKernels* all = kernels::logit_kernels(&count);
  const auto variants = usable(all, count);
  const float none = -std::numeric_limits<float>::infinity();
  for (int i = 0; i < random_cases(); ++i) {
    const kernels::LogitKernels& k = *variants[random.below(variants.size())];
    const int64_t n = some_length(random);
    SCOPED_TRACE("case " + std::to_string(i) + " on " + k.name + ", n " + std::to_string(n));
    testing::Guarded<float> a(static_cast<std::size_t>(n)), b(a.size());
    const double spread = std::exp(2 * random.normal()), apart = std::exp(2 * random.normal() - 2);
    for (std::size_t e = 0; e < a.size(); ++e) {
      a[e] = static_cast<float>(std::clamp(random.normal() * spread, -80.0, 80.0));
      b[e] = a[e] + static_cast<float>(random.normal() * apart);
      if (e > 0 && random.below(20) == 0) a[e] = b[e] = none;  // forbidden tokens
    }
    int64_t index_a = -1, index_b = -1;
    const float top_a = k.max(a.data(), n, &index_a), top_b = k.max(b.data(), n, &index_b);
    const auto first = std::max_element(a.span().begin(), a.span().end());
    ASSERT_EQ(top_a, *first);
    ASSERT_EQ(index_a, first - a.span().begin());
    // Each with what it may be off by: exponentials within 2^-22, of differences that were rounded, in sums of at most eight floats
    // before they are doubles.
    const double relative = 0x1p-22 + 8 * kHalfUlp;
    double sum_a = 0, sum_b = 0, cross = 0, off_a = 0, off_b = 0, off_cross = 0;
    const auto below = [](float x, float top) { return std::max(static_cast<double>(x) - top, -87.0); };
    for (std::size_t e = 0; e < a.size(); ++e) {
      // Below 87 an exponential counts as that of -87, and as nothing in cross.
      const double da = below(a[e], top_a), db = below(b[e], top_b), wa = std::exp(da), wb = std::exp(db);
      sum_a += wa;
      sum_b += wb;
      off_a += wa * (relative - da * kHalfUlp);
      off_b += wb * (relative - db * kHalfUlp);
      if (a[e] - top_a < -87.0f) continue;
      const double difference = static_cast<double>(a[e]) - static_cast<double>(b[e]);
      cross += wa * difference;
      off_cross += wa * (relative + (2 - da) * kHalfUlp) * std::fabs(difference);
    }
    kernels::LogitSums sums;
    k.sums(a.data(), b.data(), n, top_a, top_b, &sums);
    ASSERT_NEAR(sums.sum_a, sum_a, off_a);
    ASSERT_NEAR(sums.sum_b, sum_b, off_b);
    ASSERT_NEAR(sums.cross, cross, off_cross + 1e-30);
    ASSERT_DOUBLE_EQ(k.sum_exp(a.data(), n, top_a), sums.sum_a);
  }
}

}  // namespace
}  // namespace nbl

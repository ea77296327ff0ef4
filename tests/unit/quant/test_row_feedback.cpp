// Feedback between rows against dense double-precision solutions, and what it does to a quantized matrix.
#include "quant/row_feedback.h"

#include <gtest/gtest.h>

#include <limits>

#include "quant_testing.h"

namespace nbl::quant {
namespace {

struct Matrix {
  int64_t rows, columns;
  std::vector<double> values;
  Matrix(int64_t r, int64_t c) : rows(r), columns(c), values(static_cast<std::size_t>(r * c)) {}
  double& operator()(int64_t i, int64_t j) { return values[static_cast<std::size_t>(i * columns + j)]; }
  double operator()(int64_t i, int64_t j) const { return values[static_cast<std::size_t>(i * columns + j)]; }
  Matrix part(int64_t first, int64_t count, int64_t column, int64_t width) const {
    Matrix out(count, width);
    for (int64_t i = 0; i < count; ++i)
      for (int64_t j = 0; j < width; ++j) out(i, j) = (*this)(first + i, column + j);
    return out;
  }
  Matrix times(const Matrix& other) const {
    Matrix out(rows, other.columns);
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t l = 0; l < columns; ++l)
        for (int64_t j = 0; j < other.columns; ++j) out(i, j) += (*this)(i, l) * other(l, j);
    return out;
  }
  double norm() const {
    double sum = 0;
    for (const double v : values) sum += v * v;
    return std::sqrt(sum);
  }
  double distance(const Matrix& other) const {
    Matrix difference = *this;
    for (std::size_t i = 0; i < values.size(); ++i) difference.values[i] -= other.values[i];
    return difference.norm();
  }
};

/// a^-1 b of a symmetric positive definite a, by elimination.
Matrix solve(Matrix a, Matrix b) {
  for (int64_t p = 0; p < a.rows; ++p) {
    for (int64_t i = 0; i < a.rows; ++i) {
      if (i == p) continue;
      const double share = a(i, p) / a(p, p);
      for (int64_t j = p; j < a.columns; ++j) a(i, j) -= share * a(p, j);
      for (int64_t j = 0; j < b.columns; ++j) b(i, j) -= share * b(p, j);
    }
  }
  for (int64_t p = 0; p < a.rows; ++p)
    for (int64_t j = 0; j < b.columns; ++j) b(p, j) /= a(p, p);
  return b;
}

/// Second moments of gradients that are correlated from row to row.
std::vector<float> random_moments(int64_t n, uint64_t seed) {
  Random random(seed);
  const int64_t tokens = 3 * n;
  Matrix g(tokens, n);
  for (int64_t t = 0; t < tokens; ++t) {
    const double common = random.normal();
    for (int64_t i = 0; i < n; ++i) g(t, i) = 1e-4 * ((i % 3 == 0 ? 1.5 : 0.5) * random.normal() + (i % 2 == 0 ? 1 : -0.6) * common);
  }
  std::vector<float> out(static_cast<std::size_t>(n * n));
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < n; ++j) {
      double sum = 0;
      for (int64_t t = 0; t < tokens; ++t) sum += g(t, i) * g(t, j);
      out[static_cast<std::size_t>(i * n + j)] = static_cast<float>(sum);
    }
  return out;
}

struct Coupled {
  testing::Layer layer;
  std::vector<float> moments;
  Coupled(int64_t n, int64_t k, uint64_t seed) : layer(testing::random_layer(n, k, seed)), moments(random_moments(n, seed + 1)) {}
  LinearTask task() const {
    LinearTask t = layer.task();
    t.output_moments = moments;
    t.output_gradients = int64_t{1} << 20;  // so many that only the least damping is wanted
    return t;
  }
  Matrix damped(double share) const {
    Matrix g(layer.n, layer.n);
    for (int64_t i = 0; i < layer.n; ++i)
      for (int64_t j = 0; j < layer.n; ++j) g(i, j) = static_cast<double>(moments[static_cast<std::size_t>(i * layer.n + j)]);
    double trace = 0;
    for (int64_t i = 0; i < layer.n; ++i) trace += g(i, i);
    for (int64_t i = 0; i < layer.n; ++i) g(i, i) += share * trace / static_cast<double>(layer.n);
    return g;
  }
  /// tr(G E H E^T)
  double cost(const std::vector<float>& q) const {
    Matrix e(layer.n, layer.k), h(layer.k, layer.k);
    for (int64_t i = 0; i < layer.n; ++i)
      for (int64_t j = 0; j < layer.k; ++j) {
        const std::size_t at = static_cast<std::size_t>(i * layer.k + j);
        e(i, j) = static_cast<double>(layer.weight[at]) - static_cast<double>(q[at]);
      }
    for (int64_t i = 0; i < layer.k; ++i)
      for (int64_t j = 0; j < layer.k; ++j) h(i, j) = static_cast<double>(layer.stats.hessian[static_cast<std::size_t>(i * layer.k + j)]);
    const Matrix ge = damped(0).times(e), eh = e.times(h);
    double sum = 0;
    for (std::size_t i = 0; i < ge.values.size(); ++i) sum += ge.values[i] * eh.values[i];
    return sum;
  }
};

/// [n, k], through panels.
Matrix read(RowFeedback& rows, RowFeedback::Kept& kept, int64_t n, int64_t k, std::span<const int32_t> order) {
  Matrix out(n, k);
  std::vector<float> panel(static_cast<std::size_t>(k * 32));
  for (int64_t row = 0; row < n; row += 32) {
    rows.load(kept, row, order, panel.data());
    for (int64_t p = 0; p < k; ++p)
      for (int64_t r = row; r < std::min(n, row + 32); ++r)
        out(r, order.empty() ? p : order[static_cast<std::size_t>(p)]) = static_cast<double>(panel[static_cast<std::size_t>(p * 32 + r - row)]);
  }
  return out;
}

TEST(RowFeedback, AsksForTheLeastSquaresChange) {
  constexpr int64_t kN = 150, kK = 70, kBegin = 64, kEnd = 128;
  const Coupled made(kN, kK, 5);
  std::vector<std::string> notes;
  const auto rows = RowFeedback::create(made.task(), 32, testing::context(), &notes);
  ASSERT_NE(rows, nullptr);
  EXPECT_EQ(notes.size(), 1u);
  EXPECT_EQ(rows->together(), 64);
  std::vector<int32_t> order(kK);  // columns lie by their own number whatever the order of the panels
  for (int32_t i = 0; i < kK; ++i) order[static_cast<std::size_t>(i)] = (i * 29) % kK;
  Random random(8);
  std::vector<float> panel(kK * 32);
  for (int64_t row = 0; row < kN; row += 32) {
    for (float& v : panel) v = static_cast<float>(random.normal());
    rows->store(rows->error(), row, order, panel.data());
  }
  const Matrix e = read(*rows, rows->error(), kN, kK, {}), g = made.damped(0.1);
  EXPECT_EQ(e.values, read(*rows, rows->error(), kN, kK, order).values);

  // The rows from kBegin on, free to take any value, are best moved by -G22^-1 G21 E1; an error is a target less a value.
  constexpr int64_t kCount = kEnd - kBegin, kRest = kN - kBegin;
  rows->ask_of_next(kBegin, kEnd, testing::context());
  const Matrix free = solve(g.part(kBegin, kRest, kBegin, kRest), g.part(kBegin, kRest, 0, kBegin).times(e.part(0, kBegin, 0, kK)));
  Matrix asked = read(*rows, rows->asked(), kN, kK, {}).part(kBegin, kCount, 0, kK);
  EXPECT_GT(free.norm(), 0.1 * e.norm());
  EXPECT_LT(asked.distance(free.part(0, kCount, 0, kK)), 2e-5 * free.norm());

  // With all others as they are.
  rows->ask_of_again(kBegin, kEnd, testing::context());
  Matrix others = e;
  for (int64_t i = kBegin; i < kEnd; ++i)
    for (int64_t j = 0; j < kK; ++j) others(i, j) = 0;
  const Matrix wanted = solve(g.part(kBegin, kCount, kBegin, kCount), g.times(others).part(kBegin, kCount, 0, kK));
  asked = read(*rows, rows->asked(), kN, kK, {}).part(kBegin, kCount, 0, kK);
  EXPECT_LT(asked.distance(wanted), 2e-5 * wanted.norm());
}

TEST(RowFeedback, PanelsHoldRowsFromAllOverAndGiveThemBack) {
  constexpr int64_t kN = 203, kK = 8;  // 25 whole units and one of three rows
  Coupled made(kN, kK, 3);
  std::vector<std::string> notes;
  const auto rows = RowFeedback::create(made.task(), 8, testing::context(), &notes);
  ASSERT_NE(rows, nullptr);
  std::vector<float> numbers(kN * kK);
  for (std::size_t i = 0; i < numbers.size(); ++i) numbers[i] = static_cast<float>(i);
  const std::vector<float> ordered = rows->ordered(numbers);
  std::vector<bool> seen(kN);
  for (int64_t p = 0; p < kN; ++p) {
    const int64_t row = static_cast<int64_t>(ordered[static_cast<std::size_t>(p * kK)]) / kK;
    EXPECT_FALSE(seen[static_cast<std::size_t>(row)]);
    seen[static_cast<std::size_t>(row)] = true;
    EXPECT_EQ(row % 8, p % 8);  // units stay whole, and begin where their step begins
    if (p % 32 < 8 || p >= 192) continue;
    EXPECT_GE(std::abs(row - static_cast<int64_t>(ordered[static_cast<std::size_t>((p - 8) * kK)]) / kK), 56);
  }
  GridRule rule;
  AffineCodes codes = AffineCodes::create(kN, kK, kK, rule);
  codes.step_rows = 8;
  codes.steps.resize(26);
  for (int64_t p = 0; p < kN; ++p) {
    const float row = ordered[static_cast<std::size_t>(p * kK)] / kK;
    for (int64_t c = 0; c < kK; ++c) codes.codes[static_cast<std::size_t>(p * kK + c)] = static_cast<uint8_t>(row);
    codes.scales[static_cast<std::size_t>(p)] = codes.zeros[static_cast<std::size_t>(p)] = row;
    codes.steps[static_cast<std::size_t>(p / 8)] = std::floor(row / 8);
  }
  rows->restore(&codes);
  for (int64_t r = 0; r < kN; ++r) {
    for (int64_t c = 0; c < kK; ++c) EXPECT_EQ(codes.codes[static_cast<std::size_t>(r * kK + c)], r);
    EXPECT_EQ(codes.scales[static_cast<std::size_t>(r)], static_cast<float>(r));
    EXPECT_EQ(codes.zeros[static_cast<std::size_t>(r)], static_cast<float>(r));
    EXPECT_EQ(codes.steps[static_cast<std::size_t>(r / 8)], static_cast<float>(r / 8));
  }
}

TEST(RowFeedback, LowersTheCostThroughBothSides) {
  const Coupled made(200, 128, 11);
  for (const char* recipe : {"gptq:bits=3,group=32,alpha=0,beta=0,refine=0", "gptq:bits=3,group=32", "gptq:bits=2,group=64,sym=true,scale_bits=6",
                             "gptq:bits=3,group=32,desc_act=true", "gptq:bits=3,group=32,static_groups=true", "trellis:bits=2", "trellis:bits=6,group=64"}) {
    SCOPED_TRACE(recipe);
    const LinearResult plain = testing::quantize(recipe, made.layer.task()), coupled = testing::quantize(recipe, made.task());
    std::vector<float> one = testing::dequantize(plain.tensor), two = testing::dequantize(coupled.tensor);
    EXPECT_LT(made.cost(two), 0.9 * made.cost(one));
    ASSERT_FALSE(coupled.notes.empty());
    EXPECT_NE(coupled.notes.back().find("rows make good each other's errors"), std::string::npos);
  }
}

TEST(RowFeedback, RowsThatDoNotMatterToEachOtherStayAsTheyAre) {
  Coupled made(100, 128, 13);
  std::fill(made.moments.begin(), made.moments.end(), 0.0f);
  for (int64_t i = 0; i < made.layer.n; ++i) made.moments[static_cast<std::size_t>(i * (made.layer.n + 1))] = 0.25f + static_cast<float>(i % 7);
  for (const char* recipe : {"gptq:bits=3,group=32", "gptq:bits=4,group=64,scale_bits=5", "trellis:bits=3"}) {
    SCOPED_TRACE(recipe);
    EXPECT_EQ(testing::dequantize(testing::quantize(recipe, made.task()).tensor),
              testing::dequantize(testing::quantize(recipe, made.layer.task()).tensor));
  }
}

TEST(RowFeedback, AMatrixOnTheGridStaysThere) {
  Coupled made(96, 64, 17);
  Random random(3);
  for (float& w : made.layer.weight) w = 0.125f * static_cast<float>(static_cast<int>(random.below(16)) - 8);
  for (int64_t i = 0; i < made.layer.n; ++i) {  // every group reaches both ends
    made.layer.weight[static_cast<std::size_t>(i * 64)] = made.layer.weight[static_cast<std::size_t>(i * 64 + 32)] = -1.0f;
    made.layer.weight[static_cast<std::size_t>(i * 64 + 1)] = made.layer.weight[static_cast<std::size_t>(i * 64 + 33)] = 0.875f;
  }
  EXPECT_EQ(testing::dequantize(testing::quantize("gptq:bits=4,group=32", made.task()).tensor), made.layer.weight);
}

TEST(RowFeedback, TheSameBytesForAnyNumberOfThreads) {
  const Coupled made(230, 96, 19);
  for (const char* text : {"gptq:bits=3,group=32", "trellis:bits=2,group=64"}) {
    std::vector<float> first;
    for (int threads : {1, 2, 5}) {
      Team team(threads);
      MethodContext context;
      context.team = &team;
      const Recipe recipe = *parse_recipe(text);
      const LinearResult result = *recipe.method->quantize(made.task(), recipe.options, context);
      const std::vector<float> values = testing::dequantize(result.tensor);
      if (first.empty()) first = values;
      EXPECT_EQ(values, first) << text << ", " << threads << " threads";
    }
  }
}

TEST(RowFeedback, MomentsThatAreOfNoUseAreNamed) {
  Coupled made(40, 64, 23);
  const std::vector<float> plain = testing::dequantize(testing::quantize("gptq:bits=3,group=32", made.layer.task()).tensor);
  const auto noted = [&](const std::string& words) {
    const LinearResult result = testing::quantize("gptq:bits=3,group=32", made.task());
    EXPECT_EQ(testing::dequantize(result.tensor), plain);
    bool found = false;
    for (const std::string& note : result.notes) found = found || note.find(words) != std::string::npos;
    EXPECT_TRUE(found) << words;
  };
  std::fill(made.moments.begin(), made.moments.end(), 0.0f);
  noted("no gradient reached the outputs");
  made.moments[7] = std::numeric_limits<float>::quiet_NaN();
  noted("not finite somewhere: rows rounded on their own");
}

TEST(RowFeedback, OutputsWithoutGradientsCostNoOthers) {
  Coupled made(70, 64, 29);
  for (int64_t i = 0; i < 70; ++i)
    for (int64_t dead : {3, 69}) made.moments[static_cast<std::size_t>(i * 70 + dead)] = made.moments[static_cast<std::size_t>(dead * 70 + i)] = 0;
  const auto values = testing::dequantize(testing::quantize("gptq:bits=4,group=32", made.task()).tensor);
  const auto plain = testing::dequantize(testing::quantize("gptq:bits=4,group=32", made.layer.task()).tensor);
  EXPECT_LT(made.cost(values), made.cost(plain));
  for (int64_t dead : {3, 69})
    for (int64_t c = 0; c < 64; ++c) EXPECT_EQ(values[static_cast<std::size_t>(dead * 64 + c)], plain[static_cast<std::size_t>(dead * 64 + c)]);
}

}  // namespace
}  // namespace nbl::quant

#include "kernels/panel/panel.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <cstring>
#include <vector>

#include "base/cpu.h"
#include "base/random.h"
#include "kernels/guard_pages.h"

namespace nbl {
namespace {

using kernels::FeedbackArgs;
using kernels::GridErrorArgs;
using kernels::kPanelRows;
using kernels::PanelKernels;

template <class F>
void for_each_variant(F&& test) {
  int count = 0;
  const PanelKernels* variants = kernels::panel_variants(&count);
  ASSERT_GE(count, 1);
  EXPECT_EQ(variants[count - 1].isa, 0) << "the last variant must run everywhere";
  for (int v = 0; v < count; ++v) {
    if (!isa_usable(static_cast<Isa>(variants[v].isa))) {
      std::printf("this processor cannot run %s: not tested\n", variants[v].name);
      continue;
    }
    SCOPED_TRACE(variants[v].name);
    test(variants[v], variants[count - 1]);
  }
}

TEST(Panel, FeedbackAgreesWithDoublePrecisionAndIsTheSameEverywhere) {
  const uint64_t seed = 7001;
  SCOPED_TRACE(::testing::Message() << "seed " << seed);
  for_each_variant([&](const PanelKernels& variant, const PanelKernels& reference) {
    for (int64_t length : {0, 1, 3, 64, 129}) {
      for (int columns = 1; columns <= kernels::kFeedbackColumns; ++columns) {
        SCOPED_TRACE(::testing::Message() << length << " long, " << columns << " columns");
        Random random(seed + static_cast<uint64_t>(length * 10 + columns));
        const int64_t lda = length + 5, begin = length > 2 ? 2 : 0;
        testing::Guarded<float> a(static_cast<std::size_t>((columns - 1) * lda + length)),
            panel(static_cast<std::size_t>(length * kPanelRows)), out(static_cast<std::size_t>(columns * kPanelRows));
        std::vector<float> expected(out.size());
        for (float& x : a.span()) x = static_cast<float>(random.normal());
        for (float& x : panel.span()) x = static_cast<float>(random.normal());
        variant.feedback(FeedbackArgs{a.data(), lda, columns, panel.data(), begin, length, out.data()});
        alignas(64) float same[kernels::kFeedbackColumns * kPanelRows];
        reference.feedback(FeedbackArgs{a.data(), lda, columns, panel.data(), begin, length, same});
        EXPECT_EQ(std::memcmp(out.data(), same, out.size() * sizeof(float)), 0);
        for (int c = 0; c < columns; ++c) {
          for (int64_t r = 0; r < kPanelRows; ++r) {
            double sum = 0, bound = 0;
            for (int64_t i = begin; i < length; ++i) {
              const double product = static_cast<double>(a[static_cast<std::size_t>(c * lda + i)]) *
                                     static_cast<double>(panel[static_cast<std::size_t>(i * kPanelRows + r)]);
              sum += product;
              bound += std::fabs(product);
            }
            EXPECT_NEAR(static_cast<double>(out[static_cast<std::size_t>(c * kPanelRows + r)]), sum,
                        static_cast<double>(length + 1) * std::ldexp(1.0, -24) * bound);
          }
        }
      }
    }
  });
}

TEST(Panel, DoubleFeedbackIsTheSameEverywhere) {
  for_each_variant([&](const PanelKernels& variant, const PanelKernels& reference) {
    for (int64_t length : {0, 1, 3, 64, 129}) {
      for (int columns = 1; columns <= kernels::kFeedbackColumns; ++columns) {
        Random random(static_cast<uint64_t>(length * 10 + columns));
        const int64_t rows = kernels::kPanelRows64;
        testing::Guarded<double> a(static_cast<std::size_t>(columns * length)),
            panel(static_cast<std::size_t>(length * rows)), out(static_cast<std::size_t>(columns * rows));
        for (double& x : a.span()) x = random.normal();
        for (double& x : panel.span()) x = random.normal();
        variant.feedback64({a.data(), length, columns, panel.data(), 0, length, out.data()});
        alignas(64) double same[kernels::kFeedbackColumns * kernels::kPanelRows64];
        reference.feedback64({a.data(), length, columns, panel.data(), 0, length, same});
        EXPECT_EQ(std::memcmp(out.data(), same, out.size() * sizeof(double)), 0);
        for (int c = 0; c < columns; ++c) {
          for (int64_t r = 0; r < rows; ++r) {
            long double sum = 0;
            for (int64_t i = 0; i < length; ++i) {
              sum += static_cast<long double>(a[static_cast<std::size_t>(c * length + i)]) *
                     static_cast<long double>(panel[static_cast<std::size_t>(i * rows + r)]);
            }
            EXPECT_NEAR(out[static_cast<std::size_t>(c * rows + r)], static_cast<double>(sum), 1e-12);
          }
        }
      }
    }
  });
}

TEST(Panel, GridErrorAgreesWithDoublePrecisionAndIsTheSameEverywhere) {
  for_each_variant([&](const PanelKernels& variant, const PanelKernels& reference) {
    for (int64_t columns : {1, 2, 17, 128}) {
      for (bool weighted : {false, true}) {
        SCOPED_TRACE(::testing::Message() << columns << " columns, weighted " << weighted);
        Random random(static_cast<uint64_t>(columns));
        testing::Guarded<float> panel(static_cast<std::size_t>(columns * kPanelRows)), scale(kPanelRows), inverse(kPanelRows),
            zero(kPanelRows), out(kPanelRows), importance(static_cast<std::size_t>(columns));
        for (float& x : panel.span()) x = static_cast<float>(random.normal());
        for (float& x : importance.span()) x = random.uniform();
        for (std::size_t r = 0; r < scale.size(); ++r) {
          scale[r] = 0.05f + random.uniform();
          inverse[r] = 1.0f / scale[r];
          zero[r] = static_cast<float>(random.below(8));
        }
        GridErrorArgs args{panel.data(),   columns,     weighted ? importance.data() : nullptr,
                           scale.data(),   inverse.data(), zero.data(),
                           7.0f,           out.data()};
        variant.grid_error(args);
        alignas(64) float same[kPanelRows];
        args.out = same;
        reference.grid_error(args);
        EXPECT_EQ(std::memcmp(out.data(), same, sizeof(same)), 0);
        for (std::size_t r = 0; r < scale.size(); ++r) {
          double sum = 0;
          for (int64_t c = 0; c < columns; ++c) {
            const double w = static_cast<double>(panel[static_cast<std::size_t>(c * kPanelRows) + r]);
            const double s = static_cast<double>(scale[r]), z = static_cast<double>(zero[r]);
            const double q = std::nearbyint(std::min(7.0, std::max(0.0, w / s + z)));
            const double e = w - s * (q - z);
            sum += e * e * (weighted ? static_cast<double>(importance[static_cast<std::size_t>(c)]) : 1.0);
          }
          EXPECT_NEAR(static_cast<double>(out[r]), sum, 1e-4 * (sum + 1));
        }
      }
    }
  });
}

TEST(Panel, SelectionFollowsTheInstructionSet) {
  EXPECT_STREQ(kernels::select_panel(static_cast<int>(Isa::scalar)).name, "panel_scalar");
  EXPECT_STREQ(kernels::select_panel(static_cast<int>(Isa::neon_dotprod)).name, "panel_scalar");
#if defined(__x86_64__)
  EXPECT_STREQ(kernels::select_panel(static_cast<int>(Isa::avxvnni)).name, "panel_avx2");
  EXPECT_STREQ(kernels::select_panel(static_cast<int>(Isa::amx)).name, "panel_avx512");
#endif
}

}  // namespace
}  // namespace nbl

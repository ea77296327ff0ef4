// What must hold for every method, whatever the numbers.
#include <gtest/gtest.h>

#include <limits>

#include "quant_testing.h"

namespace nbl::quant {
namespace {

using testing::Layer;
using testing::random_layer;

TEST(Properties, MoreBitsNeverRaiseTheError) {
  const Layer layer = random_layer(48, 192, 11);
  for (const char* method : {"rtn", "rtn:sym=true", "rtn:mse=40", "rtn:mse=20,group=0", "gptq", "gptq:sym=true", "gptq:desc_act=false", "awq", "awq+gptq",
                             "hqq", "spqr"}) {
    double previous = std::numeric_limits<double>::infinity();
    for (int bits : {1, 2, 3, 4, 5, 6, 7, 8}) {
      const bool narrow = std::string(method).find("rtn") != std::string::npos || std::string(method) == "hqq";
      if (bits == 1 && !narrow) continue;
      if (bits > 4 && std::string(method) == "spqr") continue;
      const std::string separator = std::string(method).find(':') == std::string::npos ? ":" : ",";
      const std::string text = method + separator + (std::string(method).find("group") == std::string::npos ? "group=64," : "") + "bits=" + std::to_string(bits);
      SCOPED_TRACE(text);
      const LinearResult result = testing::quantize(text, layer.task());
      EXPECT_GT(result.error, 0);
      EXPECT_LT(result.error, previous);
      previous = result.error;
    }
  }
}

TEST(Properties, AMatrixOnTheGridIsReturnedExactly) {
  Random random(5);
  for (int bits : {2, 3, 4, 8}) {
    Layer layer = random_layer(20, 160, 3);
    const int64_t group = 32;
    for (int64_t row = 0; row < layer.n; ++row) {
      for (int64_t first = 0; first < layer.k; first += group) {
        const float scale = static_cast<float>(1 + random.below(1000)) / 1024.0f;  // exact in f16
        const int levels = 1 << bits;
        const float zero = static_cast<float>(random.below(static_cast<uint64_t>(levels)));
        for (int64_t i = 0; i < group; ++i) {
          // Both ends of the grid occur, so that the range is the grid's.
          const float code = i == 0   ? 0.0f
                             : i == 1 ? static_cast<float>(levels - 1)
                                      : static_cast<float>(random.below(static_cast<uint64_t>(levels)));
          layer.weight[static_cast<std::size_t>(row * layer.k + first + i)] = scale * (code - zero);
        }
      }
    }
    for (const char* method : {"rtn", "rtn:mse=40", "gptq:desc_act=false", "gptq:static_groups=true", "awq", "hqq"}) {
      const std::string separator = std::string(method).find(':') == std::string::npos ? ":" : ",";
      const std::string text = method + separator + "group=32,bits=" + std::to_string(bits);
      SCOPED_TRACE(text);
      EXPECT_EQ(testing::dequantize(testing::quantize(text, layer.task()).tensor), layer.weight);
    }
  }
}

TEST(Properties, GptqIsNoWorseThanRtnOnItsHessian) {
  for (uint64_t seed : {1u, 2u, 3u, 4u}) {
    const Layer layer = random_layer(40, 200, seed);
    for (const char* options : {"bits=2,group=64", "bits=3,group=128", "bits=4,group=64,sym=true", "bits=4,group=-1"}) {
      SCOPED_TRACE(options);
      EXPECT_LT(testing::quantize(std::string("gptq:") + options, layer.task()).error,
                testing::quantize(std::string("rtn:") + options, layer.task()).error);
    }
  }
}

TEST(Properties, PermutedColumnsGiveThePermutedResult) {
  const Layer layer = random_layer(20, 128, 77);
  Layer permuted = layer;
  std::vector<int64_t> at(static_cast<std::size_t>(layer.k));
  for (int64_t i = 0; i < layer.k; ++i) at[static_cast<std::size_t>(i)] = (i * 37 + 11) % layer.k;
  for (int64_t i = 0; i < layer.k; ++i) {
    const int64_t from = at[static_cast<std::size_t>(i)];
    for (int64_t row = 0; row < layer.n; ++row) {
      permuted.weight[static_cast<std::size_t>(row * layer.k + i)] =
          layer.weight[static_cast<std::size_t>(row * layer.k + from)];
    }
    for (int64_t j = 0; j < layer.k; ++j) {
      permuted.stats.hessian[static_cast<std::size_t>(i * layer.k + j)] =
          layer.stats.hessian[static_cast<std::size_t>(from * layer.k + at[static_cast<std::size_t>(j)])];
    }
  }
  const std::string text = "gptq:bits=3,group=32,desc_act=true";
  const auto plain = testing::dequantize(testing::quantize(text, layer.task()).tensor);
  const auto changed = testing::dequantize(testing::quantize(text, permuted.task()).tensor);
  for (int64_t row = 0; row < layer.n; ++row) {
    for (int64_t i = 0; i < layer.k; ++i) {
      EXPECT_EQ(changed[static_cast<std::size_t>(row * layer.k + i)],
                plain[static_cast<std::size_t>(row * layer.k + at[static_cast<std::size_t>(i)])]);
    }
  }
}

TEST(Properties, TheSameBytesForAnyNumberOfThreadsAndInstructionSet) {
  const Layer layer = random_layer(70, 176, 9);
  for (const char* text : {"gptq:bits=3,group=64", "awq:bits=4,group=64", "awq+gptq:bits=4,group=64", "gptq:bits=3,group=64,block_size=24", "rtn:bits=3,mse=40", "nf4", "int8", "nf4:nested=true,search=10", "fp4", "fp8:scales=block",
                           "hqq:bits=3", "kquant:type=Q4_K", "kquant:type=IQ4_XS", "kquant:type=Q3_K", "ternary:group=64", "spqr", "trellis:bits=4,group=64",
                           "trellis:bits=3,group=-1", "trellis:bits=1,group=128,refine=0"}) {
    SCOPED_TRACE(text);
    const auto recipe = parse_recipe(text);
    ASSERT_TRUE(recipe.ok());
    std::vector<float> first;
    for (int threads : {1, 2, 3}) {
      for (Isa isa : usable_isas()) {
        Team team(threads);
        MethodContext context;
        context.team = &team;
        context.isa = isa;
        const auto result = recipe->method->quantize(layer.task(), recipe->options, context);
        ASSERT_TRUE(result.ok()) << result.status().message();
        const auto value = testing::dequantize(result->tensor);
        if (first.empty()) first = value;
        EXPECT_EQ(value, first) << threads << " threads, " << isa_name(isa);
      }
    }
  }
}

TEST(Properties, BlocksOfErrorsChangeRoundingsAlone) {
  const Layer layer = random_layer(32, 256, 19);
  const LinearResult whole = testing::quantize("gptq:bits=3,group=256,block_size=256", layer.task());
  for (const char* block : {"8", "24", "64"}) {
    const LinearResult parts = testing::quantize(std::string("gptq:bits=3,group=256,block_size=") + block, layer.task());
    EXPECT_NEAR(parts.error, whole.error, 0.02 * whole.error) << block;
  }
}

TEST(Properties, ShortLastGroupsAndRowsBeyondATileWork) {
  const Layer layer = random_layer(35, 100, 21);
  for (const char* text : {"rtn:bits=4,group=64", "gptq:bits=4,group=64", "gptq:bits=4,group=48,static_groups=true",
                           "awq:bits=4,group=64", "nf4:block=64", "int8", "fp16", "bf16", "fp32", "rtn:bits=1,group=32", "rtn:bits=8,group=0,sym=true",
                           "fp4:block=32", "nf4:nested=true", "fp8:scales=tensor", "fp8:scales=block", "hqq", "kquant:type=Q4_K",
                           "kquant:type=Q2_K", "kquant:type=Q8_0", "ternary:group=32", "spqr", "llm_int8", "smoothquant", "trellis:bits=2"}) {
    SCOPED_TRACE(text);
    const LinearResult result = testing::quantize(text, layer.task());
    EXPECT_EQ(result.tensor.n, 35);
    EXPECT_EQ(result.tensor.k, 100);
    EXPECT_LT(result.error, 0.5);
  }
}

TEST(Ternary, AMatrixOfThreeValuesIsReturnedExactly) {
  Random random(12);
  Layer layer = random_layer(20, 128, 6);
  for (int64_t i = 0; i < 20 * 128; ++i) {
    const float scale = static_cast<float>(1 + i / 64 % 50) / 64.0f;
    layer.weight[static_cast<std::size_t>(i)] = scale * (static_cast<float>(random.below(3)) - 1.0f);
  }
  for (const char* text : {"ternary:group=64", "ternary:group=64,feedback=false"}) {
    EXPECT_EQ(testing::dequantize(testing::quantize(text, layer.task()).tensor), layer.weight) << text;
  }
}

TEST(Binary, AMatrixOfTwoValuesIsReturnedExactly) {
  Layer layer = random_layer(24, 192, 5);
  Random random(6);
  for (float& w : layer.weight) w = random.uniform() < 0.5f ? 0.25f : -0.125f;
  EXPECT_EQ(testing::dequantize(testing::quantize("binary", layer.task()).tensor), layer.weight);
}

TEST(Binary, TheResidualAndFeedbackLowerTheError) {
  const Layer layer = random_layer(48, 256, 9);
  double before = 1;
  for (const char* text : {"binary:residual=0", "binary:residual=0.25", "binary:residual=0.5", "binary:residual=1"}) {
    const LinearResult result = testing::quantize(text, layer.task());
    EXPECT_LT(result.error, before) << text;
    before = result.error;
  }
  const LinearResult mixed = testing::quantize("binary:residual=0.25", layer.task());
  ASSERT_EQ(mixed.tensor.segments.size(), 2u);
  EXPECT_EQ(mixed.tensor.segments[0].bits, 2);
  EXPECT_EQ(mixed.tensor.segments[0].k_count, 64);
  EXPECT_EQ(mixed.tensor.segments[1].bits, 1);
  EXPECT_LT(mixed.error, testing::quantize("binary:residual=0.25,feedback=false", layer.task()).error);
  EXPECT_LT(testing::quantize("binary:residual=0,feedback=false", layer.task()).error, testing::quantize("rtn:bits=1,group=128", layer.task()).error);
}

TEST(Kquant, EveryTypeBeatsRoundingToNearest) {
  const Layer layer = random_layer(40, 512, 41);
  double previous = 1;
  for (const char* type : {"Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "Q8_0"}) {
    SCOPED_TRACE(type);
    const std::string text = std::string("kquant:type=") + type;
    const LinearResult plain = testing::quantize(text + ",feedback=false", layer.task());
    const LinearResult fed = testing::quantize(text, layer.task());
    EXPECT_LT(fed.error, plain.error);
    EXPECT_LT(fed.error, previous);
    previous = fed.error;
    const Segment& segment = fed.tensor.segments[0];
    // The same widths and groups rounded to nearest with f16 scales of their own take more bytes and lose more.
    if (type[3] != 'K') continue;
    ASSERT_TRUE(segment.scale_codes.has_value());
    const LinearResult nearest = testing::quantize(
        "rtn:bits=" + std::to_string(segment.bits) + ",group=" + std::to_string(segment.group_size) + ",sym=" +
            (segment.zero_kind == ZeroKind::symmetric ? "true" : "false"), layer.task());
    EXPECT_LT(fed.error, nearest.error);
    EXPECT_LT(fed.tensor.bits_per_weight(), nearest.tensor.bits_per_weight() + 0.2);
  }
  for (const char* type : {"Q4_0", "Q4_1", "Q5_0", "Q5_1", "IQ4_NL", "IQ4_XS"}) {
    SCOPED_TRACE(type);
    EXPECT_LT(testing::quantize(std::string("kquant:type=") + type, layer.task()).error,
              testing::quantize("rtn:bits=4,group=32,sym=true", layer.task()).error);
  }
}

TEST(Kquant, RowsThatAreNoSuperBlocksGetTheNextType) {
  const Layer layer = random_layer(16, 96, 5);
  const LinearResult result = testing::quantize("kquant:type=Q4_K", layer.task());
  ASSERT_FALSE(result.notes.empty());
  EXPECT_EQ(result.notes[0], "Q5_0 instead of Q4_K: rows of 96 are no multiple of 256");
  EXPECT_EQ(result.tensor.segments[0].bits, 5);
}

TEST(Spqr, OutliersAreThoseThatCostMostAndLowerTheError) {
  Layer layer = random_layer(48, 256, 17);
  layer.weight[5 * 256 + 100] = 3.0f;
  const LinearResult none = testing::quantize("spqr:outliers=0", layer.task());
  const LinearResult some = testing::quantize("spqr:outliers=0.02", layer.task());
  EXPECT_FALSE(none.tensor.outliers.has_value());
  ASSERT_TRUE(some.tensor.outliers.has_value());
  EXPECT_NEAR(static_cast<double>(some.tensor.outliers->count), 0.02 * 48 * 256, 5);
  EXPECT_LT(some.error, 0.8 * none.error);
  EXPECT_NEAR(testing::dequantize(some.tensor)[5 * 256 + 100], 3.0f, 0.3);
  // Codes, scales, outliers, column order, row offsets.
  EXPECT_LT(some.tensor.bits_per_weight(), 3 + 0.625 + 0.02 * 48 + 32.0 / 48 + 0.2);
}

TEST(Nf4, SearchedScalesLowerTheErrorInTheSameForm) {
  const Layer layer = random_layer(32, 256, 19);
  for (const char* method : {"nf4", "fp4", "nf4:nested=true"}) {
    SCOPED_TRACE(method);
    const std::string separator = std::string(method).find(':') == std::string::npos ? ":" : ",";
    Layer diagonal = layer;  // the search weighs columns; so must its measure
    diagonal.stats.square.resize(256);
    for (std::size_t c = 0; c < 256; ++c) diagonal.stats.square[c] = layer.stats.hessian[c * 257];
    diagonal.stats.hessian.clear();
    const LinearResult plain = testing::quantize(method, diagonal.task());
    const LinearResult searched = testing::quantize(method + separator + "search=30", diagonal.task());
    EXPECT_LT(searched.error, 0.95 * plain.error);
    EXPECT_EQ(searched.tensor.description(), plain.tensor.description());
    EXPECT_EQ(searched.tensor.stored_bytes(), plain.tensor.stored_bytes());
  }
}

TEST(SmoothQuant, ScalesAreThoseOfThePaper) {
  Layer layer = random_layer(8, 64, 23);
  layer.stats.abs_max.assign(64, 1.0f);
  for (std::size_t c = 0; c < 64; ++c) layer.stats.abs_max[c] = 0.5f + static_cast<float>(c);
  for (const double alpha : {0.3, 0.5, 0.8}) {
    const auto recipe = parse_recipe("smoothquant:alpha=" + std::to_string(alpha));
    ASSERT_TRUE(recipe.ok());
    const LinearTask task = layer.task();
    const auto scales = recipe->method->input_scales(std::span(&task, 1), recipe->options, testing::context());
    ASSERT_TRUE(scales.ok());
    ASSERT_EQ(scales->size(), 64u);
    for (std::size_t c = 0; c < 64; ++c) {
      double reach = 0;
      for (std::size_t r = 0; r < 8; ++r) reach = std::max(reach, std::fabs(static_cast<double>(layer.weight[r * 64 + c])));
      EXPECT_NEAR((*scales)[c], std::pow(0.5 + static_cast<double>(c), alpha) / std::pow(reach, 1 - alpha), 1e-4 * (*scales)[c]);
    }
  }
  const LinearResult fixed = testing::quantize("smoothquant:activations=static", layer.task());
  ASSERT_TRUE(fixed.tensor.input_rounding.has_value());
  EXPECT_FLOAT_EQ(fixed.tensor.input_rounding->scale, 63.5f / 127.0f);
  EXPECT_EQ(testing::quantize("llm_int8:threshold=5", layer.task()).tensor.input_rounding->threshold, 5.0f);
}

TEST(Awq, ScalesLowerTheErrorOfTheScaledLayer) {
  const Layer layer = random_layer(64, 256, 15);
  const auto recipe = parse_recipe("awq:bits=3,group=128");
  ASSERT_TRUE(recipe.ok());
  const LinearTask task = layer.task();
  const auto scales = recipe->method->input_scales(std::span(&task, 1), recipe->options, testing::context());
  ASSERT_TRUE(scales.ok()) << scales.status().message();
  ASSERT_EQ(scales->size(), 256u);
  Layer scaled = layer;
  for (int64_t row = 0; row < layer.n; ++row) {
    for (int64_t i = 0; i < layer.k; ++i) {
      scaled.weight[static_cast<std::size_t>(row * layer.k + i)] *= (*scales)[static_cast<std::size_t>(i)];
    }
  }
  for (int64_t i = 0; i < layer.k; ++i) {
    for (int64_t j = 0; j < layer.k; ++j) {
      scaled.stats.hessian[static_cast<std::size_t>(i * layer.k + j)] /=
          (*scales)[static_cast<std::size_t>(i)] * (*scales)[static_cast<std::size_t>(j)];
    }
  }
  const double plain = testing::quantize("rtn:bits=3,group=128", layer.task()).error;
  const double with_scales = testing::quantize("rtn:bits=3,group=128", scaled.task()).error;
  const double with_clipping = testing::quantize("awq:bits=3,group=128", scaled.task()).error;
  EXPECT_LT(with_scales, plain);
  EXPECT_LT(with_clipping, with_scales);
}

TEST(Trouble, NanAndInfinityAreNamedByRowAndColumn) {
  for (const Method* method : methods()) {
    SCOPED_TRACE(method->id());
    Layer layer = random_layer(8, 64, 4);
    layer.weight[3 * 64 + 17] = std::numeric_limits<float>::quiet_NaN();
    const auto recipe = parse_recipe(method->id());
    const auto result = method->quantize(layer.task(), recipe->options, testing::context());
    ASSERT_FALSE(result.ok());
    EXPECT_NE(result.status().message().find("layers.0.test.weight: weight at row 3, column 17 is nan"),
              std::string::npos)
        << result.status().message();
    layer.weight[3 * 64 + 17] = -std::numeric_limits<float>::infinity();
    EXPECT_NE(method->quantize(layer.task(), recipe->options, testing::context()).status().message().find("is -inf"),
              std::string::npos);
  }
}

TEST(Trouble, DegenerateStatisticsEndInANoteNotInAnError) {
  const Layer good = random_layer(16, 64, 8);
  // A single token: rank one. Heavily damped, still better than nothing.
  Layer one = random_layer(16, 64, 8, 1);
  EXPECT_LE(testing::quantize("gptq:bits=4,group=32", one.task()).error,
            testing::quantize("rtn:bits=4,group=32", one.task()).error);
  // No damping at all on a singular matrix.
  const LinearResult damped = testing::quantize("gptq:bits=4,group=32,damp=0", one.task());
  ASSERT_EQ(damped.notes.size(), 1u);
  EXPECT_NE(damped.notes[0].find("the Hessian is not positive definite: damping raised from 0 to"), std::string::npos)
      << damped.notes[0];
  // Statistics that contradict themselves: not positive semidefinite.
  Layer wrong = good;
  for (int64_t i = 1; i < 64; ++i) wrong.stats.hessian[static_cast<std::size_t>(i)] = 1e6f;
  for (int64_t i = 1; i < 64; ++i) wrong.stats.hessian[static_cast<std::size_t>(i * 64)] = 1e6f;
  const LinearResult pivoted = testing::quantize("gptq:bits=4,group=32", wrong.task());
  ASSERT_EQ(pivoted.notes.size(), 1u);
  EXPECT_NE(pivoted.notes[0].find("pivoted factorization, "), std::string::npos) << pivoted.notes[0];
  // Nothing at all, NaN, all zero.
  EXPECT_EQ(testing::quantize("gptq", good.task(false)).notes.at(0), "no calibration statistics");
  EXPECT_EQ(testing::quantize("awq", good.task(false)).notes.at(0), "no calibration statistics");
  Layer nan = good;
  nan.stats.hessian[65 * 5] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(testing::quantize("gptq", nan.task()).notes.at(0), "the Hessian's diagonal holds nan at column 5");
  Layer zero = good;
  std::fill(zero.stats.hessian.begin(), zero.stats.hessian.end(), 0.0f);
  EXPECT_EQ(testing::quantize("gptq", zero.task()).notes.at(0), "every input column is zero in the calibration");
}

TEST(Trouble, DeadInputsAndZeroRowsAreKeptOutOfTheWay) {
  Layer layer = random_layer(16, 64, 8);
  for (int64_t i = 0; i < 64; ++i) layer.stats.hessian[static_cast<std::size_t>(i * 64 + 9)] = 0;
  for (int64_t i = 0; i < 64; ++i) layer.stats.hessian[static_cast<std::size_t>(9 * 64 + i)] = 0;
  for (int64_t i = 0; i < 64; ++i) layer.weight[static_cast<std::size_t>(5 * 64 + i)] = 0;
  for (const char* text : {"gptq:bits=3,group=32", "gptq:bits=3,group=32,desc_act=false,sym=true"}) {
    const LinearResult result = testing::quantize(text, layer.task());
    ASSERT_EQ(result.notes.size(), 2u);
    EXPECT_EQ(result.notes[0], "1 of 64 input columns never carried a value: 9");
    EXPECT_EQ(result.notes[1], "1 of 16 rows hold zeros alone: 5");
    const auto value = testing::dequantize(result.tensor);
    for (int64_t i = 0; i < 64; ++i) EXPECT_EQ(value[static_cast<std::size_t>(5 * 64 + i)], 0.0f);
    for (int64_t row = 0; row < 16; ++row) EXPECT_EQ(value[static_cast<std::size_t>(row * 64 + 9)], 0.0f);
    EXPECT_LT(result.error, 0.2);
  }
}

TEST(Trouble, HugeAndTinyWeightsKeepTheirSize) {
  for (float size : {1e-30f, 1e-7f, 1e6f, 1e30f}) {
    Layer layer = random_layer(16, 64, 31);
    for (float& w : layer.weight) w *= size / 0.05f;
    for (const char* text : {"int8", "nf4", "rtn:bits=4,group=32", "gptq:bits=4,group=32", "fp32", "bf16"}) {
      SCOPED_TRACE(std::string(text) + " at " + std::to_string(size));
      // f16 scales have a smallest value: weights far below it are lost, which the error says.
      if (size < 1e-6f && (text[0] == 'r' || text[0] == 'g')) continue;
      EXPECT_LT(testing::quantize(text, layer.task(false)).error, 0.05);
    }
  }
}

}  // namespace
}  // namespace nbl::quant

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/random.h"
#include "eval/characters.h"
#include "eval/eval.h"
#include "eval/logit_rows.h"
#include "eval/statistics.h"
#include "support/byte_tokenizer.h"

namespace nbl::eval {
namespace {

TEST(Statistics, MeansErrorsAndQuantiles) {
  const std::vector<double> v = {1, 2, 3, 4};
  EXPECT_DOUBLE_EQ(mean(v), 2.5);
  EXPECT_DOUBLE_EQ(mean_stderr(v), std::sqrt(5.0 / 3.0 / 4.0));
  EXPECT_EQ(mean_stderr(std::vector<double>{3}), 0.0);
  EXPECT_EQ(mean(std::vector<double>{}), 0.0);
  std::vector<double> q = {4, 1, 3, 2};
  EXPECT_DOUBLE_EQ(quantile(q, 0.5), 2.5);
  EXPECT_DOUBLE_EQ(quantile(q, 1.0), 4.0);
  EXPECT_DOUBLE_EQ(quantile(q, 0.0), 1.0);
  const std::vector<double> hard = {1e16, 1.0, -1e16, 1.0};
  EXPECT_DOUBLE_EQ(sum(hard), 2.0);
}

TEST(Unicode, CountsAsPythonDoes) {
  EXPECT_EQ(length_in_code_points("naïve — 漢字 🙂"), 12);
  EXPECT_EQ(rstripped("abc \n\t"), 3u);
  EXPECT_EQ(rstripped("abc\u00a0\u3000"), 3u);
  EXPECT_EQ(rstripped("   "), 0u);
  EXPECT_EQ(count_words(" two  words\n"), 2);
  EXPECT_EQ(count_pieces(" two  words\n"), 4);
  EXPECT_EQ(count_pieces(""), 1);
  EXPECT_EQ(length_in_code_points(std::string("a\xff\xc3", 3)), 3);
}

TEST(LogitRows, DivergenceOfTwoKnownDistributions) {
  Team team(2);
  // p = (1/2, 1/4, 1/4), q = (1/4, 1/4, 1/2): KL = 1/2 ln 2 - 1/4 ln 2.
  const std::vector<float> a = {std::log(0.5f) + 3, std::log(0.25f) + 3, std::log(0.25f) + 3};
  const std::vector<float> b = {std::log(0.25f) - 1, std::log(0.25f) - 1, std::log(0.5f) - 1};
  std::vector<RowDivergence> rows(1);
  const std::vector<text::TokenId> target = {1};
  ASSERT_TRUE(compare_rows(a, b, 3, target, team, rows).ok());
  EXPECT_NEAR(rows[0].kl, 0.25 * std::log(2.0), 1e-6);
  EXPECT_NEAR(rows[0].logprob_a, std::log(0.25), 1e-6);
  EXPECT_NEAR(rows[0].logprob_b, std::log(0.25), 1e-6);
  EXPECT_FALSE(rows[0].same_top);
  std::vector<RowScore> scores(1);
  ASSERT_TRUE(score_rows(b, 3, target, team, scores).ok());
  EXPECT_NEAR(scores[0].logprob, std::log(0.25), 1e-6);
  EXPECT_EQ(scores[0].top, 2);
}

TEST(LogitRows, SelfComparisonIsExactlyZeroAndTinyDifferencesAreSeen) {
  Team team(2);
  Random random(5);
  const int64_t vocab = 5003, count = 20;
  std::vector<float> a(static_cast<std::size_t>(vocab * count));
  for (float& x : a) x = static_cast<float>(random.normal() * 4);
  std::vector<float> b = a;
  for (float& x : b) x += static_cast<float>(random.normal() * 0.01);
  const std::vector<text::TokenId> targets(count, 17);
  std::vector<RowDivergence> rows(count);
  ASSERT_TRUE(compare_rows(a, a, vocab, targets, team, rows).ok());
  for (const RowDivergence& r : rows) {
    EXPECT_EQ(r.kl, 0.0);
    EXPECT_EQ(r.logprob_a, r.logprob_b);
    EXPECT_TRUE(r.same_top);
  }
  ASSERT_TRUE(compare_rows(a, b, vocab, targets, team, rows).ok());
  for (int64_t r = 0; r < count; ++r) {
    double sa = 0, sb = 0, kl = 0;
    for (int64_t i = 0; i < vocab; ++i) {
      sa += std::exp(static_cast<double>(a[static_cast<std::size_t>(r * vocab + i)]));
      sb += std::exp(static_cast<double>(b[static_cast<std::size_t>(r * vocab + i)]));
    }
    for (int64_t i = 0; i < vocab; ++i) {
      const double x = a[static_cast<std::size_t>(r * vocab + i)], y = b[static_cast<std::size_t>(r * vocab + i)];
      kl += std::exp(x) / sa * ((x - std::log(sa)) - (y - std::log(sb)));
    }
    EXPECT_NEAR(rows[static_cast<std::size_t>(r)].kl, kl, 1e-3 * kl + 2e-7) << r;
  }
  b[3] = std::numeric_limits<float>::quiet_NaN();
  const Status broken = compare_rows(a, b, vocab, targets, team, rows);
  EXPECT_EQ(broken.code(), Code::corrupt);
}

TEST(EncodePair, TrailingSpacesMoveToTheContinuation) {
  const nbl::testing::ByteTokenizer tokenizer;
  auto pair = encode_pair(tokenizer, "Q: ", "yes");
  ASSERT_TRUE(pair.ok());
  EXPECT_EQ(pair->context, (std::vector<text::TokenId>{'Q' + 1, ':' + 1}));
  EXPECT_EQ(pair->continuation, (std::vector<text::TokenId>{' ' + 1, 'y' + 1, 'e' + 1, 's' + 1}));
  auto empty = encode_pair(tokenizer, "", "ab");
  ASSERT_TRUE(empty.ok());
  EXPECT_EQ(empty->context, (std::vector<text::TokenId>{0}));
  EXPECT_EQ(empty->continuation, (std::vector<text::TokenId>{'a' + 1, 'b' + 1}));
}

TEST(ChoiceJsonl, ReadsBothSpellingsAndNamesBadLines) {
  auto docs = parse_choice_jsonl(
      "{\"query\": \"q\", \"choices\": [\"a\", \"b\"], \"gold\": 1}\n\n"
      "{\"context\": \"c\", \"choices\": [\"x\", \"y\", \"z\"], \"answer\": 0}",
      "t.jsonl");
  ASSERT_TRUE(docs.ok()) << docs.status().message();
  ASSERT_EQ(docs->size(), 2u);
  EXPECT_EQ((*docs)[0].context, "q");
  EXPECT_EQ((*docs)[0].answer, 1);
  EXPECT_EQ((*docs)[1].choices.size(), 3u);
  const auto message = [](std::string_view jsonl) {
    auto r = parse_choice_jsonl(jsonl, "t.jsonl");
    return r.ok() ? std::string() : r.status().message();
  };
  const std::string good = "{\"query\":\"q\",\"choices\":[\"a\",\"b\"],\"gold\":1}\n";
  EXPECT_NE(message(good + "{\"query\":").find("line 2"), std::string::npos);
  EXPECT_EQ(message(good + "{\"query\":\"q\",\"choices\":[\"a\",\"b\"],\"gold\":2}"),
            "t.jsonl, line 2: the answer is 2, but there are 2 choices");
  EXPECT_EQ(message("{\"query\":\"q\",\"choices\":[],\"gold\":0}"),
            "t.jsonl, line 1: found 0 choices, expected 2 to 64");
  EXPECT_EQ(message("{\"query\":\"q\",\"choices\":[\"a\",\"b\"]}"),
            "t.jsonl, line 1: the \"answer\" (or \"gold\") is missing");
  EXPECT_EQ(message(""), "t.jsonl holds no documents");
}

}  // namespace
}  // namespace nbl::eval

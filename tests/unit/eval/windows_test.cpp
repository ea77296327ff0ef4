#include "eval/windows.h"

#include <gtest/gtest.h>

#include <string>

#include "support/byte_tokenizer.h"

namespace nbl::eval {
namespace {

using nbl::testing::ByteTokenizer;
using text::TokenId;

std::string letters(std::size_t n) {
  std::string s(n, ' ');
  for (std::size_t i = 0; i < n; ++i) s[i] = static_cast<char>(i % 251);
  return s;
}
TokenId id_at(std::size_t i) { return static_cast<TokenId>(i % 251) + 1; }

TEST(Windows, DisjointWindowsScoreAllButTheirFirstToken) {
  const ByteTokenizer tokenizer(true);
  auto set = make_windows(tokenizer, letters(1600), {.name = "windows-512"}, 2048);
  ASSERT_TRUE(set.ok()) << set.status().message();
  EXPECT_EQ(set->windows.size(), 3u);
  EXPECT_EQ(set->tokens, 3 * 511);
  EXPECT_EQ(set->longest, 511);
  EXPECT_FALSE(set->bos);
  for (std::size_t w = 0; w < 3; ++w) {
    const Window& window = set->windows[w];
    EXPECT_EQ(window.first_row, 0);
    ASSERT_EQ(window.input.size(), 511u);
    ASSERT_EQ(window.targets.size(), 511u);
    for (std::size_t i = 0; i < 511; ++i) {
      EXPECT_EQ(window.input[i], id_at(w * 512 + i));
      EXPECT_EQ(window.targets[i], id_at(w * 512 + i + 1));
    }
  }
  auto first = make_windows(tokenizer, letters(1600), {.name = "windows-512", .max_windows = 2}, 2048);
  ASSERT_TRUE(first.ok());
  EXPECT_EQ(first->windows.size(), 2u);
}

TEST(Windows, LlamaCppScoresTheSecondHalfBehindBos) {
  for (bool bos : {false, true}) {
    const ByteTokenizer tokenizer(bos);
    auto set = make_windows(tokenizer, letters(1100), {.name = "llama.cpp-512"}, 0);
    ASSERT_TRUE(set.ok()) << set.status().message();
    EXPECT_EQ(set->bos, bos);
    ASSERT_EQ(set->windows.size(), 2u);
    EXPECT_EQ(set->tokens, 2 * 255);
    // With BOS the text starts one token later.
    const std::size_t shift = bos ? 1 : 0;
    for (std::size_t w = 0; w < 2; ++w) {
      const Window& window = set->windows[w];
      EXPECT_EQ(window.first_row, 256);
      EXPECT_EQ(window.input.front(), bos ? 0 : id_at(w * 512));
      EXPECT_EQ(window.input[1], id_at(w * 512 + 1 - shift));
      EXPECT_EQ(window.targets.front(), id_at(w * 512 + 257 - shift));
      EXPECT_EQ(window.targets.back(), id_at(w * 512 + 511 - shift));
      EXPECT_EQ(static_cast<std::size_t>(window.first_row) + window.targets.size(), window.input.size());
    }
  }
}

TEST(Windows, GptqEncodesTheTextWithSpecialTokens) {
  const ByteTokenizer tokenizer(true);
  auto set = make_windows(tokenizer, letters(5000), {.name = "gptq-2048"}, 2048);
  ASSERT_TRUE(set.ok());
  EXPECT_TRUE(set->bos);
  ASSERT_EQ(set->windows.size(), 2u);
  EXPECT_EQ(set->windows[0].input[0], 0);
  EXPECT_EQ(set->windows[1].input[0], id_at(2047));
}

// Against get_rolling_token_windows and make_disjoint_window of lm-evaluation-harness, worked by hand: 10 tokens,
// length 4.
TEST(Windows, RollingScoresEveryTokenOnce) {
  const ByteTokenizer tokenizer;
  auto set = make_windows(tokenizer, letters(10), {.name = "rolling"}, 4);
  ASSERT_TRUE(set.ok()) << set.status().message();
  ASSERT_EQ(set->windows.size(), 3u);
  EXPECT_EQ(set->tokens, 10);
  EXPECT_EQ(set->windows[0].input, (std::vector<TokenId>{0, 1, 2, 3}));
  EXPECT_EQ(set->windows[0].targets, (std::vector<TokenId>{1, 2, 3, 4}));
  EXPECT_EQ(set->windows[0].first_row, 0);
  EXPECT_EQ(set->windows[1].input, (std::vector<TokenId>{4, 5, 6, 7}));
  EXPECT_EQ(set->windows[1].targets, (std::vector<TokenId>{5, 6, 7, 8}));
  EXPECT_EQ(set->windows[1].first_row, 0);
  // Two tokens are left: as much context as fits.
  EXPECT_EQ(set->windows[2].input, (std::vector<TokenId>{6, 7, 8, 9}));
  EXPECT_EQ(set->windows[2].targets, (std::vector<TokenId>{9, 10}));
  EXPECT_EQ(set->windows[2].first_row, 2);
}

TEST(Windows, ShortTextsAndUnknownProtocolsAreNamed) {
  const ByteTokenizer tokenizer;
  auto unknown = make_windows(tokenizer, "abc", {.name = "wikitext"}, 2048);
  ASSERT_FALSE(unknown.ok());
  EXPECT_NE(unknown.status().message().find("\"wikitext\""), std::string::npos);
  EXPECT_NE(unknown.status().message().find("llama.cpp-512"), std::string::npos);
  auto brief = make_windows(tokenizer, letters(100), {.name = "windows-512"}, 2048);
  ASSERT_FALSE(brief.ok());
  EXPECT_EQ(brief.status().message(), "the text has 100 tokens, protocol windows-512 needs at least 512");
  auto narrow = make_windows(tokenizer, letters(5000), {.name = "windows-2048"}, 512);
  ASSERT_FALSE(narrow.ok());
  EXPECT_EQ(narrow.status().message(), "protocol windows-2048 needs 2047 positions, the model has 512");
  EXPECT_TRUE(make_windows(tokenizer, letters(600), {.name = "windows-512"}, 512).ok());
  auto none = make_windows(ByteTokenizer(false, false), "abc", {.name = "rolling"}, 4);
  ASSERT_FALSE(none.ok());
  EXPECT_EQ(none.status().code(), Code::unsupported);
}

}  // namespace
}  // namespace nbl::eval

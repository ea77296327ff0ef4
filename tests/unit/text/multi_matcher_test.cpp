#include "text/multi_matcher.h"

#include <gtest/gtest.h>


#include "base/random.h"
#include "support/cpu_time.h"
#include "support/sanitizers.h"

namespace nbl::text {
namespace {

std::optional<MultiMatcher::Match> plain_search(const std::vector<std::string_view>& patterns, std::string_view text,
                                                std::size_t from) {
  for (std::size_t at = from; at < text.size(); ++at) {
    std::optional<MultiMatcher::Match> best;
    for (uint32_t i = 0; i < patterns.size(); ++i) {
      if (text.substr(at).starts_with(patterns[i]) && (!best || at + patterns[i].size() > best->end)) {
        best = MultiMatcher::Match{i, at, at + patterns[i].size()};
      }
    }
    if (best) return best;
  }
  return std::nullopt;
}

TEST(MultiMatcher, AgreesWithPlainSearch) {
  Random rng(7);
  for (int round = 0; round < 3000; ++round) {
    const uint64_t letters = 1 + rng.below(3);
    const auto word = [&](uint64_t longest) {
      std::string s;
      const uint64_t n = 1 + rng.below(longest);
      for (uint64_t i = 0; i < n; ++i) s.push_back(static_cast<char>('a' + rng.below(letters + 1)));
      return s;
    };
    std::vector<std::string> words;
    const uint64_t count = 1 + rng.below(6);
    for (uint64_t i = 0; i < count; ++i) words.push_back(word(6));
    const std::vector<std::string_view> patterns(words.begin(), words.end());
    MultiMatcher matcher;
    matcher.build(patterns);
    const std::string text = word(40);
    std::size_t from = 0;
    while (from <= text.size()) {
      const auto expected = plain_search(patterns, text, from);
      const auto found = matcher.find(text, from);
      ASSERT_EQ(expected.has_value(), found.has_value()) << text << " from " << from << " round " << round;
      if (!expected) break;
      ASSERT_EQ(found->begin, expected->begin) << text << " round " << round;
      ASSERT_EQ(found->end, expected->end) << text << " round " << round;
      ASSERT_EQ(patterns[found->pattern], patterns[expected->pattern]);
      from = expected->end;
    }
  }
}

TEST(MultiMatcher, TimeDoesNotDependOnThePatternsLength) {
  // A plain search would take 10^4 steps at each of 10^7 places.
  const std::string pattern = std::string(10'000, 'a') + "b";
  MultiMatcher matcher;
  matcher.build({pattern});
  const std::string text(10'000'000, 'a');
  const double start = cpu_seconds();
  EXPECT_FALSE(matcher.find(text, 0).has_value());
  EXPECT_LT(cpu_seconds() - start, 5 * nbl::testing::kSanitizerSlowdown);
}

}  // namespace
}  // namespace nbl::text

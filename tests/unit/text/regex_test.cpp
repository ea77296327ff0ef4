// Oniguruma's classes as PCRE2 runs them: intersections, of which one side may be a complement.
#include "text/regex.h"

#include <gtest/gtest.h>

#include <vector>

namespace nbl::text {
namespace {

std::vector<std::string> matches(std::string_view pattern, std::string_view text) {
  const auto regex = Regex::compile(pattern, "the pattern");
  EXPECT_TRUE(regex.ok()) << regex.status().message();
  std::vector<std::string> all;
  if (!regex.ok()) return all;
  EXPECT_TRUE((*regex)->find_all(text, [&](std::size_t begin, std::size_t end) {
    all.emplace_back(text.substr(begin, end - begin));
    return true;
  }).ok());
  return all;
}
using Texts = std::vector<std::string>;

TEST(Regex, IntersectionsOfClasses) {
  EXPECT_EQ(matches("[a-z&&[^aeiou]]+", "hello world"), (Texts{"h", "ll", "w", "rld"}));
  EXPECT_EQ(matches("[a-z&&aeiou]+", "hello"), (Texts{"e", "o"}));
  EXPECT_EQ(matches("[[a-c][x-z]&&[b-y]]+", "abcxyz"), (Texts{"bcxy"}));
  EXPECT_EQ(matches("[a-z&&[^m-z]&&[^a-f]]+", "abghmz"), (Texts{"gh"}));
  EXPECT_EQ(matches("[^a-z&&[^aeiou]]+", "hey, you"), (Texts{"e", ", ", "ou"}));  // all but the consonants
  EXPECT_EQ(matches("[\\p{L}&&[^\\p{Han}]]*x|\\p{Han}+", "ab\xE4\xB8\xAD\xE5\x9B\xBDx"), (Texts{"\xE4\xB8\xAD\xE5\x9B\xBD", "x"}));
  EXPECT_EQ(matches("[a&]+", "a&b"), (Texts{"a&"})) << "one ampersand is itself";
  for (const char* pattern : {"[[^a]b]", "[a-z&&[^b]c]", "[a&&"})
    EXPECT_FALSE(Regex::compile(pattern, "the pattern").ok()) << pattern;
}

}  // namespace
}  // namespace nbl::text

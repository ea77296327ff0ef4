// Files and texts that mean harm: time and memory stay bounded, and what cannot be done is said.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <functional>

#include "base/bounds.h"
#include "support/cpu_time.h"
#include "support/sanitizers.h"
#include "text/tokenizer.h"
#include "unit/text/shared_data.h"

namespace nbl::text {
namespace {

const std::filesystem::path kSmall = std::filesystem::path(NIBBLE_SOURCE_DIR) / "tests/golden/tokenizers/small";

std::unique_ptr<Tokenizer> small(const std::string& name) {
  const std::string file = testing::read_file(kSmall / name);
  auto made = name.ends_with(".model") ? load_tokenizer_sentencepiece(file, "", name) : load_tokenizer_json(file, "", name);
  EXPECT_TRUE(made.ok()) << made.status().message();
  return made.ok() ? std::move(*made) : nullptr;
}

/// A byte-level tokenizer of the letters a and b whose text is cut by `pattern`.
Result<std::unique_ptr<Tokenizer>> cut_by(std::string_view pattern, std::string_view added = "[]") {
  const Json split = Json::object({{"type", "Split"}, {"pattern", Json::object({{"Regex", pattern}})}, {"behavior", "Isolated"}, {"invert", false}});
  Json model = *Json::parse(R"({"type": "BPE", "vocab": {"a": 0, "b": 1, "aa": 2}, "merges": ["a a"]})", "model");
  const Json json = Json::object({{"added_tokens", *Json::parse(added, "added")}, {"pre_tokenizer", split}, {"model", std::move(model)}});
  return load_tokenizer_json(json.dump(), "", "hostile.json");
}

TEST(Hostile, ExpressionsThatBacktrack) {
  const std::string text = std::string(50'000, 'a') + "b";
  for (const char* pattern : {"(a+)+$", "(a|aa)+$", "(a*)*b*$", "(?:a|a)*?c", "(.*)(.*)(.*)(.*)c", "(a?){60}a{60}c", "(?=(a+)+c)a", "a*?(?=a*ab$)c"}) {
    SCOPED_TRACE(pattern);
    const double start = cpu_seconds();
    const auto tokenizer = cut_by(pattern);
    if (!tokenizer.ok()) continue;  // refusing the expression is an answer too
    const auto ids = (*tokenizer)->encode(text, {});
    if (!ids.ok()) {
      EXPECT_EQ(ids.status().code(), Code::limit) << ids.status().message();
      EXPECT_NE(ids.status().message().find("backtracks too much"), std::string::npos) << ids.status().message();
    }
    EXPECT_LT(cpu_seconds() - start, 20 * nbl::testing::kSanitizerSlowdown);
  }
  for (const char* pattern : {"(", "[", "a{2,1}", "(?<n>a)\\g<n>(?R)", "\\p{Nonesuch}", "(?~a)"})
    if (const auto tokenizer = cut_by(pattern); !tokenizer.ok()) {
      EXPECT_NE(tokenizer.status().message().find("hostile.json"), std::string::npos) << tokenizer.status().message();
    }
}

TEST(Hostile, AddedTokensThatMatchEverything) {
  const std::string text(1'000'000, 'a');
  // Each a beginning of the next, all of them in the text everywhere; then ones that eat the spaces around them.
  std::string nested = "[", eating = "[";
  for (int n = 1; n <= 300; ++n)
    nested += (n > 1 ? "," : "") + Json::object({{"id", 10 + n}, {"content", std::string(static_cast<std::size_t>(n), 'a')}, {"special", true}}).dump();
  for (const char* content : {"a", " ", "b", "  "})
    eating += (eating.size() > 1 ? "," : "") + Json::object({{"id", 10 + static_cast<int>(eating.size())}, {"content", content}, {"special", true},
                                                            {"lstrip", true}, {"rstrip", true}}).dump();
  for (const std::string& added : {nested + "]", eating + "]"}) {
    const double start = cpu_seconds();
    const auto tokenizer = cut_by("x", added);
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().message();
    for (const std::string& each : {text, std::string(1'000'000, ' '), std::string(500'000, ' ') + text}) EXPECT_TRUE((*tokenizer)->encode(each, {}).ok());
    EXPECT_LT(cpu_seconds() - start, 20 * nbl::testing::kSanitizerSlowdown);
  }
  const auto empty = cut_by("x", R"([{"id": 5, "content": "", "special": true}])");
  if (empty.ok()) {
    EXPECT_TRUE((*empty)->encode("aab", {}).ok());
  }
}

// Sixty steps that each double the text would make 2^60 characters of one.
TEST(Hostile, StepsThatDoubleTheText) {
  constexpr const char* kSteps[] = {R"({"type": "Replace", "pattern": {"String": "a"}, "content": "aa"})",
                                    R"({"type": "Replace", "pattern": {"Regex": "a"}, "content": "aa"})", R"({"type": "ByteLevel"})"};
  const auto load = [](const char* kind, const std::string& sequence) {
    const std::string model = R"({"type": "BPE", "vocab": {"a": 0, "b": 1, "é": 2}, "merges": []})";
    return load_tokenizer_json(fmt::format(R"({{"added_tokens": [], "{}": {}, "model": {}}})", kind, sequence, model), "", "hostile.json");
  };
  const auto sixty = [](const char* kind, const std::string& step) {
    std::string all;
    for (int i = 0; i < 60; ++i) all += (i > 0 ? ", " : "") + step;
    return fmt::format(R"({{"type": "Sequence", "{}": [{}]}})", kind, all);
  };
  ASSERT_TRUE(set_bound("tokenizer_growth_bytes", 1 << 20).ok());
  for (const char* step : kSteps) {
    SCOPED_TRACE(step);
    const double start = cpu_seconds();
    const auto normalizing = load("normalizer", sixty("normalizers", step));
    ASSERT_TRUE(normalizing.ok()) << normalizing.status().message();
    const auto ids = (*normalizing)->encode("\xc3\xa9 a", {});
    ASSERT_FALSE(ids.ok());
    EXPECT_EQ(ids.status().code(), Code::limit) << ids.status().message();
    EXPECT_NE(ids.status().message().find("of a text of 4"), std::string::npos) << ids.status().message();
    if (std::string_view(step).find("Replace") != std::string_view::npos) {
      const auto decoding = load("decoder", sixty("decoders", step));
      ASSERT_TRUE(decoding.ok()) << decoding.status().message();
      const auto text = (*decoding)->decode(std::vector<TokenId>{0, 1}, false);
      ASSERT_FALSE(text.ok());
      EXPECT_EQ(text.status().code(), Code::limit) << text.status().message();
    }
    EXPECT_LT(cpu_seconds() - start, 20 * nbl::testing::kSanitizerSlowdown);
  }
  ASSERT_TRUE(set_bound("tokenizer_growth_bytes", 0).ok());
  // Sequences in sequences are bounded by the outermost text, and their steps counted together.
  std::string nested = kSteps[0];
  for (int i = 0; i < 3; ++i) nested = fmt::format(R"({{"type": "Sequence", "normalizers": [{0}, {0}, {0}, {0}, {0}]}})", nested);
  const auto deep = load("normalizer", nested);
  ASSERT_FALSE(deep.ok());
  EXPECT_EQ(deep.status().code(), Code::limit) << deep.status().message();
}

TEST(Hostile, InvalidUtf8) {
  for (const char* name : {"llama3-like.json", "gemma-like.json", "unigram.json", "wordpiece.json", "sp-unigram-bytes.model", "sp-bpe.model"}) {
    const auto tokenizer = small(name);
    std::string bytes;
    for (int i = 0; i < 200'000; ++i) bytes += static_cast<char>(i * 7919 >> 3);
    const auto ids = tokenizer->encode(bytes, {});
    ASSERT_TRUE(ids.ok()) << name << ids.status().message();
    const auto text = tokenizer->decode(*ids, true);
    ASSERT_TRUE(text.ok()) << name;
    for (const char* half : {"\xC3", "\xE4\xB8", "\xF0\x9F\x98", "\xED\xA0\x80", "\xF4\x90\x80\x80", "\xC0\xAF", "\xFF"})
      EXPECT_TRUE(tokenizer->encode(std::string("a") + half + "b", {}).ok()) << name;
  }
}

/// Runs in a process that may take so many bytes more than it has; true when it ends well.
bool within([[maybe_unused]] std::size_t bytes, const std::function<bool()>& work) {
  const pid_t child = ::fork();
  if (child == 0) {
#ifndef NBL_UNDER_SANITIZER
    std::size_t pages = 0;
    std::ifstream("/proc/self/statm") >> pages;
    const rlim_t most = pages * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)) + bytes;
    const rlimit limit{most, most};
    ::setrlimit(RLIMIT_AS, &limit);
#endif
    bool ok = false;
    try {
      ok = work();
    } catch (...) {
    }
    ::_exit(ok ? 0 : 1);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/// One line without anything to cut at: at most 64 bytes of memory a byte of text, and time that grows with the text alone.
TEST(Hostile, LongLines) {
  std::string mixed;
  while (mixed.size() < 1'000'000) mixed += "abcdefghij klmnopqrst,"[mixed.size() * 2654435761u % 22];
  for (const char* name : {"llama3-like.json", "gemma-like.json", "end-suffix.json", "unigram.json", "wordpiece.json", "sp-unigram-bytes.model", "sp-bpe.model"}) {
    SCOPED_TRACE(name);
    const auto tokenizer = small(name);
    for (const std::string& text : {std::string(1'000'000, 'x'), mixed}) {
      const double start = cpu_seconds();
      EXPECT_TRUE(within(64 * text.size() + (8 << 20), [&] { return tokenizer->encode(text, {}).ok(); }));
      EXPECT_LT(cpu_seconds() - start, 20 * nbl::testing::kSanitizerSlowdown);
    }
  }
}

TEST(FullHostile, TenMegabytesOnOneLine) {
  for (const char* name : {"llama3-like.json", "sp-bpe.model", "sp-unigram-bytes.model"}) {
    SCOPED_TRACE(name);
    const auto tokenizer = small(name);
    const std::string text(10'000'000, 'x');
    const double start = cpu_seconds();
    EXPECT_TRUE(within(64 * text.size(), [&] { return tokenizer->encode(text, {}).ok(); }));
    EXPECT_LT(cpu_seconds() - start, 100 * nbl::testing::kSanitizerSlowdown);
  }
}

}  // namespace
}  // namespace nbl::text

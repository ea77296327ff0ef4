// Tokenizers small enough to be written here, and what is said about those that are wrong.
#include "text/tokenizer.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "unit/text/shared_data.h"

namespace nbl::text {
namespace {

constexpr std::string_view kVocab =
    R"({"<s>": 0, "a": 1, "b": 2, "ab": 3, "Ġ": 4, "Ġa": 5, "Ã": 6, "©": 7, "Ã©": 8, "abb": 9, "!": 10, "â": 11, "Ĥ": 12, "¬": 13})";
constexpr std::string_view kMerges = R"(["a b", "Ġ a", "Ã ©", "ab b"])";

std::string description(std::string_view vocab, std::string_view merges, std::string_view added = "[]",
                        std::string_view pre = R"({"type": "ByteLevel", "add_prefix_space": false})") {
  return fmt::format(R"({{"added_tokens": {}, "normalizer": null, "pre_tokenizer": {}, "post_processor": null,
      "decoder": {{"type": "ByteLevel"}}, "model": {{"type": "BPE", "vocab": {}, "merges": {}}}}})",
                     added, pre, vocab, merges);
}

std::unique_ptr<Tokenizer> make(const std::string& json) {
  auto made = load_tokenizer_json(json, "", "tokenizer.json");
  EXPECT_TRUE(made.ok()) << made.status().message();
  return made.ok() ? std::move(made).value() : nullptr;
}

std::string failure(const std::string& json) {
  auto made = load_tokenizer_json(json, "", "tokenizer.json");
  EXPECT_FALSE(made.ok());
  return made.ok() ? "" : made.status().message();
}

using Ids = std::vector<TokenId>;

TEST(TokenizerJson, MergesInTheOrderOfTheirRanks) {
  const auto t = make(description(kVocab, kMerges));
  EXPECT_EQ(*t->encode("abb a\xC3\xA9", {}), (Ids{9, 5, 8}));
  EXPECT_EQ(*t->encode("ba", {}), (Ids{2, 1}));
  EXPECT_EQ(*t->decode(Ids{9, 5, 8}, true), "abb a\xC3\xA9");
  EXPECT_EQ(*t->piece(5), "Ġa");
  EXPECT_EQ(t->find("abb"), 9);
  EXPECT_EQ(t->vocab_size(), 14);
  EXPECT_EQ(t->kind(), "byte-level bpe");
}

TEST(TokenizerJson, ReadsBothNotationsOfMerges) {
  const auto t = make(description(kVocab, R"([["a", "b"], ["Ġ", "a"], ["Ã", "©"], ["ab", "b"]])"));
  EXPECT_EQ(*t->encode("abb a", {}), (Ids{9, 5}));
}

TEST(TokenizerJson, AddedTokens) {
  const auto added = [](std::string_view flags) {
    return fmt::format(R"([{{"id": 20, "content": "ab!", "special": true, "normalized": false {}}}])", flags);
  };
  auto t = make(description(kVocab, kMerges, added("")));
  EXPECT_EQ(*t->encode("aab! b", {}), (Ids{1, 20, 4, 2}));
  EXPECT_EQ(*t->encode("aab!", {.parse_special = false}), (Ids{1, 3, 10}));
  EXPECT_EQ(*t->decode(Ids{1, 20}, true), "a");
  EXPECT_EQ(*t->decode(Ids{1, 20}, false), "aab!");
  EXPECT_TRUE(t->is_special(20));
  EXPECT_EQ(t->vocab_size(), 21);
  t = make(description(kVocab, kMerges, added(R"(, "lstrip": true)")));
  EXPECT_EQ(*t->encode("b  ab! b", {}), (Ids{2, 20, 4, 2}));
  t = make(description(kVocab, kMerges, added(R"(, "rstrip": true)")));
  EXPECT_EQ(*t->encode("b ab!  b", {}), (Ids{2, 4, 20, 2}));
  t = make(description(kVocab, kMerges, added(R"(, "single_word": true)")));
  EXPECT_EQ(*t->encode("aab!", {}), (Ids{1, 3, 10}));
  EXPECT_EQ(*t->encode("!ab!", {}), (Ids{10, 20}));
}

TEST(TokenizerJson, InvalidUtf8IsReplaced) {
  const std::string vocab = R"({"ï": 0, "¿": 1, "½": 2, "a": 3})";
  const auto t = make(description(vocab, "[]"));
  EXPECT_EQ(*t->encode("\xFF", {}), (Ids{0, 1, 2}));
  EXPECT_EQ(*t->encode("\xE2\x82"
                       "a",
                       {}),
            (Ids{0, 1, 2, 3}));
}

TEST(TokenizerJson, SaysWhatIsWrong) {
  EXPECT_EQ(failure("{}"), "tokenizer.json: there is no object \"model\"");
  EXPECT_EQ(failure(description(R"({"a": 0, "b": 0})", "[]")),
            "tokenizer.json: tokens \"a\" and \"b\" have the same id 0");
  EXPECT_EQ(failure(description(R"({"a": -1})", "[]")), "tokenizer.json: token \"a\" has id -1, outside 0..4194303");
  EXPECT_EQ(failure(description(R"({"a": 0})", R"(["a b"])")),
            "tokenizer.json: merge 0 joins \"a\" and \"b\", but \"b\" is not in the vocabulary");
  EXPECT_EQ(failure(description(R"({"a": 0})", R"(["a a"])")),
            "tokenizer.json: merge 0 makes \"aa\", which is not in the vocabulary");
  EXPECT_EQ(failure(description(R"({"a": 0})", R"(["aa"])")),
            "tokenizer.json: merge 0 is \"aa\", neither \"a b\" nor [\"a\", \"b\"]");
  EXPECT_EQ(failure(description("{}", "[]", "[]", R"({"type": "Nonesuch"})")),
            "tokenizer.json: the pre-tokenizer \"Nonesuch\" is not implemented");
  EXPECT_NE(failure("{").find("tokenizer.json"), std::string::npos);
}

TEST(TokenizerJson, UnknownIds) {
  const auto t = make(description(kVocab, kMerges));
  EXPECT_EQ(*t->decode(Ids{1, 1000}, true), "a");  // a row of the model without a token
  EXPECT_FALSE(t->decode(Ids{-1}, true).ok());
  EXPECT_EQ(t->piece(99).status().message(), "tokenizer.json: there is no token 99; ids go from 0 to 13");
}

TEST(StreamDecoder, NeverEmitsHalfACharacter) {
  const auto t = make(description(kVocab, kMerges));
  StreamDecoder stream(*t);
  EXPECT_EQ(*stream.push(1), "a");
  EXPECT_EQ(*stream.push(11), "");
  EXPECT_EQ(*stream.push(12), "");
  EXPECT_EQ(*stream.push(13), "\xE2\x82\xAC");
  EXPECT_EQ(*stream.push(11), "");
  EXPECT_EQ(*stream.push(1),
            "\xEF\xBF\xBD"
            "a");
  EXPECT_EQ(*stream.push(11), "");
  EXPECT_EQ(*stream.finish(), "\xEF\xBF\xBD");
}

/// "\xA4\xC3" is one token: no token of a long run of the letter ends with a whole one.
TEST(StreamDecoder, TokensThatAllEndWithinACharacter) {
  const auto t = make(description(R"({"Ã": 0, "¤": 1, "¤Ã": 2})", "[]"));
  StreamDecoder stream(*t);
  std::string out = *stream.push(0);
  for (int i = 0; i < 300; ++i) {
    const std::string piece = *stream.push(2);
    EXPECT_EQ(piece, "\xC3\xA4") << i;
    out += piece;
  }
  out += *stream.push(1);
  out += *stream.finish();
  EXPECT_EQ(out.size(), 602u);
  EXPECT_EQ(out.find("\xEF\xBF\xBD"), std::string::npos);
}

TEST(StreamDecoder, EndlessInvalidBytesComeOutInTheEnd) {
  const auto t = make(description(kVocab, kMerges));
  StreamDecoder stream(*t);
  std::string out;
  for (int i = 0; i < 1000; ++i) out += *stream.push(13);
  out += *stream.finish();
  EXPECT_EQ(out.size(), 3000u);
}

TEST(TokenizerLlama2c, ReadsTok512) {
  const auto path = testing::shared_dir() / "models/stories260k/tok512.bin";
  const std::string bytes = testing::read_file(path);
  if (bytes.empty()) GTEST_SKIP() << path << " is not there";
  auto t = load_tokenizer_llama2c(bytes, 512, "tok512.bin");
  ASSERT_TRUE(t.ok()) << t.status().message();
  const std::string text = "Once upon a time, there was a little girl named Lily. \xF0\x9F\x98\x80";
  auto ids = (*t)->encode(text, {.add_special = true});
  ASSERT_TRUE(ids.ok());
  EXPECT_EQ(ids->front(), 1);
  EXPECT_EQ((*t)->bos(), 1);
  EXPECT_EQ((*t)->eos(), 2);
  // The beginning of what llama2.c itself is prompted with.
  EXPECT_EQ(std::vector<TokenId>(ids->begin() + 1, ids->begin() + 7), (Ids{403, 407, 261, 378, 432, 383}));
  EXPECT_EQ(*(*t)->decode(*ids, true), text);
  // The emoji is not in the vocabulary: four byte tokens.
  EXPECT_EQ(std::vector<TokenId>(ids->end() - 4, ids->end()), (Ids{0xF0 + 3, 0x9F + 3, 0x98 + 3, 0x80 + 3}));
  EXPECT_FALSE(load_tokenizer_llama2c(bytes.substr(0, bytes.size() / 2), 512, "tok512.bin").ok());
  EXPECT_EQ(load_tokenizer_llama2c(bytes + "x", 512, "tok512.bin").status().message(),
            "tok512.bin: 1 bytes follow the last of 512 tokens");
}

}  // namespace
}  // namespace nbl::text

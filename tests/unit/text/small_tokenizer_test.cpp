// Small tokenizers of many kinds against the packages that made them: tests/golden/tokenizers/make_small.py.
#include <gtest/gtest.h>

#include <filesystem>

#include "base/hash.h"
#include "base/json.h"
#include "text/tokenizer.h"
#include "unit/text/random_text.h"
#include "unit/text/shared_data.h"

namespace nbl::text {
namespace {

const std::filesystem::path kFolder = std::filesystem::path(NIBBLE_SOURCE_DIR) / "tests/golden/tokenizers";

const Json& golden() {
  static const Json json = [] {
    auto parsed = Json::parse(testing::read_file(kFolder / "small.json"), "small.json");
    return parsed.ok() ? std::move(parsed).value() : Json();
  }();
  return json;
}

std::string hash_of(const std::string& bytes) {
  return sha256_hex(std::as_bytes(std::span(bytes.data(), bytes.size()))).substr(0, 16);
}

class SmallTokenizer : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    const std::string name = GetParam();
    const std::string file = testing::read_file(kFolder / "small" / name);
    ASSERT_FALSE(file.empty()) << name;
    auto made =
        name.ends_with(".model") ? load_tokenizer_sentencepiece(file, "", name) : load_tokenizer_json(file, "", name);
    ASSERT_TRUE(made.ok()) << made.status().message();
    tokenizer_ = std::move(made).value();
    expected_ = golden().find("tokenizers")->find(name);
    ASSERT_NE(expected_, nullptr);
    // sentencepiece does not parse its control pieces.
    options_.parse_special = !name.ends_with(".model");
  }
  std::unique_ptr<Tokenizer> tokenizer_;
  const Json* expected_ = nullptr;
  EncodeOptions options_;
};

TEST_P(SmallTokenizer, RandomTexts) {
  const auto expected = expected_->find("random")->elements();
  const Json* decoded = expected_->find("decoded");
  const int64_t chunk = golden().find("chunk")->as_int();
  testing::SplitMix rng(static_cast<uint64_t>(golden().find("seed")->as_int()));
  for (std::size_t c = 0; c < expected.size(); ++c) {
    std::string bytes;
    std::string texts;
    for (int64_t i = 0; i < chunk; ++i) {
      auto ids = tokenizer_->encode(testing::random_text(rng), options_);
      ASSERT_TRUE(ids.ok()) << ids.status().message();
      auto text = tokenizer_->decode(*ids, true);
      ASSERT_TRUE(text.ok());
      texts += *text + '\x1e';
      ids->push_back(-1);
      bytes.append(reinterpret_cast<const char*>(ids->data()), ids->size() * sizeof(TokenId));
    }
    EXPECT_EQ(hash_of(bytes), expected[c].as_string()) << "see make_small.py --show " << GetParam() << " " << c;
    if (decoded != nullptr) {
      EXPECT_EQ(hash_of(texts), decoded->elements()[c].as_string()) << "decoding, chunk " << c;
    }
    if (HasFailure()) break;
  }
}

TEST_P(SmallTokenizer, SpecialTokensAround) {
  std::vector<TokenId> expected;
  for (const Json& id : expected_->find("special")->elements()) expected.push_back(static_cast<TokenId>(id.as_int()));
  EXPECT_EQ(*tokenizer_->encode("Hello world", {.add_special = true}), expected);
}

INSTANTIATE_TEST_SUITE_P(All, SmallTokenizer,
                         ::testing::Values("unigram.json", "wordpiece.json", "gemma-like.json", "end-suffix.json",
                                           "added-tokens.json", "llama3-like.json", "sp-unigram.model",
                                           "sp-unigram-bytes.model", "sp-bpe.model", "sp-bpe-unk.model"),
                         [](const auto& info) {
                           std::string name = info.param;
                           for (char& c : name) {
                             if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
                           }
                           return name;
                         });

}  // namespace
}  // namespace nbl::text

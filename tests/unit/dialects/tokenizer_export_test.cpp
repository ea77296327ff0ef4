// A vocabulary that went into GGUF or came out of it gives the same tokens as before.
#include <gtest/gtest.h>

#include "dialects/gguf_config.h"
#include "dialects/gguf_vocab.h"
#include "dialects/tokenizer_export.h"
#include "io/container.h"
#include "support/shared.h"
#include "support/temp_dir.h"
#include "text/tokenizer.h"

namespace nbl::dialects {
namespace {

const std::vector<std::string> kTexts = {
    "", " ", "Hello world", " Hello  world", "It was the best of times,\nit was the worst of times.", "don't we'll I'M",
    "1234567 and 3.14", "na\xc3\xafve caf\xc3\xa9 \xe2\x80\x94 \xf0\x9f\x98\x80\xf0\x9f\x98\x80 \xe4\xbd\xa0\xe5\xa5\xbd", "\t\n  \n", "for (int i = 0; i < 10; ++i) {}\n",
    "\xe0\xb8\xaa\xe0\xb8\xa7\xe0\xb8\xb1\xe0\xb8\xaa\xe0\xb8\x94\xe0\xb8\xb5", "a\xcc\x81", "  leading and trailing  "};

void expect_same(const text::Tokenizer& a, const text::Tokenizer& b) {
  for (const std::string& sample : kTexts) {
    for (const bool special : {false, true}) {
      const text::EncodeOptions options{.add_special = special, .parse_special = true};
      const auto x = a.encode(sample, options), y = b.encode(sample, options);
      ASSERT_TRUE(x.ok() && y.ok());
      EXPECT_EQ(*x, *y) << "'" << sample << "'";
      EXPECT_EQ(a.decode(*x, true).value(), b.decode(*x, true).value()) << "'" << sample << "'";
    }
  }
}

Json metadata_of(const io::GgufMetadata& metadata, const std::filesystem::path& path) {
  auto spool = io::TensorSpool::create(path.parent_path());
  EXPECT_TRUE(io::write_gguf(path, metadata, *spool, {}).ok());
  auto file = io::open_gguf(path);
  EXPECT_TRUE(file.ok()) << file.status().message();
  return gguf_tokenizer((*file)->metadata());
}

TEST(TokenizerExport, VocabulariesOfLlamaCppBecomeTokenizerJson) {
  const auto folder = test::shared_path("data/tokenizers");
  NBL_NEED_SHARED(folder)
  int seen = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() != ".gguf") continue;
    SCOPED_TRACE(entry.path().filename().string());
    auto file = io::open_gguf(entry.path());
    ASSERT_TRUE(file.ok());
    const Json metadata = gguf_tokenizer((*file)->metadata());
    const auto own = text::load_tokenizer_gguf(metadata, "gguf");
    if (!own.ok()) continue;
    const auto made = huggingface_tokenizer(metadata);
    ASSERT_TRUE(made.ok()) << made.status().message();
    const auto loaded = text::load_tokenizer_json(made->json, made->config, "made");
    ASSERT_TRUE(loaded.ok()) << loaded.status().message();
    expect_same(**own, **loaded);
    ++seen;
  }
  EXPECT_GE(seen, 2);
}

TEST(TokenizerExport, TokenizerJsonBecomesAVocabularyOfGguf) {
  test::TempDir dir;
  const auto models = std::filesystem::path(NIBBLE_SOURCE_DIR) / "examples" / "models" / "prose-3.7m";
  std::vector<std::filesystem::path> files = {models / "tokenizer.json"};
  const auto shared = test::shared_path("data/tokenizers");
  for (const char* name : {"hf-llama2", "hf-phi-2"}) {
    for (const char* suffix : {"", ".json", "/tokenizer.json", ".tokenizer.json"}) {
      const std::filesystem::path path = shared / (std::string(name) + suffix);
      if (std::filesystem::is_regular_file(path)) files.push_back(path);
    }
  }
  for (const auto& path : files) {
    SCOPED_TRACE(path.string());
    Assets assets{{"tokenizer.json", test::read_all(path)}};
    const auto own = text::load_tokenizer_json(assets["tokenizer.json"], "", "own");
    ASSERT_TRUE(own.ok()) << own.status().message();
    io::GgufMetadata metadata;
    const Status status = gguf_vocabulary(assets, Json::object(), (*own)->vocab_size(), metadata);
    ASSERT_TRUE(status.ok()) << status.message();
    const Json written = metadata_of(metadata, dir / "v.gguf");
    EXPECT_EQ(written.find("tokenizer.huggingface.json")->as_string(), assets["tokenizer.json"]);
    const auto loaded = text::load_tokenizer_gguf(written, "gguf");
    ASSERT_TRUE(loaded.ok()) << loaded.status().message();
    expect_same(**own, **loaded);
  }
}

TEST(TokenizerExport, WhatHasNoNameIsRefused) {
  const char* odd = R"({"version":"1.0","added_tokens":[],"normalizer":null,
    "pre_tokenizer":{"type":"Sequence","pretokenizers":[{"type":"Split","pattern":{"Regex":"[aeiou]"},"behavior":"Isolated","invert":false},
                     {"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":false}]},
    "post_processor":null,"decoder":{"type":"ByteLevel"},
    "model":{"type":"BPE","vocab":{"a":0,"b":1},"merges":[]}})";
  io::GgufMetadata metadata;
  const Status status = gguf_vocabulary({{"tokenizer.json", odd}}, Json::object(), 2, metadata);
  EXPECT_EQ(status.code(), Code::unsupported);
  EXPECT_NE(status.message().find("[aeiou]"), std::string::npos) << status.message();
  EXPECT_FALSE(huggingface_tokenizer(Json::object()).ok());
}

}  // namespace
}  // namespace nbl::dialects

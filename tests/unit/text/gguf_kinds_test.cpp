// GGUF vocabularies of the kinds bert and t5, made of small tokenizers of other formats: the ids must be those of the originals.
#include <gtest/gtest.h>

#include <limits>

#include <map>

#include "text/gguf_document.h"
#include "text/protobuf.h"
#include "text/tokenizer.h"
#include "unit/text/random_text.h"
#include "unit/text/shared_data.h"

namespace nbl::text {
namespace {

const std::filesystem::path kSmall = std::filesystem::path(NIBBLE_SOURCE_DIR) / "tests/golden/tokenizers/small";

void expect_same_ids(const Tokenizer& a, const Tokenizer& b, const EncodeOptions& options) {
  testing::SplitMix rng(41);
  for (int i = 0; i < 3000; ++i) {
    const std::string text = testing::random_text(rng);
    const auto x = a.encode(text, options), y = b.encode(text, options);
    ASSERT_TRUE(x.ok() && y.ok()) << x.status().message() << y.status().message();
    ASSERT_EQ(*x, *y) << text;
    ASSERT_EQ(*a.decode(*x, true), *b.decode(*x, true)) << text;
  }
}

TEST(GgufVocabularyKinds, Bert) {
  // With the bound on a word's length that these files mean.
  Json whole = *Json::parse(testing::read_file(kSmall / "wordpiece.json"), "wordpiece.json"), model = *whole.find("model");
  model.set("max_input_chars_per_word", 100);
  whole.set("model", std::move(model));
  const std::string file = whole.dump();
  const auto original = load_tokenizer_json(file, "", "wordpiece.json");
  ASSERT_TRUE(original.ok()) << original.status().message();
  Json tokens = Json::array(), types = Json::array();
  for (TokenId id = 0; id < (*original)->vocab_size(); ++id) {
    const std::string piece = *(*original)->piece(id);
    const bool bracketed = piece.size() > 1 && piece.front() == '[' && piece.back() == ']';
    tokens.push_back(bracketed ? piece : piece.starts_with("##") ? piece.substr(2) : "\xE2\x96\x81" + piece);
    types.push_back((*original)->is_special(id) ? 3 : 1);
  }
  const Json metadata = Json::object({{"tokenizer.ggml.model", "bert"}, {"tokenizer.ggml.tokens", std::move(tokens)},
                                      {"tokenizer.ggml.token_type", std::move(types)}});
  const auto made = load_tokenizer_gguf(metadata, "a file");
  ASSERT_TRUE(made.ok()) << made.status().message();
  expect_same_ids(**original, **made, {});
  const TokenId cls = *(*made)->find("[CLS]"), sep = *(*made)->find("[SEP]");
  const auto around = *(*made)->encode("a", {.add_special = true});
  EXPECT_EQ(around.front(), cls);
  EXPECT_EQ(around.back(), sep);
}

TEST(GgufVocabularyKinds, T5) {
  for (const char* name : {"sp-unigram.model", "sp-unigram-bytes.model"}) {
    SCOPED_TRACE(name);
    const std::string file = testing::read_file(kSmall / name);
    const auto original = load_tokenizer_sentencepiece(file, "", name);
    ASSERT_TRUE(original.ok()) << original.status().message();
    Json tokens = Json::array(), scores = Json::array(), types = Json::array(), map = Json::array();
    Json metadata = Json::object({{"tokenizer.ggml.model", "t5"}});
    ProtoReader in(file);
    while (!in.done()) {
      const ProtoField field = *in.next();
      if (field.wire != 2 || (field.number != 1 && field.number != 3)) continue;
      double score = 0;
      int64_t type = 1;
      ProtoReader inner(field.bytes);
      while (!inner.done()) {
        const ProtoField f = *inner.next();
        if (field.number == 1) {
          if (f.number == 1) tokens.push_back(f.bytes);
          if (f.number == 2) score = static_cast<double>(f.as_float());
          if (f.number == 3) type = f.as_int();
        } else if (f.number == 2) {
          for (const char c : f.bytes) map.push_back(static_cast<int64_t>(static_cast<unsigned char>(c)));
        } else if (f.number == 3 || f.number == 4) {
          metadata.set(f.number == 3 ? "tokenizer.ggml.add_space_prefix" : "tokenizer.ggml.remove_extra_whitespaces", f.value != 0);
        }
      }
      if (field.number != 1) continue;
      scores.push_back(score);
      types.push_back(type);
    }
    // What the protocol leaves out is its default.
    for (const char* key : {"tokenizer.ggml.add_space_prefix", "tokenizer.ggml.remove_extra_whitespaces"})
      if (metadata.find(key) == nullptr) metadata.set(key, true);
    for (std::size_t i = 0; i < types.size(); ++i)
      if (types.elements()[i].as_int() == 2) metadata.set("tokenizer.ggml.unknown_token_id", static_cast<int64_t>(i));
    metadata.set("tokenizer.ggml.tokens", std::move(tokens));
    metadata.set("tokenizer.ggml.scores", std::move(scores));
    metadata.set("tokenizer.ggml.token_type", std::move(types));
    metadata.set("tokenizer.ggml.precompiled_charsmap", std::move(map));
    metadata.set("tokenizer.ggml.eos_token_id", 2);
    const auto made = load_tokenizer_gguf(metadata, "a file");
    ASSERT_TRUE(made.ok()) << made.status().message();
    expect_same_ids(**original, **made, {.parse_special = false});
    EXPECT_EQ((*made)->encode("a", {.add_special = true})->back(), 2);
  }
}

// Gemma 4's: byte-pair merges over characters. As in the real one, no merge joins line breaks with something else: these files cut there.
TEST(GgufVocabularyKinds, MergesOfCharacters) {
  Json whole = *Json::parse(testing::read_file(kSmall / "gemma-like.json"), "gemma-like.json"), model = *whole.find("model");
  Json pairs = Json::array(), merges = Json::array();
  for (const Json& merge : model.find("merges")->elements()) {
    const std::string left(merge.elements()[0].as_string()), right(merge.elements()[1].as_string()), both = left + right;
    if (both.find('\n') != std::string::npos && both.find_first_not_of('\n') != std::string::npos) continue;
    pairs.push_back(merge);
    merges.push_back(left + " " + right);
  }
  EXPECT_LT(pairs.size(), model.find("merges")->size());
  model.set("merges", std::move(pairs));
  whole.set("model", std::move(model));
  const std::string file = whole.dump();
  const auto original = load_tokenizer_json(file, "", "gemma-like.json");
  ASSERT_TRUE(original.ok()) << original.status().message();
  std::map<int64_t, bool> added;
  for (const Json& token : whole.find("added_tokens")->elements()) added[token.find("id")->as_int()] = token.find("special")->as_bool();
  Json tokens = Json::array(), types = Json::array();
  for (TokenId id = 0; id < (*original)->vocab_size(); ++id) {
    const std::string piece = *(*original)->piece(id);
    tokens.push_back(piece);
    types.push_back(added.contains(id) ? (added[id] ? 3 : 4) : piece.starts_with("<0x") ? 6 : 1);
  }
  for (const auto& [kind, pre] : {std::pair("gemma4", ""), std::pair("gpt2", "gemma4"), std::pair("gpt2", "granite-embed-multi-311m"),
                                   std::pair("gpt2", "sarvam-moe")}) {
    Json metadata = Json::object({{"tokenizer.ggml.model", kind}, {"tokenizer.ggml.tokens", tokens},
                                  {"tokenizer.ggml.token_type", types}, {"tokenizer.ggml.merges", merges}});
    if (*pre != '\0') metadata.set("tokenizer.ggml.pre", pre);
    const auto made = load_tokenizer_gguf(metadata, "a file");
    ASSERT_TRUE(made.ok()) << made.status().message();
    expect_same_ids(**original, **made, {});
  }
}

// Kinds that other formats do not have: ids as llama.cpp gives them.
TEST(GgufVocabularyKinds, IdsOfLlamaCpp) {
  const Json golden = *Json::parse(testing::read_file(kSmall.parent_path() / "gguf_kinds.json"), "gguf_kinds.json");
  const auto texts = golden.find("texts")->elements();
  ASSERT_GT(texts.size(), 50u);
  for (const Json& kind : golden.find("kinds")->elements()) {
    const Json& metadata = *kind.find("metadata");
    const std::string name(metadata.find("tokenizer.ggml.model")->as_string());
    const auto made = load_tokenizer_gguf(metadata, "a file");
    ASSERT_TRUE(made.ok()) << name << ": " << made.status().message();
    for (std::size_t i = 0; i < texts.size(); ++i) {
      const std::string text(texts[i].as_string());
      std::vector<TokenId> want;
      for (const Json& id : kind.find("ids")->elements()[i].elements()) want.push_back(static_cast<TokenId>(id.as_int()));
      const auto ids = (*made)->encode(text, {.parse_special = false});
      ASSERT_TRUE(ids.ok()) << ids.status().message();
      ASSERT_EQ(*ids, want) << name << ": " << text;
      if (name == "whitespace" || text.starts_with("\xEF\xBB\xBF") || text.find("<s>") != std::string::npos) continue;
      EXPECT_EQ(*(*made)->decode(*ids, true), text) << name;
    }
  }
}

TEST(GgufVocabularyKinds, WhatThoseKindsRefuse) {
  const auto message = [](Json metadata) {
    const auto made = load_tokenizer_gguf(metadata, "a file");
    return made.ok() ? std::string() : std::string(made.status().message());
  };
  const auto tokens = [](std::initializer_list<const char*> list) {
    Json out = Json::array();
    for (const char* each : list) out.push_back(each);
    return out;
  };
  EXPECT_NE(message(Json::object({{"tokenizer.ggml.model", "rwkv"}, {"tokenizer.ggml.tokens", tokens({"a", "\\x4"})}})).find("escape"),
            std::string::npos);
  EXPECT_NE(message(Json::object({{"tokenizer.ggml.model", "rwkv"}, {"tokenizer.ggml.tokens", tokens({"a", ""})}})).find("token 1"),
            std::string::npos);
  EXPECT_NE(message(Json::object({{"tokenizer.ggml.model", "plamo2"}, {"tokenizer.ggml.tokens", tokens({"a"})}})).find("scores"),
            std::string::npos);
  Json scores = Json::array();
  scores.push_back(0.0);
  EXPECT_NE(message(Json::object({{"tokenizer.ggml.model", "plamo2"}, {"tokenizer.ggml.tokens", tokens({"a"})},
                                  {"tokenizer.ggml.scores", std::move(scores)}})).find("<0x00>"),
            std::string::npos);
  const auto bare = load_tokenizer_gguf(
      Json::object({{"tokenizer.ggml.model", "rwkv"}, {"tokenizer.ggml.tokens", tokens({"ab", "\\x61", "\\\\"})}}), "a file");
  ASSERT_TRUE(bare.ok()) << bare.status().message();
  EXPECT_EQ(*(*bare)->encode("aab\\", {}), (std::vector<TokenId>{1, 0, 2}));
  const auto unknown = (*bare)->encode("ac", {});
  ASSERT_FALSE(unknown.ok());
  EXPECT_NE(unknown.status().message().find("0x63"), std::string::npos);
}

// Model files hand the lists over as their parser left them: the same tokenizer as of a value, and the same errors.
TEST(GgufVocabularyKinds, ListsThatTheParserLeftSayTheSame) {
  const auto list = [](std::initializer_list<Json> values) {
    Json all = Json::array();
    for (const Json& value : values) all.push_back(value);
    return all;
  };
  const auto with = [&](Json tokens, Json types, Json merges) {
    Json metadata = Json::object({{"tokenizer.ggml.model", "gpt2"}, {"tokenizer.ggml.pre", "gpt-2"}, {"tokenizer.ggml.eos_token_id", 3}});
    metadata.set("tokenizer.ggml.tokens", std::move(tokens));
    metadata.set("tokenizer.ggml.token_type", std::move(types));
    metadata.set("tokenizer.ggml.merges", std::move(merges));
    return metadata;
  };
  const Json tokens = list({"a", "b", "ab", "<end>"}), types = list({1, 1, 1, 3}), merges = list({"a b"});
  int made = 0;
  for (const Json& metadata :
       {with(tokens, types, merges), with(tokens, Json(), merges), with(list({"a", 7, "ab", "<end>"}), types, merges),
        with(tokens, list({1, 1}), merges), with(tokens, Json(5), merges), with(tokens, types, list({"ab"})),
        with(tokens, types, list({3})), with(tokens, types, Json()), with(Json(), types, merges), with(list({}), types, merges),
        with(Json("a"), types, merges)}) {
    SCOPED_TRACE(metadata.dump());
    const auto document = JsonDocument::parse(metadata.dump(), "a file", kGgufTables);
    ASSERT_TRUE(document.ok()) << document.status().message();
    EXPECT_TRUE(document->value().find_value("tokenizer.ggml.merges") == nullptr);
    const auto of_value = load_tokenizer_gguf(metadata, "a file");
    const auto of_document = load_tokenizer_gguf(*document, "a file");
    EXPECT_EQ(of_value.status().message(), of_document.status().message());
    ASSERT_EQ(of_value.ok(), of_document.ok());
    if (!of_value.ok()) continue;
    ++made;
    EXPECT_EQ(*(*of_document)->encode("abba<end>", {}), *(*of_value)->encode("abba<end>", {}));
    EXPECT_EQ((*of_document)->eos(), (*of_value)->eos());
  }
  EXPECT_EQ(made, 2);
}

// Files that name no tokens of begin and end mean those of the original tokenizers, which a small vocabulary need not have.
TEST(GgufVocabularyKinds, NoDefaultTokenBeyondTheVocabulary) {
  for (const char* kind : {"llama", "t5"}) {
    Json tokens = Json::array(), scores = Json::array();
    tokens.push_back("a");
    scores.push_back(0.0);
    const Json metadata = Json::object({{"tokenizer.ggml.model", kind}, {"tokenizer.ggml.tokens", std::move(tokens)},
                                        {"tokenizer.ggml.scores", std::move(scores)}, {"tokenizer.ggml.unknown_token_id", 0},
                                        {"tokenizer.ggml.add_eos_token", true}});
    const auto made = load_tokenizer_gguf(metadata, "a file");
    ASSERT_TRUE(made.ok()) << made.status().message();
    const auto ids = (*made)->encode("a", {.add_special = true});
    ASSERT_TRUE(ids.ok()) << ids.status().message();
    for (const TokenId id : *ids) EXPECT_LT(id, 1) << kind;
  }
}

// Scores order the merges, and a score that is no number has no place in an order.
TEST(GgufVocabularyKinds, ScoresAreNumbers) {
  for (const char* kind : {"llama", "t5"}) {
    Json tokens = Json::array(), scores = Json::array();
    for (int i = 0; i < 40; ++i) {
      tokens.push_back(std::string(1, static_cast<char>('a' + i % 26)) + std::to_string(i));
      scores.push_back(i % 3 == 1 ? std::numeric_limits<double>::quiet_NaN() : -i);
    }
    const Json metadata = Json::object({{"tokenizer.ggml.model", kind}, {"tokenizer.ggml.tokens", std::move(tokens)},
                                        {"tokenizer.ggml.scores", std::move(scores)}, {"tokenizer.ggml.unknown_token_id", 0}});
    const auto made = load_tokenizer_gguf(metadata, "a file");
    ASSERT_FALSE(made.ok()) << kind;
    EXPECT_NE(made.status().message().find("score"), std::string::npos) << made.status().message();
  }
}

}  // namespace
}  // namespace nbl::text

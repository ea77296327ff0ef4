#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <fstream>

#include "base/half.h"
#include "dialects/dialects.h"
#include "io/container.h"
#include "support/gguf_file.h"
#include "support/shared.h"
#include "support/temp_dir.h"

namespace nbl::dialects {
namespace {

using test::GgufFile;
using test::TempDir;

std::filesystem::path golden(const char* name) {
  return std::filesystem::path(NIBBLE_SOURCE_DIR) / "tests" / "golden" / "gguf" / name;
}

TEST(Gguf, EveryBlockTypeDecodesAsThePackageDecodesIt) {
  auto model = open(golden("blocks.gguf"));
  ASSERT_TRUE(model.ok()) << model.status().message();
  const std::string expected = test::read_all(golden("blocks.bin"));
  auto container = io::open_gguf(golden("blocks.gguf"));
  ASSERT_TRUE(container.ok());
  std::size_t at = 0;
  int blocks = 0;
  for (const io::RawTensor& raw : (*container)->tensors()) {
    SCOPED_TRACE(raw.name);
    const std::string name = raw.name == "token_embd.weight" ? "model.embed_tokens.weight" : raw.name;
    auto tensor = (*model)->matrix(name);
    ASSERT_TRUE(tensor.ok()) << tensor.status().message();
    ASSERT_EQ(tensor->n, 3);
    ASSERT_EQ(tensor->k, 512);
    std::vector<float> row(512), golden_row(512);
    for (int64_t r = 0; r < 3; ++r) {
      ASSERT_LE(at + 2048, expected.size());
      std::memcpy(golden_row.data(), expected.data() + at, 2048);
      at += 2048;
      tensor->dequantize_row(r, row.data());
      for (std::size_t c = 0; c < 512; ++c) ASSERT_EQ(row[c], golden_row[c]) << "row " << r << " column " << c;
    }
    ++blocks;
  }
  EXPECT_EQ(at, expected.size());
  EXPECT_EQ(blocks, 26);
}

// A llama of one layer, f32, values that say where they were in the Hugging Face tensor.
struct TinyLlama {
  static constexpr int64_t kHidden = 32, kHeads = 4, kKv = 2, kFfn = 64, kVocab = 10, kHead = 8;
  GgufFile file;
  explicit TinyLlama(bool tied = true) {
    file.text("general.architecture", "llama");
    file.u32("llama.block_count", 1);
    file.u32("llama.context_length", 128);
    file.u32("llama.embedding_length", kHidden);
    file.u32("llama.feed_forward_length", kFfn);
    file.u32("llama.attention.head_count", kHeads);
    file.u32("llama.attention.head_count_kv", kKv);
    file.u32("llama.rope.dimension_count", kHead);
    file.f32("llama.attention.layer_norm_rms_epsilon", 1e-5f);
    file.f32("llama.rope.freq_base", 500000.0f);
    file.u32("tokenizer.ggml.bos_token_id", 1);
    file.text("tokenizer.ggml.model", "gpt2");
    file.texts("tokenizer.ggml.tokens", {"a", "b"});
    file.text("tokenizer.chat_template", "{{ x }}");
    add("token_embd.weight", kVocab, kHidden);
    add("output_norm.weight", kHidden, 0);
    add("blk.0.attn_norm.weight", kHidden, 0);
    add("blk.0.ffn_norm.weight", kHidden, 0);
    add_permuted("blk.0.attn_q.weight", kHeads);
    add_permuted("blk.0.attn_k.weight", kKv);
    add("blk.0.attn_v.weight", kKv * kHead, kHidden);
    add("blk.0.attn_output.weight", kHidden, kHidden);
    add("blk.0.ffn_gate.weight", kFfn, kHidden);
    add("blk.0.ffn_up.weight", kFfn, kHidden);
    add("blk.0.ffn_down.weight", kHidden, kFfn);
    if (!tied) add("output.weight", kVocab, kHidden);
  }
  void add(const char* name, int64_t rows, int64_t columns) {
    std::vector<float> values(static_cast<std::size_t>(rows * std::max<int64_t>(columns, 1)));
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i);
    file.tensor(name, columns == 0 ? Shape{rows} : Shape{rows, columns}, values);
  }
  // The converter's rule: row 2i + j of a head holds row j * d / 2 + i.
  void add_permuted(const char* name, int64_t heads) {
    std::vector<float> values(static_cast<std::size_t>(heads * kHead * kHidden));
    for (int64_t h = 0; h < heads; ++h) {
      for (int64_t i = 0; i < kHead / 2; ++i) {
        for (int64_t j = 0; j < 2; ++j) {
          for (int64_t c = 0; c < kHidden; ++c) {
            const int64_t there = h * kHead + 2 * i + j, here = h * kHead + j * kHead / 2 + i;
            values[static_cast<std::size_t>(there * kHidden + c)] = static_cast<float>(here * kHidden + c);
          }
        }
      }
    }
    file.tensor(name, {heads * kHead, kHidden}, values);
  }
};

TEST(Gguf, LlamaBecomesTheHuggingFaceCheckpoint) {
  TempDir dir;
  auto model = open(dir.write("m", TinyLlama().file.bytes()));
  ASSERT_TRUE(model.ok()) << model.status().message();
  const Json& config = (*model)->config();
  EXPECT_EQ(config.find("model_type")->as_string(), "llama");
  EXPECT_EQ(config.get_int("hidden_size").value(), 32);
  EXPECT_EQ(config.get_int("num_key_value_heads").value(), 2);
  EXPECT_EQ(config.get_int("vocab_size").value(), 10);
  EXPECT_EQ(config.get_double("rms_norm_eps").value(), 1e-5);
  EXPECT_EQ(config.get_double("rope_theta").value(), 500000.0);
  EXPECT_EQ(config.get_int("bos_token_id").value(), 1);
  EXPECT_TRUE(config.find("tie_word_embeddings")->as_bool());
  EXPECT_EQ((*model)->asset("chat_template.jinja").value(), "{{ x }}");
  EXPECT_NE((*model)->asset("tokenizer.gguf").value().find("tokenizer.ggml.tokens"), std::string::npos);
  for (const char* name : {"model.layers.0.self_attn.q_proj.weight", "model.layers.0.self_attn.k_proj.weight",
                           "model.layers.0.mlp.down_proj.weight", "model.embed_tokens.weight", "model.norm.weight"}) {
    SCOPED_TRACE(name);
    auto array = (*model)->array(name);
    ASSERT_TRUE(array.ok()) << array.status().message();
    const auto values = array->to_f32().value();
    for (std::size_t i = 0; i < values.size(); ++i) ASSERT_EQ(values[i], static_cast<float>(i));
  }
  EXPECT_EQ((*model)->array("model.none").status().code(), Code::not_found);
  EXPECT_FALSE((*model)->matrix("model.norm.weight").ok());
  auto untied = open(dir.write("m", TinyLlama(false).file.bytes()));
  ASSERT_TRUE(untied.ok());
  EXPECT_FALSE((*untied)->config().find("tie_word_embeddings")->as_bool(true));
  EXPECT_TRUE((*untied)->has("lm_head.weight"));
}

TEST(Gguf, Llama3ScalingIsRecognisedFromItsDivisors) {
  const auto with = [](std::vector<float> divisors) {
    TempDir dir;
    TinyLlama tiny;
    tiny.file.tensor("rope_freqs.weight", {static_cast<int64_t>(divisors.size())}, divisors);
    auto model = open(dir.write("m", tiny.file.bytes()));
    return model.ok() ? (*model)->config().find("rope_scaling")->dump() : model.status().message();
  };
  // Heads of 8, theta 500000: wavelengths 6.28, 167, 4443, 118143; factor 32, original length 8192, low 1, high 4.
  const double wave = 2 * 3.14159265358979323846 * std::pow(500000.0, 0.5);
  const double smooth = (8192 / wave - 1) / 3;
  const auto middle = static_cast<float>(1 / ((1 - smooth) / 32 + smooth));
  const std::string scaling = with({1, 1, middle, 32});
  EXPECT_NE(scaling.find("\"llama3\""), std::string::npos) << scaling;
  EXPECT_NE(scaling.find("\"factor\":32"), std::string::npos) << scaling;
  EXPECT_NE(scaling.find("8192"), std::string::npos) << scaling;
  // Divisors of no rule with published parameters are kept as they are.
  const std::string plain = with({1, 1, 5, 32});
  EXPECT_NE(plain.find("\"longrope\""), std::string::npos) << plain;
  EXPECT_NE(plain.find("\"short_factor\":[1.0,1.0,5.0,32.0]"), std::string::npos) << plain;
  EXPECT_NE(with({1, 1, 0, 32}).find("divides by 0"), std::string::npos);
  EXPECT_NE(with({1, 1, 32}).find("3 divisors"), std::string::npos);
}

// A family whose heads turn in part by custom: what the file says goes, the whole head too, and not the custom.
TEST(Gguf, TheFileSaysHowMuchOfAHeadTurns) {
  TempDir dir;
  for (const uint32_t turned : {8u, 4u, 2u}) {
    GgufFile file;
    file.text("general.architecture", "gptneox");
    for (const auto& [key, value] : {std::pair{"context_length", 128u}, std::pair{"embedding_length", 32u}, std::pair{"block_count", 1u},
                                     std::pair{"feed_forward_length", 64u}, std::pair{"attention.head_count", 4u},
                                     std::pair{"rope.dimension_count", turned}}) {
      file.u32("gptneox." + std::string(key), value);
    }
    file.f32("gptneox.attention.layer_norm_epsilon", 1e-5f);
    file.f32("gptneox.rope.freq_base", 40000.0f);
    file.tensor("token_embd.weight", {10, 32}, std::vector<float>(320));
    auto model = open(dir.write("m", file.bytes()));
    ASSERT_TRUE(model.ok()) << model.status().message();
    EXPECT_EQ((*model)->config().get_double("rotary_pct").value(), turned / 8.0);
    EXPECT_EQ((*model)->config().get_double("rotary_emb_base").value(), 40000.0);
  }
}

TEST(Gguf, WhatTheMetadataMustSay) {
  const auto message = [](auto change) {
    TempDir dir;
    GgufFile file;
    change(file);
    auto model = open(dir.write("m", file.bytes()));
    return model.ok() ? std::string() : model.status().message();
  };
  EXPECT_NE(message([](GgufFile&) {}).find("no general.architecture"), std::string::npos);
  EXPECT_NE(message([](GgufFile& f) { f.u32("general.architecture", 3); }).find("no general.architecture"),
            std::string::npos);
  EXPECT_NE(message([](GgufFile& f) { f.text("general.architecture", "bird"); }).find("'bird' is not known"),
            std::string::npos);
  EXPECT_NE(message([](GgufFile& f) { f.text("general.architecture", "llama"); }).find("attention heads"),
            std::string::npos);
  EXPECT_NE(message([](GgufFile& f) {
              f.text("general.architecture", "llama");
              f.text("llama.embedding_length", "many");
            }).find("llama.embedding_length is no number"),
            std::string::npos);
  EXPECT_NE(message([](GgufFile& f) {
              f.text("general.architecture", "llama");
              f.u32("llama.embedding_length", 0xffffffffu);
            }).find("llama.embedding_length is"),
            std::string::npos);
  EXPECT_NE(message([](GgufFile& f) {
              f.text("general.architecture", "llama");
              f.u32("llama.embedding_length", 32);
              f.u32("llama.attention.head_count", 4);
            }).find("token_embd.weight"),
            std::string::npos);
}

TEST(Gguf, WhatWouldChangeTheComputationIsNotIgnored) {
  const auto message = [](auto change) {
    TempDir dir;
    GgufFile file;
    file.text("general.architecture", "llama");
    file.u32("llama.embedding_length", 32);
    file.u32("llama.attention.head_count", 2);
    change(file);
    auto model = open(dir.write("m", file.bytes()));
    return model.ok() ? std::string() : model.status().message();
  };
  const auto refused = [](const std::string& text) { return text.find("changes the computation") != std::string::npos; };
  for (const char* key : {"attention.scale", "logit_scale", "embedding_scale", "residual_scale", "attention.clamp_kqv",
                          "attention.max_alibi_bias"}) {
    const std::string name = std::string("llama.") + key;
    EXPECT_TRUE(refused(message([&](GgufFile& f) { f.f32(name, 0.5f); }))) << key;
    EXPECT_FALSE(refused(message([&](GgufFile& f) { f.f32(name, 0.0f); }))) << key;
  }
  EXPECT_FALSE(refused(message([](GgufFile& f) { f.f32("llama.attention.scale", 0.25f); })));  // heads of 16
  EXPECT_FALSE(refused(message([](GgufFile& f) { f.f32("llama.logit_scale", 1.0f); })));
  EXPECT_TRUE(refused(message([](GgufFile& f) { f.entry("llama.attention.causal", 7, GgufFile::raw<uint8_t>(0)); })));
  EXPECT_FALSE(refused(message([](GgufFile& f) { f.entry("llama.attention.causal", 7, GgufFile::raw<uint8_t>(1)); })));
}

TEST(Gguf, AWindowMakesLlamaMistral) {
  TempDir dir;
  TinyLlama tiny;
  tiny.file.u32("llama.attention.sliding_window", 7);
  auto model = open(dir.write("m", tiny.file.bytes()));
  ASSERT_TRUE(model.ok()) << model.status().message();
  EXPECT_EQ((*model)->config().find("model_type")->as_string(), "mistral");
  EXPECT_EQ((*model)->config().find("sliding_window")->as_int(), 7);
}

TEST(Gguf, RowsMustFitTheHeads) {
  TempDir dir;
  TinyLlama tiny;
  tiny.file.tensor("blk.1.attn_q.weight", {30, 32}, std::vector<float>(30 * 32));
  tiny.file.tensor("blk.2.attn_q.weight", {32, 2, 32}, std::vector<float>(32 * 64));
  auto model = open(dir.write("m", tiny.file.bytes()));
  ASSERT_TRUE(model.ok()) << model.status().message();
  const auto result = (*model)->matrix("model.layers.1.self_attn.q_proj.weight");
  EXPECT_EQ(result.status().code(), Code::mismatch);
  EXPECT_NE(result.status().message().find("30 rows for 4 heads"), std::string::npos) << result.status().message();
  const Status status = (*model)->array("model.layers.2.self_attn.q_proj.weight").status();
  EXPECT_FALSE(status.ok());
  EXPECT_NE(status.message().find("blk.2.attn_q.weight"), std::string::npos) << status.message();
}

TEST(Gguf, ScalesThatAreNotFiniteAreRefusedByName) {
  TempDir dir;
  TinyLlama tiny;
  std::string block(18, '\0');
  block[1] = 0x7c;  // infinity
  tiny.file.tensor_of("odd.weight", {1, 32}, 2, block);
  auto model = open(dir.write("m", tiny.file.bytes()));
  ASSERT_TRUE(model.ok()) << model.status().message();
  EXPECT_EQ((*model)->warnings().size(), 1u);
  const Status status = (*model)->matrix("odd.weight").status();
  EXPECT_EQ(status.code(), Code::corrupt);
  EXPECT_NE(status.message().find("odd.weight"), std::string::npos);
}

}  // namespace
}  // namespace nbl::dialects

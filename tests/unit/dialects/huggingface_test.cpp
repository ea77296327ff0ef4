#include <gtest/gtest.h>

#include <cstring>

#include "dialects/dialects.h"
#include "support/random_qtensor.h"
#include "support/safetensors_file.h"
#include "support/shared.h"
#include "support/temp_dir.h"

namespace nbl::dialects {
namespace {

using test::raw;
using test::TempDir;
using test::write_safetensors;

const std::vector<float> kSix = {1, 2, 3, 4, 5, 6};

TEST(HuggingFace, DenseTypesAndAssets) {
  TempDir dir;
  dir.write("config.json", R"({"model_type":"llama","hidden_size":3})");
  dir.write("tokenizer.json", "{}");
  dir.write("private.txt", "not an asset");
  std::vector<uint16_t> half(6), brain(6);
  convert_from_f32(kSix.data(), 6, DType::f16, half.data());
  convert_from_f32(kSix.data(), 6, DType::bf16, brain.data());
  write_safetensors(dir / "model.safetensors", {{"model.a.weight", "F32", {2, 3}, raw(kSix)},
                                                {"model.b.weight", "F16", {3, 2}, raw(half)},
                                                {"model.c.weight", "BF16", {6, 1}, raw(brain)},
                                                {"model.norm.weight", "BF16", {6}, raw(brain)},
                                                {"model.ids", "I64", {1}, std::string(8, '\0')},
                                                {"model.odd", "U16", {3}, std::string(6, '\0')}});
  auto model = open(dir.path());
  ASSERT_TRUE(model.ok()) << model.status().message();
  EXPECT_EQ((*model)->format(), "huggingface");
  EXPECT_EQ((*model)->asset_names(), (std::vector<std::string>{"tokenizer.json"}));
  EXPECT_EQ((*model)->asset("private.txt").status().code(), Code::not_found);
  EXPECT_EQ((*model)->asset("../secret").status().code(), Code::not_found);
  const QTensor a = (*model)->matrix("model.a.weight").value();
  EXPECT_EQ(a.description(), "dense f32");
  EXPECT_EQ((*model)->matrix("model.b.weight")->description(), "dense f16");
  EXPECT_EQ((*model)->matrix("model.c.weight")->description(), "dense bf16");
  std::vector<float> row(3);
  a.dequantize_row(1, row.data());
  EXPECT_EQ(row, (std::vector<float>{4, 5, 6}));
  EXPECT_EQ((*model)->array("model.norm.weight")->to_f32().value(), kSix);
  EXPECT_EQ((*model)->tensors().size(), 6u);

  const auto message = [&](const char* name) { return (*model)->matrix(name).status().message(); };
  EXPECT_NE(message("model.norm.weight").find("no matrix"), std::string::npos) << message("model.norm.weight");
  EXPECT_NE(message("model.none.weight").find("no tensor model.none.weight"), std::string::npos);
  EXPECT_NE(message("model.ids").find("model.safetensors"), std::string::npos);
  EXPECT_EQ((*model)->array("model.odd").status().code(), Code::unsupported);
}

TEST(HuggingFace, OldNamesAreTranslated) {
  struct Case {
    const char *model_type, *stored, *canonical;
  };
  const Case cases[] = {
      {"gpt2", "h.0.ln_1.weight", "transformer.h.0.ln_1.weight"},
      {"gpt2", "wte.weight", "transformer.wte.weight"},
      {"gpt2", "transformer.wte.weight", "transformer.wte.weight"},
      {"opt", "decoder.layers.0.fc1.weight", "model.decoder.layers.0.fc1.weight"},
      {"llama", "layers.0.mlp.up_proj.weight", "model.layers.0.mlp.up_proj.weight"},
      {"gpt_neox", "layers.0.mlp.dense_h_to_4h.weight", "gpt_neox.layers.0.mlp.dense_h_to_4h.weight"},
      {"gemma3", "language_model.model.norm.weight", "model.norm.weight"},
      {"gemma3", "model.language_model.norm.weight", "model.norm.weight"},
      {"gemma3", "language_model.lm_head.weight", "lm_head.weight"},
      {"bert", "encoder.LayerNorm.gamma", "encoder.LayerNorm.weight"},
      {"bert", "encoder.LayerNorm.beta", "encoder.LayerNorm.bias"},
  };
  for (const Case& c : cases) {
    TempDir dir;
    dir.write("config.json", std::string(R"({"model_type":")") + c.model_type + R"(","tie_word_embeddings":false})");
    write_safetensors(dir / "model.safetensors", {{c.stored, "F32", {6}, raw(kSix)}});
    auto model = open(dir.path());
    ASSERT_TRUE(model.ok()) << model.status().message();
    EXPECT_TRUE((*model)->has(c.canonical)) << c.stored;
  }
}

// As transformers reads them: of two tied matrices a file may hold either.
TEST(HuggingFace, ATiedOutputMatrixAloneIsTheEmbedding) {
  struct Case {
    const char *config, *found;
  };
  const Case cases[] = {
      {R"({"model_type":"llama","tie_word_embeddings":true})", "model.embed_tokens.weight"},
      {R"({"model_type":"llama","tie_word_embeddings":false})", "lm_head.weight"},
      {R"({"model_type":"llama"})", "lm_head.weight"},
      {R"({"model_type":"gemma2"})", "model.embed_tokens.weight"},
      {R"({"model_type":"gpt2"})", "transformer.wte.weight"},
      {R"({"model_type":"gpt2","tie_word_embeddings":false})", "lm_head.weight"},
      {R"({"model_type":"opt"})", "model.decoder.embed_tokens.weight"},
      {R"({"model_type":"gemma3","text_config":{"model_type":"gemma3_text"}})", "model.embed_tokens.weight"},
  };
  for (const Case& c : cases) {
    TempDir dir;
    dir.write("config.json", c.config);
    write_safetensors(dir / "model.safetensors", {{"lm_head.weight", "F32", {2, 3}, raw(kSix)}});
    auto model = open(dir.path());
    ASSERT_TRUE(model.ok()) << model.status().message();
    ASSERT_EQ((*model)->tensors().size(), 1u);
    EXPECT_EQ((*model)->tensors()[0].name, c.found) << c.config;
    EXPECT_TRUE((*model)->matrix(c.found).ok()) << c.config;
  }
  TempDir both;
  both.write("config.json", R"({"model_type":"llama","tie_word_embeddings":true})");
  write_safetensors(both / "model.safetensors",
                    {{"lm_head.weight", "F32", {2, 3}, raw(kSix)}, {"model.embed_tokens.weight", "F32", {2, 3}, raw(kSix)}});
  EXPECT_EQ((*open(both.path()))->tensors().size(), 2u);
}

TEST(HuggingFace, FindsTheWeightsAmongOtherFiles) {
  TempDir dir;
  dir.write("config.json", "{}");
  EXPECT_EQ(open(dir.path()).status().code(), Code::not_found);
  dir.write("pytorch_model.bin", "pickle");
  EXPECT_NE(open(dir.path()).status().message().find("convert them first"), std::string::npos);
  write_safetensors(dir / "gptq_model-4bit.safetensors", {{"a", "F32", {6}, raw(kSix)}});
  write_safetensors(dir / "consolidated.safetensors", {{"a", "F32", {6}, raw(kSix)}});
  write_safetensors(dir / "adapter_model.safetensors", {{"z", "F32", {6}, raw(kSix)}});
  auto model = open(dir.path());
  ASSERT_TRUE(model.ok()) << model.status().message();
  EXPECT_TRUE((*model)->has("a"));
  EXPECT_FALSE((*model)->has("z"));
  write_safetensors(dir / "other.safetensors", {{"a", "F32", {6}, raw(kSix)}});
  EXPECT_NE(open(dir.path()).status().message().find("is in both"), std::string::npos);
}

TEST(HuggingFace, BadConfigs) {
  for (const char* text : {"", "[]", "{", "null", "{\"a\":1}x", "{\"quantization_config\":5}"}) {
    TempDir dir;
    dir.write("config.json", text);
    write_safetensors(dir / "model.safetensors", {{"a", "F32", {6}, raw(kSix)}});
    auto model = open(dir.path());
    ASSERT_FALSE(model.ok()) << text;
    EXPECT_NE(model.status().message().find("config.json"), std::string::npos) << model.status().message();
  }
  TempDir dir;
  dir.write("config.json", R"({"quantization_config":{"quant_method":"unheard-of"}})");
  write_safetensors(dir / "model.safetensors", {{"a", "F32", {6}, raw(kSix)}});
  EXPECT_NE(open(dir.path()).status().message().find("unheard-of"), std::string::npos);
}

TEST(HuggingFace, TruncatedAndMissingShards) {
  const auto source = test::shared_path("models/prose-28m");
  NBL_NEED_SHARED(source);
  TempDir dir;
  for (const auto& entry : std::filesystem::directory_iterator(source)) {
    std::filesystem::create_symlink(std::filesystem::absolute(entry.path()), dir / entry.path().filename().string());
  }
  auto model = open(dir.path());  // the hub's cache is made of such links
  ASSERT_TRUE(model.ok()) << model.status().message();
  const auto shard = dir / "model-00003-of-00005.safetensors";
  const std::string content = test::read_all(shard);
  std::filesystem::remove(shard);
  const Status missing = open(dir.path()).status();
  EXPECT_EQ(missing.code(), Code::not_found);
  EXPECT_NE(missing.message().find("model-00003-of-00005.safetensors"), std::string::npos) << missing.message();
  dir.write("model-00003-of-00005.safetensors", content.substr(0, content.size() / 2));
  const Status cut = open(dir.path()).status();
  EXPECT_EQ(cut.code(), Code::corrupt);
  EXPECT_NE(cut.message().find("truncated"), std::string::npos) << cut.message();
}

TEST(HuggingFace, SharedModelsConvertToNativeUnchanged) {
  for (const char* name : {"models/prose-3.7m", "models/prose-28m", "models/code-11m"}) {
    const auto source = test::shared_path(name);
    NBL_NEED_SHARED(source);
    auto model = open(source);
    ASSERT_TRUE(model.ok()) << model.status().message();
    TempDir dir;
    auto writer = create("native", dir / "m");
    ASSERT_TRUE(writer.ok());
    ASSERT_TRUE((*writer)->set_config((*model)->config()).ok());
    for (const TensorInfo& info : (*model)->tensors()) {
      if (info.shape.size() == 2) {
        ASSERT_TRUE((*writer)->add_matrix(info.name, (*model)->matrix(info.name).value()).ok());
      } else {
        ASSERT_TRUE((*writer)->add_array(info.name, (*model)->array(info.name).value()).ok());
      }
    }
    for (const std::string& asset : (*model)->asset_names()) {
      ASSERT_TRUE((*writer)->add_asset(asset, (*model)->asset(asset).value()).ok());
    }
    ASSERT_TRUE((*writer)->finish().ok());
    auto native = open(dir / "m");
    ASSERT_TRUE(native.ok()) << native.status().message();
    EXPECT_EQ((*native)->config(), (*model)->config());
    EXPECT_EQ((*native)->asset("tokenizer.json").value(), (*model)->asset("tokenizer.json").value());
    ASSERT_EQ((*native)->tensors().size(), (*model)->tensors().size());
    for (const TensorInfo& info : (*model)->tensors()) {
      const Array a = (*model)->array(info.name).value(), b = (*native)->array(info.name).value();
      ASSERT_EQ(a.dtype, b.dtype) << info.name;
      ASSERT_EQ(a.shape, b.shape) << info.name;
      ASSERT_EQ(a.storage.size(), b.storage.size());
      ASSERT_EQ(std::memcmp(a.storage.data(), b.storage.data(), a.storage.size()), 0) << info.name;
    }
    EXPECT_TRUE((*native)->verify().value().empty());
  }
}

}  // namespace
}  // namespace nbl::dialects

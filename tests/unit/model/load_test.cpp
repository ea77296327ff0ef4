// Loading weights: what is missing or has another shape is named.
#include <gtest/gtest.h>

#include "memory_checkpoint.h"
#include "model/model.h"

namespace nbl::model {
namespace {

using test::MemoryCheckpoint;

Result<std::shared_ptr<const Model>> load(const MemoryCheckpoint& checkpoint, const ProgressFn& progress = {}) {
  Team team(1);
  ModelOptions options;
  options.compute = {Compute::exact, best_isa()};
  return Model::load(checkpoint, options, team, progress);
}

void expect_error(const MemoryCheckpoint& checkpoint, Code code, std::initializer_list<std::string_view> parts) {
  const auto model = load(checkpoint);
  ASSERT_FALSE(model.ok());
  EXPECT_EQ(model.status().code(), code) << model.status().message();
  for (std::string_view part : parts)
    EXPECT_NE(model.status().message().find(part), std::string::npos)
        << part << " is not in: " << model.status().message();
}

TEST(Load, NamesMissingAndMisshapenTensors) {
  const std::string q = "model.layers.1.self_attn.q_proj.weight", norm = "model.layers.2.input_layernorm.weight";
  MemoryCheckpoint missing(test::llama_config(), 1);
  missing.tensors_by_name.erase(q);
  expect_error(missing, Code::not_found, {"memory", q, "missing", "[60, 60]"});
  MemoryCheckpoint wrong(test::llama_config(), 1);
  wrong.tensors_by_name[q] = {{50, 60}, std::vector<float>(3000)};
  expect_error(wrong, Code::mismatch, {"memory", q, "[50, 60]", "[60, 60]"});
  MemoryCheckpoint no_norm(test::llama_config(), 1);
  no_norm.tensors_by_name.erase(norm);
  expect_error(no_norm, Code::not_found, {norm, "[60]"});
  MemoryCheckpoint short_norm(test::llama_config(), 1);
  short_norm.tensors_by_name[norm] = {{59}, std::vector<float>(59)};
  expect_error(short_norm, Code::mismatch, {norm, "[59]", "[60]"});
  MemoryCheckpoint nan(test::llama_config(), 1);
  nan.tensors_by_name[norm].values[7] = std::nanf("");
  expect_error(nan, Code::corrupt, {norm, "[7]"});
  MemoryCheckpoint vocab(test::llama_config(), 1);
  vocab.mutable_config().set("vocab_size", 102);
  expect_error(vocab, Code::mismatch, {"model.embed_tokens.weight", "[101, 60]", "[102, 60]"});
  MemoryCheckpoint bias(test::bigcode_config(true), 1);
  bias.tensors_by_name.erase("transformer.h.0.attn.c_attn.bias");
  expect_error(bias, Code::not_found, {"transformer.h.0.attn.c_attn.bias"});
}

TEST(Load, ATiedOutputMatrixIsTheEmbeddingOrRefused) {
  MemoryCheckpoint checkpoint(test::llama_config(), 1);
  checkpoint.mutable_config().set("tie_word_embeddings", true);
  checkpoint.tensors_by_name["lm_head.weight"] = checkpoint.tensors_by_name["model.embed_tokens.weight"];
  EXPECT_TRUE(load(checkpoint).ok()) << "a copy";
  checkpoint.tensors_by_name["lm_head.weight"].values[777] += 0.5f;
  expect_error(checkpoint, Code::corrupt, {"lm_head.weight", "tie_word_embeddings"});
  checkpoint.mutable_config().set("tie_word_embeddings", false);
  EXPECT_TRUE(load(checkpoint).ok());
}

TEST(Load, CountsParametersAndShares) {
  const MemoryCheckpoint checkpoint(test::llama_config(), 1);
  const auto model = load(checkpoint);
  ASSERT_TRUE(model.ok());
  int64_t elements = 0;
  for (const auto& [name, tensor] : checkpoint.tensors_by_name) elements += static_cast<int64_t>(tensor.values.size());
  EXPECT_EQ((*model)->parameters(), elements) << "tied weights count once";
  EXPECT_GT((*model)->weight_bytes(), 0);
  EXPECT_EQ((*model)->tokenizer(), nullptr);
  EXPECT_EQ((*model)->tokenizer_status().code(), Code::not_found);
}

TEST(Load, OptionalBiasesMayBeAbsent) {
  MemoryCheckpoint checkpoint(test::llama_config(), 1);
  for (auto it = checkpoint.tensors_by_name.begin(); it != checkpoint.tensors_by_name.end();)
    it = it->first.ends_with(".bias") ? checkpoint.tensors_by_name.erase(it) : std::next(it);
  EXPECT_TRUE(load(checkpoint).ok());
}

TEST(Load, GenerationConfigOverridesTheEnd) {
  MemoryCheckpoint checkpoint(test::llama_config(), 1);
  checkpoint.assets["generation_config.json"] = R"({"eos_token_id":[3,4,100000]})";
  const auto model = load(checkpoint);
  ASSERT_TRUE(model.ok());
  EXPECT_EQ((*model)->config().eos, (std::vector<text::TokenId>{3, 4}));
  checkpoint.assets["generation_config.json"] = "{";
  EXPECT_FALSE(load(checkpoint).ok());
}

TEST(Load, SaysWhyATokenizerIsUnreadable) {
  MemoryCheckpoint checkpoint(test::llama_config(), 1);
  checkpoint.assets["tokenizer.json"] = R"({"version":"1.0","model":{"type":"Nonsense"}})";
  const auto model = load(checkpoint);
  ASSERT_TRUE(model.ok()) << "the weights are fine";
  EXPECT_EQ((*model)->tokenizer(), nullptr);
  EXPECT_FALSE((*model)->tokenizer_status().ok());
}

TEST(Load, ReportsProgressAndCancels) {
  const MemoryCheckpoint checkpoint(test::llama_config(), 1);
  int64_t last = -1;
  ASSERT_TRUE(load(checkpoint, [&](const ProgressEvent& e) {
                EXPECT_EQ(e.stage, "load");
                EXPECT_GT(e.done, last);
                last = e.done;
                EXPECT_EQ(e.total, 3);
                return true;
              }).ok());
  EXPECT_EQ(last, 3);
  const auto cancelled = load(checkpoint, [](const ProgressEvent& e) { return e.done < 1; });
  EXPECT_EQ(cancelled.status().code(), Code::cancelled);
}

}  // namespace
}  // namespace nbl::model

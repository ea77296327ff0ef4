// Reading config.json in both of its spellings, and refusing what would change the maths.
#include <gtest/gtest.h>

#include <cmath>

#include "memory_checkpoint.h"
#include "model/arch.h"

namespace nbl::model {
namespace {

using test::parse;

Result<Config> read(const Json& json) {
  NBL_ASSIGN(const Architecture* const arch, find_architecture(json, "model at X"));
  return arch->read_config(json, "model at X");
}

Json with(Json json, std::string_view key, Json value) {
  json.set(key, std::move(value));
  return json;
}

void expect_error(const Json& json, Code code, std::initializer_list<std::string_view> parts) {
  const auto config = read(json);
  ASSERT_FALSE(config.ok()) << "was accepted: " << json.dump();
  EXPECT_EQ(config.status().code(), code) << config.status().message();
  for (std::string_view part : parts)
    EXPECT_NE(config.status().message().find(part), std::string::npos)
        << part << " is not in: " << config.status().message();
}

TEST(ModelConfig, BothSpellingsMeanTheSame) {
  const Json old_style = parse(R"({"model_type":"llama","vocab_size":32,"hidden_size":64,"intermediate_size":96,
    "num_hidden_layers":2,"num_attention_heads":4,"rope_theta":500000.0,"torch_dtype":"bfloat16","rms_norm_eps":1e-5,
    "rope_scaling":{"rope_type":"llama3","factor":8.0,"low_freq_factor":1.0,"high_freq_factor":4.0,
      "original_max_position_embeddings":8192}})");
  Json new_style = old_style;
  new_style.erase("rope_theta");
  new_style.erase("rope_scaling");
  new_style.erase("torch_dtype");
  new_style.set("dtype", "bfloat16");
  new_style.set("rope_parameters",
                parse(R"({"rope_theta":500000.0,"rope_type":"llama3","factor":8.0,"low_freq_factor":1.0,
      "high_freq_factor":4.0,"original_max_position_embeddings":8192})"));
  const auto a = read(old_style), b = read(new_style);
  ASSERT_TRUE(a.ok() && b.ok()) << a.status().message() << b.status().message();
  EXPECT_EQ(a->ropes.at(0).inv_freq, b->ropes.at(0).inv_freq);
  EXPECT_EQ(a->kv_heads, 4) << "as many as heads when the key is missing";
  EXPECT_EQ(a->head_dim, 16);
  EXPECT_FALSE(a->tied_embeddings) << "Llama's own default";
  EXPECT_FLOAT_EQ(a->attention_scale, 0.25f);
  // The published rule: long waves divided by the factor, short ones kept.
  EXPECT_FLOAT_EQ(a->ropes[0].inv_freq[0], 1.0f);
  const double last = std::pow(500000.0, -14.0 / 16);
  EXPECT_FLOAT_EQ(a->ropes[0].inv_freq[7], static_cast<float>(last / 8));
}

TEST(ModelConfig, OfBothSpellingsRopeScalingCounts) {  // as transformers 5 has it, its base among it
  Json both = with(test::llama_config(), "rope_parameters", parse(R"({"rope_theta":500000.0,"rope_type":"default"})"));
  both.set("rope_scaling", parse(R"({"rope_type":"linear","factor":4,"rope_theta":700000.0})"));
  const auto config = read(both);
  ASSERT_TRUE(config.ok()) << config.status().message();
  const auto& waves = config->ropes[0].inv_freq;
  EXPECT_FLOAT_EQ(waves[1], static_cast<float>(std::pow(700000.0, -1.0 / static_cast<double>(waves.size())) / 4));
  both.set("rope_scaling", Json::object());
  const auto other = read(both);
  ASSERT_TRUE(other.ok()) << other.status().message();
  EXPECT_FLOAT_EQ(other->ropes[0].inv_freq[1], static_cast<float>(std::pow(500000.0, -1.0 / static_cast<double>(waves.size()))));
}

TEST(ModelConfig, LinearScalingAndLegacyName) {
  const Json json = with(test::llama_config(), "rope_scaling", parse(R"({"type":"linear","factor":4})"));
  const auto config = read(json), plain = read(test::llama_config());
  ASSERT_TRUE(config.ok()) << config.status().message();
  for (std::size_t i = 0; i < config->ropes[0].inv_freq.size(); ++i)
    EXPECT_FLOAT_EQ(config->ropes[0].inv_freq[i], plain->ropes[0].inv_freq[i] / 4);
}

TEST(ModelConfig, WindowsByLayer) {
  Json qwen = test::llama_config();
  qwen.set("model_type", "qwen2");
  qwen.set("sliding_window", 5);
  qwen.set("max_window_layers", 1);
  auto off = read(qwen);
  ASSERT_TRUE(off.ok());
  for (const LayerConfig& l : off->layer) EXPECT_EQ(l.window, 0) << "use_sliding_window is off";
  qwen.set("use_sliding_window", true);
  auto on = read(qwen);
  ASSERT_TRUE(on.ok());
  EXPECT_EQ(on->layer[0].window, 0);
  EXPECT_EQ(on->layer[1].window, 5);
  qwen.set("layer_types", parse(R"(["sliding_attention","full_attention","full_attention"])"));
  auto listed = read(qwen);
  ASSERT_TRUE(listed.ok()) << listed.status().message();
  EXPECT_EQ(listed->layer[0].window, 5);
  EXPECT_EQ(listed->layer[1].window, 0);
  expect_error(with(qwen, "layer_types", parse(R"(["sliding_attention"])")), Code::corrupt,
               {"layer_types", "3 entries"});
  expect_error(with(qwen, "layer_types", parse(R"(["full_attention","full_attention","linear_attention"])")),
               Code::unsupported, {"layer_types", "linear_attention"});
}

TEST(ModelConfig, TheMultimodalGemma3LeavesOutWhatIsAsInTheSmallestOne) {
  const auto config = read(parse(R"({"model_type":"gemma3","text_config":{"hidden_size":2560,"intermediate_size":10240,
    "model_type":"gemma3_text","num_hidden_layers":34,"rope_scaling":{"factor":8.0,"rope_type":"linear"},"sliding_window":1024}})"));
  ASSERT_TRUE(config.ok()) << config.status().message();
  EXPECT_EQ(config->vocab, 262208);
  EXPECT_EQ(config->heads, 8);
  EXPECT_EQ(config->kv_heads, 4);
  EXPECT_EQ(config->head_dim, 256);
  EXPECT_EQ(config->max_positions, 131072);
  EXPECT_FALSE(config->layer[5].window > 0);
  EXPECT_EQ(config->layer[4].window, 1024);
}

TEST(ModelConfig, FalconsFirstReleasesSayTheirShapeByTheirType) {
  const auto of = [](std::string_view type) {
    return read(with(parse(R"({"alibi":false,"bias":false,"hidden_size":32,"n_head":4,"n_head_kv":2,"n_layer":2,"parallel_attn":true,
      "vocab_size":50})"), "model_type", std::string(type)));
  };
  const auto wide = of("RefinedWeb"), narrow = of("RefinedWebModel");
  ASSERT_TRUE(wide.ok() && narrow.ok()) << wide.status().message() << narrow.status().message();
  EXPECT_EQ(wide->kv_heads, 2);
  EXPECT_EQ(narrow->kv_heads, 1);
}

TEST(ModelConfig, WhatDeepseekV3LeavesOut) {
  const auto config = read(parse(R"({"model_type":"deepseek_v3","vocab_size":64,"hidden_size":32,"intermediate_size":48,"num_hidden_layers":4,
    "num_attention_heads":2,"kv_lora_rank":8,"qk_nope_head_dim":4,"qk_rope_head_dim":4,"v_head_dim":4,"n_routed_experts":16,
    "num_experts_per_tok":8,"moe_intermediate_size":8})"));
  ASSERT_TRUE(config.ok()) << config.status().message();
  EXPECT_EQ(config->experts.scale, 2.5f);
  EXPECT_EQ(config->experts.shared_ffn, 8);
  EXPECT_FALSE(config->layer[2].experts);
  EXPECT_TRUE(config->layer[3].experts);
}

TEST(ModelConfig, BigCode) {
  const auto multi_query = read(test::bigcode_config(true)), multi_head = read(test::bigcode_config(false));
  ASSERT_TRUE(multi_query.ok() && multi_head.ok());
  EXPECT_EQ(multi_query->kv_heads, 1);
  EXPECT_EQ(multi_head->kv_heads, 4);
  EXPECT_EQ(*dimension("Q+2K", *multi_query), 56 + 28);
  EXPECT_EQ(*dimension("Q+2K", *multi_head), 3 * 56);
  EXPECT_TRUE(multi_query->tied_embeddings);
  const auto unscaled = read(with(test::bigcode_config(true), "scale_attn_weights", Json(false)));
  EXPECT_EQ(unscaled->attention_scale, 1.0f);
  Json no_inner = test::bigcode_config(true);
  no_inner.set("n_inner", Json());
  EXPECT_EQ(read(no_inner)->ffn, 4 * 56);
}

TEST(ModelConfig, UnknownTypeNamesTheNearest) {
  expect_error(with(test::llama_config(), "model_type", "lama"), Code::unsupported,
               {"model at X", "lama", "\"llama\""});
  expect_error(with(test::llama_config(), "model_type", "gpt_bigcod"), Code::unsupported, {"gpt_bigcode"});
  expect_error(parse("{}"), Code::unsupported, {"model_type"});
  expect_error(parse(R"({"model_type":7})"), Code::unsupported, {"model_type"});
  expect_error(with(test::llama_config(), "model_type", std::string(100000, 'x')), Code::unsupported, {"xxx"});
}

TEST(ModelConfig, RefusesByKeyWhatChangesTheMaths) {
  const Json base = test::llama_config();
  ASSERT_TRUE(read(base).ok());
  for (std::string_view key :
       {"attn_logit_softcapping", "final_logit_softcapping", "num_local_experts", "sliding_window"})
    expect_error(with(base, key, 30), Code::unsupported, {key, "30"});
  expect_error(with(base, "residual_multiplier", 0.22), Code::unsupported, {"residual_multiplier"});
  EXPECT_TRUE(read(with(base, "residual_multiplier", 1.0)).ok()) << "neutral values are none";
  EXPECT_TRUE(read(with(base, "sliding_window", Json())).ok());
  expect_error(with(base, "hidden_act", "laplace"), Code::unsupported, {"hidden_act", "laplace", "silu"});
  expect_error(with(base, "rope_scaling", parse(R"({"rope_type":"spiral","factor":2})")), Code::unsupported,
               {"spiral"});
  expect_error(with(base, "rope_parameters", parse(R"({"full_attention":{"rope_theta":1e6}})")), Code::unsupported,
               {"full_attention"});
  expect_error(with(test::bigcode_config(true), "add_cross_attention", true), Code::unsupported,
               {"add_cross_attention"});
}

TEST(ModelConfig, RefusesNonsense) {
  const Json base = test::llama_config();
  for (std::string_view key :
       {"vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size"}) {
    Json missing = base;
    missing.erase(key);
    expect_error(missing, Code::corrupt, {"model at X", key, "missing"});
    for (const Json& bad : {Json(0), Json(-5), Json(int64_t{1} << 60), Json("64"), Json(1.5)})
      expect_error(with(base, key, bad), Code::corrupt, {key});
  }
  expect_error(with(base, "num_key_value_heads", 4), Code::corrupt, {"num_key_value_heads", "divisor"});
  expect_error(with(base, "hidden_size", 61), Code::corrupt, {"num_attention_heads", "61"});
  expect_error(with(base, "head_dim", 7), Code::corrupt, {"head_dim"});
  expect_error(with(base, "rope_theta", -1), Code::corrupt, {"rope_theta"});
  expect_error(with(base, "eos_token_id", "x"), Code::corrupt, {"eos_token_id"});
  expect_error(with(base, "tie_word_embeddings", 3), Code::corrupt, {"tie_word_embeddings"});
  expect_error(with(base, "rope_scaling", parse(R"({"rope_type":"llama3","factor":8.0})")), Code::corrupt,
               {"low_freq_factor"});
}

TEST(ModelConfig, TokensOfTheEnd) {
  const auto list = read(with(test::llama_config(), "eos_token_id", parse("[2, 5]")));
  ASSERT_TRUE(list.ok());
  EXPECT_EQ(list->eos, (std::vector<text::TokenId>{2, 5}));
  EXPECT_EQ(list->bos, 1);
  const auto none = read(with(test::llama_config(), "eos_token_id", Json()));
  EXPECT_TRUE(none->eos.empty());
}

/// Every description must name each role once for one variant, and group every linear. (That each is in exactly one
/// group of a given model is checked on the golden checkpoints.)
TEST(Architectures, DescriptionsAreComplete) {
  ASSERT_GE(architectures().size(), 4u);
  for (const Architecture* arch : architectures()) {
    std::map<Role, int> grouped;
    for (const InputGroup& group : arch->groups) {
      for (const Part& part : group.linears) ++grouped[part.role];
      // A family's groups may name linears that this member does not have.
      if (arch->find(group.linears.front().role) == nullptr) continue;
      if (group.producer != InputGroup::Producer::none) {
        EXPECT_NE(arch->find(group.producer_role.role), nullptr) << arch->id;
      }
    }
    std::map<std::pair<Role, uint32_t>, int> seen;
    std::map<Role, int> any;
    for (const TensorSpec& spec : arch->tensors) {
      EXPECT_EQ(++seen[std::pair(spec.role, spec.when)], 1) << arch->id << ' ' << spec.pattern;
      ++any[spec.role];
      if (!spec.pattern.empty()) {
        EXPECT_EQ(is_layer_role(spec.role), spec.pattern.find("{l}") != std::string_view::npos) << spec.pattern;
        EXPECT_EQ(is_expert_role(spec.role), spec.pattern.find("{e}") != std::string_view::npos) << spec.pattern;
      }
      const bool linear = is_layer_role(spec.role) && !spec.cols.empty();
      // Routers stay as they are.
      if (spec.role == Role::router || spec.role == Role::shared_router) continue;
      EXPECT_EQ(grouped[spec.role] > 0, linear) << arch->id << ' ' << spec.pattern;
    }
    for (Role role : {Role::embedding, Role::final_norm, Role::lm_head, Role::attn_out})
      EXPECT_GE(any[role], 1) << arch->id;
    EXPECT_TRUE(any[Role::qkv] > 0 || any[Role::kv_up] > 0 ||
                (any[Role::q] > 0 && any[Role::k] > 0 && any[Role::v] > 0))
        << arch->id;
  }
}

TEST(Architectures, NamesAndDimensions) {
  const auto arch = find_architecture(test::llama_config(), "x");
  ASSERT_TRUE(arch.ok());
  EXPECT_EQ(tensor_name(*(*arch)->find(Role::q), 11, "weight"), "model.layers.11.self_attn.q_proj.weight");
  EXPECT_EQ(tensor_name(*(*arch)->find(Role::embedding), 0, ".weight"), "model.embed_tokens.weight");
  Config config;
  config.hidden = 10;
  EXPECT_FALSE(dimension("Z", config).ok());
  EXPECT_EQ(*dimension("2H", config), 20);
}

}  // namespace
}  // namespace nbl::model

// No key of config.json that changes the maths is passed over: whatever family's it is, a description either does what it says or
// refuses it by name.
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "memory_checkpoint.h"
#include "model/arch.h"
#include "model/weights.h"
#include "support/golden_model.h"

namespace nbl::model {
namespace {

using test::parse;

Result<Config> read(const Json& json) {
  NBL_ASSIGN(const Architecture* const arch, find_architecture(json, "model"));
  return arch->read_config(json, "model");
}

/// Everything that the forward pass asks.
std::string fingerprint(const Config& c) {
  std::string text = fmt::format(
      "{} {} {} {} {} {} {} {} {} {} | {} {} {} {} {} {} {} {} {} {} {} {} {} {} {} | {} {} {} {} {} {} {} {} |", c.vocab, c.hidden, c.layers,
      c.heads, c.kv_heads, c.head_dim, c.ffn, c.max_positions, c.embedding_dim, c.value_dim, c.variant, static_cast<int>(c.norm), c.norm_eps,
      c.norm_offset, static_cast<int>(c.norm_place), c.parallel_residual, static_cast<int>(c.qk_norm), static_cast<int>(c.activation),
      c.gated_mlp, static_cast<int>(c.qkv_order), static_cast<int>(c.rope), c.rotary_dim, c.learned_positions, c.position_offset,
      c.tied_embeddings, c.attention_scale, c.score_cap, c.logit_cap, c.logit_scale, c.embedding_scale, c.residual_scale, c.clip_qkv,
      fmt::join(c.slopes, ","));
  const ExpertsConfig& x = c.experts;
  text += fmt::format("{} {} {} {} {} {} {} {} {} {} | {} {} {} {} |", x.count, x.per_token, x.ffn, x.shared_ffn, x.sigmoid, x.normalize,
                      x.scale, x.groups, x.groups_per_token, x.group_by_two, c.latent.q_rank, c.latent.kv_rank, c.latent.nope_dim,
                      c.latent.rope_dim);
  for (const LayerConfig& l : c.layer) text += fmt::format("{} {} {} {};", l.window, l.rope, l.score_factor, l.experts);
  for (const RopeTable& r : c.ropes)
    text += fmt::format("{} {} {} {} {};", fmt::join(r.inv_freq, ","), fmt::join(r.long_inv_freq, ","), r.magnitude, r.original, r.dynamic_factor);
  return text;
}

/// A golden config of each architecture, the plainest.
std::map<std::string, Json> bases() {
  std::map<std::string, Json> all;
  for (const std::string& variant : nbl::test::golden_variants()) {
    const auto text = *read_text_file(nbl::test::golden_architectures() / (variant + ".json"), 1 << 20);
    const Json golden = *Json::parse(text, variant);
    const Json& config = *golden.find("config");
    const std::string type(config.find("model_type")->as_string());
    all.try_emplace(type, config);
  }
  all.try_emplace("gpt_bigcode", test::bigcode_config(true));
  for (const char* type : {"mistral", "qwen2"}) {
    Json config = test::llama_config();
    config.set("model_type", type);
    all.try_emplace(type, std::move(config));
  }
  return all;
}

struct Change {
  const char* patch;  ///< members to set; the first is the key that a refusal names
  std::set<std::string> neutral = {};  ///< model types of which transformers, too, reads nothing there
};

const Change kChanges[] = {
    {R"({"attn_logit_softcapping":7})", {"gemma3_text"}}, {R"({"final_logit_softcapping":7})"}, {R"({"query_pre_attn_scalar":7})"},
    {R"({"attention_multiplier":0.37})"}, {R"({"attn_temperature_tuning":true})"}, {R"({"scale_attn_by_inverse_layer_idx":true})"},
    {R"({"use_qk_norm":true})"}, {R"({"qk_layernorm":true})"}, {R"({"clip_qkv":0.123})"}, {R"({"kv_lora_rank":9})"},
    {R"({"v_head_dim":6})"}, {R"({"attention_chunk_size":16})"}, {R"({"use_bidirectional_attention":true})"},
    {R"({"is_causal":false})"}, {R"({"add_cross_attention":true})"}, {R"({"is_encoder_decoder":true})"}, {R"({"alibi":true})"}, {R"({"no_rope_layers":[0,1]})"},
    {R"({"rope_interleave":true,"model":1})", {"cohere", "gptj", "deepseek_v2", "deepseek_v3"}}, {R"({"rotary_dim":2})"},
    {R"({"partial_rotary_factor":0.5,"rotary_pct":0.5,"rope_parameters":null,"rope_scaling":null})"},
    {R"({"rope_scaling":{"rope_type":"linear","factor":3.0},"rope_parameters":null})"},
    {R"({"rope_scaling":{"rope_type":"linear","factor":3.0},"rope_parameters":{"rope_type":"default","rope_theta":10000.0}})"},
    {R"({"rope_parameters":{"rope_type":"linear","factor":3.0,"rope_theta":500.0}})"},
    {R"({"rope_parameters":{"rope_type":"spiral","rope_theta":500.0}})"},
    {R"({"sliding_window":3,"use_sliding_window":true,"max_window_layers":0,"layer_types":null,"no_rope_layers":null,"no_rope_layer_interval":1})",
     {"qwen2_moe"}},  // its windows are those of the lower layers
    {R"({"sliding_window":3,"use_sliding_window":true,"max_window_layers":9,"layer_types":null})", {"qwen2", "qwen3", "smollm3"}},
    {R"({"layer_types":["chunked_attention","chunked_attention"]})"},
    {R"({"apply_residual_connection_post_layernorm":true})"}, {R"({"residual_multiplier":0.37})"}, {R"({"embedding_multiplier":3.7})"},
    {R"({"scale_emb":3.7})"}, {R"({"scale_depth":1.4})"}, {R"({"scale_embeddings":true})"}, {R"({"logits_scaling":3.7})"},
    {R"({"logit_scale":0.37})"}, {R"({"num_local_experts":3,"num_experts":3,"n_routed_experts":3,"num_experts_per_tok":1})"},
    {R"({"n_shared_experts":3})"}, {R"({"shared_expert_intermediate_size":24})"}, {R"({"routed_scaling_factor":3.7})"},
    {R"({"decoder_sparse_step":2})"}, {R"({"mlp_only_layers":[1]})"}, {R"({"scoring_func":"tanh"})"}, {R"({"topk_method":"other"})"},
    {R"({"norm_topk_prob":false})"}, {R"({"norm_topk_prob":true})"},
    {R"({"hidden_act":"laplace","activation_function":"laplace","activation":"laplace","hidden_activation":"laplace"})", {"bloom", "mpt"}},
    {R"({"use_parallel_residual":true})"}, {R"({"num_key_value_heads":1,"num_kv_heads":1,"new_decoder_architecture":true})", {"gpt_bigcode"}},  // multi-query as it is
    {R"({"norm_eps":0.01,"rms_norm_eps":0.01,"layer_norm_eps":0.01,"layer_norm_epsilon":0.01,"norm_epsilon":0.01})",
     {"opt", "olmo"}},
    {R"({"tie_word_embeddings":true})"}, {R"({"tie_word_embeddings":false})"},
};

/// Keys that concern mixtures of experts alone, by which a dense model is not changed: transformers reads them nowhere else.
bool concerns_experts_only(std::string_view key) { return key == "norm_topk_prob"; }

TEST(ConfigKeys, AreDoneOrRefusedNeverPassedOver) {
  const auto all = bases();
  EXPECT_EQ(all.size(), architectures().size());
  std::map<std::string, int> effective;
  for (const auto& [type, base] : all) {
    const auto plain = read(base);
    ASSERT_TRUE(plain.ok()) << type << ": " << plain.status().message();
    for (const Change& change : kChanges) {
      const Json patch = parse(change.patch);
      const std::string key(patch.members()[0].first);
      if (change.neutral.contains(type)) continue;
      const bool experts = plain->experts.count > 0;
      if (concerns_experts_only(key) && !experts) continue;
      Json config = base;
      bool same = true;
      for (const auto& [name, value] : patch.members()) {
        const Json* before = base.find(name);
        same = same && before != nullptr && *before == value;
        config.set(name, value);
      }
      if (same) continue;
      const auto changed = read(config);
      if (!changed.ok()) {
        // By one of the patch's keys: a family reads its own spelling.
        const bool named = std::any_of(patch.members().begin(), patch.members().end(), [&](const auto& member) {
          return changed.status().message().find(member.first) != std::string::npos;
        });
        EXPECT_TRUE(named || changed.status().message().find("rope") != std::string::npos) << type << ' ' << change.patch << ": "
                                                                                            << changed.status().message();
        continue;
      }
      if (fingerprint(*changed) != fingerprint(*plain)) {
        ++effective[key];
        continue;
      }
      // What it says is what the model already did.
      Json without = base;
      for (const auto& [name, value] : patch.members()) without.erase(name);
      const auto silent = read(without);
      const bool was_said = silent.ok() && fingerprint(*silent) != fingerprint(*changed);
      EXPECT_TRUE(was_said || key == "tie_word_embeddings" || key == "norm_topk_prob") << type << " passes over " << change.patch;
    }
  }
  for (const char* key : {"attn_logit_softcapping", "query_pre_attn_scalar", "clip_qkv", "residual_multiplier", "logit_scale", "sliding_window",
                          "norm_topk_prob", "tie_word_embeddings"})
    EXPECT_GT(effective[key], 0) << key << " is refused everywhere";
}

TEST(ConfigKeys, OfOneFamilyAreRefusedByName) {
  struct Row {
    const char *type, *key, *value;
  };
  const auto all = bases();
  for (const Row& row : {Row{"mixtral", "norm_topk_prob", "false"}, {"starcoder2", "norm_type", R"("rms_norm")"},
                         {"starcoder2", "mlp_type", R"("gated")"}, {"mpt", "norm_type", R"("low_precision_rmsnorm")"},
                         {"mpt", "no_bias", "false"}, {"opt", "learned_embeddings", "false"}, {"bloom", "n_inner", "99"},
                         {"bloom", "num_key_value_heads", "1"}, {"gptj", "rotary", "false"}, {"gptj", "scale_attn_weights", "false"},
                         {"cohere", "rope_interleave", "false"}, {"deepseek_v2", "rope_interleave", "false"},
                         {"deepseek_v3", "scoring_func", R"("softmax")"}, {"deepseek_v2", "norm_topk_prob", "true"},
                         {"deepseek_v3", "moe_layer_freq", "2"}, {"falcon", "num_ln_in_parallel_attn", "2"},
                         {"gpt2", "rope_scaling", R"({"type":"linear","factor":2})"}, {"gpt_neox", "num_key_value_heads", "1"},
                         {"qwen2", "layer_types", R"(["linear_attention","full_attention"])"}, {"gpt_bigcode", "num_key_value_heads", "3"}}) {
    Json config = all.at(row.type);
    config.set(row.key, *Json::parse(row.value, "value"));
    const auto result = read(config);
    ASSERT_FALSE(result.ok()) << row.type << " accepts " << row.key << " = " << row.value;
    EXPECT_NE(result.status().message().find(row.key), std::string::npos) << result.status().message();
  }
  Json mpt = all.at("mpt");
  mpt.set("ffn_config", parse(R"({"ffn_type":"mptglu"})"));
  EXPECT_NE(read(mpt).status().message().find("ffn_type"), std::string::npos);
}

/// What training and programs put there changes nothing.
TEST(ConfigKeys, HarmlessOnesAreNoHindrance) {
  const Json harmless = parse(R"({"attention_dropout":0.1,"hidden_dropout":0.1,"use_cache":false,"initializer_range":0.5,
      "transformers_version":"4.44.0","torch_dtype":"bfloat16","pretraining_tp":2,"router_aux_loss_coef":0.1,"_name_or_path":"x",
      "output_router_logits":true,"auto_map":{"AutoModel":"x.Y"},"architectures":["X"],"num_nextn_predict_layers":1,"alibi":null,
      "rope_scaling":null,"logit_scale":null,"residual_multiplier":null,"num_experts":null,"unsloth_version":"2025.1"})");
  for (const auto& [type, base] : bases()) {
    Json config = base;
    for (const auto& [key, value] : harmless.members())
      if (base.find_value(key) == nullptr || key == "use_cache") config.set(key, value);
    const auto plain = read(base), changed = read(config);
    ASSERT_TRUE(changed.ok()) << type << ": " << changed.status().message();
    EXPECT_EQ(fingerprint(*plain), fingerprint(*changed)) << type;
  }
}

TEST(ConfigKeys, ABiasThatTheConfigDeniesIsRefused) {
  Json config = test::llama_config();
  test::MemoryCheckpoint checkpoint(config, 3);
  const Architecture& arch = **find_architecture(config, "x");
  const Config c = *arch.read_config(config, "x");
  const TensorSpec& q = *arch.find(Role::q);
  checkpoint.tensors_by_name["model.layers.0.self_attn.q_proj.bias"] = {{c.heads * c.head_dim},
                                                                        std::vector<float>(static_cast<std::size_t>(c.heads * c.head_dim), 0.5f)};
  EXPECT_EQ(load_bias(checkpoint, q, c, 0)->size(), static_cast<std::size_t>(c.heads * c.head_dim)) << "where the config is silent, it is used";
  checkpoint.mutable_config().set("attention_bias", true);
  EXPECT_TRUE(load_bias(checkpoint, q, c, 0).ok());
  checkpoint.mutable_config().set("attention_bias", false);
  const auto denied = load_bias(checkpoint, q, c, 0);
  ASSERT_FALSE(denied.ok());
  EXPECT_NE(denied.status().message().find("attention_bias is false"), std::string::npos) << denied.status().message();
  for (float& b : checkpoint.tensors_by_name["model.layers.0.self_attn.q_proj.bias"].values) b = 0;
  EXPECT_TRUE(load_bias(checkpoint, q, c, 0)->empty()) << "zeros are no bias";
}

}  // namespace
}  // namespace nbl::model

#include "dialects/gguf_arch.h"

#include <fmt/format.h>

#include "dialects/gguf_arch_tables.h"

namespace nbl::dialects {
namespace {

using namespace gguf_tables;

constexpr GgufArch kArchs[] = {
    {.id = "llama",
     .config = R"({"model_type":"mixtral","architectures":["MixtralForCausalLM"],"hidden_act":"silu"})",
     .names = kMixtral,
     .keys = kMixtralKeys,
     .marker = ".ffn_gate_exps.weight",
     .every_layer = "blk.{l}.ffn_gate_exps.weight"},
    {.id = "qwen2moe",
     .config = R"({"model_type":"qwen2_moe","architectures":["Qwen2MoeForCausalLM"],"hidden_act":"silu",)"
               R"("norm_topk_prob":false,"use_sliding_window":false})",
     .names = kQwenMoe,
     .keys = kQwenMoeKeys,
     .every_layer = "blk.{l}.ffn_gate_exps.weight"},
    {.id = "qwen3moe",
     .config = R"({"model_type":"qwen3_moe","architectures":["Qwen3MoeForCausalLM"],"hidden_act":"silu",)"
               R"("norm_topk_prob":true,"use_sliding_window":false,"attention_bias":false})",
     .names = kQwenMoe,
     .keys = kQwenMoeKeys,
     .every_layer = "blk.{l}.ffn_gate_exps.weight"},
    {.id = "deepseek2",
     .config = R"({"model_type":"deepseek_v3","architectures":["DeepseekV3ForCausalLM"],"hidden_act":"silu",)"
               R"("scoring_func":"sigmoid","topk_method":"noaux_tc","attention_bias":false,"rope_interleave":true})",
     .names = kDeepseek,
     .keys = kDeepseekKeys,
     .marker = ".exp_probs_b.bias",
     .silent = R"({"routed_scaling_factor":2.5,"first_k_dense_replace":3,"n_shared_experts":1,"norm_topk_prob":true,"n_group":8,)"
               R"("topk_group":4})"},
    {.id = "deepseek2",
     .config = R"({"model_type":"deepseek_v2","architectures":["DeepseekV2ForCausalLM"],"hidden_act":"silu",)"
               R"("scoring_func":"softmax","topk_method":"greedy","norm_topk_prob":false,"attention_bias":false})",
     .names = kDeepseek,
     .keys = kDeepseekKeys},
    {.id = "olmo",
     .config = R"({"model_type":"olmo","architectures":["OlmoForCausalLM"],"hidden_act":"silu","attention_bias":false})",
     .names = kLlama,
     .keys = kOlmoKeys},
    {.id = "mpt",
     .config = R"({"model_type":"mpt","architectures":["MptForCausalLM"],"no_bias":true,"expansion_ratio":4,)"
               R"("attn_config":{"alibi":true,"softmax_scale":null}})",
     .names = kMpt,
     .keys = kMptKeys},
    {.id = "llama",
     .config = R"({"model_type":"llama","architectures":["LlamaForCausalLM"],"hidden_act":"silu"})",
     .names = kLlama,
     .keys = kKeys,
     .windowed = R"({"model_type":"mistral","architectures":["MistralForCausalLM"]})"},
    {"qwen2",
     R"({"model_type":"qwen2","architectures":["Qwen2ForCausalLM"],"hidden_act":"silu",)"
     R"("use_sliding_window":false})",
     kQwen, kKeys},
    {"qwen3",
     R"({"model_type":"qwen3","architectures":["Qwen3ForCausalLM"],"hidden_act":"silu",)"
     R"("use_sliding_window":false,"attention_bias":false})",
     kQwen, kKeys},
    {"gemma", R"({"model_type":"gemma","architectures":["GemmaForCausalLM"],"hidden_activation":"gelu_pytorch_tanh",)"
     R"("attention_bias":false,"tie_word_embeddings":true})",
     kGemma, kKeys},
    {"gemma2",
     R"({"model_type":"gemma2","architectures":["Gemma2ForCausalLM"],"hidden_activation":"gelu_pytorch_tanh",)"
     R"("attention_bias":false,"tie_word_embeddings":true})",
     kGemma2, kKeys, "partial_rotary_factor", {}, 46, true},
    {.id = "gemma3",
     .config = R"({"model_type":"gemma3_text","architectures":["Gemma3ForCausalLM"],"hidden_activation":"gelu_pytorch_tanh",)"
               R"("attention_bias":false,"tie_word_embeddings":true,"rope_local_base_freq":10000.0,"sliding_window_pattern":6})",
     .names = kGemma2,
     .keys = kKeys,
     .wide_blocks = 62,
     .silent = R"({"num_attention_heads":8,"num_key_value_heads":4,"head_dim":256,"vocab_size":262208,"rms_norm_eps":1e-6,)"
               R"("max_position_embeddings":131072,"sliding_window":4096,"rope_theta":1000000.0})"},
    {"starcoder",
     R"({"model_type":"gpt_bigcode","architectures":["GPTBigCodeForCausalLM"],"activation_function":"gelu_pytorch_tanh",)"
     R"("multi_query":true,"scale_attn_weights":true,"scale_attn_by_inverse_layer_idx":false})",
     kStarcoder, kStarcoderKeys},
    {"starcoder2",
     R"({"model_type":"starcoder2","architectures":["Starcoder2ForCausalLM"],"hidden_act":"gelu_pytorch_tanh"})",
     kStarcoder2, kStarcoder2Keys, "partial_rotary_factor", kStarcoder2Flags},
    {.id = "phi2",
     .config = R"({"model_type":"phi","architectures":["PhiForCausalLM"],"hidden_act":"gelu_new","qk_layernorm":false})",
     .names = kPhi2,
     .keys = kKeys,
     .share = 0.5},
    {"phi3", R"({"model_type":"phi3","architectures":["Phi3ForCausalLM"],"hidden_act":"silu"})", kPhi3, kKeys},
    {.id = "gptneox",
     .config = R"({"model_type":"gpt_neox","architectures":["GPTNeoXForCausalLM"],"hidden_act":"gelu"})",
     .names = kGptNeox,
     .keys = kNeoxKeys,
     .rotary_key = "rotary_pct",
     .share = 0.25},
    {"gpt2", R"({"model_type":"gpt2","architectures":["GPT2LMHeadModel"],"activation_function":"gelu_new",)"
             R"("scale_attn_weights":true,"scale_attn_by_inverse_layer_idx":false})", kGpt2,
     kStarcoderKeys},
    {.id = "gptj",
     .config = R"({"model_type":"gptj","architectures":["GPTJForCausalLM"],"activation_function":"gelu_new","rotary":true,)"
               R"("scale_attn_weights":true})",
     .names = kGptj,
     .keys = kGptjKeys,
     .rotary_key = {},
     .rotated = 64},
    {"falcon",
     R"({"model_type":"falcon","architectures":["FalconForCausalLM"],"activation":"gelu","multi_query":true,)"
     R"("parallel_attn":true,"new_decoder_architecture":false,"alibi":false})",
     kFalcon, kFalconKeys, "partial_rotary_factor", kFalconFlags},
    {.id = "falcon",
     .config = R"({"model_type":"falcon","architectures":["FalconForCausalLM"],"activation":"gelu",)"
               R"("parallel_attn":true,"new_decoder_architecture":true,"num_ln_in_parallel_attn":2,"alibi":false})",
     .names = kFalconWide,
     .keys = kFalconWideKeys,
     .flags = kFalconFlags,
     .marker = ".attn_norm_2.weight"},
    {"bloom", R"({"model_type":"bloom","architectures":["BloomForCausalLM"],)"
              R"("apply_residual_connection_post_layernorm":false})", kBloom, kBloomKeys},
    {.id = "stablelm",
     .config = R"({"model_type":"stablelm","architectures":["StableLmForCausalLM"],"hidden_act":"silu"})",
     .names = kQwen,
     .keys = kStablelmKeys,
     .flags = kStablelmFlags,
     .share = 0.25},
    {"olmo2", R"({"model_type":"olmo2","architectures":["Olmo2ForCausalLM"],"hidden_act":"silu","attention_bias":false})", kOlmo2, kKeys},
    {"command-r", R"({"model_type":"cohere","architectures":["CohereForCausalLM"],"hidden_act":"silu","attention_bias":false,)"
                   R"("tie_word_embeddings":true})", kQwen,
     kCohereKeys, "partial_rotary_factor", kCohereFlags},
    {"granite", R"({"model_type":"granite","architectures":["GraniteForCausalLM"],"hidden_act":"silu"})", kLlama,
     kGraniteKeys},
    {"smollm3", R"({"model_type":"smollm3","architectures":["SmolLM3ForCausalLM"],"hidden_act":"silu","use_sliding_window":false,)"
                R"("no_rope_layer_interval":4})", kLlama, kKeys},
};

}  // namespace

std::span<const GgufArch> gguf_archs() noexcept { return kArchs; }

std::string gguf_arch_ids() {
  std::string ids;
  for (const GgufArch& arch : kArchs) {
    if ((", " + ids + ",").find(fmt::format(", {},", arch.id)) != std::string::npos) continue;
    ids += fmt::format("{}{}", ids.empty() ? "" : ", ", arch.id);
  }
  return ids;
}

}  // namespace nbl::dialects

#include "dialects/gguf_arch.h"

namespace nbl::dialects {
namespace {

using enum GgufChange;

constexpr GgufName kLlama[] = {
    {"token_embd", "model.embed_tokens"},
    {"output_norm", "model.norm"},
    {"output", "lm_head"},
    {"blk.{l}.attn_norm", "model.layers.{l}.input_layernorm"},
    {"blk.{l}.attn_q", "model.layers.{l}.self_attn.q_proj", permute_q},
    {"blk.{l}.attn_k", "model.layers.{l}.self_attn.k_proj", permute_k},
    {"blk.{l}.attn_v", "model.layers.{l}.self_attn.v_proj"},
    {"blk.{l}.attn_output", "model.layers.{l}.self_attn.o_proj"},
    {"blk.{l}.ffn_norm", "model.layers.{l}.post_attention_layernorm"},
    {"blk.{l}.ffn_gate", "model.layers.{l}.mlp.gate_proj"},
    {"blk.{l}.ffn_up", "model.layers.{l}.mlp.up_proj"},
    {"blk.{l}.ffn_down", "model.layers.{l}.mlp.down_proj"},
};

constexpr GgufName kQwen[] = {
    {"token_embd", "model.embed_tokens"},
    {"output_norm", "model.norm"},
    {"output", "lm_head"},
    {"blk.{l}.attn_norm", "model.layers.{l}.input_layernorm"},
    {"blk.{l}.attn_q", "model.layers.{l}.self_attn.q_proj"},
    {"blk.{l}.attn_k", "model.layers.{l}.self_attn.k_proj"},
    {"blk.{l}.attn_v", "model.layers.{l}.self_attn.v_proj"},
    {"blk.{l}.attn_q_norm", "model.layers.{l}.self_attn.q_norm"},
    {"blk.{l}.attn_k_norm", "model.layers.{l}.self_attn.k_norm"},
    {"blk.{l}.attn_output", "model.layers.{l}.self_attn.o_proj"},
    {"blk.{l}.ffn_norm", "model.layers.{l}.post_attention_layernorm"},
    {"blk.{l}.ffn_gate", "model.layers.{l}.mlp.gate_proj"},
    {"blk.{l}.ffn_up", "model.layers.{l}.mlp.up_proj"},
    {"blk.{l}.ffn_down", "model.layers.{l}.mlp.down_proj"},
};

constexpr GgufName kGemma[] = {
    {"token_embd", "model.embed_tokens"},
    {"output_norm", "model.norm", plus_one},
    {"output", "lm_head"},
    {"blk.{l}.attn_norm", "model.layers.{l}.input_layernorm", plus_one},
    {"blk.{l}.attn_q", "model.layers.{l}.self_attn.q_proj"},
    {"blk.{l}.attn_k", "model.layers.{l}.self_attn.k_proj"},
    {"blk.{l}.attn_v", "model.layers.{l}.self_attn.v_proj"},
    {"blk.{l}.attn_output", "model.layers.{l}.self_attn.o_proj"},
    {"blk.{l}.ffn_norm", "model.layers.{l}.post_attention_layernorm", plus_one},
    {"blk.{l}.ffn_gate", "model.layers.{l}.mlp.gate_proj"},
    {"blk.{l}.ffn_up", "model.layers.{l}.mlp.up_proj"},
    {"blk.{l}.ffn_down", "model.layers.{l}.mlp.down_proj"},
};

constexpr GgufName kGemma2[] = {
    {"token_embd", "model.embed_tokens"},
    {"output_norm", "model.norm", plus_one},
    {"output", "lm_head"},
    {"blk.{l}.attn_norm", "model.layers.{l}.input_layernorm", plus_one},
    {"blk.{l}.attn_q", "model.layers.{l}.self_attn.q_proj"},
    {"blk.{l}.attn_k", "model.layers.{l}.self_attn.k_proj"},
    {"blk.{l}.attn_v", "model.layers.{l}.self_attn.v_proj"},
    {"blk.{l}.attn_q_norm", "model.layers.{l}.self_attn.q_norm", plus_one},
    {"blk.{l}.attn_k_norm", "model.layers.{l}.self_attn.k_norm", plus_one},
    {"blk.{l}.attn_output", "model.layers.{l}.self_attn.o_proj"},
    {"blk.{l}.post_attention_norm", "model.layers.{l}.post_attention_layernorm", plus_one},
    {"blk.{l}.ffn_norm", "model.layers.{l}.pre_feedforward_layernorm", plus_one},
    {"blk.{l}.post_ffw_norm", "model.layers.{l}.post_feedforward_layernorm", plus_one},
    {"blk.{l}.ffn_gate", "model.layers.{l}.mlp.gate_proj"},
    {"blk.{l}.ffn_up", "model.layers.{l}.mlp.up_proj"},
    {"blk.{l}.ffn_down", "model.layers.{l}.mlp.down_proj"},
};

constexpr GgufName kStarcoder[] = {
    {"token_embd", "transformer.wte"},
    {"position_embd", "transformer.wpe"},
    {"output_norm", "transformer.ln_f"},
    {"output", "lm_head"},
    {"blk.{l}.attn_norm", "transformer.h.{l}.ln_1"},
    {"blk.{l}.attn_qkv", "transformer.h.{l}.attn.c_attn"},
    {"blk.{l}.attn_output", "transformer.h.{l}.attn.c_proj"},
    {"blk.{l}.ffn_norm", "transformer.h.{l}.ln_2"},
    {"blk.{l}.ffn_up", "transformer.h.{l}.mlp.c_fc"},
    {"blk.{l}.ffn_down", "transformer.h.{l}.mlp.c_proj"},
};

constexpr GgufName kStarcoder2[] = {
    {"token_embd", "model.embed_tokens"},
    {"output_norm", "model.norm"},
    {"output", "lm_head"},
    {"blk.{l}.attn_norm", "model.layers.{l}.input_layernorm"},
    {"blk.{l}.attn_q", "model.layers.{l}.self_attn.q_proj"},
    {"blk.{l}.attn_k", "model.layers.{l}.self_attn.k_proj"},
    {"blk.{l}.attn_v", "model.layers.{l}.self_attn.v_proj"},
    {"blk.{l}.attn_output", "model.layers.{l}.self_attn.o_proj"},
    {"blk.{l}.ffn_norm", "model.layers.{l}.post_attention_layernorm"},
    {"blk.{l}.ffn_up", "model.layers.{l}.mlp.c_fc"},
    {"blk.{l}.ffn_down", "model.layers.{l}.mlp.c_proj"},
};

constexpr GgufName kPhi2[] = {
    {"token_embd", "model.embed_tokens"},
    {"output_norm", "model.final_layernorm"},
    {"output", "lm_head"},
    {"blk.{l}.attn_norm", "model.layers.{l}.input_layernorm"},
    {"blk.{l}.attn_q", "model.layers.{l}.self_attn.q_proj"},
    {"blk.{l}.attn_k", "model.layers.{l}.self_attn.k_proj"},
    {"blk.{l}.attn_v", "model.layers.{l}.self_attn.v_proj"},
    {"blk.{l}.attn_output", "model.layers.{l}.self_attn.dense"},
    {"blk.{l}.ffn_up", "model.layers.{l}.mlp.fc1"},
    {"blk.{l}.ffn_down", "model.layers.{l}.mlp.fc2"},
};

constexpr GgufName kPhi3[] = {
    {"token_embd", "model.embed_tokens"},
    {"output_norm", "model.norm"},
    {"output", "lm_head"},
    {"blk.{l}.attn_norm", "model.layers.{l}.input_layernorm"},
    {"blk.{l}.attn_qkv", "model.layers.{l}.self_attn.qkv_proj"},
    {"blk.{l}.attn_output", "model.layers.{l}.self_attn.o_proj"},
    {"blk.{l}.ffn_norm", "model.layers.{l}.post_attention_layernorm"},
    {"blk.{l}.ffn_up", "model.layers.{l}.mlp.gate_up_proj"},
    {"blk.{l}.ffn_down", "model.layers.{l}.mlp.down_proj"},
};

constexpr GgufName kGptNeox[] = {
    {"token_embd", "gpt_neox.embed_in"},
    {"output_norm", "gpt_neox.final_layer_norm"},
    {"output", "embed_out"},
    {"blk.{l}.attn_norm", "gpt_neox.layers.{l}.input_layernorm"},
    {"blk.{l}.attn_qkv", "gpt_neox.layers.{l}.attention.query_key_value", neox_qkv},
    {"blk.{l}.attn_output", "gpt_neox.layers.{l}.attention.dense"},
    {"blk.{l}.ffn_norm", "gpt_neox.layers.{l}.post_attention_layernorm"},
    {"blk.{l}.ffn_up", "gpt_neox.layers.{l}.mlp.dense_h_to_4h"},
    {"blk.{l}.ffn_down", "gpt_neox.layers.{l}.mlp.dense_4h_to_h"},
};

constexpr GgufName kGpt2[] = {
    {"token_embd", "transformer.wte"},
    {"position_embd", "transformer.wpe"},
    {"output_norm", "transformer.ln_f"},
    {"output", "lm_head"},
    {"blk.{l}.attn_norm", "transformer.h.{l}.ln_1"},
    {"blk.{l}.attn_qkv", "transformer.h.{l}.attn.c_attn"},
    {"blk.{l}.attn_output", "transformer.h.{l}.attn.c_proj"},
    {"blk.{l}.ffn_norm", "transformer.h.{l}.ln_2"},
    {"blk.{l}.ffn_up", "transformer.h.{l}.mlp.c_fc"},
    {"blk.{l}.ffn_down", "transformer.h.{l}.mlp.c_proj"},
};

constexpr GgufName kFalcon[] = {
    {"token_embd", "transformer.word_embeddings"},
    {"output_norm", "transformer.ln_f"},
    {"output", "lm_head"},
    {"blk.{l}.attn_norm", "transformer.h.{l}.input_layernorm"},
    {"blk.{l}.attn_qkv", "transformer.h.{l}.self_attention.query_key_value"},
    {"blk.{l}.attn_output", "transformer.h.{l}.self_attention.dense"},
    {"blk.{l}.ffn_up", "transformer.h.{l}.mlp.dense_h_to_4h"},
    {"blk.{l}.ffn_down", "transformer.h.{l}.mlp.dense_4h_to_h"},
};

constexpr GgufName kBloom[] = {
    {"token_embd", "transformer.word_embeddings"},
    {"token_embd_norm", "transformer.word_embeddings_layernorm"},
    {"output_norm", "transformer.ln_f"},
    {"output", "lm_head"},
    {"blk.{l}.attn_norm", "transformer.h.{l}.input_layernorm"},
    {"blk.{l}.attn_qkv", "transformer.h.{l}.self_attention.query_key_value", neox_qkv},
    {"blk.{l}.attn_output", "transformer.h.{l}.self_attention.dense"},
    {"blk.{l}.ffn_norm", "transformer.h.{l}.post_attention_layernorm"},
    {"blk.{l}.ffn_up", "transformer.h.{l}.mlp.dense_h_to_4h"},
    {"blk.{l}.ffn_down", "transformer.h.{l}.mlp.dense_4h_to_h"},
};

constexpr GgufName kOlmo2[] = {
    {"token_embd", "model.embed_tokens"},
    {"output_norm", "model.norm"},
    {"output", "lm_head"},
    {"blk.{l}.attn_q", "model.layers.{l}.self_attn.q_proj"},
    {"blk.{l}.attn_k", "model.layers.{l}.self_attn.k_proj"},
    {"blk.{l}.attn_v", "model.layers.{l}.self_attn.v_proj"},
    {"blk.{l}.attn_q_norm", "model.layers.{l}.self_attn.q_norm"},
    {"blk.{l}.attn_k_norm", "model.layers.{l}.self_attn.k_norm"},
    {"blk.{l}.attn_output", "model.layers.{l}.self_attn.o_proj"},
    {"blk.{l}.post_attention_norm", "model.layers.{l}.post_attention_layernorm"},
    {"blk.{l}.post_ffw_norm", "model.layers.{l}.post_feedforward_layernorm"},
    {"blk.{l}.ffn_gate", "model.layers.{l}.mlp.gate_proj"},
    {"blk.{l}.ffn_up", "model.layers.{l}.mlp.up_proj"},
    {"blk.{l}.ffn_down", "model.layers.{l}.mlp.down_proj"},
};

constexpr GgufKey kKeys[] = {
    {"vocab_size", "vocab_size"},
    {"context_length", "max_position_embeddings"},
    {"embedding_length", "hidden_size"},
    {"block_count", "num_hidden_layers"},
    {"feed_forward_length", "intermediate_size"},
    {"attention.head_count", "num_attention_heads"},
    {"attention.head_count_kv", "num_key_value_heads"},
    {"attention.key_length", "head_dim"},
    {"attention.layer_norm_rms_epsilon", "rms_norm_eps"},
    {"attention.layer_norm_epsilon", "layer_norm_eps"},
    {"attention.sliding_window", "sliding_window"},
    {"attn_logit_softcapping", "attn_logit_softcapping"},
    {"final_logit_softcapping", "final_logit_softcapping"},
    {"rope.freq_base", "rope_theta"},
};

constexpr GgufKey kStarcoderKeys[] = {
    {"vocab_size", "vocab_size"},
    {"context_length", "n_positions"},
    {"embedding_length", "n_embd"},
    {"block_count", "n_layer"},
    {"feed_forward_length", "n_inner"},
    {"attention.head_count", "n_head"},
    {"attention.layer_norm_epsilon", "layer_norm_epsilon"},
};

constexpr GgufKey kStarcoder2Keys[] = {
    {"vocab_size", "vocab_size"},
    {"context_length", "max_position_embeddings"},
    {"embedding_length", "hidden_size"},
    {"block_count", "num_hidden_layers"},
    {"feed_forward_length", "intermediate_size"},
    {"attention.head_count", "num_attention_heads"},
    {"attention.head_count_kv", "num_key_value_heads"},
    {"attention.layer_norm_epsilon", "norm_epsilon"},
    {"attention.sliding_window", "sliding_window"},
    {"rope.freq_base", "rope_theta"},
};

constexpr GgufKey kNeoxKeys[] = {
    {"vocab_size", "vocab_size"},
    {"context_length", "max_position_embeddings"},
    {"embedding_length", "hidden_size"},
    {"block_count", "num_hidden_layers"},
    {"feed_forward_length", "intermediate_size"},
    {"attention.head_count", "num_attention_heads"},
    {"attention.layer_norm_epsilon", "layer_norm_eps"},
    {"rope.freq_base", "rotary_emb_base"},
    {"use_parallel_residual", "use_parallel_residual"},
};

constexpr GgufKey kGraniteKeys[] = {
    {"vocab_size", "vocab_size"},
    {"context_length", "max_position_embeddings"},
    {"embedding_length", "hidden_size"},
    {"block_count", "num_hidden_layers"},
    {"feed_forward_length", "intermediate_size"},
    {"attention.head_count", "num_attention_heads"},
    {"attention.head_count_kv", "num_key_value_heads"},
    {"attention.layer_norm_rms_epsilon", "rms_norm_eps"},
    {"attention.scale", "attention_multiplier"},
    {"embedding_scale", "embedding_multiplier"},
    {"residual_scale", "residual_multiplier"},
    {"logit_scale", "logits_scaling"},
    {"rope.freq_base", "rope_theta"},
};

constexpr GgufKey kCohereKeys[] = {
    {"vocab_size", "vocab_size"},
    {"context_length", "max_position_embeddings"},
    {"embedding_length", "hidden_size"},
    {"block_count", "num_hidden_layers"},
    {"feed_forward_length", "intermediate_size"},
    {"attention.head_count", "num_attention_heads"},
    {"attention.head_count_kv", "num_key_value_heads"},
    {"attention.layer_norm_epsilon", "layer_norm_eps"},
    {"logit_scale", "logit_scale"},
    {"rope.freq_base", "rope_theta"},
};

constexpr GgufKey kFalconKeys[] = {
    {"vocab_size", "vocab_size"},
    {"context_length", "max_position_embeddings"},
    {"embedding_length", "hidden_size"},
    {"block_count", "num_hidden_layers"},
    {"feed_forward_length", "ffn_hidden_size"},
    {"attention.head_count", "num_attention_heads"},
    {"attention.layer_norm_epsilon", "layer_norm_epsilon"},
    {"rope.freq_base", "rope_theta"},
};

constexpr GgufKey kBloomKeys[] = {
    {"vocab_size", "vocab_size"},
    {"context_length", "seq_length"},
    {"embedding_length", "hidden_size"},
    {"block_count", "num_hidden_layers"},
    {"attention.head_count", "num_attention_heads"},
    {"attention.layer_norm_epsilon", "layer_norm_epsilon"},
};

// What only the presence of a tensor says.
constexpr GgufKey kStablelmFlags[] = {{"blk.0.attn_q.bias", "use_qkv_bias"}};
constexpr GgufKey kCohereFlags[] = {{"blk.0.attn_q_norm.weight", "use_qk_norm"}};
constexpr GgufKey kStarcoder2Flags[] = {{"blk.0.attn_q.bias", "use_bias"}};

constexpr GgufKey kStablelmKeys[] = {
    {"vocab_size", "vocab_size"},
    {"context_length", "max_position_embeddings"},
    {"embedding_length", "hidden_size"},
    {"block_count", "num_hidden_layers"},
    {"feed_forward_length", "intermediate_size"},
    {"attention.head_count", "num_attention_heads"},
    {"attention.head_count_kv", "num_key_value_heads"},
    {"attention.layer_norm_epsilon", "layer_norm_eps"},
    {"use_parallel_residual", "use_parallel_residual"},
    {"rope.freq_base", "rope_theta"},
};

constexpr GgufArch kArchs[] = {
    {"llama", R"({"model_type":"llama","architectures":["LlamaForCausalLM"],"hidden_act":"silu"})", kLlama, kKeys},
    {"qwen2", R"({"model_type":"qwen2","architectures":["Qwen2ForCausalLM"],"hidden_act":"silu"})", kQwen, kKeys},
    {"qwen3", R"({"model_type":"qwen3","architectures":["Qwen3ForCausalLM"],"hidden_act":"silu"})", kQwen, kKeys},
    {"gemma", R"({"model_type":"gemma","architectures":["GemmaForCausalLM"],"hidden_activation":"gelu_pytorch_tanh"})",
     kGemma, kKeys},
    {"gemma2",
     R"({"model_type":"gemma2","architectures":["Gemma2ForCausalLM"],"hidden_activation":"gelu_pytorch_tanh"})",
     kGemma2, kKeys, "partial_rotary_factor", {}, 46},
    {"gemma3",
     R"({"model_type":"gemma3_text","architectures":["Gemma3ForCausalLM"],"hidden_activation":"gelu_pytorch_tanh",)"
     R"("rope_local_base_freq":10000.0,"sliding_window_pattern":6})",
     kGemma2, kKeys, "partial_rotary_factor", {}, 62},
    {"starcoder",
     R"({"model_type":"gpt_bigcode","architectures":["GPTBigCodeForCausalLM"],"activation_function":"gelu_pytorch_tanh",)"
     R"("multi_query":true,"scale_attn_weights":true})",
     kStarcoder, kStarcoderKeys},
    {"starcoder2",
     R"({"model_type":"starcoder2","architectures":["Starcoder2ForCausalLM"],"hidden_act":"gelu_pytorch_tanh","use_bias":true})",
     kStarcoder2, kStarcoder2Keys, "partial_rotary_factor", kStarcoder2Flags},
    {"phi2", R"({"model_type":"phi","architectures":["PhiForCausalLM"],"hidden_act":"gelu_new"})", kPhi2, kKeys},
    {"phi3", R"({"model_type":"phi3","architectures":["Phi3ForCausalLM"],"hidden_act":"silu"})", kPhi3, kKeys},
    {"gptneox", R"({"model_type":"gpt_neox","architectures":["GPTNeoXForCausalLM"],"hidden_act":"gelu"})", kGptNeox,
     kNeoxKeys, "rotary_pct"},
    {"gpt2", R"({"model_type":"gpt2","architectures":["GPT2LMHeadModel"],"activation_function":"gelu_new"})", kGpt2,
     kStarcoderKeys},
    {"falcon",
     R"({"model_type":"falcon","architectures":["FalconForCausalLM"],"activation":"gelu","multi_query":true,)"
     R"("parallel_attn":true,"new_decoder_architecture":false,"alibi":false,"bias":false})",
     kFalcon, kFalconKeys},
    {"bloom", R"({"model_type":"bloom","architectures":["BloomForCausalLM"]})", kBloom, kBloomKeys},
    {"stablelm", R"({"model_type":"stablelm","architectures":["StableLmForCausalLM"],"hidden_act":"silu"})", kQwen,
     kStablelmKeys, "partial_rotary_factor", kStablelmFlags},
    {"olmo2", R"({"model_type":"olmo2","architectures":["Olmo2ForCausalLM"],"hidden_act":"silu"})", kOlmo2, kKeys},
    {"command-r", R"({"model_type":"cohere","architectures":["CohereForCausalLM"],"hidden_act":"silu"})", kQwen,
     kCohereKeys, "partial_rotary_factor", kCohereFlags},
    {"granite", R"({"model_type":"granite","architectures":["GraniteForCausalLM"],"hidden_act":"silu"})", kLlama,
     kGraniteKeys},
    {"smollm3", R"({"model_type":"smollm3","architectures":["SmolLM3ForCausalLM"],"hidden_act":"silu"})", kLlama, kKeys},
};

}  // namespace

std::span<const GgufArch> gguf_archs() noexcept { return kArchs; }

const GgufArch* gguf_arch(std::string_view id) noexcept {
  for (const GgufArch& arch : kArchs) {
    if (arch.id == id) return &arch;
  }
  return nullptr;
}

}  // namespace nbl::dialects

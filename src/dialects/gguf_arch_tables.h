// Names of tensors and metadata keys in GGUF, a table each for what architectures share: for gguf_arch.cpp alone.
#pragma once

#include "dialects/gguf_arch.h"

namespace nbl::dialects::gguf_tables {

using enum GgufChange;

inline constexpr GgufName kLlama[] = {
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

inline constexpr GgufName kMixtral[] = {
    {"token_embd", "model.embed_tokens"},
    {"output_norm", "model.norm"},
    {"output", "lm_head"},
    {"blk.{l}.attn_norm", "model.layers.{l}.input_layernorm"},
    {"blk.{l}.attn_q", "model.layers.{l}.self_attn.q_proj", permute_q},
    {"blk.{l}.attn_k", "model.layers.{l}.self_attn.k_proj", permute_k},
    {"blk.{l}.attn_v", "model.layers.{l}.self_attn.v_proj"},
    {"blk.{l}.attn_output", "model.layers.{l}.self_attn.o_proj"},
    {"blk.{l}.ffn_norm", "model.layers.{l}.post_attention_layernorm"},
    {"blk.{l}.ffn_gate_inp", "model.layers.{l}.block_sparse_moe.gate"},
    {"blk.{l}.ffn_gate_exps", "model.layers.{l}.block_sparse_moe.experts.{e}.w1"},
    {"blk.{l}.ffn_up_exps", "model.layers.{l}.block_sparse_moe.experts.{e}.w3"},
    {"blk.{l}.ffn_down_exps", "model.layers.{l}.block_sparse_moe.experts.{e}.w2"},
};

inline constexpr GgufName kQwenMoe[] = {
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
    {"blk.{l}.ffn_gate_inp", "model.layers.{l}.mlp.gate"},
    {"blk.{l}.ffn_gate_exps", "model.layers.{l}.mlp.experts.{e}.gate_proj"},
    {"blk.{l}.ffn_up_exps", "model.layers.{l}.mlp.experts.{e}.up_proj"},
    {"blk.{l}.ffn_down_exps", "model.layers.{l}.mlp.experts.{e}.down_proj"},
    {"blk.{l}.ffn_gate_inp_shexp", "model.layers.{l}.mlp.shared_expert_gate", flat},
    {"blk.{l}.ffn_gate_shexp", "model.layers.{l}.mlp.shared_expert.gate_proj"},
    {"blk.{l}.ffn_up_shexp", "model.layers.{l}.mlp.shared_expert.up_proj"},
    {"blk.{l}.ffn_down_shexp", "model.layers.{l}.mlp.shared_expert.down_proj"},
};

inline constexpr GgufName kDeepseek[] = {
    {"token_embd", "model.embed_tokens"},
    {"output_norm", "model.norm"},
    {"output", "lm_head"},
    {"blk.{l}.attn_norm", "model.layers.{l}.input_layernorm"},
    {"blk.{l}.attn_q", "model.layers.{l}.self_attn.q_proj"},
    {"blk.{l}.attn_q_a", "model.layers.{l}.self_attn.q_a_proj"},
    {"blk.{l}.attn_q_a_norm", "model.layers.{l}.self_attn.q_a_layernorm"},
    {"blk.{l}.attn_q_b", "model.layers.{l}.self_attn.q_b_proj"},
    {"blk.{l}.attn_kv_a_mqa", "model.layers.{l}.self_attn.kv_a_proj_with_mqa"},
    {"blk.{l}.attn_kv_a_norm", "model.layers.{l}.self_attn.kv_a_layernorm"},
    {"blk.{l}.attn_kv_b", "model.layers.{l}.self_attn.kv_b_proj"},
    {"blk.{l}.attn_output", "model.layers.{l}.self_attn.o_proj"},
    {"blk.{l}.ffn_norm", "model.layers.{l}.post_attention_layernorm"},
    {"blk.{l}.ffn_gate", "model.layers.{l}.mlp.gate_proj"},
    {"blk.{l}.ffn_up", "model.layers.{l}.mlp.up_proj"},
    {"blk.{l}.ffn_down", "model.layers.{l}.mlp.down_proj"},
    {"blk.{l}.exp_probs_b.bias", "model.layers.{l}.mlp.gate.e_score_correction_bias"},
    {"blk.{l}.ffn_gate_inp", "model.layers.{l}.mlp.gate"},
    {"blk.{l}.ffn_gate_exps", "model.layers.{l}.mlp.experts.{e}.gate_proj"},
    {"blk.{l}.ffn_up_exps", "model.layers.{l}.mlp.experts.{e}.up_proj"},
    {"blk.{l}.ffn_down_exps", "model.layers.{l}.mlp.experts.{e}.down_proj"},
    {"blk.{l}.ffn_gate_shexp", "model.layers.{l}.mlp.shared_experts.gate_proj"},
    {"blk.{l}.ffn_up_shexp", "model.layers.{l}.mlp.shared_experts.up_proj"},
    {"blk.{l}.ffn_down_shexp", "model.layers.{l}.mlp.shared_experts.down_proj"},
};

inline constexpr GgufName kMpt[] = {
    {"token_embd", "transformer.wte"},
    {"output_norm", "transformer.norm_f"},
    {"output", "lm_head"},
    {"blk.{l}.attn_norm", "transformer.blocks.{l}.norm_1"},
    {"blk.{l}.attn_qkv", "transformer.blocks.{l}.attn.Wqkv"},
    {"blk.{l}.attn_output", "transformer.blocks.{l}.attn.out_proj"},
    {"blk.{l}.ffn_norm", "transformer.blocks.{l}.norm_2"},
    {"blk.{l}.ffn_up", "transformer.blocks.{l}.ffn.up_proj"},
    {"blk.{l}.ffn_down", "transformer.blocks.{l}.ffn.down_proj"},
};

inline constexpr GgufName kQwen[] = {
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

inline constexpr GgufName kGemma[] = {
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

inline constexpr GgufName kGemma2[] = {
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

inline constexpr GgufName kStarcoder[] = {
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

inline constexpr GgufName kStarcoder2[] = {
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

inline constexpr GgufName kPhi2[] = {
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

inline constexpr GgufName kPhi3[] = {
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

inline constexpr GgufName kGptNeox[] = {
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

// The names are those that the gguf package lists; llama.cpp itself has not implemented this one.
inline constexpr GgufName kGptj[] = {
    {"token_embd", "transformer.wte"},
    {"output_norm", "transformer.ln_f"},
    {"output", "lm_head"},
    {"blk.{l}.attn_norm", "transformer.h.{l}.ln_1"},
    {"blk.{l}.attn_q", "transformer.h.{l}.attn.q_proj"},
    {"blk.{l}.attn_k", "transformer.h.{l}.attn.k_proj"},
    {"blk.{l}.attn_v", "transformer.h.{l}.attn.v_proj"},
    {"blk.{l}.attn_output", "transformer.h.{l}.attn.out_proj"},
    {"blk.{l}.ffn_up", "transformer.h.{l}.mlp.fc_in"},
    {"blk.{l}.ffn_down", "transformer.h.{l}.mlp.fc_out"},
};

inline constexpr GgufName kGpt2[] = {
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

inline constexpr GgufName kFalcon[] = {
    {"token_embd", "transformer.word_embeddings"},
    {"output_norm", "transformer.ln_f"},
    {"output", "lm_head"},
    {"blk.{l}.attn_norm", "transformer.h.{l}.input_layernorm"},
    {"blk.{l}.attn_qkv", "transformer.h.{l}.self_attention.query_key_value"},
    {"blk.{l}.attn_output", "transformer.h.{l}.self_attention.dense"},
    {"blk.{l}.ffn_up", "transformer.h.{l}.mlp.dense_h_to_4h"},
    {"blk.{l}.ffn_down", "transformer.h.{l}.mlp.dense_4h_to_h"},
};

// Its queries, keys and values lie by key head, and two norms stand before a layer.
inline constexpr GgufName kFalconWide[] = {
    {"token_embd", "transformer.word_embeddings"},
    {"output_norm", "transformer.ln_f"},
    {"output", "lm_head"},
    {"blk.{l}.attn_norm", "transformer.h.{l}.ln_mlp"},
    {"blk.{l}.attn_norm_2", "transformer.h.{l}.ln_attn"},
    {"blk.{l}.attn_qkv", "transformer.h.{l}.self_attention.query_key_value", group_qkv},
    {"blk.{l}.attn_output", "transformer.h.{l}.self_attention.dense"},
    {"blk.{l}.ffn_up", "transformer.h.{l}.mlp.dense_h_to_4h"},
    {"blk.{l}.ffn_down", "transformer.h.{l}.mlp.dense_4h_to_h"},
};

inline constexpr GgufName kBloom[] = {
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

inline constexpr GgufName kOlmo2[] = {
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

inline constexpr GgufKey kKeys[] = {
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

inline constexpr GgufKey kMixtralKeys[] = {
    {"vocab_size", "vocab_size"},
    {"context_length", "max_position_embeddings"},
    {"embedding_length", "hidden_size"},
    {"block_count", "num_hidden_layers"},
    {"feed_forward_length", "intermediate_size"},
    {"attention.head_count", "num_attention_heads"},
    {"attention.head_count_kv", "num_key_value_heads"},
    {"attention.key_length", "head_dim"},
    {"attention.layer_norm_rms_epsilon", "rms_norm_eps"},
    {"attention.sliding_window", "sliding_window"},
    {"rope.freq_base", "rope_theta"},
    {"expert_count", "num_local_experts"},
    {"expert_used_count", "num_experts_per_tok"},
};

inline constexpr GgufKey kQwenMoeKeys[] = {
    {"vocab_size", "vocab_size"},
    {"context_length", "max_position_embeddings"},
    {"embedding_length", "hidden_size"},
    {"block_count", "num_hidden_layers"},
    {"feed_forward_length", "intermediate_size"},
    {"attention.head_count", "num_attention_heads"},
    {"attention.head_count_kv", "num_key_value_heads"},
    {"attention.key_length", "head_dim"},
    {"attention.layer_norm_rms_epsilon", "rms_norm_eps"},
    {"rope.freq_base", "rope_theta"},
    {"expert_count", "num_experts"},
    {"expert_used_count", "num_experts_per_tok"},
    {"expert_feed_forward_length", "moe_intermediate_size"},
    {"expert_shared_feed_forward_length", "shared_expert_intermediate_size"},
};

inline constexpr GgufKey kDeepseekKeys[] = {
    {"vocab_size", "vocab_size"},
    {"context_length", "max_position_embeddings"},
    {"embedding_length", "hidden_size"},
    {"block_count", "num_hidden_layers"},
    {"feed_forward_length", "intermediate_size"},
    {"attention.head_count", "num_attention_heads"},
    {"attention.head_count_kv", "num_key_value_heads"},
    {"attention.layer_norm_rms_epsilon", "rms_norm_eps"},
    {"attention.q_lora_rank", "q_lora_rank"},
    {"attention.kv_lora_rank", "kv_lora_rank"},
    {"attention.value_length", "v_head_dim"},
    {"rope.freq_base", "rope_theta"},
    {"rope.dimension_count", "qk_rope_head_dim"},
    {"leading_dense_block_count", "first_k_dense_replace"},
    {"expert_count", "n_routed_experts"},
    {"expert_used_count", "num_experts_per_tok"},
    {"expert_shared_count", "n_shared_experts"},
    {"expert_feed_forward_length", "moe_intermediate_size"},
    {"expert_weights_scale", "routed_scaling_factor"},
    {"expert_weights_norm", "norm_topk_prob"},
    {"expert_group_count", "n_group"},
    {"expert_group_used_count", "topk_group"},
};

inline constexpr GgufKey kOlmoKeys[] = {
    {"vocab_size", "vocab_size"},
    {"context_length", "max_position_embeddings"},
    {"embedding_length", "hidden_size"},
    {"block_count", "num_hidden_layers"},
    {"feed_forward_length", "intermediate_size"},
    {"attention.head_count", "num_attention_heads"},
    {"attention.head_count_kv", "num_key_value_heads"},
    {"attention.layer_norm_epsilon", "=1e-5"},
    {"attention.clamp_kqv", "clip_qkv"},
    {"rope.freq_base", "rope_theta"},
};

inline constexpr GgufKey kMptKeys[] = {
    {"vocab_size", "vocab_size"},
    {"context_length", "max_seq_len"},
    {"embedding_length", "d_model"},
    {"block_count", "n_layers"},
    {"attention.head_count", "n_heads"},
    {"attention.layer_norm_epsilon", "layer_norm_epsilon"},
    {"attention.clamp_kqv", "attn_config.clip_qkv"},
    {"attention.max_alibi_bias", "attn_config.alibi_bias_max"},
};

inline constexpr GgufKey kFalconWideKeys[] = {
    {"vocab_size", "vocab_size"},
    {"context_length", "max_position_embeddings"},
    {"embedding_length", "hidden_size"},
    {"block_count", "num_hidden_layers"},
    {"feed_forward_length", "ffn_hidden_size"},
    {"attention.head_count", "num_attention_heads"},
    {"attention.head_count_kv", "num_kv_heads"},
    {"attention.layer_norm_epsilon", "layer_norm_epsilon"},
    {"rope.freq_base", "rope_theta"},
};

inline constexpr GgufKey kStarcoderKeys[] = {
    {"vocab_size", "vocab_size"},
    {"context_length", "n_positions"},
    {"embedding_length", "n_embd"},
    {"block_count", "n_layer"},
    {"feed_forward_length", "n_inner"},
    {"attention.head_count", "n_head"},
    {"attention.layer_norm_epsilon", "layer_norm_epsilon"},
};

inline constexpr GgufKey kGptjKeys[] = {
    {"vocab_size", "vocab_size"},
    {"context_length", "n_positions"},
    {"embedding_length", "n_embd"},
    {"block_count", "n_layer"},
    {"feed_forward_length", "n_inner"},
    {"attention.head_count", "n_head"},
    {"attention.layer_norm_epsilon", "layer_norm_epsilon"},
    {"rope.dimension_count", "rotary_dim"},
};

inline constexpr GgufKey kStarcoder2Keys[] = {
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

inline constexpr GgufKey kNeoxKeys[] = {
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

inline constexpr GgufKey kGraniteKeys[] = {
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

inline constexpr GgufKey kCohereKeys[] = {
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

inline constexpr GgufKey kFalconKeys[] = {
    {"vocab_size", "vocab_size"},
    {"context_length", "max_position_embeddings"},
    {"embedding_length", "hidden_size"},
    {"block_count", "num_hidden_layers"},
    {"feed_forward_length", "ffn_hidden_size"},
    {"attention.head_count", "num_attention_heads"},
    {"attention.layer_norm_epsilon", "layer_norm_epsilon"},
    {"rope.freq_base", "rope_theta"},
};

inline constexpr GgufKey kBloomKeys[] = {
    {"vocab_size", "vocab_size"},
    {"context_length", "seq_length"},
    {"embedding_length", "hidden_size"},
    {"block_count", "num_hidden_layers"},
    {"attention.head_count", "num_attention_heads"},
    {"attention.layer_norm_epsilon", "layer_norm_epsilon"},
};

// What only the presence of a tensor says.
inline constexpr GgufKey kStablelmFlags[] = {{"blk.0.attn_q.bias", "use_qkv_bias"}};
inline constexpr GgufKey kCohereFlags[] = {{"blk.0.attn_q_norm.weight", "use_qk_norm"}};
inline constexpr GgufKey kFalconFlags[] = {{"blk.0.attn_qkv.bias", "bias"}};
inline constexpr GgufKey kStarcoder2Flags[] = {{"blk.0.attn_q.bias", "use_bias"}};

inline constexpr GgufKey kStablelmKeys[] = {
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

}  // namespace nbl::dialects::gguf_tables

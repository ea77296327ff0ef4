"""Small configurations of every architecture: the awkward variants that tests/golden/architectures holds, by name."""

BASE = dict(
    vocab_size=67, hidden_size=32, intermediate_size=44, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, max_position_embeddings=64, bos_token_id=1, eos_token_id=2, pad_token_id=None,
)
GPT2 = dict(vocab_size=67, n_embd=32, n_inner=44, n_layer=2, n_head=4, n_positions=48, bos_token_id=1, eos_token_id=2)


def llama(**more):
    return "LlamaConfig", dict(BASE, **more)


def rope(kind, **more):
    return dict(rope_parameters=dict(rope_type=kind, rope_theta=500.0, **more))


GEMMA2 = dict(BASE, num_hidden_layers=3, head_dim=10, query_pre_attn_scalar=13, sliding_window=9)
NEOX = {k: v for k, v in BASE.items() if k != "num_key_value_heads"}
PHI3_LONG = dict(rope_type="longrope", rope_theta=500.0, short_factor=[1.0, 1.2, 1.5, 2.0], long_factor=[1.5, 2.5, 4.0, 8.0])
GPTJ = {k: v for k, v in GPT2.items() if k != "n_inner"}
OPT = dict(vocab_size=67, hidden_size=32, ffn_dim=44, num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=48,
           word_embed_proj_dim=32, bos_token_id=2, eos_token_id=2, pad_token_id=1)
FALCON = dict(vocab_size=67, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=64,
              bos_token_id=1, eos_token_id=2)
BLOOM = dict(vocab_size=67, hidden_size=32, n_layer=2, n_head=4, bos_token_id=1, eos_token_id=2)
MPT = dict(vocab_size=67, d_model=32, n_layers=2, n_heads=4, max_seq_len=64)
MOE = dict(BASE, moe_intermediate_size=20, num_experts=5, num_experts_per_tok=2)
DEEPSEEK = dict(BASE, num_key_value_heads=4, num_hidden_layers=2, moe_intermediate_size=20, n_routed_experts=6, num_experts_per_tok=2,
                n_shared_experts=2, first_k_dense_replace=1, kv_lora_rank=12, q_lora_rank=14, qk_nope_head_dim=6,
                qk_rope_head_dim=4, v_head_dim=10)
DEEPSEEK_YARN = dict(rope_type="yarn", rope_theta=500.0, factor=4.0, original_max_position_embeddings=16, mscale=0.8,
                     mscale_all_dim=0.9, beta_fast=32.0, beta_slow=1.0)

VARIANTS = {
    "llama-yarn": llama(**rope("yarn", factor=4.0, original_max_position_embeddings=16)),
    "llama-yarn-mscale": llama(**rope("yarn", factor=4.0, original_max_position_embeddings=16, mscale=0.9, mscale_all_dim=0.6,
                                      beta_fast=16.0, beta_slow=2.0, truncate=False)),
    "llama-dynamic": llama(**dict(rope("dynamic", factor=2.0), max_position_embeddings=24)),
    "llama-longrope-short": llama(**rope("longrope", factor=2.0, original_max_position_embeddings=48,
                                         short_factor=[1.0, 1.1, 1.3, 1.6], long_factor=[1.5, 2.0, 3.0, 5.0])),
    "llama-longrope-long": llama(**rope("longrope", factor=2.0, original_max_position_embeddings=24,
                                        short_factor=[1.0, 1.1, 1.3, 1.6], long_factor=[1.5, 2.0, 3.0, 5.0])),
    "llama-relu2": llama(hidden_act="relu2"),
    "llama-quick-gelu": llama(hidden_act="quick_gelu"),
    "llama-tanh": llama(hidden_act="tanh"),
    "llama-sigmoid": llama(hidden_act="sigmoid"),
    "llama-relu": llama(hidden_act="relu"),
    "llama-mish": llama(hidden_act="mish"),
    "llama-gelu-tanh": llama(hidden_act="gelu_new", attention_bias=True, mlp_bias=True),
    "qwen3": ("Qwen3Config", dict(BASE, head_dim=14, tie_word_embeddings=True)),
    "qwen3-window": ("Qwen3Config", dict(BASE, head_dim=8, attention_bias=True, use_sliding_window=True, sliding_window=7,
                                         max_window_layers=1)),
    "gemma": ("GemmaConfig", dict(BASE, head_dim=12, num_key_value_heads=1)),
    "gemma-gelu": ("GemmaConfig", dict(BASE, head_dim=8, hidden_act="gelu", tie_word_embeddings=False, attention_bias=True)),
    "gemma2": ("Gemma2Config", GEMMA2),
    "gemma2-no-caps": ("Gemma2Config", dict(GEMMA2, attn_logit_softcapping=None, final_logit_softcapping=None, attention_bias=True)),
    "gemma2-low-caps": ("Gemma2Config", dict(GEMMA2, attn_logit_softcapping=3.0, final_logit_softcapping=5.0)),
    "gemma3": ("Gemma3TextConfig", dict(GEMMA2, num_hidden_layers=4, sliding_window_pattern=3)),
    "gemma3-scaled": ("Gemma3TextConfig", dict(
        GEMMA2, layer_types=["full_attention", "sliding_attention", "sliding_attention"],
        rope_parameters=dict(full_attention=dict(rope_type="linear", factor=8.0, rope_theta=5000.0),
                             sliding_attention=dict(rope_type="default", rope_theta=300.0)))),
    "smollm3": ("SmolLM3Config", dict(BASE, num_hidden_layers=4, no_rope_layer_interval=2)),
    "smollm3-window": ("SmolLM3Config", dict(BASE, num_hidden_layers=3, no_rope_layers=[1, 0, 1], use_sliding_window=True,
                                             sliding_window=9, attention_bias=True, mlp_bias=True, tie_word_embeddings=False)),
    "phi": ("PhiConfig", dict(BASE, num_key_value_heads=None)),
    "phi-qk-norm": ("PhiConfig", dict(BASE, qk_layernorm=True, partial_rotary_factor=0.25, hidden_act="gelu")),
    "phi3": ("Phi3Config", dict(BASE, sliding_window=11, num_key_value_heads=4)),
    "phi3-long": ("Phi3Config", dict(BASE, original_max_position_embeddings=20, rope_parameters=PHI3_LONG)),
    "phi3-short": ("Phi3Config", dict(BASE, original_max_position_embeddings=48, rope_parameters=PHI3_LONG)),
    "phi3-partial": ("Phi3Config", dict(BASE, partial_rotary_factor=0.75, tie_word_embeddings=True)),
    "gpt2": ("GPT2Config", GPT2),
    "gpt2-by-layer": ("GPT2Config", dict(GPT2, n_layer=3, n_inner=None, scale_attn_by_inverse_layer_idx=True,
                                         tie_word_embeddings=False, activation_function="gelu")),
    "gpt2-unscaled": ("GPT2Config", dict(GPT2, scale_attn_weights=False, activation_function="relu")),
    "starcoder2": ("Starcoder2Config", dict(BASE, sliding_window=9)),
    "starcoder2-no-bias": ("Starcoder2Config", dict(BASE, use_bias=False, tie_word_embeddings=False)),
    "gpt-neox": ("GPTNeoXConfig", dict(NEOX, rotary_pct=0.5)),
    "gpt-neox-sequential": ("GPTNeoXConfig", dict(NEOX, use_parallel_residual=False, attention_bias=False, hidden_act="gelu_new",
                                                  tie_word_embeddings=True)),
    "gptj": ("GPTJConfig", dict(GPTJ, rotary_dim=4)),
    "gptj-whole": ("GPTJConfig", dict(GPTJ, rotary_dim=8, n_inner=44, activation_function="gelu", tie_word_embeddings=True)),
    "opt": ("OPTConfig", OPT),
    "opt-post-norm-projections": ("OPTConfig", dict(OPT, do_layer_norm_before=False, word_embed_proj_dim=20)),
    "opt-wide-embedding": ("OPTConfig", dict(OPT, word_embed_proj_dim=40, enable_bias=False, activation_function="gelu")),
    "opt-no-final-norm": ("OPTConfig", dict(OPT, _remove_final_layer_norm=True, tie_word_embeddings=False)),
    "falcon-7b": ("FalconConfig", FALCON),
    "falcon-new-decoder": ("FalconConfig", dict(FALCON, new_decoder_architecture=True, num_kv_heads=2, ffn_hidden_size=44, bias=True)),
    "falcon-one-norm": ("FalconConfig", dict(FALCON, new_decoder_architecture=True, num_kv_heads=2, num_ln_in_parallel_attn=1)),
    "falcon-alibi": ("FalconConfig", dict(FALCON, num_attention_heads=8, alibi=True, multi_query=False, parallel_attn=False, bias=True,
                                          tie_word_embeddings=False)),
    "falcon-rope-sequential": ("FalconConfig", dict(FALCON, multi_query=False, parallel_attn=False, activation="gelu_new")),
    "bloom": ("BloomConfig", BLOOM),
    "bloom-six-heads": ("BloomConfig", dict(BLOOM, hidden_size=48, n_head=6, apply_residual_connection_post_layernorm=True)),
    "mpt": ("MptConfig", dict(MPT, attn_config=dict(clip_qkv=0.7))),
    "mpt-five-heads": ("MptConfig", dict(MPT, d_model=30, n_heads=5, attn_config=dict(softmax_scale=0.3))),
    "stablelm": ("StableLmConfig", BASE),
    "stablelm-parallel": ("StableLmConfig", dict(BASE, use_parallel_residual=True, use_qkv_bias=True, partial_rotary_factor=0.5)),
    "stablelm-qk-norm": ("StableLmConfig", dict(BASE, qk_layernorm=True, tie_word_embeddings=True)),
    "olmo": ("OlmoConfig", BASE),
    "olmo-clip": ("OlmoConfig", dict(BASE, clip_qkv=0.6, attention_bias=True)),
    "olmo2": ("Olmo2Config", dict(BASE, head_dim=10)),
    "olmo2-bias": ("Olmo2Config", dict(BASE, attention_bias=True, tie_word_embeddings=True)),
    "cohere": ("CohereConfig", BASE),
    "cohere-qk-norm": ("CohereConfig", dict(BASE, use_qk_norm=True, attention_bias=True, logit_scale=0.5, tie_word_embeddings=False)),
    "granite": ("GraniteConfig", dict(BASE, embedding_multiplier=3.0, residual_multiplier=0.4, attention_multiplier=0.2, logits_scaling=2.5)),
    "granite-bias": ("GraniteConfig", dict(BASE, attention_bias=True, mlp_bias=True, tie_word_embeddings=True)),
    "mixtral": ("MixtralConfig", dict(BASE, num_local_experts=4, num_experts_per_tok=2, sliding_window=9)),
    "mixtral-one-of-three": ("MixtralConfig", dict(BASE, num_local_experts=3, num_experts_per_tok=1, head_dim=6)),
    "qwen2-moe": ("Qwen2MoeConfig", dict(MOE, shared_expert_intermediate_size=28)),
    "qwen2-moe-mixed": ("Qwen2MoeConfig", dict(MOE, num_hidden_layers=3, shared_expert_intermediate_size=52, norm_topk_prob=True,
                                               mlp_only_layers=[1], use_sliding_window=True, sliding_window=9, qkv_bias=False)),
    "qwen3-moe": ("Qwen3MoeConfig", dict(MOE, head_dim=10, norm_topk_prob=True)),
    "qwen3-moe-sparse-step": ("Qwen3MoeConfig", dict(MOE, head_dim=8, decoder_sparse_step=2, attention_bias=True)),
    "deepseek-v2": ("DeepseekV2Config", dict(DEEPSEEK, q_lora_rank=None, topk_method="greedy")),
    "deepseek-v2-groups": ("DeepseekV2Config", dict(DEEPSEEK, topk_method="group_limited_greedy", n_group=3, topk_group=2,
                                                    routed_scaling_factor=1.7, attention_bias=True, rope_parameters=DEEPSEEK_YARN)),
    "deepseek-v3": ("DeepseekV3Config", dict(DEEPSEEK, n_group=3, topk_group=2)),
    "deepseek-v3-yarn": ("DeepseekV3Config", dict(DEEPSEEK, n_group=1, topk_group=1, norm_topk_prob=False, rope_interleave=False,
                                                  q_lora_rank=None, rope_parameters=DEEPSEEK_YARN)),
}

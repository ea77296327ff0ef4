"""Random configurations of every architecture, as arguments of transformers' configuration classes: DRAWS[id](draw) gives
(class name, settings). What is drawn is what the published models of the family, and people's own, may set."""

ACTIVATIONS = ["silu", "swish", "gelu", "gelu_new", "gelu_pytorch_tanh", "gelu_fast", "gelu_python", "gelu_accurate", "quick_gelu",
               "relu", "relu2", "sigmoid", "tanh", "gelu_10", "mish", "leaky_relu", "relu6", "hardswish", "linear"]


class Draw:
    """Choices of one configuration. `length`: of the sequence that will be run."""

    def __init__(self, rng, length):
        self.rng, self.length = rng, length
        self.pick, self.between = rng.choice, lambda a, b: rng.randrange(a, b + 1)

    def maybe(self, p=0.5):
        return self.rng.random() < p

    def activation(self, usual):
        return usual if self.maybe(0.4) else self.pick(ACTIVATIONS)

    def window(self):
        # Not 1: transformers' cache of such a window keeps every key (its last 0 are all of them).
        return self.pick([2, 3, 7, 9, 16, 17, self.length - 1, self.length, self.length + 5])

    def tokens(self):
        return dict(bos_token_id=1, eos_token_id=2, pad_token_id=None)

    def heads(self, grouped=True, explicit=False, even=True):
        """heads, kv_heads, head_dim, hidden: with `explicit`, the heads together may be wider or narrower than the stream."""
        heads = self.pick([1, 2, 3, 4, 5, 6, 8])
        kv = self.pick([n for n in range(1, heads + 1) if heads % n == 0]) if grouped else heads
        dim = self.pick([2, 4, 6, 8, 10, 12, 14, 18, 22] if even else [1, 3, 5, 7, 8, 9, 11, 13, 16])
        hidden = heads * dim
        own = explicit and self.maybe(0.6)
        if own:
            hidden = heads * self.between(-(-10 // heads), 70 // heads)
        elif hidden < 8:  # wide enough that logits do not hang on one component
            dim = 8 if even else 9
            hidden = heads * dim
        return heads, kv, dim, hidden, own

    def base(self, grouped=True, explicit=False, layers=(1, 4)):
        heads, kv, dim, hidden, own = self.heads(grouped, explicit)
        settings = dict(self.tokens(), vocab_size=self.between(31, 90), hidden_size=hidden, intermediate_size=self.between(9, 75),
                        num_hidden_layers=self.between(*layers), num_attention_heads=heads, num_key_value_heads=kv,
                        max_position_embeddings=self.pick([24, 64, 128, 300]), rms_norm_eps=self.pick([1e-6, 1e-5, 1e-3]),
                        tie_word_embeddings=self.maybe())
        if own:
            settings["head_dim"] = dim
        self.dim = dim
        return settings

    def rope(self, rotary=None, positions=64, partial=None):
        """Rope parameters of any kind. rotary: how many components turn."""
        pairs = (rotary or self.dim) // 2
        p = dict(rope_type="default", rope_theta=self.pick([100.0, 500.0, 10000.0, 1e6]))
        if partial is not None:
            p["partial_rotary_factor"] = partial
        kinds = ["default", "linear", "llama3", "yarn", "yarn", "longrope"] + (["dynamic"] if pairs > 1 else [])
        p["rope_type"] = kind = self.pick(kinds)
        if kind in ("linear", "dynamic"):
            p["factor"] = self.pick([1.5, 2.0, 8.0])
        original = self.pick([8, 16, 32, self.length + 8])
        if kind == "llama3":
            p.update(factor=8.0, low_freq_factor=1.0, high_freq_factor=self.pick([2.0, 4.0]), original_max_position_embeddings=original)
        if kind == "yarn":
            p.update(factor=self.pick([2.0, 4.0, 7.5]), original_max_position_embeddings=original)
            for key, values in dict(beta_fast=[16.0, 32.0], beta_slow=[1.0, 2.0], truncate=[False, True], attention_factor=[0.8, 1.3]).items():
                if self.maybe(0.4):
                    p[key] = self.pick(values)
            if self.maybe(0.4):
                p.update(mscale=self.pick([0.7, 1.0]), mscale_all_dim=self.pick([0.5, 1.0]))
        if kind == "longrope":
            p.update(factor=self.pick([2.0, 4.0]), original_max_position_embeddings=original,
                     short_factor=[1.0 + 0.1 * i for i in range(pairs)], long_factor=[1.2 + 0.5 * i for i in range(pairs)])
            if self.maybe(0.3):
                p["attention_factor"] = 1.2
        return p

    def layer_types(self, layers):
        return [self.pick(["full_attention", "sliding_attention"]) for _ in range(layers)]


def llama(d):
    s = d.base(explicit=True)
    return "LlamaConfig", dict(s, rope_parameters=d.rope(), hidden_act=d.activation("silu"), attention_bias=d.maybe(), mlp_bias=d.maybe())


def mistral(d):
    s = d.base(explicit=True)
    return "MistralConfig", dict(s, rope_parameters=d.rope(), hidden_act=d.activation("silu"),
                                 sliding_window=d.pick([None, d.window()]))


def qwen_windows(d, s):
    if d.maybe(0.6):
        s.update(use_sliding_window=True, sliding_window=d.window())
        if d.maybe():
            s["layer_types"] = d.layer_types(s["num_hidden_layers"])
        else:
            s["max_window_layers"] = d.between(0, s["num_hidden_layers"])
    return s


def qwen2(d):
    s = qwen_windows(d, d.base())
    return "Qwen2Config", dict(s, rope_parameters=d.rope(), hidden_act=d.activation("silu"))


def qwen3(d):
    s = qwen_windows(d, d.base())
    return "Qwen3Config", dict(s, head_dim=d.dim, rope_parameters=d.rope(), hidden_act=d.activation("silu"), attention_bias=d.maybe())


def gemma(d):
    s = d.base()
    return "GemmaConfig", dict(s, head_dim=d.dim, rope_parameters=d.rope(), attention_bias=d.maybe(),
                               hidden_act=d.pick(["gelu_pytorch_tanh", "gelu"]))


def gemma2_settings(d):
    s = d.base(layers=(1, 5))
    return dict(s, head_dim=d.dim, query_pre_attn_scalar=d.pick([8, 13, 256]), sliding_window=d.window(), attention_bias=d.maybe(0.3),
                attn_logit_softcapping=d.pick([None, 3.0, 50.0]), final_logit_softcapping=d.pick([None, 5.0, 30.0]),
                hidden_activation=d.pick(["gelu_pytorch_tanh", "gelu_pytorch_tanh", "gelu", "silu"]))


def gemma2(d):
    s = gemma2_settings(d)
    if d.maybe(0.4):
        s["layer_types"] = d.layer_types(s["num_hidden_layers"])
    return "Gemma2Config", dict(s, rope_parameters=d.rope())


def gemma3(d):
    s = gemma2_settings(d)
    if d.maybe():
        s["layer_types"] = d.layer_types(s["num_hidden_layers"])
    else:
        s["sliding_window_pattern"] = d.between(1, 4)
    full = d.pick([dict(rope_type="linear", factor=8.0, rope_theta=5000.0), dict(rope_type="default", rope_theta=900.0)])
    local = dict(rope_type="default", rope_theta=d.pick([300.0, 10000.0]))
    return "Gemma3TextConfig", dict(s, rope_parameters=dict(full_attention=full, sliding_attention=local))


def smollm3(d):
    s = d.base(layers=(2, 5))
    layers = s["num_hidden_layers"]
    if d.maybe():
        s["no_rope_layers"] = [d.pick([0, 1]) for _ in range(layers)]
    else:
        s["no_rope_layer_interval"] = d.between(1, 4)
    if d.maybe():
        s.update(use_sliding_window=True, sliding_window=d.window())
        if d.maybe():
            s["layer_types"] = d.layer_types(layers)
    return "SmolLM3Config", dict(s, rope_parameters=d.rope(), hidden_act=d.activation("silu"), attention_bias=d.maybe(), mlp_bias=d.maybe())


def partial_rope(d, s, factors):
    dim = s["hidden_size"] // s["num_attention_heads"]
    fits = [f for f in factors if int(dim * f) >= 2 and int(dim * f) % 2 == 0]
    partial = d.pick(fits or [1.0])
    return d.rope(int(dim * partial), partial=partial)


def layer_norm_base(d, **more):
    s = d.base()
    s.pop("rms_norm_eps")
    return dict(s, layer_norm_eps=d.pick([1e-5, 1e-3]), **more)


def phi(d):
    s = layer_norm_base(d)
    return "PhiConfig", dict(s, rope_parameters=partial_rope(d, s, [0.25, 0.4, 0.5, 1.0]), hidden_act=d.activation("gelu_new"),
                             qk_layernorm=d.maybe(0.4))


def phi3(d):
    s = d.base()
    r = partial_rope(d, s, [0.5, 0.75, 1.0])
    if r["rope_type"] not in ("default", "longrope"):
        r = {k: r[k] for k in ("rope_theta", "partial_rotary_factor")} | dict(rope_type="default")
    original = r.pop("original_max_position_embeddings", s["max_position_embeddings"])
    r.pop("factor", None)
    r.pop("attention_factor", None)
    # Its factor is the ratio of the two lengths, which the config must therefore hold.
    s["max_position_embeddings"] = max(s["max_position_embeddings"], original)
    return "Phi3Config", dict(s, rope_parameters=r, original_max_position_embeddings=original,
                              sliding_window=d.pick([None, d.window()]), hidden_act=d.activation("silu"))


def gpt2_settings(d):
    heads, _, dim, hidden, _ = d.heads(grouped=False, even=False)
    return dict(vocab_size=d.between(31, 90), n_embd=hidden, n_inner=d.pick([None, d.between(9, 75)]), n_layer=d.between(1, 4),
                n_head=heads, n_positions=d.pick([d.length, 64]), layer_norm_epsilon=d.pick([1e-5, 1e-3]), bos_token_id=1, eos_token_id=2,
                scale_attn_weights=d.maybe(0.7), tie_word_embeddings=d.maybe(0.7))


def gpt2(d):
    s = gpt2_settings(d)
    return "GPT2Config", dict(s, activation_function=d.activation("gelu_new"), scale_attn_by_inverse_layer_idx=d.maybe(0.4),
                              reorder_and_upcast_attn=d.maybe(0.2))


def gpt_bigcode(d):
    return "GPTBigCodeConfig", dict(gpt2_settings(d), activation_function=d.activation("gelu_pytorch_tanh"), multi_query=d.maybe(0.6))


def starcoder2(d):
    s = d.base()
    s.pop("rms_norm_eps")
    return "Starcoder2Config", dict(s, rope_parameters=d.rope(), norm_epsilon=d.pick([1e-5, 1e-3]), use_bias=d.maybe(),
                                    sliding_window=d.pick([None, d.window()]), hidden_act=d.activation("gelu_pytorch_tanh"))


def gpt_neox(d):
    s = layer_norm_base(d)
    s.pop("num_key_value_heads")
    return "GPTNeoXConfig", dict(s, rope_parameters=partial_rope(d, s, [0.25, 0.4, 0.5, 1.0]), hidden_act=d.activation("gelu"),
                                 use_parallel_residual=d.maybe(), attention_bias=d.maybe(0.7))


def gptj(d):
    s = gpt2_settings(d)
    s.pop("scale_attn_weights")
    dim = s["n_embd"] // s["n_head"]
    if dim < 2:
        dim, s["n_embd"] = 5, 5 * s["n_head"]
    return "GPTJConfig", dict(s, rotary_dim=d.pick(list(range(2, dim + 1, 2))), activation_function=d.activation("gelu_new"))


def opt(d):
    heads, _, dim, hidden, _ = d.heads(grouped=False, even=False)
    return "OPTConfig", dict(vocab_size=d.between(31, 90), hidden_size=hidden, ffn_dim=d.between(9, 75), num_hidden_layers=d.between(1, 4),
                             num_attention_heads=heads, max_position_embeddings=d.pick([d.length, 64]), pad_token_id=1, bos_token_id=2, eos_token_id=2,
                             word_embed_proj_dim=d.pick([hidden, d.between(8, 40)]), do_layer_norm_before=d.maybe(0.6),
                             _remove_final_layer_norm=d.maybe(0.2), enable_bias=d.maybe(0.7), activation_function=d.activation("relu"),
                             layer_norm_elementwise_affine=d.maybe(0.8), tie_word_embeddings=d.maybe(0.7))


def falcon(d):
    alibi = d.maybe(0.4)
    heads, kv, dim, hidden, _ = d.heads(even=not alibi)
    new = d.maybe()
    s = dict(d.tokens(), vocab_size=d.between(31, 90), hidden_size=hidden, num_hidden_layers=d.between(1, 4), num_attention_heads=heads,
             max_position_embeddings=64, alibi=alibi, new_decoder_architecture=new, bias=d.maybe(), layer_norm_epsilon=d.pick([1e-5, 1e-3]),
             ffn_hidden_size=d.pick([None, d.between(9, 75)]), activation=d.activation("gelu"), tie_word_embeddings=d.maybe(0.7))
    if new:
        s.update(num_kv_heads=kv, num_ln_in_parallel_attn=d.pick([None, 1, 2]))
    else:
        s.update(multi_query=d.maybe(), parallel_attn=d.maybe())
    if not alibi:
        d.dim = dim
        s["rope_parameters"] = d.rope()
    return "FalconConfig", s


def bloom(d):
    heads, _, dim, hidden, _ = d.heads(grouped=False, even=False)
    return "BloomConfig", dict(vocab_size=d.between(31, 90), hidden_size=hidden, n_layer=d.between(1, 4), n_head=heads, bos_token_id=1,
                               eos_token_id=2, layer_norm_epsilon=d.pick([1e-5, 1e-3]), tie_word_embeddings=d.maybe(0.7),
                               apply_residual_connection_post_layernorm=d.maybe(0.4))


def mpt(d):
    heads, _, dim, hidden, _ = d.heads(grouped=False, even=False)
    # transformers takes 8 whatever alibi_bias_max says.
    attention = dict(alibi_bias_max=8)
    if d.maybe(0.4):
        attention["clip_qkv"] = d.pick([0.5, 2.0])
    if d.maybe(0.4):
        attention["softmax_scale"] = 0.3
    return "MptConfig", dict(vocab_size=d.between(31, 90), d_model=hidden, n_layers=d.between(1, 4), n_heads=heads, max_seq_len=64,
                             attn_config=attention, tie_word_embeddings=True)


def stablelm(d):
    s = layer_norm_base(d)
    return "StableLmConfig", dict(s, rope_parameters=partial_rope(d, s, [0.25, 0.4, 0.5, 1.0]), hidden_act=d.activation("silu"),
                                  use_qkv_bias=d.maybe(), qk_layernorm=d.maybe(0.4), use_parallel_residual=d.maybe())


def olmo(d):
    s = d.base()
    s.pop("rms_norm_eps")
    return "OlmoConfig", dict(s, rope_parameters=d.rope(), hidden_act=d.activation("silu"), attention_bias=d.maybe(),
                              clip_qkv=d.pick([None, 0.6, 3.0]))


def olmo2(d):
    return "Olmo2Config", dict(d.base(explicit=True), rope_parameters=d.rope(), hidden_act=d.activation("silu"), attention_bias=d.maybe())


def cohere(d):
    s = layer_norm_base(d)
    return "CohereConfig", dict(s, rope_parameters=d.rope(), hidden_act=d.activation("silu"), attention_bias=d.maybe(),
                                use_qk_norm=d.maybe(), logit_scale=d.pick([0.0625, 0.5, 1.0, 2.0]))


def granite(d):
    return "GraniteConfig", dict(d.base(), rope_parameters=d.rope(), hidden_act=d.activation("silu"), attention_bias=d.maybe(), mlp_bias=d.maybe(),
                                 embedding_multiplier=d.pick([1.0, 3.0, 12.0]), residual_multiplier=d.pick([0.22, 0.4, 1.0]),
                                 attention_multiplier=d.pick([0.05, 0.2, 1.0]), logits_scaling=d.pick([0.5, 1.0, 8.0]))


def mixtral(d):
    experts = d.between(1, 8)
    return "MixtralConfig", dict(d.base(explicit=True), rope_parameters=d.rope(), hidden_act=d.activation("silu"),
                                 num_local_experts=experts, num_experts_per_tok=d.between(1, experts), sliding_window=d.pick([None, d.window()]))


def qwen_experts(d, s):
    experts, layers = d.between(1, 8), s["num_hidden_layers"]
    s.update(moe_intermediate_size=d.between(9, 40), num_experts=experts, num_experts_per_tok=d.between(1, experts), norm_topk_prob=d.maybe(),
             decoder_sparse_step=d.between(1, 2), mlp_only_layers=sorted(d.rng.sample(range(layers), d.between(0, layers - 1))))
    return s


def qwen2_moe(d):
    s = qwen_experts(d, d.base())
    if d.maybe():
        s.update(use_sliding_window=True, sliding_window=d.window(), max_window_layers=d.between(0, s["num_hidden_layers"]))
    return "Qwen2MoeConfig", dict(s, rope_parameters=d.rope(), hidden_act=d.activation("silu"), qkv_bias=d.maybe(),
                                  shared_expert_intermediate_size=d.between(9, 40))


def qwen3_moe(d):
    s = qwen_experts(d, d.base())
    if d.maybe():
        s.update(use_sliding_window=True, sliding_window=d.window())
    return "Qwen3MoeConfig", dict(s, head_dim=d.dim, rope_parameters=d.rope(), hidden_act=d.activation("silu"), attention_bias=d.maybe())


def deepseek(d):
    s = d.base(grouped=False)
    groups = d.pick([1, 2, 3])
    per_group = d.between(2, 3)
    chosen = d.between(1, groups)
    rope_dim = d.pick([2, 4, 6, 8])
    r = d.rope(rope_dim)
    return dict(s, moe_intermediate_size=d.between(9, 40), n_routed_experts=groups * per_group, num_experts_per_tok=d.between(1, chosen * per_group),
                n_shared_experts=d.between(1, 2), first_k_dense_replace=d.between(0, s["num_hidden_layers"]), kv_lora_rank=2 * d.between(2, 10),
                q_lora_rank=d.pick([None, d.between(3, 20)]), qk_nope_head_dim=2 * d.between(1, 6), qk_rope_head_dim=rope_dim,
                v_head_dim=d.between(1, 16), attention_bias=d.maybe(0.3), hidden_act=d.activation("silu"), n_group=groups, topk_group=chosen,
                routed_scaling_factor=d.pick([1.0, 2.5]), rope_parameters=r)


def deepseek_v2(d):
    s = deepseek(d)
    if d.maybe():
        return "DeepseekV2Config", dict(s, topk_method="group_limited_greedy")
    s.pop("n_group"), s.pop("topk_group")
    return "DeepseekV2Config", dict(s, topk_method="greedy")


def deepseek_v3(d):
    return "DeepseekV3Config", dict(deepseek(d), norm_topk_prob=d.maybe(), rope_interleave=d.maybe(0.7))


DRAWS = {f.__name__: f for f in (
    llama, mistral, qwen2, qwen3, gemma, gemma2, gemma3, smollm3, phi, phi3, gpt2, gpt_bigcode, starcoder2, gpt_neox, gptj, opt, falcon, bloom,
    mpt, stablelm, olmo, olmo2, cohere, granite, mixtral, qwen2_moe, qwen3_moe, deepseek_v2, deepseek_v3)}

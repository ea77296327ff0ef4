"""Seeds of the files around a model's weights: configurations, adapters, journals, saved sessions, llama2c's files and the directories that
hold safetensors. Each function yields (name, content)."""
import json
import struct

from seeds_tensors import file_of


def configurations(folder):
    """folder: tests/golden/logits/tiny. Each configuration as it is, and with one value after another gone or said otherwise."""
    for path in sorted(folder.glob("*/config.json")):
        config = json.loads(path.read_text())
        yield path.parent.name, json.dumps(config)
        for key in config:
            for other in (None, -1, "x", [3]):
                changed = {**config, key: other}
                if other is None:
                    del changed[key]
                yield f"{path.parent.name}-{key}-{other}", json.dumps(changed)


def architectures(folder):
    """Configurations of every architecture that a few common words are enough for, and of settings that change the computation."""
    llama = json.loads((folder / "llama" / "config.json").read_text())
    common = {**llama, "n_embd": 32, "n_head": 4, "n_layer": 1, "n_positions": 16, "n_inner": 64, "layer_norm_epsilon": 1e-5, "layer_norm_eps": 1e-5, "hidden_activation": "gelu_pytorch_tanh", "d_model": 32,
              "n_heads": 4, "n_layers": 1, "expansion_ratio": 2, "max_seq_len": 16, "rotary_pct": 0.5, "rotary_dim": 4, "partial_rotary_factor": 0.5, "num_local_experts": 2, "num_experts": 2, "num_experts_per_tok": 1,
              "moe_intermediate_size": 16, "shared_expert_intermediate_size": 16, "decoder_sparse_step": 1, "norm_topk_prob": True, "n_routed_experts": 4, "n_shared_experts": 1, "kv_lora_rank": 8, "q_lora_rank": None,
              "qk_nope_head_dim": 8, "qk_rope_head_dim": 4, "v_head_dim": 8, "first_k_dense_replace": 0, "n_group": 1, "topk_group": 1, "moe_layer_freq": 1, "routed_scaling_factor": 1.0, "scoring_func": "softmax",
              "topk_method": "greedy", "num_kv_heads": 2, "multi_query": True, "parallel_attn": True, "alibi": False, "bias": False, "new_decoder_architecture": False, "ffn_dim": 64, "do_layer_norm_before": True,
              "word_embed_proj_dim": 32, "activation_function": "gelu", "logit_scale": 0.5, "use_parallel_residual": True, "query_pre_attn_scalar": 8, "sliding_window": 4, "rope_local_base_freq": 1e4,
              "sliding_window_pattern": 2, "attention_multiplier": 0.1, "embedding_multiplier": 1, "residual_multiplier": 1, "logits_scaling": 1, "original_max_position_embeddings": 16, "use_qkv_bias": False, "no_rope_layers": [1, 0]}
    kinds = ("bloom cohere deepseek_v2 deepseek_v3 falcon gemma gemma2 gemma3_text gemma3 gpt2 gpt_bigcode gpt_neox gptj granite llama mistral mixtral mpt olmo olmo2 opt phi phi3 qwen2 qwen2_moe qwen3 qwen3_moe smollm3 stablelm "
             "starcoder2 nonesuch").split()
    telling = {"tie_word_embeddings": True, "alibi": True, "multi_query": False, "new_decoder_architecture": True, "use_parallel_residual": False, "q_lora_rank": 8, "topk_method": "group_limited_greedy", "scoring_func": "sigmoid",
               "clip_qkv": 8.0, "final_logit_softcapping": 30.0, "attn_logit_softcapping": "x", "use_sliding_window": True, "layer_types": ["full_attention", "sliding_attention"], "no_bias": False, "is_causal": False,
               "attn_config": {"alibi": True, "clip_qkv": 6, "softmax_scale": 0.1, "qk_ln": False, "kv_n_heads": 2, "attn_type": "multihead_attention"}, "scale_attn_by_inverse_layer_idx": True, "quantization_config": 3, "ffn_dim": 0,
               "rope_scaling": {"type": "longrope", "long_factor": [1.0] * 4, "short_factor": [1.0] * 4}, "word_embed_proj_dim": 16, "parallel_attn": False, "do_layer_norm_before": False, "first_k_dense_replace": 9,
               "hidden_act": "quick_gelu", "sliding_window": None, "num_experts_per_tok": 9, "n_group": 3, "decoder_sparse_step": 2, "mlp_only_layers": [0], "text_config": {"model_type": "gemma3_text"}, "max_position_embeddings": None}
    for kind in kinds:
        yield kind, json.dumps({**common, "model_type": kind})
        for key, value in telling.items():
            yield f"{kind}-{key}", json.dumps({**common, "model_type": kind, key: value})
    yield "none", "{}"
    yield "type-number", '{"model_type":3}'
    yield "text", json.dumps({"model_type": "gemma3", "text_config": {**common, "model_type": "gemma3_text"}})


Q = "base_model.model.model.layers.0.self_attn.q_proj"


def adapters():
    """An adapter of tests/golden/logits/tiny/llama, whose q_proj is 32 by 32: configurations and tensors that do not go with it."""
    half = lambda n: ("F32", [n, 32], struct.pack("<f", 0.5) * (32 * n))
    other = lambda n: ("BF16", [32, n], b"\x80\x3f" * (32 * n))
    good = {f"{Q}.lora_A.weight": half(2), f"{Q}.lora_B.weight": other(2)}
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 4}
    put = lambda c, tensors: json.dumps(c, separators=(",", ":")).encode() + b"\n" + file_of(tensors)
    yield "merged", put(config, good)
    yield "named", put(config, {f"{Q}.lora_A.default.weight": half(2), f"{Q}.lora_B.default.weight": other(2)})
    yield "no-prefix", put(config, {name.removeprefix("base_model.model."): tensor for name, tensor in good.items()})
    said = [{"peft_type": None}, {"peft_type": "IA3"}, {"bias": "all"}, {"bias": "none"}, {"use_dora": True}, {"use_dora": False}, {"modules_to_save": ["lm_head"]}, {"modules_to_save": []}, {"modules_to_save": "x"},
            {"layer_replication": 3}, {"init_lora_weights": "pissa_niter_4"}, {"init_lora_weights": "olora"}, {"init_lora_weights": "gaussian"}, {"init_lora_weights": True}, {"use_rslora": True}, {"use_rslora": "x"},
            {"fan_in_fan_out": 3}, {"r": 8}, {"r": "x"}, {"lora_alpha": None}, {"lora_alpha": []}, {"rank_pattern": {"q_proj": 2}, "r": 8}, {"rank_pattern": {"proj": 4}}, {"rank_pattern": {"^.*q_proj$": 2, "x": 1}, "r": 4},
            {"rank_pattern": {"(": 2}}, {"alpha_pattern": {".*layers\\.[1-9].*": 3, "model.layers.0.self_attn.q_proj": 1e300}}, {"alpha_pattern": {"q_proj": "x"}}, {"rank_pattern": 3}, {"r": 0}, {"r": -2}, {"r": 1e300}]
    for i, more in enumerate(said):
        yield f"config{i}", put({key: value for key, value in (config | more).items() if value is not None}, good)
    shapes = {"swapped": (other(2), half(2)), "ranks": (half(2), other(3)), "flat": (("F32", [64], bytes(256)), other(2)), "no-rows": (("F32", [0, 32], b""), ("BF16", [32, 0], b"")), "types": (("I32", [2, 32], bytes(256)), other(2)),
              "nan": (("F32", [2, 32], b"\xff" * 256), other(2)), "wide": (("F32", [2, 16], bytes(128)), other(2)), "tall": (half(2), ("BF16", [16, 2], bytes(64))), "infinite": (half(2), ("BF16", [32, 2], b"\x80\x7f" * 64))}
    for name, (a, b) in shapes.items():
        yield name, put(config, {f"{Q}.lora_A.weight": a, f"{Q}.lora_B.weight": b})
    yield "rank-limit", put({**config, "r": 600}, {f"{Q}.lora_A.weight": half(600), f"{Q}.lora_B.weight": other(600)})
    yield "alone", put(config, {f"{Q}.lora_A.weight": half(2)})
    yield "b-alone", put(config, {**good, "x.lora_B.weight": other(2)})
    yield "embedding", put(config, {**good, "base_model.model.model.embed_tokens.lora_embedding_A": half(2)})
    yield "nothing", put(config, {})
    yield "elsewhere", put(config, {name.replace("q_proj", "x_proj"): tensor for name, tensor in good.items()})
    yield "norm", put(config, {name.replace("self_attn.q_proj", "input_layernorm"): tensor for name, tensor in good.items()})
    yield "embedded", put(config, {"base_model.model.model.embed_tokens.lora_A.weight": half(2), "base_model.model.model.embed_tokens.lora_B.weight": ("BF16", [67, 2], bytes(268))})


def journals():
    """Records of a journal whose frames are in order (an even first byte), and files that are not (an odd one)."""
    def record(header, data=b""):
        text = header if isinstance(header, bytes) else json.dumps(header).encode()
        return b"\0" + struct.pack("<Q", len(text)) + text + data

    report = {"name": "q", "encoding": "affine", "bits": 4, "error": 0.1, "seconds": 0, "notes": ["n"]}
    dense = {"shape": [16, 64], "segments": [{"columns": 64, "encoding": "dense", "type": "float32"}]}
    rows = lambda columns, **more: {"shape": [16, 64], "segments": [{"columns": columns, "group": 64, "scale": "float16", **more}]}
    affine = rows(64, encoding="affine", bits=4, zero="none")
    tensors = {"dense": dense, "affine": affine, "zeros": rows(64, encoding="affine", bits=4, zero="codes"), "minimum": rows(64, encoding="affine", bits=2, zero="minimum", zero_type="float16"),
               "codebook": rows(64, encoding="codebook", bits=4, table=[i / 16 for i in range(16)]), "trellis": rows(64, encoding="trellis", bits=3, table=[i / 16 for i in range(16)]), "scaled": rows(64, encoding="dense", type="e4m3", scaled=True),
               "coded": rows(64, encoding="affine", bits=4, zero="none", scale_codes={"bits": 6, "offset": 0, "shift": 0, "rows": 1, "groups": 1, "super": "float32"}),
               "coded-zeros": rows(64, encoding="affine", bits=4, zero="minimum", zero_type="float32", zero_codes={"bits": 6, "offset": -32, "shift": 1.5, "rows": 0, "groups": 4, "super": "float16", "addends": True, "table": True}),
               "outliers": {**affine, "outliers": 3}, "rounded": {**affine, "input_rounding": {"type": "row", "scale": 1, "threshold": 6}}, "ordered": affine}
    for name, tensor in tensors.items():
        for zeros in (0, 160, 1024, 4096, 12000):  # more than a record needs is no mistake of its parts
            yield f"{name}{zeros}", record({"layer": 1, "matrices": [{"name": "m", "tensor": tensor, "column_order": name == "ordered", "input_scale": name == "ordered"}], "arrays": [], "reports": [report]}, bytes(zeros))
    segment = {"columns": 64, "group": 64, "scale": "float16", "encoding": "affine", "bits": 4, "zero": "none"}
    wrong = [{"encoding": "other"}, {"encoding": 3}, {"columns": 0}, {"columns": 65}, {"bits": 9}, {"group": -1}, {"scale": "int4"}, {"zero": "other"}, {"zero": "real", "zero_type": "x"}, {"encoding": "codebook", "table": [1]},
             {"encoding": "codebook", "table": ["a"] * 16}, {"encoding": "trellis", "bits": 5, "table": [1] * 16}, {"encoding": "trellis", "bits": 2, "table": [1] * 8}, {"encoding": "dense", "type": "int8"}, {"encoding": "dense", "type": "float16", "scaled": "x"}, {"scale_codes": 3}, {"scale_codes": {"bits": 99, "offset": 0, "shift": 0, "rows": 0, "groups": 1, "super": "float16"}},
             {"scale_codes": {"bits": 6, "offset": 999, "shift": 0, "rows": -1, "groups": 0, "super": "float16"}}, {"zero_codes": {"bits": 6}}]
    for i, more in enumerate(wrong):
        yield f"segment{i}", record({"layer": 0, "matrices": [{"name": "m", "tensor": {"shape": [16, 64], "segments": [{**segment, **more}]}}]}, bytes(2048))
    whole = [{"shape": [1]}, {"shape": ["a", 2]}, {"shape": [0, 64]}, {"shape": [2**40, 2**40]}, {"segments": []}, {"segments": 3}, {"segments": [segment] * 300}, {"outliers": -7}, {"outliers": 10**9}, {"input_rounding": {"type": "x", "scale": 1, "threshold": 1}},
             {"input_rounding": {"scale": 1}}]
    for i, more in enumerate(whole):
        yield f"matrix{i}", record({"layer": 0, "matrices": [{"name": "m", "tensor": {**affine, **more}}]}, bytes(2048))
    yield "arrays", record({"layer": 2, "arrays": [{"name": "norm", "shape": [2, 3]}]}, bytes(24))
    for i, shape in enumerate(([-1], [2**40, 2**40], ["a"], [3], [])):
        yield f"array{i}", record({"layer": 2, "arrays": [{"name": "norm", "shape": shape}]}, bytes(8))
    for i, header in enumerate(({}, {"layer": "x"}, {"layer": 1, "matrices": [{}]}, {"layer": 1, "matrices": [{"name": "m"}]}, {"layer": 1, "arrays": [{}]}, {"layer": 1, "reports": [{}]}, {"layer": 1, "reports": [{"name": "a"}]}, b"{", b"")):
        yield f"header{i}", record(header)
    yield "short", b"\0\1\2\3"
    yield "header-long", b"\0" + struct.pack("<Q", 1 << 40)
    yield "header-early", b"\0" + struct.pack("<Q", 100) + b"{}"
    yield "two", b"\x80" + record({"layer": 1})[1:] + record({"layer": 2})[1:]
    job = b'{"job":1}'
    for i, file in enumerate((b"", b"\0" * 8, b"\0" * 100, b"NBLREC", b"NOTARECORD", b"NBLREC01", b"NBLREC01" + struct.pack("<QQ", 1 << 50, 0), b"NBLREC01" + struct.pack("<QQ", 9, 1) + job, b"NBLREC01" + bytes(16))):
        yield f"file{i}", b"\1" + file


def sessions():
    """Saved sessions of tests/golden/logits/tiny/llama, whose f32 keys and values take 256 bytes a token."""
    def saved(tokens, cache=None, version=1, kind=1, magic=b"NBLSESS\0", ids=None):
        ids = ids or range(1, max(0, tokens) + 1)
        return (magic + struct.pack("<II", version, kind) + bytes(64) + struct.pack("<qq", tokens, tokens * 256 if cache is None else cache)
                + b"".join(struct.pack("<i", i) for i in ids) + bytes(max(0, tokens) * 256) + bytes(32))

    for tokens in (0, 2):
        yield f"tokens{tokens}", saved(tokens)
    yield "version", saved(2, version=9)
    yield "magic", saved(2, magic=b"NBLSESS1")
    yield "type", saved(2, kind=0)
    yield "full", saved(17)
    yield "cache", saved(2, cache=99)
    yield "negative", saved(-1)
    yield "ids", saved(2, ids=(-1, 10**6))
    yield "short", b"NBLSESS\0\1"


def llama2c(version=0, dim=8, hidden=8, layers=1, heads=2, kv=1, vocab=16, seq=8, group=8, shared=1, words=512, cut=0, more=b"", longest=4, length=1):
    q_rows, kv_rows = dim, dim // max(1, heads) * kv
    matrices = vocab * dim + layers * (2 * dim * q_rows + 2 * dim * kv_rows + 3 * dim * hidden)
    vectors = layers * 2 * dim + dim
    if version == 0:
        model = struct.pack("<7i", dim, hidden, layers, heads, kv, vocab if shared else -vocab, seq)
        floats = matrices + vectors + seq * (dim // max(1, heads)) + (0 if shared else vocab * dim)
        model += struct.pack("<f", 0.1) * floats
    else:
        header = struct.pack("<Ii7iB", 0x616B3432, version, dim, hidden, layers, heads, kv, vocab, seq, shared) + struct.pack("<i", group)
        matrices += 0 if shared else vocab * dim
        model = header + bytes(256 - len(header)) + struct.pack("<f", 0.5) * vectors
        model += struct.pack("<f", 0.1) * matrices if version == 1 else bytes(matrices) + struct.pack("<f", 0.1) * (matrices // max(1, group))
    pieces = [b"\n<unk>\n", b"\n<s>\n", b"\n</s>\n", *[f"<0x{i:02X}>".encode() for i in range(256)], *[b" " + bytes([97 + i % 26]) * (i // 26 + 1) for i in range(words - 259)]]
    text = struct.pack("<I", max(longest, 16) if longest == 4 else longest) + b"".join(struct.pack("<fI", -i, len(p) * length) + p for i, p in enumerate(pieces[:words]))
    return struct.pack("<H", len(text)) + text + (model + more)[:len(model + more) - cut]


def llama2cs():
    yield "words", llama2c()
    yield "few-words", llama2c(words=300)
    yield "more-words", llama2c(words=600)
    yield "longest", llama2c(longest=0)
    yield "longest-huge", llama2c(longest=2**31)
    yield "length", llama2c(length=1 << 20)
    yield "unshared", llama2c(shared=0)
    for version in (1, 2, 3):
        yield f"version{version}", llama2c(version)
        yield f"version{version}-unshared", llama2c(version, shared=0, vocab=64)
        yield f"version{version}-short", llama2c(version, cut=4)
        yield f"version{version}-long", llama2c(version, more=bytes(4))
    yield "groups", llama2c(2, dim=32, hidden=32, heads=2, group=16)
    yield "group-zero", llama2c(2, group=0)
    yield "group-huge", llama2c(2, group=1 << 30)
    yield "layers", llama2c(layers=3)
    whole = llama2c()
    begin = 2 + struct.unpack("<H", whole[:2])[0]
    for key, value in (("dim", 0), ("dim", 1 << 28), ("heads", 3), ("kv", 3), ("vocab", -5), ("seq", 0), ("layers", -1), ("hidden", 0)):
        at = begin + 4 * ("dim", "hidden", "layers", "heads", "kv", "vocab", "seq").index(key)
        yield f"{key}{value}", whole[:at] + struct.pack("<i", value) + whole[at + 4:]
    yield "header", whole[:begin + 12]
    yield "magic-only", llama2c(1)[:begin + 40]


def indexes():
    """model.safetensors.index.json beside the one shard that fuzz_index.cpp writes, which holds a.weight."""
    shard = "model-00001-of-00001.safetensors"
    maps = [{"a.weight": shard}, {"a.weight": "../model.safetensors"}, {"a.weight": "/etc/passwd"}, {"a.weight": ""}, {"a.weight": 3}, {"b.weight": shard}, {}, [], 3, {"a.weight": "gone.safetensors"}, {"a.weight": "a/b.safetensors"},
            {"a.weight": "config.json"}, {"a.weight": "x.safetensors\u0000"}, {"a.weight": shard, "b": shard}, {"a.weight": "."}, {f"t{i}": f"{i}.safetensors" for i in range(40)}]
    for i, each in enumerate(maps):
        yield f"map{i}", json.dumps({"metadata": {"total_size": 8}, "weight_map": each})
    for i, text in enumerate(("", "[]", "{", "{}", '{"weight_map":{"a.weight":"x"},"metadata":3}', '{"weight_map":{"a":"b"},"weight_map":{}}')):
        yield f"text{i}", text


def jsons():
    texts = ["", " ", "nul", "tru", "fals", "truex", "{", "[", "[1", "[1,", "[1 2]", "{1:2}", '{"a"}', '{"a" 1}', '{"a":}', '{"a":1,}', '{"a":1 "b":2}', '"a', '"\\', '"\\x"', '"\\u12"', '"\\u12g4"', '"\\ud800"', '"\\udc00"', '"\\ud83d\\u0041"',
             '"\\ud83d\\ude42 \\b\\f\\n\\r\\t\\/\\\\\\""', '"a\nb"', '"\u00e9\u4e00\U0001F642"', "01", "-", "-01", "1.", "1.x", "1e", "1e+", "1E-5", "-0.0", "1e999", "-1e999", "1e-999", "18446744073709551615", "9223372036854775808", "-9223372036854775809",
             '[1,{"a":[123456789012345678901234567890,"18446744073709551616",1.5e3]}]', "{}x", "[]]", '{"a":1,"a":2}', '{"a":{"b":[true,false,null,18446744073709551615,1.5,"t",[],{}]}}', '{"a":{"b":{"x":true,"y":18446744073709551615,"z":[],"w":{},"n":null,"f":2.5}}}',
             '{"a":{"b":[[1,"x"],[2.5,"y"],[true,null]]},"model":{"vocab":{"a":0,"b":1,"a":2}}}', '{"a":{"b":{"c":1,"c":2}}}', '{"a":{"b":3},"model":[]}', '{"a":{"x":{"b":[1]}}}', "[" * 300 + "]" * 300, "[" * 3000, '{"a":' * 200 + "1" + "}" * 200,
             "\ufeff{}", '{"a":1}\n', "@", "[1,@]", '{"a":1}}', "nan", "Infinity", "-x", "[-]", "[.5]", "[1.5.2]", "'a'"]
    for i, text in enumerate(texts):
        yield f"text{i}", text
    for i, text in enumerate((b'"\xff"', b'"\xc3"', b'"\xc3(', b'"\xe0\x80\x80"', b'"\xed\xa0\x80"', b'"\xf0\x80\x80\x80"', b'"\xf4\x90\x80\x80"', b'"\xf5\x80"', b'"\xc0\x80"', b"\xff\xfe{", b'{"\xff":1}', b'"\0"', b'"\xe4\xb8\x80', b'"\xf0\x9f\x99')):
        yield f"bytes{i}", text


def recipes():
    yield from ((f"text{i}", text) for i, text in enumerate((
        "gptq:bits", "gptq:=4", "gptq:bits=", "gptq:bits=4,bits=4", "gptq:bits=x", "gptq:bits=99", "gptq:damp=x", "gptq:damp=nan", "gptq:damp=1e999", "gptq:damp=0.05", "gptq:desc_act=maybe", "gptq:desc_act=0", "gptq:sym=no,desc_act=yes", "gptq:sym=off",
        "gptq:sym=FALSE", "rtn:scale=other", "rtn:bits=4;group=64", "rtn:BITS=4", "nonesuch:bits=4", "rtn:unknown=1", ":", "", ",", "rtn,", "rtn:bits=4,group_size=-1,sym=true", "awq:grid=20", "kquant:type=q4_k", "kquant:type=zz", "rtn:group=3.5",
        "rtn: bits = 4 , group = 64 ", "spqr:outliers=0.01", "hqq:iters=20", "fp8:scale=row", "rtn:bits=0x4")))

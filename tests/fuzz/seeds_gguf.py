"""Seeds of GGUF: small models of every architecture and vocabulary, and files of which one thing is wrong or otherwise said. files() yields
(name, content)."""
import struct


def gguf_string(text):
    text = text if isinstance(text, bytes) else text.encode()
    return struct.pack("<Q", len(text)) + text


def gguf(vocabulary="llama", extra=(), architecture="llama", settings=(), more=()):
    """A file of one embedding and a vocabulary of 16 tokens. settings: (key below the architecture, type, bytes); more: tensors as
    (name, shape in the file's order, type, bytes)."""
    tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{i:02X}>" for i in range(8)] + ["a", "b", "ab", "\u2581", "\u2581a"]
    of = lambda key, kind, content: (f"{architecture}.{key}", kind, content)
    values = [("general.architecture", 8, gguf_string(architecture)), of("block_count", 4, struct.pack("<I", 1 if more else 0)),
              of("context_length", 4, struct.pack("<I", 16)), of("embedding_length", 4, struct.pack("<I", 32)),
              of("feed_forward_length", 4, struct.pack("<I", 32)), of("attention.head_count", 4, struct.pack("<I", 2)),
              of("attention.layer_norm_rms_epsilon", 6, struct.pack("<f", 1e-5)), *(of(*each) for each in settings),
              ("tokenizer.ggml.model", 8, gguf_string(vocabulary)),
              ("tokenizer.ggml.tokens", 9, struct.pack("<IQ", 8, len(tokens)) + b"".join(map(gguf_string, tokens))),
              ("tokenizer.ggml.scores", 9, struct.pack("<IQ", 6, len(tokens)) + struct.pack(f"<{len(tokens)}f", *range(len(tokens)))),
              ("tokenizer.ggml.token_type", 9, struct.pack("<IQ", 5, len(tokens)) + struct.pack(f"<{len(tokens)}i", *([2, 3, 3] + [6] * 8 + [1] * 4 + [4])))]
    tensors = [("token_embd.weight", (32, 16), 0, bytes(32 * 16 * 4)), ("output_norm.weight", (32,), 0, bytes(128)), *more]
    said = {key: (kind, content) for key, kind, content in [*values, *extra]}  # the last word counts; None takes a key away
    return container([(key, *value) for key, value in said.items() if value[0] is not None], tensors)


def container(values=(), tensors=(), version=3, magic=b"GGUF", entries=0, stated=0, shift=0, cut=0):
    """values: (key, type, bytes); tensors: (name, shape in the file's order, type, bytes). entries and stated are added to the numbers of
    values and tensors in the header, shift to the offsets of the tensors; cut bytes are taken from the end."""
    out = magic + struct.pack("<IQQ", version, len(tensors) + stated, len(values) + entries)
    for key, kind, content in values:
        out += gguf_string(key) + struct.pack("<I", kind) + content
    data = b""
    for name, shape, kind, content in tensors:
        out += gguf_string(name) + struct.pack("<I", len(shape)) + struct.pack(f"<{len(shape)}Q", *shape) + struct.pack("<IQ", kind, len(data) + shift)
        data += content + bytes(-len(content) % 32)
    whole = out + bytes(-len(out) % 32) + data
    return whole[:len(whole) - cut]


# One name of each way of cutting, and one architecture of each table of names and settings.
GGUF_PRE_TOKENIZERS = ("llama-bpe dbrx qwen2 gpt-2 starcoder falcon bloom viking default qwen35 deepseek-llm deepseek-coder deepseek-v3 tekken gpt-4o "
                       "bailingmoe seed-coder chameleon kimi-k2 superbpe youtu exaone-moe jais-2 spark2_5 ufakzeka tiny_aya laguna afmoe minicpm5").split()
GGUF_ARCHITECTURES = ("qwen2 qwen3 qwen2moe qwen3moe deepseek2 olmo mpt gemma gemma2 gemma3 starcoder starcoder2 phi2 phi3 gptneox gpt2 gptj falcon "
                      "bloom stablelm olmo2 command-r granite smollm3").split()


def gguf_architecture(name):
    u32, f32 = lambda value: struct.pack("<I", value), lambda value: struct.pack("<f", value)
    settings = [("attention.head_count_kv", 4, u32(1)), ("attention.key_length", 4, u32(24 if name == "deepseek2" else 16)), ("attention.value_length", 4, u32(16)),
                ("attention.layer_norm_epsilon", 6, f32(1e-5)), ("rope.freq_base", 6, f32(1e4)), ("rope.dimension_count", 4, u32(16)),
                ("rope.scaling.type", 8, gguf_string("yarn")), ("rope.scaling.factor", 6, f32(4)), ("vocab_size", 4, u32(16)),
                ("rope.scaling.original_context_length", 4, u32(8)), ("rope.scaling.attn_factor", 6, f32(1)),
                ("rope.scaling.yarn_log_multiplier", 6, f32(0.1)), ("expert_count", 4, u32(2)), ("expert_used_count", 4, u32(1)),
                ("expert_feed_forward_length", 4, u32(32)), ("attention.kv_lora_rank", 4, u32(8)), ("attention.sliding_window", 4, u32(4)),
                ("logit_scale", 6, f32(0.5)), ("attention.max_alibi_bias", 6, f32(8)), ("use_parallel_residual", 7, b"\1")]
    square = lambda part: (f"blk.0.{part}", (32, 32), 1, bytes(2048))
    line = lambda part: (f"blk.0.{part}", (32,), 0, bytes(128))
    more = [square(f"{part}.weight") for part in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_up", "ffn_down", "ffn_gate")]
    more += [("blk.0.attn_qkv.weight", (32, 96), 8, bytes(96 * 34)), line("attn_norm.weight"), line("attn_norm.bias"), line("ffn_norm.weight")]
    if name in ("qwen2moe", "qwen3moe", "deepseek2"):
        more += [(f"blk.0.ffn_{part}_exps.weight", (32, 32, 2), 1, bytes(4096)) for part in ("gate", "up", "down")]
    return gguf("llama", (), name, settings, more)


def strings(*all):
    return struct.pack("<IQ", 8, len(all)) + b"".join(map(gguf_string, all))


def array(kind, code, *all):
    return struct.pack("<IQ", kind, len(all)) + struct.pack(f"<{len(all)}{code}", *all)


def token_id(name, id):
    return f"tokenizer.ggml.{name}_token_id", 4, struct.pack("<I", id)


def flag(name, value):
    return f"tokenizer.ggml.{name}", 7, bytes([value])


MERGES = ("tokenizer.ggml.merges", 9, strings("a b"))
ABSENT = (None, b"")


def vocabularies():
    for pre in GGUF_PRE_TOKENIZERS:
        yield f"gpt2-{pre}", gguf("gpt2", [MERGES, ("tokenizer.ggml.pre", 8, gguf_string(pre)), token_id("bos", 1), flag("add_bos_token", 1)])
    template = ("tokenizer.chat_template", 8, gguf_string("{{ messages }}"))
    yield "gemma4", gguf("gemma4", [MERGES, token_id("eos", 2), flag("add_eos_token", 1)])
    yield "llama-plain", gguf("llama", [flag("add_space_prefix", 0), token_id("eot", 2), token_id("unknown", 0), token_id("padding", 0), template])
    yield "bert", gguf("bert", [token_id("cls", 1), token_id("seperator", 2), token_id("unknown", 0)])
    yield "bert-cased", gguf("bert", [flag("normalizer.lowercase", 0), flag("add_sep_token", 0)])
    charsmap = ("tokenizer.ggml.precompiled_charsmap", 9, struct.pack("<IQ", 0, 8) + struct.pack("<II", 4, 0))
    yield "t5", gguf("t5", [token_id("unknown", 0), flag("remove_extra_whitespaces", 0), flag("add_eos_token", 1), charsmap])
    yield "t5-words", gguf("t5", [flag("add_space_prefix", 0), flag("remove_extra_whitespaces", 1), token_id("eos", 2)])
    yield "eot", gguf("llama", [token_id("eos", 2), token_id("eot", 1), token_id("bos", 1), flag("add_bos_token", 1), flag("add_eos_token", 1)])
    yield "whole", gguf("gpt2", [MERGES, token_id("bos", 1), template,
                                 ("tokenizer.huggingface.json", 8, gguf_string('{"model":{"type":"BPE","vocab":{"a":0},"merges":[]}}'))])
    wrong = {"no-tokens": ("tokens", *ABSENT), "no-scores": ("scores", *ABSENT), "no-types": ("token_type", *ABSENT), "tokens-number": ("tokens", 4, struct.pack("<I", 7)),
             "few-scores": ("scores", 9, array(6, "f", 1, 2)), "texts-for-scores": ("scores", 9, strings(*"ab")), "nan-scores": ("scores", 9, array(6, "f", *[float("nan")] * 16)),
             "few-types": ("token_type", 9, array(5, "i", 1)), "odd-types": ("token_type", 9, array(5, "i", *[99] * 16)), "user-types": ("token_type", 9, array(5, "i", *[4, 3, 5, 2] * 4)),
             "twice": ("tokens", 9, strings(*["a"] * 16)), "empty": ("tokens", 9, strings(*[""] * 16)), "bytes": ("tokens", 9, strings(*[f"<0x{i:02X}>" for i in range(16)])),
             "no-text": ("tokens", 9, strings(*[b"\xff"] * 16)), "numbers": ("tokens", 9, array(4, "I", *range(16))), "other-model": ("model", 8, gguf_string("rwkv")), "none": ("model", 8, gguf_string("none")),
             "model-number": ("model", 4, struct.pack("<I", 1)), "bad-merge": ("merges", 9, strings("ab")), "unknown-merge": ("merges", 9, strings("a zz", "x y")), "number-merges": ("merges", 9, array(4, "I", 1)),
             "bos-beyond": ("bos_token_id", 4, struct.pack("<I", 99)), "bos-text": ("bos_token_id", 8, gguf_string("a")), "bos-negative": ("bos_token_id", 5, struct.pack("<i", -1)),
             "add-text": ("add_bos_token", 8, gguf_string("yes")), "bad-map": ("precompiled_charsmap", 9, array(0, "B", 9, 9, 9, 9, 1)), "odd-pre": ("pre", 8, gguf_string("nonesuch")), "pre-number": ("pre", 4, struct.pack("<I", 1))}
    for name, (key, kind, content) in wrong.items():
        for vocabulary in ("llama", "gpt2", "t5", "bert"):
            merges = [MERGES] if vocabulary == "gpt2" else []
            yield f"{name}-{vocabulary}", gguf(vocabulary, [*merges, token_id("unknown", 0), (f"tokenizer.ggml.{key}", kind, content)])


def metadata():
    """Values of every type, and what they cannot be."""
    kinds = {"u8": (0, b"\7"), "i8": (1, b"\xff"), "u16": (2, b"\1\2"), "i16": (3, b"\xff\xff"), "u32": (4, bytes(4)), "i32": (5, b"\xff" * 4), "f32": (6, struct.pack("<f", 0.1)), "bool": (7, b"\1"),
             "text": (8, gguf_string("a")), "u64": (10, struct.pack("<Q", 5)), "huge": (10, b"\xff" * 8), "i64": (11, b"\xff" * 8), "f64": (12, struct.pack("<d", 1e300)), "bool2": (7, b"\2"),
             "unknown": (13, bytes(8)), "list": (9, array(2, "H", 1, 2)), "empty": (9, array(4, "I")), "unknown-list": (9, struct.pack("<IQ", 13, 1) + bytes(8)), "long-list": (9, struct.pack("<IQ", 0, 1 << 40)),
             "lists": (9, struct.pack("<IQ", 9, 2) + array(0, "B", 1) + strings("a", "b")), "bad-list": (9, struct.pack("<IQ", 9, 1) + struct.pack("<IQ", 99, 1)), "deep": (9, struct.pack("<IQ", 9, 1) * 12),
             "bools": (9, struct.pack("<IQ", 7, 2) + b"\1\3"), "no-utf8": (8, gguf_string(b"a\xffb\xc3")), "nan": (6, struct.pack("<f", float("nan"))), "long-text": (8, struct.pack("<Q", 1 << 60) + b"a")}
    for name, (kind, content) in kinds.items():
        yield f"value-{name}", container([("general.key", kind, content)])
        for key in ("attention.head_count", "rope.freq_base", "attention.head_count_kv", "rope.scaling.factor", "expert_count", "logit_scale"):
            if name in ("i8", "f32", "text", "huge", "list", "nan", "bool", "empty"):
                yield f"{key}-{name}", gguf("llama", [(f"llama.{key}", kind, content), ("llama.rope.scaling.type", 8, gguf_string("linear"))])
    same = array(4, "I", 2, 2), array(4, "I", 1, 2)
    for i, content in enumerate(same):
        yield f"per-layer{i}", gguf("llama", [("llama.attention.head_count_kv", 9, content)])
    yield "architecture-number", container([("general.architecture", 4, bytes(4))])
    yield "architecture-none", container()
    yield "architecture-other", container([("general.architecture", 8, gguf_string("nonesuch"))])
    yield "key-empty", container([("", 4, bytes(4))])
    yield "key-long", container([("k" * 70000, 4, bytes(4))])
    yield "key-no-text", container([(b"\xff", 4, bytes(4))])
    yield "key-twice", container([("a", 4, bytes(4))] * 2)
    for alignment in (0, 3, 64, 1 << 30):
        yield f"alignment{alignment}", container([("general.alignment", 4, struct.pack("<I", alignment))], [("a", (4,), 0, bytes(16))])
    yield "alignment-text", container([("general.alignment", 8, gguf_string("a"))])
    for key, kind, content in (("split.count", 2, b"\2\0"), ("split.count", 4, b"\xff" * 4), ("split.count", 8, gguf_string("a")), ("split.no", 2, b"\1\0")):
        yield f"{key}{kind}", container([("split.count", 2, b"\2\0"), ("split.no", 2, b"\0\0"), (key, kind, content)][(key == "split.count"):])
    off = {"attention.scale": 6, "attention.causal": 7, "attention.clamp_kqv": 6, "attention.max_alibi_bias": 6, "attn_logit_softcapping": 6, "residual_scale": 6, "rope.dimension_count": 4}
    for key, kind in off.items():
        for i, content in enumerate([bytes(4 if kind != 7 else 1), (b"\1" if kind == 7 else struct.pack("<f", 0.25) if kind == 6 else struct.pack("<I", 7))]):
            yield f"{key}{i}", gguf("llama", [(f"llama.{key}", kind, content)])
    yield "causal-number", gguf("llama", [("llama.attention.causal", 6, struct.pack("<f", 1))])
    for key in ("attention.head_count", "embedding_length", "block_count", "context_length", "attention.layer_norm_rms_epsilon"):
        yield f"without-{key}", gguf("llama", [(f"llama.{key}", *ABSENT)])
    for name in ("none", "linear", "yarn", "longrope", "other"):
        scaling = [("rope.scaling.type", 8, gguf_string(name)), ("rope.scaling.factor", 6, struct.pack("<f", 2)), ("rope.scaling.original_context_length", 4, struct.pack("<I", 8)),
                   ("rope.scaling.attn_factor", 6, struct.pack("<f", 1.5)), ("rope.scaling.yarn_log_multiplier", 6, struct.pack("<f", 0.1))]
        yield f"scaling-{name}", gguf("llama", [(f"llama.{key}", kind, content) for key, kind, content in scaling])
    yield "scaling-number", gguf("llama", [("llama.rope.scaling.type", 4, bytes(4))])
    yield "odd-head", gguf("llama", [("llama.attention.key_length", 4, struct.pack("<I", 0)), ("llama.attention.head_count", 4, struct.pack("<I", 64))])


def tensors():
    """Descriptions of tensors that do not hold together, and tensors in places and shapes of their own."""
    one = ("a", (32,), 0, bytes(128))
    yield "version1", container([], [one], version=1)
    yield "version2", container([], [one], version=2)
    yield "big-endian", container([], [one], version=3 << 24)
    yield "magic", container([], [one], magic=b"GGML")
    yield "more-entries", container([("a", 4, bytes(4))], [one], entries=1)
    yield "many-entries", container([], [one], entries=1 << 40)
    yield "more-tensors", container([], [one], stated=1)
    yield "many-tensors", container([], [one], stated=1 << 40)
    yield "shifted", container([], [one], shift=32)
    for cut in (1, 64, 128, 140, 150, 170):
        yield f"cut{cut}", container([("a", 4, bytes(4))], [one, ("b", (32,), 0, bytes(128))], cut=cut)
    yield "header-only", b"GGUF\3\0\0\0"
    for name, tensor in {"twice": one, "no-name": ("", (4,), 0, bytes(16)), "long-name": ("n" * 300, (4,), 0, bytes(16)), "name-no-text": (b"\xff", (4,), 0, bytes(16)), "no-dimension": ("b", (), 0, bytes(4)),
                         "five": ("b", (1, 1, 1, 1, 4), 0, bytes(16)), "huge": ("b", (2**63,), 0, bytes(16)), "overflow": ("b", (2**40, 2**40), 0, bytes(16)), "bytes-overflow": ("b", (2**61,), 0, bytes(16)),
                         "type": ("b", (4,), 250, bytes(16)), "type4": ("b", (32,), 4, bytes(16)), "block": ("b", (33,), 8, bytes(34)), "beyond": ("b", (1 << 20,), 0, bytes(16)), "zero": ("b", (0,), 0, b"")}.items():
        yield f"tensor-{name}", container([], [one, tensor])
    for kind, width in {0: 4, 1: 2, 24: 1, 25: 2, 26: 4, 27: 8, 28: 8, 30: 2, 16: 1, 99: 4}.items():
        yield f"dense{kind}", gguf("llama", (), "llama", [], [("b", (32, 2), kind, bytes(64 * width))])
    rope = lambda *values: ("rope_freqs.weight", (len(values),), 0, struct.pack(f"<{len(values)}f", *values))
    yield "llama3-rope", gguf("llama", (), "llama", [], [rope(*[1] * 8)])
    yield "llama3-short", gguf("llama", (), "llama", [], [rope(1, 2)])
    yield "llama3-none", gguf("llama", (), "llama", [], [rope(*[3.0, 1.0] * 4)])
    yield "llama3-matrix", gguf("llama", (), "llama", [], [("rope_freqs.weight", (4, 2), 8, bytes(34))])
    factors = lambda name, value: (f"rope_factors_{name}.weight", (8,), 0, struct.pack("<8f", *[value] * 8))
    number = lambda value: struct.pack("<f", value)
    yield "long-rope", gguf("llama", (), "phi3", [], [factors("long", 2), factors("short", 1)])
    yield "long-rope-settings", gguf("llama", (), "phi3", [("rope.scaling.original_context_length", 4, struct.pack("<I", 8)), ("rope.scaling.attn_factor", 6, number(1.25))],
                                     [factors("long", 2), factors("short", 1)])
    yield "long-rope-half", gguf("llama", (), "phi3", [], [factors("long", 2)])
    yield "no-embedding", container([("general.architecture", 8, gguf_string("llama")), ("llama.attention.head_count", 4, struct.pack("<I", 2)), ("llama.embedding_length", 4, struct.pack("<I", 32))], [one])
    yield "flat-embedding", gguf("llama", (), "llama", [], [("token_embd.weight", (32,), 0, bytes(128))])
    yield "no-place", gguf("llama", (), "llama", [], [(f"extra.{i}.weight", (4,), 0, bytes(16)) for i in range(8)])
    yield "two-places", gguf("llama", (), "llama", [], [("model.norm.weight", (32,), 0, bytes(128))])
    for shape, size in (((32, 32), 4096), ((32, 32, 3), 12288), ((32, 0, 2), 0)):
        yield f"experts{len(shape)}-{size}", gguf("llama", (), "qwen2moe", [("expert_count", 4, struct.pack("<I", 2))], [("blk.0.ffn_up_exps.weight", shape, 0, bytes(size))])
    for name, part, shape in (("bias", "attn_q.bias", (32,)), ("odd-bias", "attn_q.bias", (31,)), ("cube", "attn_q.weight", (4, 2, 32)), ("odd-rows", "attn_k.weight", (32, 30)), ("norm", "attn_norm.weight", (32,))):
        for architecture in ("llama", "gemma", "gptneox", "falcon", "bloom"):
            count = 1
            for size in shape:
                count *= size
            yield f"{name}-{architecture}", gguf("llama", (), architecture, [], [(f"blk.0.{part}", shape, 0, bytes(4 * count)), ("blk.0.attn_qkv.bias", (96,), 0, bytes(384))])


def parts():
    """Split models: the parts lie behind each other, a line of its own between them (fuzz_gguf.cpp)."""
    def part(number, count=2, names=("a",), more=()):
        return container([("split.no", 2, struct.pack("<H", number)), ("split.count", 2, struct.pack("<H", count)), *more], [(name, (4,), 0, bytes(16)) for name in names])
    between = b"\nnext part of the model\n"
    total = lambda value: ("split.tensors.count", 5, struct.pack("<i", value))
    yield "two", between.join([part(0), part(1, names="b")])
    yield "two-counted", between.join([part(0, more=[total(2)]), part(1, names="b")])
    yield "two-miscounted", between.join([part(0, more=[total(3)]), part(1, names="b")])
    yield "count-text", between.join([part(0, more=[("split.tensors.count", 8, gguf_string("a"))]), part(1, names="b")])
    yield "same-names", between.join([part(0), part(1)])
    yield "same-number", between.join([part(0), part(0, names="b")])
    yield "no-number", between.join([part(0), container([], [("b", (4,), 0, bytes(16))])])
    yield "number-text", between.join([container([("split.count", 2, b"\2\0"), ("split.no", 8, gguf_string("a"))]), part(1)])
    yield "broken", between.join([part(0), b"GGUF"])
    yield "one-lacks", between.join([part(0, 3), part(1, 3, "b")])
    yield "model", between.join([gguf("llama", [("split.count", 2, b"\2\0"), ("split.no", 2, b"\0\0")]), part(1, names=["output.weight"])])


def files():
    yield "llama", gguf()
    yield from vocabularies()
    for architecture in GGUF_ARCHITECTURES:
        yield architecture, gguf_architecture(architecture)
    for name, content in (*metadata(), *tensors(), *parts()):
        yield f"more-{name}", content

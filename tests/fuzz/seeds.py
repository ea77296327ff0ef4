#!/usr/bin/env python3
"""Makes the seeds of every fuzz target out of the golden files and a few small ones of its own.

usage: seeds.py SOURCE FOLDER       writes FOLDER/<target>/*
"""
import json
import pathlib
import random
import re
import struct
import sys

import seeds_tensors
import seeds_text
from seeds_tensors import file_of as safetensors


GRAMMARS = [
    'root ::= "a" [b-d]* | word{2,3} # end\nword ::= ("x" | "y"+)? [^\\n\\x41\\u00e9] .\n',
    'root ::= object\nobject ::= "{" ws (pair ("," ws pair)*)? "}"\npair ::= string ":" ws value\nstring ::= "\\"" [a-z]* "\\""\n'
    'value ::= object | string | [0-9]{1,5}\nws ::= [ \\t]*\n',
]
SCHEMAS = [
    {"type": "object", "properties": {"a": {"type": "integer", "minimum": -5, "maximum": 120}, "b": {"enum": ["x", 1, None]}},
     "required": ["a"], "additionalProperties": False},
    {"type": "array", "items": {"$ref": "#/$defs/n"}, "minItems": 1, "maxItems": 3,
     "$defs": {"n": {"anyOf": [{"type": "string", "pattern": "^[a-z]{1,3}\\d?$"}, {"type": "number", "exclusiveMinimum": 0.5}]}}},
    {"allOf": [{"properties": {"t": {"const": "k"}}}, {"required": ["t"]}], "type": "object"},
    {"type": "string", "minLength": 2, "maxLength": 4}, {"type": "string", "format": "date"}, True,
]
TASK_FILES = [
    "task: own\ndataset_kwargs: {data_files: {test: a.jsonl}}\ntest_split: test\noutput_type: multiple_choice\n"
    "doc_to_text: \"{{question}}\\nAnswer:\"\ndoc_to_choice: \"{{choices}}\"\ndoc_to_target: answer\n"
    "metric_list:\n  - metric: acc\n    aggregation: mean\n    higher_is_better: true\nmetadata:\n  version: 1.0\n",
    "task: gen\nanchor: &a\n  until: [\"\\n\\n\"]\ngeneration_kwargs:\n  <<: *a\n  max_gen_toks: 16\noutput_type: generate_until\n"
    "doc_to_text: |-\n  Q: {{question}}\n  A:\ndoc_to_target: '{{target}}'\nfilter_list:\n- name: x\n  filter:\n"
    "  - function: regex\n    regex_pattern: '#### (\\-?[0-9]+)'\n  - function: take_first\n",
    '{"task": "own", "output_type": "loglikelihood", "doc_to_text": "{{context}}", "doc_to_target": " {{target}}"}',
]


def gguf_string(text):
    return struct.pack("<Q", len(text.encode())) + text.encode()


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
    values += extra
    tensors = [("token_embd.weight", (32, 16), 0, bytes(32 * 16 * 4)), ("output_norm.weight", (32,), 0, bytes(128)), *more]
    out = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(values))
    for key, kind, content in values:
        out += gguf_string(key) + struct.pack("<I", kind) + content
    data = b""
    for name, shape, kind, content in tensors:
        out += gguf_string(name) + struct.pack("<I", len(shape)) + struct.pack(f"<{len(shape)}Q", *shape) + struct.pack("<IQ", kind, len(data))
        data += content + bytes(-len(content) % 32)
    return out + bytes(-len(out) % 32) + data


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


def llama2c():
    dim, hidden, layers, heads, kv, vocab, seq = 8, 8, 1, 2, 1, 16, 8
    floats = vocab * dim + dim + dim * dim + 2 * dim * kv * 4 + dim * dim + dim + 3 * dim * hidden + dim + seq * 4
    model = struct.pack("<7i", dim, hidden, layers, heads, kv, vocab, seq) + struct.pack(f"<{floats}f", *([0.1] * floats))
    words = struct.pack("<I", 4) + b"".join(struct.pack("<fI", -i, 1) + bytes([97 + i]) for i in range(16))
    return struct.pack("<H", len(words)) + words + model


def varint(value):
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def field(number, content):
    if isinstance(content, bytes):
        return varint(number << 3 | 2) + varint(len(content)) + content
    if isinstance(content, float):
        return varint(number << 3 | 5) + struct.pack("<f", content)
    return varint(number << 3) + varint(content)


PIECES = [("<unk>", 0.0, 2), ("<s>", 0.0, 3), ("</s>", 0.0, 3), ("\u2581", -1.0, 1), ("a", -2.0, 1), ("t", -2.5, 1), ("\u2581a", -1.5, 1), ("at", -1.7, 1)]
IDENTITY = field(1, b"identity") + field(3, 1) + field(4, 1) + field(5, 1)


def sentencepiece(trainer=field(3, 2), normalizer=IDENTITY, pieces=()):
    out = b"".join(field(1, field(1, p.encode()) + field(2, s) + field(3, t)) for p, s, t in [*PIECES, *pieces])
    return out + field(2, trainer) + field(3, normalizer)


def sentencepieces():
    """(name, content): each kind of model, of piece and of normalizer, and what is refused."""
    bytes_of = [(f"<0x{i:02X}>", 0.0, 6) for i in range(256)]
    mapped = field(1, b"nmt_nfkc") + field(2, seeds_text.charsmap())
    yield "unigram", sentencepiece(field(3, 1))
    yield "unigram-bytes", sentencepiece(field(3, 1), mapped + field(3, 0), bytes_of)
    yield "bpe-bytes", sentencepiece(field(3, 2) + field(41, 2**64 - 1) + field(42, 1), mapped + field(4, 0) + field(5, 0), bytes_of)
    yield "user", sentencepiece(pieces=[("night", 0.0, 4), ("caf\u00e9", 0.0, 4), ("gone", -3.0, 5), ("<x>", 0.0, 3)])
    yield "user-unigram", sentencepiece(field(3, 1), mapped, [("It", 0.0, 4), ("was", -1.0, 1)])
    for kind in (3, 4, 0):
        yield f"kind{kind}", sentencepiece(field(3, kind))
    yield "suffix", sentencepiece(field(24, 1))
    yield "bad-map", sentencepiece(normalizer=field(2, b"\4\0\0\0\1"))
    yield "odd-map", sentencepiece(normalizer=field(2, b"\7\0\0\0" + bytes(9)))
    yield "no-unknown", field(1, field(1, b"a") + field(2, -1.0)) + field(2, field(3, 1))
    yield "twice", sentencepiece(pieces=[("a", -9.0, 1)])
    yield "wires", varint(1 << 3 | 1) + bytes(8) + varint(2 << 3 | 5) + bytes(4) + sentencepiece()
    yield "group", varint(1 << 3 | 3)
    yield "long-number", b"\x08" + b"\xff" * 11
    yield "beyond", b"\x0a\xff\xff\xff\xff\x0f"


def main(source, folder):
    source, folder = pathlib.Path(source), pathlib.Path(folder)
    rng = random.Random(7)

    def put(target, name, content):
        path = folder / target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())

    f32 = struct.pack("<4f", 1, 2, 3, 4)
    put("safetensors", "small", safetensors({"a.weight": ("F32", [2, 2], f32), "b": ("BF16", [2], f32[:4])}, {"format": "pt"}))
    put("safetensors", "empty", safetensors({}))
    put("gguf", "llama", gguf())
    strings = lambda *all: struct.pack("<IQ", 8, len(all)) + b"".join(map(gguf_string, all))
    token_id = lambda name, id: (f"tokenizer.ggml.{name}_token_id", 4, struct.pack("<I", id))
    flag = lambda name, value: (f"tokenizer.ggml.{name}", 7, bytes([value]))
    merges = ("tokenizer.ggml.merges", 9, strings("a b"))
    for pre in GGUF_PRE_TOKENIZERS:
        put("gguf", f"gpt2-{pre}", gguf("gpt2", [merges, ("tokenizer.ggml.pre", 8, gguf_string(pre)), token_id("bos", 1), flag("add_bos_token", 1)]))
    put("gguf", "gemma4", gguf("gemma4", [merges, token_id("eos", 2), flag("add_eos_token", 1)]))
    put("gguf", "llama-plain", gguf("llama", [flag("add_space_prefix", 0), token_id("eot", 2), token_id("unknown", 0), token_id("padding", 0),
                                              ("tokenizer.chat_template", 8, gguf_string("{{ messages }}"))]))
    put("gguf", "bert", gguf("bert", [token_id("cls", 1), token_id("seperator", 2), token_id("unknown", 0)]))
    put("gguf", "bert-cased", gguf("bert", [flag("normalizer.lowercase", 0), flag("add_sep_token", 0)]))
    put("gguf", "t5", gguf("t5", [token_id("unknown", 0), flag("remove_extra_whitespaces", 0), flag("add_eos_token", 1),
                                  ("tokenizer.ggml.precompiled_charsmap", 9, struct.pack("<IQ", 0, 8) + struct.pack("<II", 4, 0))]))
    put("gguf", "t5-words", gguf("t5", [flag("add_space_prefix", 0), flag("remove_extra_whitespaces", 1), token_id("eos", 2)]))
    for architecture in GGUF_ARCHITECTURES:
        put("gguf", architecture, gguf_architecture(architecture))
    put("gguf", "long-rope", gguf("llama", (), "phi3", [], [("rope_factors_long.weight", (8,), 0, struct.pack("<8f", *[2] * 8)),
                                                            ("rope_factors_short.weight", (8,), 0, struct.pack("<8f", *[1] * 8))]))
    put("gguf", "llama3-rope", gguf("llama", (), "llama", [], [("rope_freqs.weight", (8,), 0, struct.pack("<8f", *[1] * 8))]))
    put("llama2c", "tiny", llama2c())
    put("index", "one", json.dumps({"metadata": {"total_size": 8}, "weight_map": {"a.weight": "model-00001-of-00001.safetensors"}}))
    put("index", "up", json.dumps({"weight_map": {"a.weight": "../model.safetensors"}}))
    golden = source / "tests" / "golden"
    for config in sorted(golden.glob("checkpoints/*/config.json")):
        weights = config.parent / "model.safetensors"
        if weights.exists():
            put("safetensors", config.parent.name, weights.read_bytes())
        put("json", config.parent.name, config.read_bytes())
    for config in sorted(golden.glob("logits/tiny/*/config.json")):
        put("config", config.parent.name, config.read_bytes())
    tokenizers = [path.read_bytes() for path in sorted(golden.glob("tokenizers/small/*.json"))]
    for i, config in enumerate(sorted(golden.glob("logits/tiny/*/config.json"))):
        put("convert", config.parent.name, config.read_bytes() + b"\x1e" + tokenizers[i % len(tokenizers)])
    llama = json.loads((golden / "logits" / "tiny" / "llama" / "config.json").read_text())
    for i, more in enumerate(seeds_text.configurations()):
        put("convert", f"llama{i}", json.dumps(llama | more).encode() + b"\x1e" + tokenizers[i % len(tokenizers)])
    for name, content in list(seeds_text.tokenizers())[::3]:
        put("convert", re.sub(r"[^\w.-]", "_", name), json.dumps(llama) + "\x1e" + content.split("\x1e")[0])
    blocks = golden / "gguf" / "blocks.gguf"
    if blocks.exists():
        put("gguf", "blocks", blocks.read_bytes())
    for tokenizer in sorted(golden.glob("tokenizers/small/**/*.json")):
        put("tokenizer_json", tokenizer.parent.name + "-" + tokenizer.name, tokenizer.read_bytes())
    put("tokenizer_json", "bpe", json.dumps({
        "version": "1.0", "added_tokens": [{"id": 0, "content": "<s>", "special": True, "lstrip": True, "single_word": False}],
        "normalizer": {"type": "NFC"}, "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": r"\p{N}{1,3}|\s+(?!\S)|\s+"}, "behavior": "Isolated", "invert": False},
            {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}]},
        "decoder": {"type": "ByteLevel"}, "model": {"type": "BPE", "vocab": {"<s>": 0, "a": 1, "t": 2, "at": 3}, "merges": ["a t"]}}))
    put("sentencepiece", "tiny", sentencepiece())
    for name, content in sentencepieces():
        put("sentencepiece", name, content)
    for model in sorted(golden.glob("tokenizers/small/*.model")):
        put("sentencepiece", model.name, model.read_bytes())
    for text in ("gptq:bits=4,group=64,desc_act=true", "rtn:bits=8,group=-1", "nf4:block=64", "awq", "fp16", "int8,rtn"):
        put("recipe", text.replace(":", "-").replace(",", "-"), text)
    for name in ("tiny-rtn4", "tiny-nf4", "tiny-rtn3"):
        put("native", name, (source / "tests" / "fuzz" / "corpus" / "native" / f"{name}.safetensors").read_bytes())
    put("manifest", "hashes", json.dumps({"sha256": {"a": "0" * 64, "nibble.text.config.json": "1" * 64}, "metadata_sha256": "2" * 64}))
    for i, text in enumerate(GRAMMARS):
        put("gbnf", str(i), text)
    for i, schema in enumerate(SCHEMAS):
        put("schema", str(i), json.dumps(schema))
    for i, text in enumerate(TASK_FILES):
        put("task_file", str(i), text)
    put("documents", "lines", '{"question":"a","choices":{"text":["b","c"]},"answer":[1]}\n\n{"question":"x"}\n')
    put("documents", "array", '[{"question":"a"},{"answer":["1",2]}]')
    put("documents", "commas", 'question,answer\r\n"a ""b"", c",1\n"two\nlines",2\n')
    for adapter in sorted((golden / "lora").glob("*/adapter_config.json")):
        small = json.dumps(json.loads(adapter.read_text()), separators=(",", ":")).encode()
        weights = safetensors({"base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight": ("F32", [2, 4], bytes(32)),
                               "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight": ("BF16", [4, 2], bytes(16))})
        put("lora", adapter.parent.name, small + b"\n" + weights)
        put("lora", adapter.parent.name + "-rank2", re.sub(rb'"r":\d+', b'"r":2', small) + b"\n" + weights)
    layer = json.dumps({"layer": 0, "matrices": [], "arrays": [{"name": "norm", "shape": [2]}],
                        "reports": [{"name": "q", "encoding": "affine", "bits": 4, "error": 0.1, "seconds": 0, "notes": ["n"]}]}).encode()
    record = struct.pack("<Q", len(layer)) + layer + bytes(8)
    put("journal", "records", b"\0" + record)
    put("journal", "file", b"\1NBLREC01" + struct.pack("<QQ", 9, 0) + b'{"job":1}')
    for tokens in (0, 2):  # f32 keys and values of tests/golden/logits/tiny/llama: 256 bytes a token
        put("session", f"tokens{tokens}", b"NBLSESS\0" + struct.pack("<II", 1, 1) + bytes(64) + struct.pack("<qq", tokens, tokens * 256)
            + struct.pack(f"<{tokens}i", *range(1, tokens + 1)) + bytes(tokens * 256) + bytes(32))
    put("task", "two", '{"context":"a","choices":["b","c"],"answer":1}\n{"query":"a","choices":["b"],"gold":0}\n')
    put("tokenizer_text", "english", "It was 12 o'clock,\n and  the caf\u00e9 \U0001f642 was <s> open.")
    put("tokenizer_text", "invalid", b"\xff\xfe a\xc3")
    for i in range(40):
        put("capi", f"program{i}", bytes(rng.randrange(256) for _ in range(rng.choice([8, 32, 128]))))
        # Sessions, batches and evaluations first, then calls that use them.
        put("calls", f"program{i}", bytes([0, 0, i, 40, 0, 1, i, 41, 1, 0, i, 5, 23, 0]) + bytes(rng.randrange(256) for _ in range(100)))
    put("json", "kinds", '{"a":[1,-2.5e3,true,null,"\\u00e9\\ud83d\\ude42"],"b":{}}')
    chats = source / "tests" / "golden" / "chat"
    rendered = json.loads((chats / "golden.json").read_text())
    for i, each in enumerate(rendered["rendered"] + rendered["failures"]):
        put("template", str(i), each["template"])
    for path in sorted((chats / "templates").glob("*.jinja")):
        put("template", path.stem, path.read_text())
    checkpoints, natives = source / "tests" / "golden" / "checkpoints", source / "tests" / "fuzz" / "corpus" / "native"
    for target, more in (("quantized", lambda: seeds_tensors.quantized(checkpoints)), ("safetensors", seeds_tensors.containers),
                         ("native", lambda: seeds_tensors.natives(natives)), ("schema", seeds_text.schemas), ("gbnf", seeds_text.grammars), ("task_file", seeds_text.own_tasks), ("documents", seeds_text.documents),
                         ("tokenizer_json", seeds_text.tokenizers), ("template", seeds_text.templates)):
        for name, content in more():
            put(target, re.sub(r"[^\w.-]", "_", f"more-{name}")[:150], content)
    # What keeps fuzzing possible for a target whose seeds are added later.
    for target in sorted(p.stem.removeprefix("fuzz_") for p in (source / "tests" / "fuzz").glob("fuzz_*.cpp")):
        if target != "support" and not (folder / target).exists():
            sys.exit(f"seeds.py: no seeds for the target {target}")
    (folder / "done").write_text("")


if __name__ == "__main__":
    main(*sys.argv[1:])

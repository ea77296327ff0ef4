#!/usr/bin/env python3
"""Makes the seeds of every fuzz target out of the golden files and a few small ones of its own.

usage: seeds.py SOURCE FOLDER       writes FOLDER/<target>/*
"""
import json
import pathlib
import random
import struct
import sys


def safetensors(tensors, metadata=None):
    header, data = ({"__metadata__": metadata} if metadata else {}), b""
    for name, (dtype, shape, content) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


def gguf_string(text):
    return struct.pack("<Q", len(text.encode())) + text.encode()


def gguf():
    tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{i:02X}>" for i in range(8)] + ["a", "b", "ab", "\u2581", "\u2581a"]
    values = [("general.architecture", 8, gguf_string("llama")), ("llama.block_count", 4, struct.pack("<I", 0)),
              ("llama.context_length", 4, struct.pack("<I", 16)), ("llama.embedding_length", 4, struct.pack("<I", 32)),
              ("llama.feed_forward_length", 4, struct.pack("<I", 32)),
              ("llama.attention.head_count", 4, struct.pack("<I", 2)),
              ("llama.attention.layer_norm_rms_epsilon", 6, struct.pack("<f", 1e-5)),
              ("tokenizer.ggml.model", 8, gguf_string("llama")),
              ("tokenizer.ggml.tokens", 9, struct.pack("<IQ", 8, len(tokens)) + b"".join(map(gguf_string, tokens))),
              ("tokenizer.ggml.scores", 9, struct.pack("<IQ", 6, len(tokens)) + struct.pack(f"<{len(tokens)}f", *range(len(tokens)))),
              ("tokenizer.ggml.token_type", 9, struct.pack("<IQ", 5, len(tokens)) + struct.pack(f"<{len(tokens)}i", *([1] * len(tokens))))]
    tensors = [("token_embd.weight", (32, 16), 0, 32 * 16 * 4), ("output_norm.weight", (32,), 0, 128)]
    out = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(values))
    for key, kind, content in values:
        out += gguf_string(key) + struct.pack("<I", kind) + content
    at = 0
    for name, shape, kind, size in tensors:
        out += gguf_string(name) + struct.pack("<I", len(shape)) + struct.pack(f"<{len(shape)}Q", *shape) + struct.pack("<IQ", kind, at)
        at += size
    return out + b"\0" * (-len(out) % 32) + bytes(at)


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


def sentencepiece():
    pieces = [("<unk>", 0.0, 2), ("<s>", 0.0, 3), ("</s>", 0.0, 3), ("\u2581", -1.0, 1), ("a", -2.0, 1), ("t", -2.5, 1),
              ("\u2581a", -1.5, 1), ("at", -1.7, 1)]
    out = b"".join(field(1, field(1, p.encode()) + field(2, s) + field(3, t)) for p, s, t in pieces)
    return out + field(2, field(3, 2)) + field(3, field(1, b"identity") + field(3, 1) + field(4, 1) + field(5, 1))


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
    put("llama2c", "tiny", llama2c())
    put("index", "one", json.dumps({"metadata": {"total_size": 8}, "weight_map": {"a.weight": "model-00001-of-00001.safetensors"}}))
    put("index", "up", json.dumps({"weight_map": {"a.weight": "../model.safetensors"}}))
    golden = source / "tests" / "golden"
    for config in sorted(golden.glob("checkpoints/*/config.json")):
        weights = config.parent / "model.safetensors"
        if weights.exists():
            small = json.dumps(json.loads(config.read_text()), separators=(",", ":")).encode()
            put("quantized", config.parent.name, small + b"\n" + weights.read_bytes())
            put("safetensors", config.parent.name, weights.read_bytes())
        put("json", config.parent.name, config.read_bytes())
    for config in sorted(golden.glob("logits/tiny/*/config.json")):
        put("config", config.parent.name, config.read_bytes())
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
    for model in sorted(golden.glob("tokenizers/small/*.model")):
        put("sentencepiece", model.name, model.read_bytes())
    for text in ("gptq:bits=4,group=64,desc_act=true", "rtn:bits=8,group=-1", "nf4:block=64", "awq", "fp16", "int8,rtn"):
        put("recipe", text.replace(":", "-").replace(",", "-"), text)
    put("task", "two", '{"context":"a","choices":["b","c"],"answer":1}\n{"query":"a","choices":["b"],"gold":0}\n')
    put("tokenizer_text", "english", "It was 12 o'clock,\n and  the caf\u00e9 \U0001f642 was <s> open.")
    put("tokenizer_text", "invalid", b"\xff\xfe a\xc3")
    for i in range(40):
        put("capi", f"program{i}", bytes(rng.randrange(256) for _ in range(rng.choice([8, 32, 128]))))
    put("json", "kinds", '{"a":[1,-2.5e3,true,null,"\\u00e9\\ud83d\\ude42"],"b":{}}')
    chats = source / "tests" / "golden" / "chat"
    rendered = json.loads((chats / "golden.json").read_text())
    for i, each in enumerate(rendered["rendered"] + rendered["failures"]):
        put("template", str(i), each["template"])
    for path in sorted((chats / "templates").glob("*.jinja")):
        put("template", path.stem, path.read_text())
    # What keeps fuzzing possible for a target whose seeds are added later.
    for target in sorted(p.stem.removeprefix("fuzz_") for p in (source / "tests" / "fuzz").glob("fuzz_*.cpp")):
        if target != "support" and not (folder / target).exists():
            sys.exit(f"seeds.py: no seeds for the target {target}")
    (folder / "done").write_text("")


if __name__ == "__main__":
    main(*sys.argv[1:])

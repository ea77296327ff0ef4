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

import seeds_damage
import seeds_gguf
import seeds_models
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
    for name, content in seeds_gguf.files():
        put("gguf", name, content)
    golden = source / "tests" / "golden"
    for config in sorted(golden.glob("checkpoints/*/config.json")):
        weights = config.parent / "model.safetensors"
        if weights.exists():
            put("safetensors", config.parent.name, weights.read_bytes())
        put("json", config.parent.name, config.read_bytes())
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
    for target, more in (("quantized", lambda: seeds_tensors.quantized(checkpoints)), ("recode", lambda: seeds_tensors.recoded(checkpoints)), ("safetensors", seeds_tensors.containers),
                         ("native", lambda: seeds_tensors.natives(natives)),
                         ("config", lambda: seeds_models.configurations(golden / "logits" / "tiny")), ("config", lambda: seeds_models.architectures(golden / "logits" / "tiny")),
                         ("lora", seeds_models.adapters), ("journal", seeds_models.journals), ("session", seeds_models.sessions), ("llama2c", seeds_models.llama2cs), ("index", seeds_models.indexes),
                         ("json", seeds_models.jsons), ("recipe", seeds_models.recipes),
                         ("schema", seeds_text.schemas), ("gbnf", seeds_text.grammars), ("task_file", seeds_text.own_tasks), ("documents", seeds_text.documents),
                         ("tokenizer_json", seeds_text.tokenizers), ("template", seeds_text.templates),
                         ("tokenizer_json", seeds_damage.tokenizers), ("task_file", seeds_damage.own_tasks)):
        for name, content in more():
            put(target, re.sub(r"[^\w.-]", "_", f"more-{name}")[:150], content)
    # What keeps fuzzing possible for a target whose seeds are added later.
    for target in sorted(p.stem.removeprefix("fuzz_") for p in (source / "tests" / "fuzz").glob("fuzz_*.cpp")):
        if target != "support" and not (folder / target).exists():
            sys.exit(f"seeds.py: no seeds for the target {target}")
    (folder / "done").write_text("")


if __name__ == "__main__":
    main(*sys.argv[1:])

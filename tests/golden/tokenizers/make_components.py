#!/usr/bin/env python3
"""Writes components.json: what single parts of a tokenizer.json do to random texts, as the `tokenizers` package (0.23.3) does it.

    python3 make_components.py > components.json
    python3 make_components.py --show pre_tokenizers 7 12     (component 7, text 12)

For each part there is a hash of the results over all texts.
"""
import base64
import hashlib
import json
import struct
import sys

from random_text import SplitMix, random_text
from tokenizers import Tokenizer

TEXTS = 6000
SEED = 77

LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN2 = LLAMA3.replace("{1,3}", "")
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
CL100K = r"(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"
O200K = "|".join([
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"\p{N}{1,3}", r" ?[^\s\p{L}\p{N}]+[\r\n/]*", r"\s*[\r\n]+", r"\s+(?!\S)", r"\s+"])
BLOOM = " ?[^(\\s|[.,!?…。，、।۔،])]+"
DEEPSEEK3 = [r"\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+",
             r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"""]


def split(pattern, behavior="Isolated", invert=False, kind="Regex"):
    return {"type": "Split", "pattern": {kind: pattern}, "behavior": behavior, "invert": invert}


def sequence(*steps):
    return {"type": "Sequence", "pretokenizers": list(steps)}


BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
PRE_TOKENIZERS = [split(p) for p in (GPT2, LLAMA3, QWEN2, CL100K, O200K, BLOOM, r"\w+|[^\w\s]+", r"\s+", r"\d", r"[\h_]+", r"[[:punct:]]", r"^a|b$",
                                     r"\p{Han}+", r"[^\p{L}\p{N}]?+\p{L}++", r"(?<=[.!?])\s", "x*")]
PRE_TOKENIZERS += [split(r"\s+", b, i) for b in ("Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous") for i in (False, True)]
PRE_TOKENIZERS += [split(" ", b, False, "String") for b in ("Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous")]
PRE_TOKENIZERS += [{"type": "ByteLevel", "add_prefix_space": a, "trim_offsets": True, "use_regex": u} for a in (False, True) for u in (False, True)]
PRE_TOKENIZERS += [{"type": "Digits", "individual_digits": i} for i in (False, True)]
PRE_TOKENIZERS += [{"type": "Punctuation", "behavior": b} for b in ("Isolated", "Removed", "Contiguous", "MergedWithNext")]
PRE_TOKENIZERS += [{"type": t} for t in ("Whitespace", "WhitespaceSplit", "BertPreTokenizer")]
PRE_TOKENIZERS += [{"type": "CharDelimiterSplit", "delimiter": "a"}]
PRE_TOKENIZERS += [{"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": p, "split": s}
                   for p in ("always", "first", "never") for s in (False, True)]
PRE_TOKENIZERS += [
    sequence({"type": "Digits", "individual_digits": True}, {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}),
    sequence({"type": "Punctuation", "behavior": "Contiguous"}, {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
             {"type": "Digits", "individual_digits": False}, split("[0-9][0-9][0-9]")),
    sequence(*[split(p) for p in DEEPSEEK3], BYTES),
    sequence(split(O200K), BYTES),
    sequence({"type": "WhitespaceSplit"}, {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": True}),
    sequence({"type": "WhitespaceSplit"}, {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "first", "split": True}),
]


def charsmap():
    """A small double-array trie, built by hand: entries to replacements."""
    entries = {"\ufb01": "fi", "\u212b": "\u00c5", "\u3000": " ", "\u00a0": " ", "A": "a", "e\u0301": "\u00e9", "\u0130": "i\u0307", "...": "\u2026", "\x01": "", "\u00df": "ss",
               "\u1100\u1161": "\uac00"}
    blob, where = b"", {}
    for key, value in entries.items():
        where[key.encode()] = len(blob)
        blob += value.encode() + b"\0"
    # Units: value<<? as darts-clone lays them out; one block of 256 units a node keeps it simple.
    nodes = {b"": 0}
    for key in where:
        for i in range(1, len(key) + 1):
            nodes.setdefault(key[:i], len(nodes))
    # A node's children sit at base ^ label; base = 256 * (node number + 1); its leaf value at base ^ 0.
    size = 256 * (len(nodes) + 1)
    units = [0] * size

    def base(node):
        return 256 * (nodes[node] + 1)

    def offset_bits(at, target):
        offset = at ^ target
        assert offset < 1 << 29
        if offset < 1 << 21:
            return offset << 10
        assert offset & 0xFF == 0
        return (offset >> 8) << 10 | 1 << 9

    units[0] = offset_bits(0, base(b""))
    for node in nodes:
        for label in range(256):
            child = node + bytes([label])
            if child in nodes and label:
                at = base(node) ^ label
                units[at] = label | offset_bits(at, base(child)) | (1 << 8 if child in where else 0)
        if node in where:
            units[base(node)] = where[node] | 1 << 31
    return base64.b64encode(struct.pack("<I", 4 * size) + struct.pack("<%dI" % size, *units) + blob).decode()


NORMALIZERS = [{"type": t} for t in ("NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents", "Nmt", "ByteLevel")]
NORMALIZERS += [{"type": "Strip", "strip_left": l, "strip_right": r} for l, r in ((True, True), (True, False), (False, True))]
NORMALIZERS += [{"type": "BertNormalizer", "clean_text": c, "handle_chinese_chars": h, "strip_accents": a, "lowercase": w}
                for c, h, a, w in ((True, True, None, True), (True, True, None, False), (False, False, True, False), (False, True, False, True))]
NORMALIZERS += [{"type": "Prepend", "prepend": "\u2581"}, {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"},
                {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}, {"type": "Replace", "pattern": {"Regex": r"\s+"}, "content": "_"},
                {"type": "Replace", "pattern": {"String": "``"}, "content": "\""}]
NORMALIZERS += [{"type": "Precompiled", "precompiled_charsmap": charsmap()}]
NORMALIZERS += [{"type": "Sequence", "normalizers": [{"type": "NFKD"}, {"type": "StripAccents"}, {"type": "Lowercase"}]},
                {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "\u2581"}, {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}]}]


def tokenizer(normalizer=None, pre_tokenizer=None):
    return Tokenizer.from_str(json.dumps({
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": normalizer, "pre_tokenizer": pre_tokenizer,
        "post_processor": None, "decoder": None, "model": {"type": "WordLevel", "vocab": {"<unk>": 0}, "unk_token": "<unk>"}}))


def main():
    rng = SplitMix(SEED)
    texts = [random_text(rng) for _ in range(TEXTS)]
    makers = {
        "pre_tokenizers": (PRE_TOKENIZERS, lambda part: lambda t, made=tokenizer(pre_tokenizer=part).pre_tokenizer: [p for p, _ in made.pre_tokenize_str(t)]),
        "normalizers": (NORMALIZERS, lambda part: lambda t, made=tokenizer(normalizer=part).normalizer: [made.normalize_str(t)]),
    }
    if sys.argv[1:2] == ["--show"]:
        parts, maker = makers[sys.argv[2]]
        part = parts[int(sys.argv[3])]
        text = texts[int(sys.argv[4])]
        print(json.dumps(part)[:300], ascii(text), ascii(maker(part)(text)))
        return
    print("{")
    print('"seed": %d, "texts": %d,' % (SEED, TEXTS))
    for name, (parts, maker) in makers.items():
        print('"%s": [' % name)
        for i, part in enumerate(parts):
            run = maker(part)
            total = hashlib.sha256()
            ends = []
            for n, text in enumerate(texts):
                pieces = [p for p in run(text) if p]
                total.update(("\x1f".join(pieces) + "\x1e").encode())
                if n % 500 == 499:
                    ends.append(total.copy().hexdigest()[:8])
            print(json.dumps({"part": part, "hashes": ends}) + ("," if i + 1 < len(parts) else ""))
        print("]" if name == "normalizers" else "],")
    print("}")


main()

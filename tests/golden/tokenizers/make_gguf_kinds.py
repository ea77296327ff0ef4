#!/usr/bin/env python3
"""Makes gguf_kinds.json: small random vocabularies of the kinds that only GGUF files have (whitespace, rwkv, plamo2), as metadata, with the
ids that llama.cpp gives for random texts.

    make_gguf_kinds.py        needs llama-cpp-python and gguf (made with 0.3.36)
"""
import json
import pathlib
import random
import tempfile

import gguf
import llama_cpp
from random_text import SplitMix, random_text

HERE = pathlib.Path(__file__).resolve().parent
WORDS = ["hello", "World", "don't", "42", "日本語", "naïve", "\n\n", "\t", "   ", "x=1;", "Ünï", "🙂", "“q”", "\r\n", "ÀB", "\u00a0", "'", "\\", "\ufeff"]


def texts(rng):
    made = [random_text(SplitMix(seed)) for seed in range(30)]
    made += ["".join(rng.choice(WORDS) + rng.choice(["", " ", "  "]) for _ in range(rng.randint(1, 9))) for _ in range(40)]
    # A capital whose small letter is two characters is one for llama.cpp, and two elsewhere.
    return [t for t in made if "\0" not in t and "İ" not in t]


def parts(rng, texts, count, longest):
    """Pieces of the texts, each once."""
    found = {}
    while len(found) < count:
        text = rng.choice([t for t in texts if len(t) > 2])
        at = rng.randrange(len(text) - 1)
        found[text[at:at + rng.randint(2, longest)]] = None
    return list(found)


def whitespace(rng, texts, lowercase):
    """Merges over characters; a part of the characters and of the bytes is left out."""
    characters = sorted({c for t in texts for c in (t.lower() if lowercase else t)})
    tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256) if b % 3] + rng.sample(characters, len(characters) * 4 // 5)
    first, merges = len(tokens), []
    for word in parts(rng, [t for t in texts], 150, 5):
        word = word.lower() if lowercase else word
        for cut in range(2, len(word) + 1):
            left, right = word[:cut - 1], word[cut - 1]
            if left in tokens and right in tokens and " " not in left + right and f"{left} {right}" not in merges:
                merges.append(f"{left} {right}")
                if left + right not in tokens:
                    tokens.append(left + right)
    types = [2, 3, 3] + [6] * (first - 3) + [1] * (len(tokens) - first)
    for i in range(3, first):
        if not tokens[i].startswith("<0x"):
            types[i] = 1
    return dict(model="whitespace", pre="whitespace", tokens=tokens, token_type=types, merges=merges, unknown_token_id=0,
                **{"normalizer.lowercase": lowercase})


def rwkv(rng, texts):
    pieces = [bytes([b]) for b in range(256)] + sorted({p.encode()[:rng.randint(2, 9)] for p in parts(rng, texts, 250, 6)})
    pieces = list(dict.fromkeys(pieces))
    spelled = ["<s>"] + [repr(p)[2:-1] for p in pieces] + ["[PAD1]", "[PAD2]"]
    return dict(model="rwkv", tokens=spelled, token_type=[3] + [1] * len(pieces) + [5, 5], unknown_token_id=0, bos_token_id=0, eos_token_id=0)


def plamo2(rng, texts):
    special = ["<|plamo:unk|>", "<|plamo:bos|>", "<|plamo:eos|>", "<|plamo:pad|>"]
    characters = sorted({c for t in texts for c in t})
    pieces = rng.sample(characters, len(characters) * 2 // 3) + parts(rng, texts, 250, 6)
    tokens = special + [f"<0x{b:02X}>" for b in range(256)] + pieces + ["[PAD1]"]
    scores = [0.0] * 260 + [round(-rng.random() * 15, rng.choice([0, 4])) for _ in pieces] + [-1000.0]
    return dict(model="plamo2", pre="default", tokens=tokens, scores=scores, token_type=[2, 3, 3, 3] + [6] * 256 + [1] * len(pieces) + [5],
                bos_token_id=1, eos_token_id=2, unknown_token_id=0)


def ids_of(metadata, texts):
    with tempfile.TemporaryDirectory() as folder:
        path = str(pathlib.Path(folder) / "vocabulary.gguf")
        writer = gguf.GGUFWriter(path, "llama")
        for key, value in metadata.items():
            key = f"tokenizer.ggml.{key}"
            add = {bool: writer.add_bool, int: writer.add_uint32, str: writer.add_string, list: writer.add_array}[type(value)]
            add(key, value)
        for key, value in dict(context_length=64, embedding_length=32, block_count=1, feed_forward_length=8).items():
            writer.add_uint32(f"llama.{key}", value)
        for key in ("head_count", "head_count_kv"):
            writer.add_uint32(f"llama.attention.{key}", 1)
        writer.add_float32("llama.attention.layer_norm_rms_epsilon", 1e-5)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        model = llama_cpp.Llama(path, vocab_only=True, verbose=False)
        made = [model.tokenize(t.encode(), add_bos=False, special=False) for t in texts]
        model.close()
        return made


def main():
    rng = random.Random(20261126)
    cases = texts(rng)
    kinds = [whitespace(rng, cases, False), whitespace(rng, cases, True), rwkv(rng, cases), plamo2(rng, cases)]
    golden = {"texts": cases, "kinds": [{"metadata": {f"tokenizer.ggml.{k}": v for k, v in kind.items()}, "ids": ids_of(kind, cases)}
                                        for kind in kinds]}
    (HERE / "gguf_kinds.json").write_text(json.dumps(golden, separators=(",", ":"), ensure_ascii=True) + "\n")


if __name__ == "__main__":
    main()

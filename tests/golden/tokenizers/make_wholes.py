#!/usr/bin/env python3
"""Writes wholes.json: small tokenizer.json files whose parts meet in unusual ways, with the ids of texts and the texts of ids as the
`tokenizers` package (0.23.3) gives them.

    python3 make_wholes.py > wholes.json
"""
import json

from tokenizers import Tokenizer


def byte_characters():
    plain = [b for b in range(256) if 33 <= b <= 126 or 161 <= b <= 172 or b >= 174]
    others = [b for b in range(256) if b not in plain]
    return {**{b: chr(b) for b in plain}, **{b: chr(256 + i) for i, b in enumerate(others)}}


BYTES = byte_characters()
BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}


def numbered(pieces):
    return {p: i for i, p in enumerate(dict.fromkeys(pieces))}


def added(i, content, **flags):
    return {"id": i, "content": content, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False, **flags}


def bpe(pieces, merges, **options):
    return {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None,
            "fuse_unk": False, "byte_fallback": False, "ignore_merges": False, "vocab": numbered(pieces), "merges": merges, **options}


def words(**options):
    pieces = ["[UNK]", "the", "##re", "the", "\u0120the", "##\u0120", "o", "##f", "\u0120", "##o", "##\u00c3", "##\u00a9", "\u00c3"]
    return {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100,
            "vocab": numbered(pieces), **options}


def unigram(**options):
    vocab = [["<unk>", 0.0]] + [[f"<0x{b:02X}>", -20.0] for b in range(256)]
    vocab += [[c, -8.0] for c in "abdeknstu <>\u0120\u00c3\u00a9"] + [["the", -3.0], ["unk", -4.0], ["theb", -2.0], ["\u0120the", -2.5]]
    return {"type": "Unigram", "unk_id": 0, "vocab": vocab, "byte_fallback": True, **options}


def whole(model, **parts):
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None, "pre_tokenizer": None,
            "post_processor": None, "decoder": None, "model": model, **parts}


LETTERS = list(BYTES.values())
CLIP = LETTERS + [c + "</w>" for c in LETTERS] + ["th", "the</w>", "re</w>", "<unk>"]
MERGES = [["t", "h"], ["th", "e</w>"], ["r", "e</w>"]]
TOKENIZERS = [
    whole(bpe(CLIP, MERGES, unk_token="<unk>", end_of_word_suffix="</w>"), pre_tokenizer=BYTE_LEVEL,
          decoder={"type": "Sequence", "decoders": [{"type": "BPEDecoder", "suffix": "</w>"}, {"type": "ByteLevel", "add_prefix_space": True,
                   "trim_offsets": True, "use_regex": True}]}),
    whole(bpe([c for c in LETTERS if c not in "\u0120\u00c3q"] + [f"<0x{b:02X}>" for b in range(256)] + ["th"], [["t", "h"]], byte_fallback=True),
          pre_tokenizer=BYTE_LEVEL, decoder={"type": "ByteFallback"}),
    whole(bpe(LETTERS + ["##" + c for c in LETTERS] + ["th", "the"], [["t", "##h"], ["th", "##e"]], continuing_subword_prefix="##"),
          pre_tokenizer={**BYTE_LEVEL, "use_regex": False}, decoder={"type": "WordPiece", "prefix": "##", "cleanup": False}),
    whole(words(), pre_tokenizer=BYTE_LEVEL, decoder={"type": "WordPiece", "prefix": "", "cleanup": True}),
    whole({"type": "WordLevel", "vocab": numbered(["<unk>", "the", "\u0120the", "\u0120"]), "unk_token": "<unk>"}, pre_tokenizer=BYTE_LEVEL),
    whole(unigram(), pre_tokenizer=BYTE_LEVEL),
    whole(unigram(), decoder={"type": "Fuse"}),
    whole(unigram(unk_id=None, byte_fallback=False)),
    whole(unigram(), pre_tokenizer={"type": "FixedLength", "length": 3}),
    # Borders of words beside marks and numbers that are none.
    whole({"type": "WordLevel", "vocab": numbered(["<unk>", "the", " "]), "unk_token": "<unk>"},
          pre_tokenizer={"type": "Split", "pattern": {"Regex": "\\b"}, "behavior": "Isolated", "invert": False}),
    # Characters that are unknown among those that are spelled in bytes: not all bytes are there.
    *[whole(bpe(["<unk>", "a", "b", " "] + [f"<0x{b:02X}>" for b in range(256) if b != 0x3C], [], byte_fallback=True, unk_token="<unk>",
                fuse_unk=fuse)) for fuse in (False, True)],
    # White space that a token before swallowed, which is a token itself.
    whole(bpe([chr(c) for c in range(32, 127)], []), added_tokens=[
        added(95, "\t", lstrip=True), added(96, "</s>", rstrip=True, special=True), added(97, "<m>", lstrip=True, rstrip=True),
        added(98, "\n", rstrip=True), added(99, "word", single_word=True, normalized=True)]),
    # A mark before the first word only: where a normalizer took away what the text began with, no word is the first.
    *[whole(bpe([chr(c) for c in range(32, 127)] + ["\u2581", "\u00e9", "\n"], []), normalizer=normalizer,
            pre_tokenizer={"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "first", "split": split},
            added_tokens=[added(98, "</s>", special=True), added(99, "<m>", normalized=True), added(100, "word", rstrip=True)])
      for split, normalizer in [(True, None), (False, {"type": "Strip", "strip_left": True, "strip_right": False}),
                                (True, {"type": "Sequence", "normalizers": [{"type": "Nmt"}, {"type": "Strip", "strip_left": True, "strip_right": True}]}),
                                (True, {"type": "Replace", "pattern": {"Regex": "^ +"}, "content": "_"}),
                                (True, {"type": "Replace", "pattern": {"Regex": "^[ t]"}, "content": ""})]],
    # Paths whose sums differ by a rounding only: which one wins hangs on the last bit of the scores, as the package reads them.
    whole({"type": "Unigram", "unk_id": 0, "byte_fallback": False,
           "vocab": [["<unk>", 0.0], ["-", -7.6363787560946985], ["--", -4.4677865964903924], ["---", -20.0], ["=", -7.9382746152839467],
                     ["==", -6.1827364552910384], ["a", -9.0]]}),
]
TEXTS = ["the there of", " the", "\u00e9", "q the\u00e9 q", "<unk>", "a<unk>b <unk><unk>", "thebthe", "uthey", "a</s>\tb", "a\t\t</s>\t\t\nb", "<m> \t <m>\t", "a word \n </s> word.",
         "</s>\n<m>words", "the\tthe", "", "a\u0301b x\u00b2y\u2460z \u0903n\u203f \u00bcq", "<x<<y>a<<", *["a" * (n % 3) + "-" * n + "=" * (n + n % 5) for n in (3, 5, 9, 17, 33, 47, 75, 99)]]


def main():
    cases = []
    for made in TOKENIZERS:
        theirs = Tokenizer.from_str(json.dumps(made))
        encoded, size = [], theirs.get_vocab_size()
        for text in TEXTS:
            try:
                encoded.append([text, theirs.encode(text).ids])
            except BaseException as error:  # of the package's own kind, where two tokens overlap that swallow white space
                if type(error).__name__ not in ("Exception", "PanicException"):
                    raise
                encoded.append([text, None])
        runs = [[i % size for i in range(at, at + 9)] for at in (0, 3, size - 5, size // 2)]
        cases.append({"tokenizer": made, "encoded": encoded, "decoded": [[ids, theirs.decode(ids, skip_special_tokens=False)] for ids in runs]})
    print(json.dumps(cases, ensure_ascii=True, separators=(",", ":")).replace('{"tokenizer"', '\n{"tokenizer"'))


main()

#!/usr/bin/env python3
"""Random tokenizer.json files against the `tokenizers` package: vocabularies of every model type, put together with random normalizers,
pre-tokenizers, decoders, post-processors and added tokens.

    random_tokenizers.py [--count 300] [--first I] [--seed S] [--texts 60] [--keep DIR]

Each draw trains or writes a small vocabulary, draws the parts around it with every option that the package has, and compares ids with and
without special tokens, and the text that ids decode to (those of a text and random ones). A file that nibble refuses, saying what part
it does not implement, counts as refused, not as wrong; so is one that the package itself does not load drawn again. Needs
NIBBLE_LIBRARY when the library is not found by itself. Exit status 1 when something differs, 77 when the package is not there.
"""
import argparse
import json
import pathlib
import random
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bindings" / "python"))
sys.path.insert(0, str(ROOT / "tests" / "golden" / "tokenizers"))
try:
    from tokenizers import Tokenizer
except ImportError as error:
    print(f"SKIPPED: {error}")
    sys.exit(77)
import nibble  # noqa: E402
from random_text import BITS, SplitMix, random_text  # noqa: E402

WORDS = ("the of and to in that it was his her with as had for at not but on be said him she they from all this which would "
         "have so there what no or when one could were are been Their über naïve Straße café 你好 世界 привет мир 12 345 1999 3.14 "
         "don't I'll we've it's O'Neil x_y CamelCase def return print() ==  != \t \n").split(" ")
BYTE_CHARS = [chr(b) if 33 <= b <= 126 or 161 <= b <= 172 or b >= 174 else None for b in range(256)]
_next = 256
for _b in range(256):
    if BYTE_CHARS[_b] is None:
        BYTE_CHARS[_b] = chr(_next)
        _next += 1

PATTERNS = [
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    r"\p{N}{1,3}", r"\s+", r"\d", r"[一-龥぀-ゟ゠-ヿ]+", r"\w+|[^\w\s]+", r"[A-Za-z]+", r" ", r"(?<=\p{L})(?=\p{N})|\s",
    r"\b", r"[.,!?]", r"(?=[A-Z])", r"[^a-z]", r"\p{P}+", r"\R", r"(a|b)+", r"[\p{Han}]", r"x*",
]


def pattern(rng):
    if rng.random() < 0.3:
        return {"String": rng.choice([" ", "e", "the", "\u2581", ".", "\n", "  ", "ab"])}
    return {"Regex": rng.choice(PATTERNS)}


def flag(rng):
    return rng.random() < 0.5


def metaspace(rng):
    out = {"type": "Metaspace", "replacement": rng.choice(["\u2581", "\u2581", "_"])}
    if flag(rng):
        out["prepend_scheme"] = rng.choice(["always", "never", "first"])
        out["split"] = flag(rng)
    else:
        out["add_prefix_space"] = flag(rng)
    return out


def pre_tokenizer(rng, depth=0):
    kind = rng.choice(["ByteLevel", "Split", "Split", "Digits", "Metaspace", "Punctuation", "Whitespace", "WhitespaceSplit", "BertPreTokenizer",
                       "CharDelimiterSplit", "UnicodeScripts", "FixedLength"] + ["Sequence"] * (4 if depth == 0 else 0))
    if kind == "ByteLevel":
        return {"type": kind, "add_prefix_space": flag(rng), "trim_offsets": flag(rng), "use_regex": flag(rng)}
    if kind == "Split":
        return {"type": kind, "pattern": pattern(rng), "invert": flag(rng),
                "behavior": rng.choice(["Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"])}
    if kind == "Digits":
        return {"type": kind, "individual_digits": flag(rng)}
    if kind == "Metaspace":
        return metaspace(rng)
    if kind == "Punctuation":
        return {"type": kind, "behavior": rng.choice(["Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"])}
    if kind == "CharDelimiterSplit":
        return {"type": kind, "delimiter": rng.choice("e _-é")}
    if kind == "FixedLength":
        return {"type": kind, "length": rng.randrange(1, 6)}
    if kind == "Sequence":
        return {"type": kind, "pretokenizers": [pre_tokenizer(rng, 1) for _ in range(rng.randrange(1, 4))]}
    return {"type": kind}


def normalizer(rng, depth=0):
    kind = rng.choice(["NFC", "NFD", "NFKC", "NFKD", "Lowercase", "Strip", "StripAccents", "Replace", "Replace", "Prepend", "BertNormalizer",
                       "Nmt", "ByteLevel"] + ["Sequence"] * (5 if depth == 0 else 0))
    if kind == "Strip":
        return {"type": kind, "strip_left": flag(rng), "strip_right": flag(rng)}
    if kind == "Replace":
        return {"type": kind, "pattern": pattern(rng), "content": rng.choice(["", " ", "\u2581", "xy", "$1", "\\0"])}
    if kind == "Prepend":
        return {"type": kind, "prepend": rng.choice(["\u2581", " ", "ab"])}
    if kind == "BertNormalizer":
        return {"type": kind, "clean_text": flag(rng), "handle_chinese_chars": flag(rng), "strip_accents": rng.choice([None, True, False]),
                "lowercase": flag(rng)}
    if kind == "Sequence":
        return {"type": kind, "normalizers": [normalizer(rng, 1) for _ in range(rng.randrange(0, 4))]}
    return {"type": kind}


def decoder(rng, depth=0):
    kind = rng.choice(["ByteLevel", "ByteFallback", "Fuse", "Strip", "Replace", "Metaspace", "WordPiece", "BPEDecoder", "CTC"]
                      + ["Sequence"] * (6 if depth == 0 else 0))
    if kind == "Strip":
        return {"type": kind, "content": rng.choice(" \u2581e"), "start": rng.randrange(3), "stop": rng.randrange(3)}
    if kind == "Replace":
        return {"type": kind, "pattern": pattern(rng), "content": rng.choice(["", " ", "xy"])}
    if kind == "Metaspace":
        return metaspace(rng)
    if kind == "WordPiece":
        return {"type": kind, "prefix": rng.choice(["##", "@@", ""]), "cleanup": flag(rng)}
    if kind == "BPEDecoder":
        return {"type": kind, "suffix": rng.choice(["</w>", "e"])}
    if kind == "CTC":
        return {"type": kind, "pad_token": rng.choice(["<pad>", "e"]), "word_delimiter_token": rng.choice(["|", "t"]), "cleanup": flag(rng)}
    if kind == "Sequence":
        return {"type": kind, "decoders": [decoder(rng, 1) for _ in range(rng.randrange(1, 5))]}
    return {"type": kind}


def alphabet(rng):
    letters = set("abcdefghijklmnopqrstuvwxyz .,'\u2581_") | {c for w in WORDS for c in w}
    if flag(rng):
        letters |= set(BYTE_CHARS)
    return sorted(letters)


def bpe(rng):
    prefix = rng.choice([None, None, None, "##"])
    suffix = rng.choice([None, None, None, "</w>"])
    letters = alphabet(rng)
    vocab = {}
    def put(piece):
        vocab.setdefault(piece, len(vocab))
        return piece
    unk = rng.choice([None, "<unk>"])
    if unk:
        put(unk)
    fallback = flag(rng)
    if fallback:
        for b in range(256):
            if b != 0x41 or rng.random() < 0.9:  # sometimes not all of them
                put(f"<0x{b:02X}>")
    begins, middles, ends = [], [], []
    for c in letters:
        if rng.random() < 0.03:
            continue
        begins.append(put(c))
        middles.append(put((prefix or "") + c))
        ends.append(put((prefix or "") + c + (suffix or "")))
        put(c + (suffix or ""))
    merges, seen = [], set()
    rights = middles + ends
    lefts = begins + middles
    for _ in range(rng.randrange(20, 400)):
        if merges and rng.random() < 0.7:
            lefts_now = [m for m in merges[-40:]]
            a = rng.choice(lefts_now)[2] if flag(rng) else rng.choice(lefts)
        else:
            a = rng.choice(lefts)
        b = rng.choice(rights) if flag(rng) or not merges else rng.choice(merges)[2]
        if prefix and not b.startswith(prefix):
            continue
        if suffix and a.endswith(suffix):
            continue
        if (a, b) in seen or " " in a or " " in b:
            continue
        seen.add((a, b))
        whole = a + (b[len(prefix):] if prefix else b)
        put(whole)
        merges.append((a, b, whole))
    for w in WORDS:  # whole words, for ignore_merges
        if rng.random() < 0.1 and w:
            put(w)
    pairs = [[a, b] for a, b, _ in merges]
    model = {"type": "BPE", "dropout": None, "unk_token": unk, "continuing_subword_prefix": prefix, "end_of_word_suffix": suffix,
             "fuse_unk": flag(rng), "byte_fallback": fallback, "ignore_merges": rng.random() < 0.3, "vocab": vocab,
             "merges": pairs if flag(rng) else [f"{a} {b}" for a, b in pairs]}
    if rng.random() < 0.2:
        model["dropout"] = 0.0
    return model


def unigram(rng):
    vocab, seen = [], set()
    def put(piece, score):
        if piece not in seen:
            seen.add(piece)
            vocab.append([piece, score])
    put("<unk>", 0.0)
    fallback = flag(rng)
    if fallback:
        for b in range(256):
            put(f"<0x{b:02X}>", -20.0)
    for c in alphabet(rng):
        if rng.random() < 0.9:
            put(c, -8 - rng.random() * 4)
    for w in WORDS:
        for lead in ("", "\u2581"):
            if w and flag(rng):
                put(lead + w, -3 - rng.random() * 6)
                put(lead + w[: 1 + len(w) // 2], rng.choice([-4.0, -5.5, -6.0]))
    unk = 0 if rng.random() < 0.9 else None
    return {"type": "Unigram", "unk_id": unk, "vocab": vocab, "byte_fallback": fallback}


def words(rng, whole):
    vocab = {}
    prefix = rng.choice(["##", "##", "@"])
    for piece in ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "<unk>"]:
        vocab.setdefault(piece, len(vocab))
    for c in alphabet(rng):
        if rng.random() < 0.8:
            vocab.setdefault(c, len(vocab))
            vocab.setdefault(prefix + c, len(vocab))
    for w in WORDS:
        vocab.setdefault(w, len(vocab))
        vocab.setdefault(prefix + w[len(w) // 2:], len(vocab))
        vocab.setdefault(w[:len(w) // 2] or "a", len(vocab))
    vocab.pop("", None)
    vocab = {p: i for i, p in enumerate(vocab)}
    if whole:
        return {"type": "WordLevel", "vocab": vocab, "unk_token": "<unk>"}
    return {"type": "WordPiece", "unk_token": rng.choice(["[UNK]", "<unk>"]), "continuing_subword_prefix": prefix,
            "max_input_chars_per_word": rng.choice([100, 8, 3]), "vocab": vocab}


def vocabulary(model):
    return {p: i for i, (p, _) in enumerate(model["vocab"])} if model["type"] == "Unigram" else model["vocab"]


ADDED = ["<s>", "</s>", "<|im_start|>", "<|im_end|>", "<mask>", "  ", "\n\n", "\t", "the", "The", "É", "ﬁ", "e\u0301", "\u2581", "<0x0A>", " and",
         "ing", "</s><s>", "<s", "12", "你", "ab", "naïve", "İ", " ", ".", "\u2581\u2581"]


def added_tokens(rng, known):
    out, next_id = [], max(known.values()) + 1
    for content in rng.sample(ADDED, rng.randrange(0, 9)):
        token = {"id": known.get(content, next_id), "content": content, "single_word": rng.random() < 0.25, "lstrip": rng.random() < 0.3,
                 "rstrip": rng.random() < 0.3, "normalized": flag(rng), "special": flag(rng)}
        next_id += token["id"] == next_id
        out.append(token)
    return sorted(out, key=lambda t: t["id"])


def post_processor(rng, known, added):
    names = [t["content"] for t in added if t["special"]] + list(known)[:3]
    names = [n for n in names if ":" not in n and not n.startswith("$")]
    ids = {**known, **{t["content"]: t["id"] for t in added}}
    kind = rng.choice([None, None, "ByteLevel", "TemplateProcessing", "TemplateProcessing", "RobertaProcessing", "BertProcessing", "Sequence"])
    if kind is None:
        return None
    if kind == "ByteLevel":
        return {"type": kind, "add_prefix_space": flag(rng), "trim_offsets": flag(rng), "use_regex": flag(rng)}
    a, b = rng.choice(names), rng.choice(names)
    if kind in ("RobertaProcessing", "BertProcessing"):
        out = {"type": kind, "sep": [b, ids[b]], "cls": [a, ids[a]]}
        if kind[0] == "R":
            out.update(trim_offsets=flag(rng), add_prefix_space=flag(rng))
        return out
    def special(name):
        return {"SpecialToken": {"id": name, "type_id": 0}}
    single = [special(a)] * rng.randrange(0, 3) + [{"Sequence": {"id": "A", "type_id": 0}}] + [special(b)] * rng.randrange(0, 2)
    made = {"type": "TemplateProcessing", "single": single,
            "pair": single + [{"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {n: {"id": n, "ids": [ids[n]], "tokens": [n]} for n in {a, b}}}
    if kind == "Sequence":
        parts = [made, {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True}]
        if flag(rng):
            parts.append(made)
        if flag(rng):
            parts.reverse()
        return {"type": "Sequence", "processors": parts}
    return made


def draw(rng):
    model = rng.choice([bpe, bpe, bpe, unigram, lambda r: words(r, False), lambda r: words(r, True)])(rng)
    known = vocabulary(model)
    added = added_tokens(rng, known)
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added,
            "normalizer": normalizer(rng) if rng.random() < 0.6 else None,
            "pre_tokenizer": pre_tokenizer(rng) if rng.random() < 0.85 else None,
            "post_processor": post_processor(rng, known, added), "decoder": decoder(rng) if rng.random() < 0.85 else None, "model": model}


def a_text(rng, mix, added):
    parts = []
    for _ in range(rng.randrange(1, 12)):
        kind = rng.random()
        if kind < 0.3:
            parts.append(rng.choice(WORDS) + rng.choice(["", " ", " ", ", ", "\n"]))
        elif kind < 0.5 and added:
            parts.append(rng.choice(["", "", " ", "  ", "a"]) + rng.choice(added)["content"] + rng.choice(["", "", " ", "\t", "b"]))
        elif kind < 0.7:
            parts.append(rng.choice(BITS) if rng.random() < 0.9 else rng.choice("-=a. ") * rng.randrange(2, 120))
        else:
            parts.append(random_text(mix)[:rng.randrange(1, 20)])
    return "".join(parts)


def clear(theirs, added):
    """No two added tokens are the same text once normalized, and none is empty then."""
    def normal(content):
        return theirs.normalizer.normalize_str(content) if theirs.normalizer is not None else content
    texts = [normal(t["content"]) if t["normalized"] else t["content"] for t in added]
    return all(texts) and len(set(texts)) == len(texts)


def settled(made):
    """Metaspace's "first" asks the package where a piece began before normalization; nibble asks where it begins after it. The two differ
    where a normalizer takes away the first character, which no published file puts together."""
    normalizers, cutting = json.dumps(made["normalizer"]), json.dumps(made["pre_tokenizer"])
    return '"first"' not in cutting or not any(name in normalizers for name in ("Strip", "Replace", "BertNormalizer", "Nmt"))


def outcome(call):
    try:
        return call()
    except BaseException as error:  # the package's own panics too
        if isinstance(error, (KeyboardInterrupt, SystemExit)):
            raise
        return f"{type(error).__name__}: {error}"


def short(json_file):
    """The file without its tables."""
    model = {k: v for k, v in json_file["model"].items() if k not in ("vocab", "merges")}
    return json.dumps({**json_file, "model": model}, ensure_ascii=False)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--texts", type=int, default=60)
    parser.add_argument("--keep", help="keep the files that differ there")
    args = parser.parse_args()
    seed = args.seed if args.seed is not None else time.time_ns() % 10**9
    print(f"seed {seed}", flush=True)
    wrong, refused, panics, compared = 0, {}, 0, 0
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "tokenizer.json"
        for i in range(args.first, args.first + args.count):
            rng = random.Random(f"{seed} {i}")
            mix = SplitMix(rng.randrange(2**60))
            for _ in range(100):
                made = draw(rng)
                theirs = outcome(lambda: Tokenizer.from_str(json.dumps(made)))
                if not isinstance(theirs, str) and clear(theirs, made["added_tokens"]) and settled(made):
                    break
            path.write_text(json.dumps(made))
            try:
                ours = nibble.Tokenizer.open(str(path))
            except nibble.NibbleError as error:
                reason = str(error).split("tokenizer.json: ")[-1]
                refused[reason] = refused.get(reason, 0) + 1
                continue
            size = max([*vocabulary(made["model"]).values(), *(t["id"] for t in made["added_tokens"])]) + 1
            # Newer versions of the package decode an added token to its normalized content, special ones too, which then are not
            # skipped; nibble gives the content, as older versions do.
            respelled = {t["id"] for t in made["added_tokens"] if theirs.id_to_token(t["id"]) != t["content"]}
            shown = 0
            for n in range(args.texts):
                text = a_text(rng, mix, made["added_tokens"])
                ids = [t for t in (rng.randrange(size) for _ in range(rng.randrange(1, 12))) if t not in respelled] or [0]
                checks = [("encode", lambda: ours.encode(text), lambda: theirs.encode(text, add_special_tokens=False).ids),
                          ("encode special", lambda: ours.encode(text, special=True), lambda: theirs.encode(text).ids),
                          ("decode", lambda: ours.decode(ids), lambda: theirs.decode(ids)),
                          ("decode all", lambda: ours.decode(ids, skip_special=False), lambda: theirs.decode(ids, skip_special_tokens=False))]
                for what, mine, other in checks:
                    want = outcome(other)
                    if isinstance(want, str) and (want.startswith("PanicException") or "Error" in want[:30] or want.startswith("Exception: ")):
                        panics += 1
                        continue
                    got = outcome(mine)
                    compared += 1
                    if got != want:
                        shown += 1
                        if shown <= 2:
                            given = text if what.startswith("encode") else [(t, outcome(lambda: theirs.id_to_token(t))) for t in ids]
                            print(f"draw {i}: {what} of {given!r}\n  ours   {got!r}\n  theirs {want!r}\n  {short(made)}", flush=True)
            if shown:
                wrong += 1
                print(f"draw {i}: {shown} results differ", flush=True)
                if args.keep:
                    (pathlib.Path(args.keep) / f"draw-{i}.json").write_text(json.dumps(made, ensure_ascii=False))
    for reason, n in sorted(refused.items()):
        print(f"  refused {n}: {reason}")
    print(f"{args.count} draws, {compared} results compared, {wrong} draws differ, {sum(refused.values())} refused, "
          f"{panics} results that the package itself did not give (seed {seed})")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

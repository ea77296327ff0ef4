#!/usr/bin/env python3
"""Encoding and loading speed beside the `tokenizers` package, one thread each, runs taking turns.

    tokenize_versus_peer.py [--python PATH_OF_NIBBLE] [--text FILE] [--reps N] [TOKENIZER.json ...]

Prints the machine, both medians and their ratio for 1 MB of text; then what loading a tokenizer.json of 128,256 entries takes
(made up: as many pieces and merges as published ones have). Needs the package tokenizers.
"""
import argparse
import json
import os
import pathlib
import platform
import random
import statistics
import sys
import tempfile
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAYON_NUM_THREADS"] = "1"

ROOT = pathlib.Path(__file__).resolve().parents[1]
SHARED = pathlib.Path(os.environ.get("NIBBLE_SHARED", ROOT.parent / "shared")) / "data"
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")


def synthetic(entries=128_256, special=256):
    """A byte-level BPE tokenizer.json: single bytes, then pieces that merge two earlier ones."""
    rng = random.Random(7)
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    extra = iter(range(256, 512))
    letters = [chr(b if b in plain else next(extra)) for b in range(256)]
    pieces, known, merges = list(letters), set(letters), []
    while len(pieces) < entries - special:
        # Short pieces more often, as in real vocabularies.
        a, b = (pieces[int(len(pieces) * rng.random() ** 2)] for _ in range(2))
        if len(a) + len(b) <= 16 and a + b not in known:
            pieces.append(a + b)
            known.add(a + b)
            merges.append([a, b])
    added = [{"id": len(pieces) + i, "content": f"<|special_{i}|>", "single_word": False, "lstrip": False, "rstrip": False,
              "normalized": False, "special": True} for i in range(special)]
    split = {"type": "Split", "pattern": {"Regex": LLAMA3}, "behavior": "Isolated", "invert": False}
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None,
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, level]}, "post_processor": level, "decoder": level,
            "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                      "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": True,
                      "vocab": {p: i for i, p in enumerate(pieces)}, "merges": merges}}


def seconds(job):
    begin = time.perf_counter()
    result = job()
    return time.perf_counter() - begin, result


def taking_turns(reps, jobs):
    """The medians of jobs that run one after the other, `reps` times."""
    times = [[] for _ in jobs]
    for _ in range(reps):
        for mine, job in zip(times, jobs, strict=True):
            mine.append(seconds(job)[0])
    return [statistics.median(mine) for mine in times]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--python", default=str(ROOT / "bindings" / "python"))
    parser.add_argument("--text", type=pathlib.Path, default=SHARED / "text" / "wikitext2.test.raw")
    parser.add_argument("--reps", type=int, default=7)
    parser.add_argument("files", nargs="*", type=pathlib.Path)
    args = parser.parse_args()
    sys.path.insert(0, args.python)
    import nibble
    import tokenizers
    text = args.text.read_bytes()[:1_000_000].decode("utf-8", "ignore")
    machine = next((line.split(": ")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.machine())
    print(f"{machine}, one thread; tokenizers {tokenizers.__version__}, nibble {nibble.__version__}; {args.reps} runs, medians")
    runtime = nibble.Runtime(threads=1)
    with tempfile.TemporaryDirectory() as folder:
        made = pathlib.Path(folder) / "synthetic-128k.json"
        made.write_text(json.dumps(synthetic(), ensure_ascii=False))
        for path in args.files or [*sorted(SHARED.glob("tokenizers/hf-*/tokenizer.json")), made]:
            ours, theirs = nibble.Tokenizer.open(path, runtime=runtime), tokenizers.Tokenizer.from_file(str(path))
            assert ours.encode(text) == theirs.encode(text, add_special_tokens=False).ids
            a, b = taking_turns(args.reps, [lambda: ours.encode(text), lambda: theirs.encode(text, add_special_tokens=False)])
            name = path.name if path == made else path.parent.name
            print(f"{name}: encode {len(text.encode()) / 1e6:.2f} MB: nibble {a * 1e3:.1f} ms, tokenizers {b * 1e3:.1f} ms, ratio {b / a:.2f}")
        a, b = taking_turns(args.reps, [lambda: nibble.Tokenizer.open(made, runtime=runtime),
                                        lambda: tokenizers.Tokenizer.from_file(str(made))])
        print(f"load {made.name} ({made.stat().st_size / 1e6:.1f} MB): nibble {a * 1e3:.1f} ms, tokenizers {b * 1e3:.1f} ms, ratio {b / a:.2f}")


if __name__ == "__main__":
    main()

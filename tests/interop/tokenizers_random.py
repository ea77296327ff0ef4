#!/usr/bin/env python3
"""Ids of random Unicode strings against the `tokenizers` and `sentencepiece` packages.

    tokenizers_random.py COMMAND [--count 100000] [--seed 20260101] [FILE ...]

FILE: tokenizer.json, its directory, or a sentencepiece .model; without any, those of tests/golden/tokenizers/small and of the
shared data. Exit status 1 when one string differs, 77 when the packages are not installed.
"""
import argparse
import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
SHARED = pathlib.Path(os.environ.get("NIBBLE_SHARED", ROOT.parent / "shared")) / "data" / "tokenizers"
SMALL = ROOT / "tests" / "golden" / "tokenizers" / "small"
sys.path.insert(0, str(ROOT / "tests" / "golden" / "tokenizers"))
from random_text import SplitMix, random_text  # noqa: E402


def ours(command, path, texts, *options):
    with tempfile.TemporaryDirectory() as folder:
        lines = pathlib.Path(folder) / "texts.jsonl"
        lines.write_text("".join(json.dumps({"text": t}) + "\n" for t in texts))
        out = subprocess.run([command, "tokenize", path, "--jsonl", lines, *options], capture_output=True, text=True, check=True)
    return [json.loads(line) for line in out.stdout.splitlines()]


def theirs(path, texts):
    if path.suffix == ".model":
        import sentencepiece
        return sentencepiece.SentencePieceProcessor(model_file=str(path)).encode(texts)
    from tokenizers import Tokenizer
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_truncation()
    return [tokenizer.encode(t, add_special_tokens=False).ids for t in texts]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("command")
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=20260101)
    parser.add_argument("files", nargs="*", type=pathlib.Path)
    args = parser.parse_intermixed_args()
    if not all(importlib.util.find_spec(p) for p in ("tokenizers", "sentencepiece")):
        print("SKIPPED: the packages tokenizers and sentencepiece are not installed")
        return 77
    files = args.files or sorted(SMALL.glob("*.*")) + sorted(SHARED.glob("hf-*")) + sorted(SHARED.glob("*.model"))
    different = 0
    for path in files:
        path = path / "tokenizer.json" if path.is_dir() else path
        rng = SplitMix(args.seed)
        bad, done = 0, 0
        while done < args.count:
            texts = [random_text(rng) for _ in range(min(10_000, args.count - done))]
            if path.suffix == ".model":
                texts = [t.replace("\0", "") for t in texts]  # ends a text there
            literal = ["--literal"] if path.suffix == ".model" else []
            for text, a, b in zip(texts, ours(args.command, path, texts, *literal), theirs(path, texts), strict=True):
                if a != b:
                    bad += 1
                    if bad <= 3:
                        print(f"{path}: {text!r}\n  ours   {a}\n  theirs {b}")
            done += len(texts)
        name = f"{path.parent.name}/{path.name}"
        print(f"{name}: {done - bad} of {done} strings equal")
        different += bad
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Two builds of the command beside each other, in turns: what an option of the compiler costs.

    two_builds.py ONE OTHER [--rounds N] [--threads N]

Decoding and prompts on the built-in model, tokenizing 4 MB of its calibration text, rounding the model to 4 bits and with GPTQ. Prints the
medians of both and OTHER's time over ONE's.
"""
import argparse
import json
import pathlib
import resource
import statistics
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
MODEL = ROOT / "examples" / "models" / "prose-3.7m"
DATA = ROOT / "examples" / "data"


def result(command, *arguments):
    done = subprocess.run([command, *map(str, arguments), "--json", "-", "--quiet"], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def processor_seconds(command, *arguments):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([command, *map(str, arguments), "--quiet"], stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("builds", nargs=2)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    rows = {}

    def note(what, build, seconds):
        rows.setdefault(what, {}).setdefault(build, []).append(seconds)

    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(folder)
        text = (DATA / "calibration.txt").read_text()
        (work / "long.txt").write_text((text * (4_000_000 // len(text) + 1))[:4_000_000])
        for turn in range(args.rounds):
            for build in args.builds if turn % 2 == 0 else args.builds[::-1]:
                speed = result(build, "bench", MODEL, "--threads", args.threads, "--prompt", 256, "--gen", 64, "--reps", 5)
                note("a token of decoding, us", build, 1e6 / speed["decode_tok_s"])
                note("a token of a prompt, us", build, 1e6 / speed["prefill_tok_s"])
                note("4 MB tokenized, s", build, processor_seconds(build, "tokenize", MODEL, "--prompt-file", work / "long.txt", "--threads", 1))
                for method in ("rtn:bits=4,group=64", "gptq:bits=4,group=64"):
                    note(f"{method.split(':')[0]}, processor s", build, processor_seconds(
                        build, "quantize", MODEL, "-o", work / "out.safetensors", "--method", method, "--calib-tokens", 4096, "--threads", args.threads))
    print(f"{args.rounds} turns of each, {args.threads} thread(s), {time.monotonic() - start:.0f} s\n\n| | one | other | other / one |\n|---|---|---|---|")
    for what, found in rows.items():
        one, other = (statistics.median(found[build]) for build in args.builds)
        print(f"| {what} | {one:.4g} | {other:.4g} | {other / one:.3f} |")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""The same jobs on every instruction set, on one thread and several, run twice, and by another build of the command (another
compiler's): the same bytes of every quantized file, the same tokens, log probabilities, perplexities and evaluations in exact compute.

usage: same_bytes.py [--other NIBBLE]... [--isas ID,...|all|best] [--threads N,...] [JOB...]
"""
import argparse
import hashlib
import json
import pathlib
import subprocess
import sys
import tempfile

from scenarios import DATA, MODEL, NIBBLE

CALIBRATED = ["--calib", DATA / "calibration.txt", "--calib-tokens", 4096]


def quantize(recipe, *options):
    return lambda folder: ["quantize", MODEL, "-o", folder / "out", "--method", recipe, *options]


def measured(*arguments):
    return lambda folder: [*arguments, "--compute", "exact", "--json", folder / "out"]


JOBS = {
    "rtn": quantize("rtn:bits=4,group=64"),
    "nf4": quantize("nf4:block=64"),
    "kquant": quantize("kquant"),
    "hqq": quantize("hqq:bits=4,group=64"),
    "gptq": quantize("gptq:bits=4,group=64", *CALIBRATED),
    "awq": quantize("awq:bits=4,group=64", *CALIBRATED),
    "smoothquant": quantize("smoothquant", *CALIBRATED),
    "run": measured("run", MODEL, "-p", "The king had three sons, and the eldest", "-n", 48, "--logprobs", 5, "--prompt-logprobs", 1),
    "sampled": measured("run", MODEL, "-p", "The king", "-n", 48, "--temperature", 0.9, "--top-p", 0.95, "--logprobs", 2, "--seed", 3),
    "perplexity": measured("perplexity", MODEL, "--windows", 2),
    "compare": measured("compare", MODEL, MODEL, "--windows", 1),
    "eval": measured("eval", MODEL, "--tasks", "builtin", "--limit", 20),
}
# What an answer says of the machine and of time is no result.
PASSING = {"seconds", "machine", "isa", "threads", "date", "duration", "wall_seconds", "cpu_seconds", "tokens_per_second", "energy_joules"}


def lasting(value):
    if isinstance(value, dict):
        return {key: lasting(each) for key, each in value.items() if key not in PASSING and not key.endswith(("_seconds", "_per_second", "_tok_s"))}
    return [lasting(each) for each in value] if isinstance(value, list) else value


def result(command, name, isa, threads):
    with tempfile.TemporaryDirectory(prefix="nibble-same-") as place:
        folder = pathlib.Path(place)
        arguments = [command, *map(str, JOBS[name](folder)), "--quiet", "--threads", str(threads)]
        if isa:
            arguments += ["--isa", isa]
        done = subprocess.run(arguments, capture_output=True, timeout=1200)
        if done.returncode != 0:
            sys.exit(f"{name} ({isa}, {threads} threads): status {done.returncode}: {done.stderr.decode()}")
        found = (folder / "out").read_bytes()
        if "--json" in arguments:
            found = json.dumps(lasting(json.loads(found)), sort_keys=True).encode()
            if len(found) < 100:
                sys.exit(f"{name}: nothing was compared: {found!r}")
        return found


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--other", action="append", default=[], help="another build's command; left out, saying so, where it is not")
    parser.add_argument("--isas", default="all")
    parser.add_argument("--threads", default="2,1")
    parser.add_argument("jobs", nargs="*")
    args = parser.parse_intermixed_args()
    usable = json.loads(subprocess.run([NIBBLE, "info", "--json", "-"], capture_output=True, check=True).stdout)["isa_available"]
    isas = usable if args.isas == "all" else [None] if args.isas == "best" else [isa for isa in args.isas.split(",") if isa in usable]
    for other in [each for each in args.other if not pathlib.Path(each).exists()]:
        print(f"left out: {other} is not built")
        args.other.remove(other)
    counts = [int(each) for each in args.threads.split(",")]
    variants = [(NIBBLE, isas[-1], counts[0])]
    variants += [(NIBBLE, isa, counts[0]) for isa in isas]  # the first one once more
    variants += [(NIBBLE, isas[-1], count) for count in counts[1:]]
    variants += [(other, isa, counts[0]) for other in args.other for isa in {isas[0], isas[-1]}]
    differ = 0
    for name in args.jobs or JOBS:
        wanted = None
        for command, isa, threads in variants:
            found = result(command, name, isa, threads)
            wanted = wanted if wanted is not None else found
            if found != wanted:
                differ += 1
                at = next((i for i, (a, b) in enumerate(zip(found, wanted)) if a != b), min(len(found), len(wanted)))
                print(f"{name}: {command}, {isa}, {threads} threads: {len(found)} bytes, other than {variants[0]} from byte {at} of {len(wanted)}: "
                      f"{found[max(at - 60, 0):at + 60]!r}, there {wanted[max(at - 60, 0):at + 60]!r}", flush=True)
        print(f"{name}: {len(variants)} runs, {len(wanted)} bytes, {hashlib.sha256(wanted).hexdigest()[:16]}", flush=True)
    sys.exit(1 if differ else 0)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""How much faster nibble evaluates than lm-evaluation-harness with transformers: the same documents, weights and processors, in one
run, interleaved.

    evaluate_versus_lm_eval.py MODEL --lm-eval-python PYTHON --data DIR [--task hellaswag] [--limit 1000] [--threads 2]
                               [--repetitions 1] [--dtypes float32,bfloat16] [--json FILE]

MODEL: a Hugging Face directory or .gguf file that both read. PYTHON has lm_eval, transformers and torch. Times are those of answering
the requests: loading is left out on both sides. Prints the machine, medians, ratios, and whether the metrics agree.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]


def ours(args, folder, compute):
    out = folder / "ours.json"
    command = [args.nibble, "eval", args.model, "--tasks", args.task, "--limit", str(args.limit), "--data", args.data, "--threads",
               str(args.threads), "--compute", compute, "--set", "bootstrap=0", "--quiet", "--json", str(out)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    result = json.loads(out.read_text())
    return result["configs"][args.task]["seconds"], result["results"][args.task]


def theirs(args, folder, dtype):
    out = folder / "theirs.json"
    command = [args.lm_eval_python, str(ROOT / "tests/evaluation/lm_eval_reference.py"), args.model, "--tasks", args.task, "--limit",
               str(args.limit), "--data", args.data, "--threads", str(args.threads), "--dtype", dtype, "--bootstrap", "0", "--batch",
               str(args.batch), "--output", str(out)]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "OMP_NUM_THREADS": str(args.threads)})
    result = json.loads(out.read_text())
    return result["seconds"], result["results"][args.task]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--lm-eval-python", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--nibble", default=str(ROOT / "build/release/bin/nibble"))
    parser.add_argument("--task", default="hellaswag")
    parser.add_argument("--limit", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=8, help="lm_eval's batch size")
    parser.add_argument("--repetitions", type=int, default=1)
    parser.add_argument("--dtypes", default="float32,bfloat16")
    parser.add_argument("--json")
    args = parser.parse_args()
    contestants = {f"nibble {c}": (ours, c) for c in ("fast", "exact")}
    contestants.update({f"lm_eval {d}": (theirs, d) for d in args.dtypes.split(",") if d})
    times, metrics = {name: [] for name in contestants}, {}
    with tempfile.TemporaryDirectory() as folder:
        for repetition in range(args.repetitions):
            for name, (run, kind) in contestants.items():
                start = time.monotonic()
                seconds, metrics[name] = run(args, pathlib.Path(folder), kind)
                times[name].append(seconds)
                print(f"{name}: {seconds:.1f} s ({time.monotonic() - start:.1f} s with loading)", file=sys.stderr, flush=True)
    medians = {name: statistics.median(t) for name, t in times.items()}
    model_name = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "unknown")
    print(f"{args.task}, {args.limit} documents, {args.model}, {args.threads} threads, {model_name}\n")
    print("| | seconds, median | metrics | nibble fast is so many times faster |\n|---|---:|---|---:|")
    for name, seconds in medians.items():
        shown = ", ".join(f"{k} {v:.4f}" for k, v in metrics[name].items()
                          if isinstance(v, float) and "," in k and "stderr" not in k)
        print(f"| {name} | {seconds:.1f} | {shown} | {seconds / medians['nibble fast']:.2f} |")
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps({"task": args.task, "limit": args.limit, "threads": args.threads,
                                                       "machine": model_name, "seconds": times, "metrics": metrics}, default=str))


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""How much faster nibble evaluates than lm-evaluation-harness with transformers: the same documents, weights and processors, in one
run, interleaved.

    evaluate_versus_lm_eval.py MODEL --lm-eval-python PYTHON --data DIR [--task hellaswag] [--limit 1000] [--threads 2]
                               [--repetitions 1] [--dtypes float32,bfloat16] [--json FILE]
                               [--reference-limit N] [--pieces SECONDS] [--before COMMAND]

MODEL: a Hugging Face directory or .gguf file that both read. PYTHON has lm_eval, transformers and torch. Times are those of answering
the requests: loading is left out on both sides. Prints the machine, medians, ratios, and whether the metrics agree.

--reference-limit: lm_eval, the slower one, answers the first N documents only, and what is compared is the time a document. --pieces: a
run of nibble is interrupted after so many seconds and goes on from its cache until it is done, between the runs of lm_eval; its time is
that of all pieces with loading and with what an interruption lost. --before: a command that runs each piece, one that waits until the
machine is quiet, say.
"""
import argparse
import contextlib
import json
import os
import pathlib
import shlex
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]


TIMED = "import subprocess,sys,time;t=time.monotonic();c=subprocess.call(sys.argv[2:]);open(sys.argv[1],'w').write(str(time.monotonic()-t));sys.exit(c)"


def timed(args, folder, command, **options):
    """Runs a command by way of --before: its exit status, and its seconds without the wait."""
    clock = folder / "seconds"
    done = subprocess.run([*shlex.split(args.before), sys.executable, "-c", TIMED, str(clock), *command], **options)
    return done.returncode, float(clock.read_text())


def nibble_command(args, folder, compute):
    return [args.nibble, "eval", args.model, "--tasks", args.task, "--limit", str(args.limit), "--data", args.data, "--threads",
            str(args.threads), "--compute", compute, "--set", "bootstrap=0", "--quiet", "--json", str(folder / "ours.json")]


def ours(args, folder, compute):
    """One measurement, as a generator that pauses between pieces: the last value is (seconds, documents, metrics)."""
    command, spent = nibble_command(args, folder, compute), 0.0
    if args.pieces:
        cache = folder / f"{compute}.sqlite"
        cache.unlink(missing_ok=True)
        known = 0
        while True:
            status, seconds = timed(args, folder, ["timeout", "-s", "INT", str(args.pieces), *command, "--cache", str(cache)], stdout=subprocess.DEVNULL)
            spent += seconds
            if status == 0:
                break
            if status not in (124, 130):
                raise RuntimeError(f"nibble ended with {status}")
            with contextlib.closing(sqlite3.connect(cache)) as base:
                before, known = known, base.execute("select count(*) from answers").fetchone()[0]
            if known == before:
                raise RuntimeError(f"nothing was answered in {args.pieces} seconds: --pieces is too short")
            yield None
    else:
        status, _ = timed(args, folder, command, stdout=subprocess.DEVNULL)
        if status != 0:
            raise RuntimeError(f"nibble ended with {status}")
    result = json.loads((folder / "ours.json").read_text())
    yield spent or result["configs"][args.task]["seconds"], result["n-samples"][args.task]["effective"], result["results"][args.task]


def theirs(args, folder, dtype):
    out = folder / "theirs.json"
    command = [args.lm_eval_python, str(ROOT / "tests/evaluation/lm_eval_reference.py"), args.model, "--tasks", args.task, "--limit",
               str(args.reference_limit or args.limit), "--data", args.data, "--threads", str(args.threads), "--dtype", dtype, "--bootstrap", "0",
               "--batch", str(args.batch), "--output", str(out)]
    status, _ = timed(args, folder, command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env={**os.environ, "OMP_NUM_THREADS": str(args.threads)})
    if status != 0:
        raise RuntimeError(f"lm_eval ended with {status}")
    result = json.loads(out.read_text())
    yield result["seconds"], result["n-samples"][args.task]["effective"], result["results"][args.task]


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
    parser.add_argument("--reference-limit", type=int, help="documents of lm_eval; default: as many as nibble's")
    parser.add_argument("--pieces", type=float, help="seconds after which nibble is interrupted and goes on from its cache")
    parser.add_argument("--before", default="", help="a command that runs each piece")
    parser.add_argument("--computes", default="fast,exact", help="nibble's arithmetics")
    args = parser.parse_args()
    contestants = {f"nibble {c}": (ours, c) for c in args.computes.split(",")}
    contestants.update({f"lm_eval {d}": (theirs, d) for d in args.dtypes.split(",") if d})
    times, metrics, documents = {name: [] for name in contestants}, {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for repetition in range(args.repetitions):
            open_runs = {name: run(args, pathlib.Path(folder), kind) for name, (run, kind) in contestants.items()}
            while open_runs:  # a piece of each in turn
                for name in list(open_runs):
                    piece = next(open_runs[name])
                    if piece is None:
                        continue
                    seconds, documents[name], metrics[name] = piece
                    times[name].append(seconds)
                    del open_runs[name]
                    print(f"{name}: {seconds:.1f} s, {documents[name]} documents", file=sys.stderr, flush=True)
    medians = {name: statistics.median(t) for name, t in times.items()}
    each = {name: medians[name] / documents[name] for name in medians}
    fast = each[next(iter(each))]
    model_name = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "unknown")
    print(f"{args.task}, {args.model}, {args.threads} threads, {model_name}\n")
    print(f"| | documents | seconds, median | ms a document | metrics | {next(iter(each))} is so many times faster |\n|---|---:|---:|---:|---|---:|")
    for name, seconds in medians.items():
        shown = ", ".join(f"{k} {v:.4f}" for k, v in metrics[name].items()
                          if isinstance(v, float) and "," in k and "stderr" not in k)
        print(f"| {name} | {documents[name]} | {seconds:.1f} | {1000 * each[name]:.1f} | {shown} | {each[name] / fast:.2f} |")
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps({"task": args.task, "documents": documents, "threads": args.threads,
                                                       "machine": model_name, "seconds": times, "metrics": metrics}, default=str))


if __name__ == "__main__":
    main()

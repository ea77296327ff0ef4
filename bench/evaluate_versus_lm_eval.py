#!/usr/bin/env python3
"""How much faster nibble evaluates than lm-evaluation-harness with transformers: the same documents, weights and processors, in one
run, interleaved.

    evaluate_versus_lm_eval.py MODEL --lm-eval-python PYTHON --data DIR [--task hellaswag] [--limit 1000] [--threads 2]
                               [--repetitions 1] [--dtypes float32,bfloat16] [--json FILE]
                               [--reference-limit N] [--pieces SECONDS] [--before COMMAND] [--slice N --state FILE [--seconds S]]

MODEL: a Hugging Face directory or .gguf file that both read. PYTHON has lm_eval, transformers and torch. Times are those of answering
the requests: loading is left out on both sides. Prints the machine, medians, ratios, and whether the metrics agree.

--reference-limit: lm_eval, the slower one, answers the first N documents only, and what is compared is the time a document. --pieces: a
run of nibble is interrupted after so many seconds and goes on from its cache until it is done, between the runs of lm_eval; its time is
that of all pieces with loading and with what an interruption lost. --before: a command that runs each piece, one that waits until the
machine is quiet, say.

--slice: every contestant answers N documents, then the next N, in turns whose order rotates, so that what else the machine does meets all
alike; a piece during which the whole machine was held up (this program did not run for a second) is measured again; printed are the median and range of the ratios of the slices, and the ratio of the sums. --state keeps what was measured: a run that
was stopped goes on with what it lacks. --seconds: after so many nothing more is begun, and the exit status is 3 where something is left.
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
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]


# The file of a task, and how many of its lines are one document.
FILES = {"hellaswag": ("hellaswag/val_first3348.txt", 6),
         **{name: (f"choice/{name}.jsonl", 1) for name in ("arc_easy", "arc_challenge", "piqa", "winogrande")}}

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


def part_of_data(args, folder, start):
    """A data folder with the documents from `start` on, args.slice of them."""
    name, lines = FILES[args.task]
    text = (pathlib.Path(args.whole_data) / name).read_text(encoding="utf-8").split("\n")
    part = text[start * lines : (start + args.slice) * lines]
    if len(part) < args.slice * lines:
        raise RuntimeError(f"{name} has no {start + args.slice} documents")
    to = folder / "data" / name
    to.parent.mkdir(parents=True, exist_ok=True)
    to.write_text("\n".join(part) + "\n", encoding="utf-8")
    return str(folder / "data")


class Server:
    """lm_eval in one arithmetic, loaded once."""

    def __init__(self, args, dtype):
        command = [args.lm_eval_python, str(ROOT / "tests/evaluation/lm_eval_reference.py"), args.model, "--tasks", args.task, "--threads",
                   str(args.threads), "--dtype", dtype, "--bootstrap", "0", "--batch", str(args.batch), "--serve"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                                        env={**os.environ, "OMP_NUM_THREADS": str(args.threads)})
        self.wait("ready")

    def wait(self, word):
        while (line := self.process.stdout.readline()) != word + "\n":
            if not line:
                raise RuntimeError("lm_eval ended")

    def __call__(self, args, folder, dtype):
        out = folder / "theirs.json"
        self.process.stdin.write(json.dumps({"data": args.data, "output": str(out)}) + "\n")
        self.process.stdin.flush()
        self.wait("done")
        result = json.loads(out.read_text())
        yield result["seconds"], result["n-samples"][args.task]["effective"], result["results"][args.task]

    def close(self):
        self.process.stdin.close()
        self.process.wait()


class Watch:
    """The longest time that this program was not run, in seconds, while it waited for another."""

    def __enter__(self):
        self.longest, self.done = 0.0, threading.Event()
        self.thread = threading.Thread(target=self.look)
        self.thread.start()
        return self

    def look(self):
        last = time.monotonic()
        while not self.done.wait(0.1):
            now = time.monotonic()
            self.longest, last = max(self.longest, now - last), now

    def __exit__(self, *_):
        self.done.set()
        self.thread.join()


def measure_slices(args, contestants):
    """{contestant: [(seconds, documents, metrics) of each slice]}, gone on from --state; None where --seconds ended it."""
    began = time.monotonic()
    state = pathlib.Path(args.state) if args.state else None
    known = json.loads(state.read_text()) if state and state.exists() else {}
    names = list(contestants)
    args.whole_data, whole = args.data, args.limit
    args.limit = args.slice
    servers = {}
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as open_servers:
        folder = pathlib.Path(folder)
        for index in range(whole // args.slice):
            for name in names[index % len(names):] + names[: index % len(names)]:
                key = f"{args.task} {args.slice} {index} {name}"
                if key in known:
                    continue
                if time.monotonic() - began > args.seconds:
                    return None
                args.data = part_of_data(args, folder, index * args.slice)
                run, kind = contestants[name]
                if run is theirs:
                    if name not in servers:
                        servers[name] = Server(args, kind)
                        open_servers.callback(servers[name].close)
                    run = servers[name]
                while True:
                    with Watch() as watch:
                        piece = next(run(args, folder, kind))
                    if watch.longest < 1:
                        break
                    print(f"held up for {watch.longest:.1f} s: once more", file=sys.stderr, flush=True)
                known[key] = piece
                print(f"documents {index * args.slice} to {(index + 1) * args.slice}, {name}: {known[key][0]:.1f} s", file=sys.stderr, flush=True)
                if state:
                    state.write_text(json.dumps(known, default=str))
    return {name: [known[f"{args.task} {args.slice} {index} {name}"] for index in range(whole // args.slice)] for name in names}


def print_slices(args, measured):
    first = next(iter(measured))
    print(f"| | documents | seconds | ms a document | metrics | {first}: so many times faster, median of {len(measured[first])} slices | range | of all |")
    print("|---|---:|---:|---:|---|---:|---:|---:|")
    for name, slices in measured.items():
        seconds, documents = sum(s[0] for s in slices), sum(s[1] for s in slices)
        ratios = [mine[0] / theirs[0] for mine, theirs in zip(slices, measured[first])]
        shown = ", ".join(f"{k} {sum(float(s[2][k]) * s[1] for s in slices) / documents:.4f}" for k, v in slices[0][2].items()
                          if isinstance(v, float) and "," in k and "stderr" not in k)
        print(f"| {name} | {documents} | {seconds:.1f} | {1000 * seconds / documents:.1f} | {shown} | {statistics.median(ratios):.2f} | "
              f"{min(ratios):.2f} to {max(ratios):.2f} | {seconds / sum(s[0] for s in measured[first]):.2f} |")


def machine():
    return next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "unknown")


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
    parser.add_argument("--slice", type=int, help="documents that each answers before the next has its turn")
    parser.add_argument("--state", help="with --slice: what was measured; a stopped run goes on from it")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="with --slice: begin nothing after so many")
    args = parser.parse_args()
    if args.slice and (args.task not in FILES or args.pieces or args.reference_limit or args.limit % args.slice):
        parser.error(f"--slice divides --limit and is for {', '.join(FILES)}, without --pieces and --reference-limit")
    contestants = {f"nibble {c}": (ours, c) for c in args.computes.split(",")}
    contestants.update({f"lm_eval {d}": (theirs, d) for d in args.dtypes.split(",") if d})
    if args.slice:
        measured = measure_slices(args, contestants)
        if measured is None:
            sys.exit(3)
        print(f"{args.task}, {args.model}, {args.threads} threads, {machine()}\n")
        print_slices(args, measured)
        if args.json:
            pathlib.Path(args.json).write_text(json.dumps({"task": args.task, "slice": args.slice, "threads": args.threads, "machine": machine(),
                                                           "measured": measured}, default=str))
        return
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
    print(f"{args.task}, {args.model}, {args.threads} threads, {machine()}\n")
    print(f"| | documents | seconds, median | ms a document | metrics | {next(iter(each))} is so many times faster |\n|---|---:|---:|---:|---|---:|")
    for name, seconds in medians.items():
        shown = ", ".join(f"{k} {v:.4f}" for k, v in metrics[name].items()
                          if isinstance(v, float) and "," in k and "stderr" not in k)
        print(f"| {name} | {documents[name]} | {seconds:.1f} | {1000 * each[name]:.1f} | {shown} | {each[name] / fast:.2f} |")
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps({"task": args.task, "documents": documents, "threads": args.threads,
                                                       "machine": machine(), "seconds": times, "metrics": metrics}, default=str))


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""What the fuzz targets' seeds, corpora and regressions reach of src, by the counters that libFuzzer's own build carries: a line for
each file, of its lines at which a basic block begins those that were run. Blocks that only an exception's unwinding enters count as
lines too, so that this is less than a coverage of lines (scripts/coverage.sh, which needs a build of its own).

usage: coverage.py [--build FOLDER] [--files REGEX] [--missing] [TARGET...]
"""
import argparse
import collections
import os
import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
FUNCTION = re.compile(r"(?:UN)?COVERED_FUNC: hits: \d+ edges: \d+/\d+ .* (\S+?):\d+(?::\d+)?$")


def lines(text):
    return [int(word) for word in text.split() if word.isdigit() and word != "0"]


def reached(build, target, ran, found):
    """Adds the target's lines to `ran` and `found`, which hold a set for each file."""
    places = [build / "corpus" / target, build / "tests" / "fuzz" / "seeds" / target, ROOT / "tests" / "fuzz" / "regressions" / target]
    symbolizer = shutil.which("llvm-symbolizer") or shutil.which("llvm-symbolizer-14") or "/usr/lib/llvm-14/bin/llvm-symbolizer"
    done = subprocess.run([build / "bin" / f"fuzz_{target}", "-runs=0", "-print_coverage=1", "-print_full_coverage=1",
                           *[place for place in places if place.is_dir()]], capture_output=True, text=True, errors="replace", timeout=1800,
                          env={**os.environ, "ASAN_SYMBOLIZER_PATH": symbolizer, "OMP_NUM_THREADS": "1"})
    if done.returncode != 0:
        sys.exit(f"coverage.py: fuzz_{target} failed: {done.stderr[-2000:]}")
    printed = done.stderr.splitlines()
    names = [FUNCTION.match(line.strip()) for line in printed if "COVERED_FUNC:" in line]
    blocks = [line for line in printed if re.fullmatch(r"[UC][ 0-9]*", line)]
    if len(blocks) != 2 * len(names):
        sys.exit(f"coverage.py: fuzz_{target}: {len(names)} functions, {len(blocks)} lists of lines")
    for name, missed, run in zip(names, blocks[::2], blocks[1::2]):
        file = name and re.search(r"/(src/.*)", name.group(1))
        if file:
            found[file.group(1)].update(lines(missed[1:]) + lines(run[1:]))
            ran[file.group(1)].update(lines(run[1:]))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build" / "fuzz")
    parser.add_argument("--files", default=r"\.cpp$")
    parser.add_argument("--missing", action="store_true", help="also the lines that were not reached")
    parser.add_argument("targets", nargs="*")
    args = parser.parse_intermixed_args()
    ran, found = collections.defaultdict(set), collections.defaultdict(set)
    for target in args.targets or sorted(path.name[5:] for path in (args.build / "bin").glob("fuzz_*")):
        reached(args.build, target, ran, found)
    total = [0, 0]
    for file in sorted(found):
        if not re.search(args.files, file) or not ran[file]:
            continue  # what no target enters is no reader
        total[0] += len(ran[file])
        total[1] += len(found[file])
        print(f"{file:48} {len(ran[file]):5} of {len(found[file]):5} {100 * len(ran[file]) / len(found[file]):6.1f} %",
              *sorted(found[file] - ran[file]) if args.missing else [])
    print(f"{'all':48} {total[0]:5} of {total[1]:5} {100 * total[0] / max(total[1], 1):6.1f} %")


if __name__ == "__main__":
    main()

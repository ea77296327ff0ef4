#!/usr/bin/env python3
"""Reads llvm-cov's lcov export on standard input and prints a table: of each file of src the share of its lines and branches that ran, worst
first, and the totals of src and of the readers of files. What only a header of the library or a test holds is left out.

usage: llvm-cov export -format=lcov ... | coverage_table.py NAME [--missing REGEX] [READER...]
--missing also prints the lines of the files that the expression matches that never ran (!), or of which a branch was never taken (T: the
condition was never true there, F: never false)."""
import argparse
import collections
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent


def read(lines):
    """file -> ({line: runs}, {(line, block, branch): runs}), with the files named from the root of the sources."""
    files, current = {}, None
    for line in lines:
        kind, _, rest = line.rstrip("\n").partition(":")
        if kind == "SF":
            path = pathlib.Path(rest).resolve()
            current = files.setdefault(path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else rest, ({}, {}))
        elif kind == "DA":
            number, runs = map(int, rest.split(",")[:2])
            current[0][number] = current[0].get(number, 0) + runs
        elif kind == "BRDA":
            number, block, branch, runs = rest.split(",")
            key = int(number), block, int(branch)
            current[1][key] = current[1].get(key, 0) + (0 if runs == "-" else int(runs))
    return {file: each for file, each in files.items() if file.startswith("src/") and not file.endswith(".inc")}


def tally(files):
    counts = [(len(found), sum(runs > 0 for runs in found.values())) for each in files for found in each]
    return [sum(column) for column in zip(*(left + right for left, right in zip(counts[::2], counts[1::2])))] or [0] * 4


def share(part, whole):
    return f"{100 * part / whole:5.1f}" if whole else "  -  "


def missing(file, lines, branches):
    sources = (ROOT / file).read_text(encoding="utf-8").split("\n")
    taken = collections.defaultdict(list)
    for (number, _, _), runs in sorted(branches.items()):
        taken[number].append(runs)
    print(f"\n{file}")
    for number, text in enumerate(sources, 1):
        if lines.get(number) == 0:
            print(f"{number:5d}! {text}")
        elif any(runs == 0 for runs in taken[number]):
            runs = taken[number]
            marks = [("T" if a == 0 else "") + ("F" if b == 0 else "") for a, b in zip(runs[::2], runs[1::2])]
            print(f"{number:5d}  {text}   <- {' '.join(mark or '.' for mark in marks)}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("readers", nargs="*")
    parser.add_argument("--missing")
    args = parser.parse_intermixed_args()
    files = read(sys.stdin)
    print(f"{'lines':>6} {'%':>6} {'branches':>9} {'%':>6}  file")
    for file, each in sorted(files.items(), key=lambda item: sum(runs == 0 for runs in item[1][0].values()), reverse=True):
        lines, ran, branches, taken = tally([each])
        print(f"{ran:6d} {share(ran, lines):>6} {taken:9d} {share(taken, branches):>6}  {file}{' (reader)' if file in args.readers else ''}")
    for what, chosen in (("src", files), ("readers", [file for file in files if file in args.readers])):
        lines, ran, branches, taken = tally([files[file] for file in chosen])
        print(f"{args.name}: {what}: {ran} of {lines} lines ({share(ran, lines).strip()} %), {taken} of {branches} branches ({share(taken, branches).strip()} %)")
    for file in sorted(files):
        if args.missing and re.search(args.missing, file):
            missing(file, *files[file])


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Kills jobs with SIGKILL at random moments: under the final name there is nothing, or all of it; the job done again, which goes on
from its journal or cache where it has one, ends with the same bytes, and nothing else is left lying about.

usage: kill.py [--points N] [--seed N] [SCENARIO...]     N moments for each scenario
"""
import argparse
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import time

from scenarios import SCENARIOS, prepare


def run(scenario, inputs, work, points, chance):
    reference = work / "reference"
    reference.mkdir()
    start = time.monotonic()
    scenario.run(reference, inputs)
    whole = time.monotonic() - start
    wanted = scenario.found(reference)
    old = {name: content for name, content in wanted.items() if not isinstance(content, dict)}
    killed = complete = left = 0
    for point in range(points):
        folder = work / f"point{point}"
        folder.mkdir()
        # An older output under that name stays what it was until the new one takes its place. Directories are not replaced.
        before = {name: None for name in scenario.outputs}
        if old and chance.random() < 0.3:
            before = {name: content[: len(content) // 2] for name, content in old.items()}
            for name, content in before.items():
                (folder / name).write_bytes(content)
        # Half of the moments lie near the end, where files get their names.
        # The last one, when none was killed in time before, right at the start.
        moment = 0.001 if killed == 0 and point + 1 == points else whole * (chance.uniform(0.01, 1.0) if chance.random() < 0.5 else chance.uniform(0.75, 1.05))
        job = subprocess.Popen(scenario.command(folder, inputs), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            job.wait(timeout=moment)
        except subprocess.TimeoutExpired:
            job.kill()
            killed += 1
        job.wait()
        seen = scenario.found(folder)
        if seen != before:
            if not scenario.same(seen, wanted):
                sys.exit(f"{scenario.name}: killed after {moment:.3f} s of {whole:.3f}: half-written under its name")
            complete += 1
        left += bool(scenario.left_over(folder))
        for name in scenario.outputs:
            if isinstance(seen[name], dict):
                shutil.rmtree(folder / name)
        scenario.run(folder, inputs)
        if not scenario.same(scenario.found(folder), wanted):
            sys.exit(f"{scenario.name}: killed after {moment:.3f} s of {whole:.3f}: other bytes when done again")
        if scenario.left_over(folder):
            sys.exit(f"{scenario.name}: killed after {moment:.3f} s of {whole:.3f}: left {scenario.left_over(folder)} behind")
        shutil.rmtree(folder)
    print(f"{scenario.name}: {points} moments of {whole:.2f} s, {killed} killed in time, {left} left a journal or temporary file, "
          f"{complete} were complete; all ended with the same bytes", flush=True)
    if killed == 0 and points >= 10:
        sys.exit(f"{scenario.name}: no job was killed before its end: nothing was tested")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--points", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("scenarios", nargs="*", default=[])
    args = parser.parse_intermixed_args()
    with tempfile.TemporaryDirectory(prefix="nibble-kill-") as name:
        inputs = pathlib.Path(name)
        prepare(inputs)
        for scenario in SCENARIOS:
            if args.scenarios and scenario.name not in args.scenarios:
                continue
            work = inputs / scenario.name
            work.mkdir()
            run(scenario, inputs, work, args.points, random.Random(args.seed))
            shutil.rmtree(work)


if __name__ == "__main__":
    main()

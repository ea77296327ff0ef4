#!/usr/bin/env python3
"""Two processes that write one output: the file is one of theirs and whole, nothing else is left, and no journal is shared."""
import pathlib
import subprocess
import sys
import tempfile

from scenarios import MODEL, NIBBLE


def start(folder, *extra):
    command = [NIBBLE, "quantize", str(MODEL), "-o", str(folder / "out.safetensors"), "--calib-tokens", "16384", "--quiet", *extra]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def race(folder, recipes, extra=()):
    """Status and message of each."""
    jobs = [start(folder, "--method", recipe, *extra) for recipe in recipes]
    return [(job.wait(timeout=300), job.stderr.read()) for job in jobs]


def bytes_of(folder, recipe):
    status, message = race(folder, [recipe])[0]
    if status != 0:
        sys.exit(f"{recipe}: status {status}: {message}")
    return (folder / "out.safetensors").read_bytes()


def main():
    with tempfile.TemporaryDirectory(prefix="nibble-writers-") as name:
        folder = pathlib.Path(name)
        recipes = ["rtn:bits=4,group=64", "rtn:bits=3,group=64"]
        wanted = [bytes_of(folder, recipe) for recipe in recipes]
        for _ in range(3):
            for status, message in race(folder, recipes):
                if status != 0:
                    sys.exit(f"a plain job beside another ended with {status}: {message}")
            if (folder / "out.safetensors").read_bytes() not in wanted:
                sys.exit("the output is neither job's")
        # With a journal to go on from, the second is refused; where the first ended before it came, both are fine.
        calibrated = "gptq:bits=4,group=64"
        whole = bytes_of(folder, calibrated)
        refused = 0
        for _ in range(3):
            for status, message in race(folder, [calibrated, calibrated], ["--resume"]):
                if status != 0 and "another process" not in message:
                    sys.exit(f"a job beside another of the same journal ended with {status}: {message}")
                refused += status != 0
            if (folder / "out.safetensors").read_bytes() != whole:
                sys.exit("two jobs with one journal left other bytes")
        if refused == 0:
            sys.exit("no job was refused: the two never met")
        left = sorted(p.name for p in folder.iterdir())
        if left != ["out.safetensors"]:
            sys.exit(f"left behind: {left}")
        print(f"the output was one job's each time; {refused} of 6 jobs were refused a journal in use")


if __name__ == "__main__":
    main()

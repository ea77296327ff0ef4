#!/usr/bin/env python3
"""No page of a running nibble is writable and executable: read from its memory map while it generates text, with model, tokenizer and
threads in place."""
import subprocess
import sys

from scenarios import MODEL, NIBBLE


def main():
    job = subprocess.Popen([NIBBLE, "run", str(MODEL), "-p", "It was", "-n", "100000", "--quiet", "--threads", "2"], bufsize=0,
                           stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        first = job.stdout.read(1)  # text has begun: everything is loaded
        with open(f"/proc/{job.pid}/maps", encoding="utf-8") as f:
            lines = f.read().splitlines()
    finally:
        job.kill()
        job.wait()
    found = [line for line in lines if "w" in line.split()[1] and "x" in line.split()[1]]
    if not first or not any("libpcre2" in line for line in lines):
        sys.exit("the command did not answer: nothing was looked at")
    for line in found:
        print(line)
    print(f"{len(lines)} mappings, {len(found)} of them writable and executable")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())

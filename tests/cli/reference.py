#!/usr/bin/env python3
"""Writes the generated part of docs/cli.md from the command's own help.

    reference.py COMMAND            write it
    reference.py --check COMMAND    exit with 1 when it is not what --help says
"""
import pathlib
import re
import subprocess
import sys

DOCUMENT = pathlib.Path(__file__).resolve().parents[2] / "docs" / "cli.md"
BEGIN, END = "<!-- from --help: begin -->\n", "<!-- from --help: end -->\n"


def help_of(nibble, *command):
    text = subprocess.run([nibble, *command, "--help"], capture_output=True, text=True, check=True).stdout
    return re.sub(r"[ \t]+\n", "\n", text).strip("\n")


def reference(nibble):
    top = help_of(nibble)
    commands = re.findall(r"^  (\w+) ", top[top.index("Subcommands:"):], flags=re.M)
    parts = [f"```text\n{top}\n```\n"]
    for command in commands:
        parts.append(f"### nibble {command}\n\n```text\n{help_of(nibble, command)}\n```\n")
    return "\n".join(parts)


def main(arguments):
    check = arguments[:1] == ["--check"]
    old = DOCUMENT.read_text()
    head, rest = old.split(BEGIN)
    tail = rest.split(END)[1]
    new = head + BEGIN + "\n" + reference(arguments[-1]) + "\n" + END + tail
    if check:
        if new != old:
            print("docs/cli.md is not what --help says; run tests/cli/reference.py build/release/bin/nibble")
            return 1
        return 0
    DOCUMENT.write_text(new)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

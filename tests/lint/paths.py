#!/usr/bin/env python3
"""Finds paths that exist on one machine only, in the files of the repository.

usage: paths.py ROOT
"""

import re
import sys

import tree

MACHINE = re.compile(r"(?<![\w.$}/-])/(work|root|tmp|opt/peers|home/[a-z]\w*)/[\w.-]")


def check(root):
    problems = []
    for path in tree.files(root):
        if path.startswith("tests/lint/"):
            continue
        text = tree.text(root, path)
        if text is None:
            continue
        for match in MACHINE.finditer(text):
            line = text.count("\n", 0, match.start()) + 1
            problems.append(f"{path}:{line}: a path of one machine: {text[match.start():match.start() + 40]!r}")
    return problems


if __name__ == "__main__":
    sys.exit(tree.report("paths", check(sys.argv[1])))

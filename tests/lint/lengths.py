#!/usr/bin/env python3
"""Lists the longest source files, and fails on those that are too long to read in one sitting.

usage: lengths.py ROOT
"""

import re
import sys

import tree

GOAL = 600
LIMIT = 650
SOURCE = re.compile(r"\.(h|hpp|c|cpp|inc|inl|py|sh|cmake)$|(^|/)CMakeLists\.txt$")
# The one public header is a document, read by section.
LONGER = {"include/nibble/nibble.h": 1500}


def check(root):
    counts = []
    for path in tree.files(root):
        if SOURCE.search(path) and not path.startswith("tests/golden/"):
            counts.append((len((tree.text(root, path) or "").splitlines()), path))
    counts.sort(reverse=True)
    print(f"{len(counts)} source files, {sum(c for c, _ in counts)} lines; the longest:")
    for count, path in counts[:10]:
        print(f"  {count:5d} {path}{'  (over the goal)' if count > LONGER.get(path, GOAL) else ''}")
    return [f"{path}: {count} lines, more than {LONGER.get(path, LIMIT)}"
            for count, path in counts if count > LONGER.get(path, LIMIT)]


if __name__ == "__main__":
    sys.exit(tree.report("lengths", check(sys.argv[1])))

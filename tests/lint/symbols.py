#!/usr/bin/env python3
"""Checks the symbols of what was built, with nm (or what the variable NM names).

usage: symbols.py weak OBJECTS.TXT            no weak definition in an object of one instruction set
       symbols.py exports LIB.SO GOLDEN [--update]   the shared library exports nbl_* alone, and what GOLDEN lists
       symbols.py imports LIB.A               nothing in the library ends the process, prints or reads the environment
"""

import os
import re
import subprocess
import sys

import tree

# kernels/x/x86_avx2.cpp and so on: as in cmake/layers.cmake.
ISA_OBJECT = re.compile(
    r"(^|[/_])(avx2|avxvnni|avx512|avx512vnni|avx512bf16|amx|neon_dotprod|neon_i8mm)\.cpp\.(o|obj)$")

FORBIDDEN = {
    "abort": "ends the process", "exit": "ends the process", "_exit": "ends the process", "quick_exit": "ends the process",
    "__assert_fail": "ends the process (assertions are off in releases)",
    "printf": "prints", "puts": "prints", "putchar": "prints", "fprintf": "prints", "vprintf": "prints", "perror": "prints",
    "__printf_chk": "prints", "__fprintf_chk": "prints", "stdout": "prints", "stderr": "prints",
    "_ZSt4cout": "prints", "_ZSt4cerr": "prints", "_ZSt4clog": "prints",
    "_ZNSt8ios_base4InitC1Ev": "includes <iostream>",
    "getenv": "reads the environment", "secure_getenv": "reads the environment", "setenv": "writes the environment",
    "putenv": "writes the environment", "system": "runs a command",
    "signal": "takes a signal", "sigaction": "takes a signal", "rand": "has hidden state", "srand": "has hidden state",
    "strtod": "reads numbers as the locale writes them", "strtof": "reads numbers as the locale writes them",
    "atof": "reads numbers as the locale writes them", "localeconv": "depends on the locale",
    "setlocale": "changes the process", "omp_set_num_threads": "changes the process", "chdir": "changes the process",
}

# What runs in a child process of its own, between fork and exec.
CHILD = {"sandbox.cpp.o": {"_exit", "chdir"}}


def nm(*arguments):
    lines = subprocess.run([os.environ.get("NM", "nm"), *arguments], capture_output=True, text=True, check=True).stdout.splitlines()
    return [line.split() for line in lines if line.strip()]


def weak(objects):
    problems = []
    checked = 0
    for path in objects:
        if not ISA_OBJECT.search(path):
            continue
        checked += 1
        for fields in nm("--defined-only", path):
            if fields[-2] in "WVu":
                problems.append(f"{path}: weak symbol {fields[-1]}")
    print(f"{checked} objects of one instruction set")
    if checked == 0:
        problems.append("no object of one instruction set among those given")
    return problems


def exports(library, golden, update):
    found = sorted({fields[-1].split("@")[0] for fields in nm("-D", "--defined-only", library) if fields[-2] != "A"})
    problems = [f"{library} exports {name}, which is no nbl_* name" for name in found if not name.startswith("nbl_")]
    if update:
        with open(golden, "w", encoding="utf-8") as f:
            f.writelines(name + "\n" for name in found)
    with open(golden, encoding="utf-8") as f:
        expected = set(f.read().split())
    problems += [f"{name} is gone: the library no longer exports it" for name in sorted(expected - set(found))]
    problems += [f"{name} is new: add it with 'symbols.py exports ... --update'" for name in sorted(set(found) - expected)]
    return problems


def imports(library):
    problems = []
    for fields in nm("-A", "--undefined-only", library):
        name = fields[-1].split("@")[0]
        where = fields[0].rstrip(":").split(":")[-1]
        if name in FORBIDDEN and name not in CHILD.get(where, ()):
            problems.append(f"{where} uses {name}: it {FORBIDDEN[name]}")
    return problems


def main(arguments):
    if arguments[:1] == ["weak"]:
        with open(arguments[1], encoding="utf-8") as f:
            return tree.report("weak symbols", weak(f.read().split()))
    if arguments[:1] == ["exports"]:
        return tree.report("exports", exports(arguments[1], arguments[2], "--update" in arguments))
    if arguments[:1] == ["imports"]:
        return tree.report("imports", imports(arguments[1]))
    print(__doc__)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

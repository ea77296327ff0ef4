#!/usr/bin/env python3
"""Checks every #include of include/, kernels/ and src/ against the layers: arrows point down only, siblings do not include
each other, and a third-party header is seen only where it belongs.

usage: layers.py ROOT
"""

import os
import re
import sys

import tree

# What each layer may include besides itself.
BELOW = {"base": set(), "kernels": {"base"}}
BELOW["tensor"] = BELOW["kernels"] | {"kernels"}
BELOW["io"] = BELOW["tensor"] | {"tensor"}
BELOW["quant"] = BELOW["text"] = BELOW["io"] | {"io"}
BELOW["model"] = BELOW["dialects"] = BELOW["quant"] | {"quant", "text"}
BELOW["pipeline"] = BELOW["eval"] = BELOW["model"] | {"model", "dialects"}
BELOW["capi"] = BELOW["pipeline"] | {"pipeline", "eval", "nibble"}
BELOW["cli"] = {"nibble"}  # the public header only
BELOW["nibble"] = set()

# What every layer may include: it tells a sanitizer something and has nothing of the library in it.
EVERYWHERE = {"base/foreign.h"}

# Third-party headers, and the layers (or single files) that may see them.
THIRD_PARTY = {
    r"Eigen/": {"src/quant/linalg.cpp"},
    r"omp\.h": {"src/base/team_openmp.cpp"},
    r"simdjson": {"src/base/json_parse.cpp", "cli"},
    r"CLI/": {"cli"},
    r"xsimd": {"kernels"},
    r"zstd": {"io", "dialects", "src/pipeline/activations.cpp"},
    r"pcre2": {"text", "pipeline", "eval"},
    r"utf8proc": {"text", "eval"},
    r"sqlite3": {"eval"},
    r"(gtest|gmock|benchmark)/": set(),
}

# An architecture is data in src/model/arch; code that asks for one by name elsewhere is a defect.
ARCH_TEST = re.compile(r'\barch\w*(\(\)|\.\w+|->\w+)*\s*==\s*"|"\s*==\s*\barch')

PLUG_IN = re.compile(r"src/(dialects|io|quant/methods|model/arch|eval/tasks)/")

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.M)
SOURCE = re.compile(r"\.(h|hpp|c|cpp|inc|inl)$")


def layer_of(path):
    parts = path.split("/")
    if not SOURCE.search(path):
        return None
    if parts[0] == "kernels":
        return "kernels"
    if parts[0] == "include":
        return "nibble"
    if parts[0] == "src" and len(parts) > 2:
        return parts[1]
    return None


def check_file(path, layer, text, everything):
    problems = []

    def problem(offset, message):
        problems.append(f"{path}:{text.count(chr(10), 0, offset) + 1}: {message}")

    if layer not in BELOW:
        return [f"{path}: src/{layer} is no layer (tests/lint/layers.py lists them)"]
    for match in INCLUDE.finditer(text):
        quoted, target = match.group(1) == '"', match.group(2)
        first = target.split("/")[0]
        for pattern, allowed in THIRD_PARTY.items():
            if re.match(pattern, target) and path not in allowed and layer not in allowed:
                problem(match.start(), f"{layer} may not include <{target}>")
        if not quoted and first not in BELOW:
            continue
        if "/" not in target or first not in BELOW:
            problem(match.start(), f'"{target}": our headers are included as "layer/file.h"')
        elif first != layer and first not in BELOW[layer] and target not in EVERYWHERE:
            problem(match.start(), f'{layer} may not include "{target}": arrows point down only')
        elif not any(os.path.join(base, target) in everything for base in ("src", "include", "")):
            problem(match.start(), f'"{target}" does not exist')
    if layer != "base":
        for match in re.finditer(r"^\s*#\s*pragma\s+omp\b", text, re.M):
            problem(match.start(), "only src/base knows OpenMP")
    if not path.startswith("src/model/arch/"):
        for match in ARCH_TEST.finditer(text):
            problem(match.start(), "an architecture is asked for by name outside src/model/arch")
    return problems


def check(root):
    problems = []
    names = {}
    everything = set(tree.files(root))
    for path in sorted(everything):
        layer = layer_of(path)
        if layer is None:
            continue
        problems += check_file(path, layer, tree.text(root, path) or "", everything)
        # A kernel family's folder holds files called after instruction sets, and plug-ins are called after what they plug
        # in (the method gptq, the dialect gptq); elsewhere a name says which file is meant.
        if layer != "kernels" and not PLUG_IN.match(path):
            other = names.setdefault(os.path.basename(path), path)
            if other != path:
                problems.append(f"{path}: has the name of {other}; file names are unique")
    return problems


if __name__ == "__main__":
    sys.exit(tree.report("layers", check(sys.argv[1])))

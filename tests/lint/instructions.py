#!/usr/bin/env python3
"""Disassembles what was built: no object holds an instruction that its processors lack.

usage: instructions.py OBJECTS.TXT [OBJDUMP]   objects of kernels and of the whole library, one a line

An object of one instruction set (kernels/x/x_avx2.cpp ...) may use that and what it implies; every other object runs on
any x86-64 processor: 128-bit SSE2 registers, no VEX or EVEX encoding.
"""

import re
import subprocess
import sys

import tree

ISA = re.compile(r"(^|[/_])(avx2|avxvnni|avx512|avx512vnni|avx512bf16|amx)\.cpp\.(o|obj)$")

EVEX = r"%zmm|%[xy]mm(1[6-9]|2\d|3[01])\b|%k[0-7]\b"
VNNI = r"\bvpdp\w+"
BF16 = r"\bvdpbf16ps|\bvcvtne2?ps2?bf16|\bvcvtneps2bf16"
AMX = r"\bt(dp|ile)\w+|\b(ld|st)tilecfg|%tmm"
VEX = r"%[yz]mm|%k[0-7]\b|\sv[a-z]\w*\s.*%xmm"
FORBIDDEN = {
    "avx2": [EVEX, VNNI, BF16, AMX],
    "avxvnni": [EVEX, BF16, AMX],
    "avx512": [VNNI, BF16, AMX],
    "avx512vnni": [BF16, AMX],
    "avx512bf16": [AMX],
    "amx": [],
    "any": [VEX, VNNI, BF16, AMX],
}
# What a variant exists for: an object without it would prove nothing.
WANTED = {"avx2": "%ymm", "avxvnni": "vpdpbusd", "avx512": "%zmm", "avx512vnni": "vpdpbusd|%zmm", "avx512bf16": "vdpbf16ps|%zmm",
          "amx": "tdp|%tmm"}


def check(path, objdump):
    found = ISA.search(path)
    isa = found.group(2) if found else "any"
    forbidden = [re.compile(p) for p in FORBIDDEN[isa]]
    wanted = re.compile(WANTED[isa]) if isa in WANTED else None
    seen = wanted is None
    lines = 0
    with subprocess.Popen([objdump, "-d", "--no-show-raw-insn", path], stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if "\t" not in line:
                continue
            lines += 1
            instruction = "\t" + line.split("\t", 1)[1]
            # Symbols in comments and targets are no operands.
            instruction = instruction.split("<")[0].split("#")[0]
            for pattern in forbidden:
                if pattern.search(instruction):
                    process.kill()
                    return lines, f"{path} ({isa}): {instruction.strip()}"
            seen = seen or bool(wanted.search(instruction))
    if not seen:
        return lines, f"{path} ({isa}) uses none of the instructions that it exists for ({WANTED[isa]})"
    return lines, None


def main(arguments):
    objdump = arguments[1] if len(arguments) > 1 and arguments[1] else "objdump"
    with open(arguments[0], encoding="utf-8") as f:
        objects = f.read().split()
    problems, total, special = [], 0, 0
    for path in objects:
        lines, problem = check(path, objdump)
        total += lines
        special += 1 if ISA.search(path) else 0
        if problem:
            problems.append(problem)
    print(f"{len(objects)} objects, {special} of one instruction set, {total} instructions")
    if special == 0 or total < 10000:
        problems.append("too little to check")
    return tree.report("instructions", problems)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

#!/usr/bin/env python3
"""Checks how what was built is hardened, with readelf and nm.

usage: hardening.py [--cet] SOURCE BINARY...    programs and shared libraries; SOURCE: the folder no path of which may be in them;
                                                --cet: their own code must be marked for control-flow enforcement
"""
import os
import re
import subprocess
import sys

import tree

# Functions that open a connection or ask for an address, and those that make memory executable.
NETWORK = re.compile(r"^(socket|socketpair|connect|bind|listen|accept4?|getaddrinfo|gethostby\w+|sendto|recvfrom|sendmsg|recvmsg|curl_\w+|SSL_\w+)$")
EXECUTABLE = re.compile(r"^(mprotect|pkey_mprotect|pcre2_jit_\w+)$")


def output(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def check(source, binary):
    problems = []
    headers = output("readelf", "-lW", binary)
    dynamic = output("readelf", "-dW", binary)
    if not re.search(r"^Elf file type is DYN", headers, re.M):
        problems.append("is not position-independent")
    stack = re.search(r"GNU_STACK.*", headers)
    if stack is None or "E" in stack.group().split()[-2]:
        problems.append("has an executable stack")
    for segment in re.findall(r"^\s+LOAD.*", headers, re.M):
        flags = segment.split()[6:-1]
        if "W" in "".join(flags) and "E" in "".join(flags):
            problems.append("has a segment that is writable and executable")
    if "GNU_RELRO" not in headers:
        problems.append("has no RELRO segment")
    if "BIND_NOW" not in dynamic and not re.search(r"FLAGS_1.*NOW", dynamic):
        problems.append("binds symbols lazily: its jump table stays writable")
    if re.search(r"\((RPATH|RUNPATH)\)", dynamic):
        problems.append("names a path to look for libraries")
    if re.search(r"\(TEXTREL\)", dynamic):
        problems.append("has text relocations")
    imports = {line.split()[-1].split("@")[0] for line in output(os.environ.get("NM", "nm"), "-D", "--undefined-only", binary).splitlines()}
    if "__stack_chk_fail" not in imports:
        problems.append("was built without the stack protector")
    if not any(name.endswith("_chk") for name in imports):
        problems.append("was built without _FORTIFY_SOURCE")
    problems += [f"imports {name}: nothing in it may use the network" for name in sorted(imports) if NETWORK.match(name)]
    problems += [f"imports {name}: nothing in it may make memory executable" for name in sorted(imports) if EXECUTABLE.match(name)]
    with open(binary, "rb") as f:
        if os.path.realpath(source).encode() in f.read():
            problems.append(f"holds a path below {source}: two builds would differ")
    return [f"{binary} {problem}" for problem in problems]


def check_cet(binary):
    """Each function that can be called through a pointer begins with a landing pad. (The mark in the file itself needs a C library that
    carries it too.)"""
    code = subprocess.run(["objdump", "-d", "--no-show-raw-insn", "--section=.text", binary], capture_output=True, text=True, check=True)
    pads = code.stdout.count("endbr64")
    print(f"{binary}: {pads} landing pads")
    return [] if pads > 1000 else [f"{binary} has {pads} landing pads: was it built without -fcf-protection?"]


if __name__ == "__main__":
    arguments = sys.argv[1:]
    cet = arguments[:1] == ["--cet"]
    source, *binaries = arguments[cet:]
    found = [problem for binary in binaries for problem in check(source, binary) + (check_cet(binary) if cet else [])]
    sys.exit(tree.report("hardening", found if binaries else ["no binary given"]))

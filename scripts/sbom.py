#!/usr/bin/env python3
"""Writes the software bill of materials, CycloneDX 1.5 in JSON, of docs/dependencies.md's table of what the library is made of.

usage: sbom.py OUT.json                  the same bytes each time: no date, no random number
       sbom.py --check SBOM.json BINARY...    every library that the binaries need (readelf -d) is a component
"""
import hashlib
import json
import pathlib
import re
import subprocess
import sys
import uuid

ROOT = pathlib.Path(__file__).resolve().parent.parent

# Which row of the table a shared library belongs to.
LIBRARIES = {
    "OpenMP": ["libgomp", "libomp"], "simdjson": ["libsimdjson"], "fmt": ["libfmt"], "zstd": ["libzstd"], "PCRE2": ["libpcre2-8"],
    "utf8proc": ["libutf8proc"], "SQLite": ["libsqlite3"], "libedit": ["libedit"],
    "C and C++ runtimes": ["libc", "libm", "libstdc++", "libgcc_s", "ld-linux-x86-64", "ld-linux-aarch64"],
}
SPDX = {"public domain": "blessing"}


def table(text):
    """The rows below "What the library is made of": name, packages with versions, licence, what for."""
    section = text.split("## What the library is made of", 1)[1].split("\n## ", 1)[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line.startswith("| ")]
    return [row[:4] for row in rows[1:] if not row[0].startswith("---")]


def component(name, package, licence, purpose):
    version = re.search(r"[0-9]+(\.[0-9]+)+", package)
    deb = package.split()[0].rstrip(",")
    licence = SPDX.get(licence, licence)
    short = name.replace(" (optional)", "")
    return {
        "type": "library", "bom-ref": short, "name": short, "version": version.group() if version else "", "description": purpose,
        "scope": "optional" if "(optional)" in name else "required",
        "licenses": [{"license": {"name" if " " in licence else "id": licence}}],
        "purl": f"pkg:deb/debian/{deb}" + (f"@{version.group()}" if version else ""),
        "properties": [{"name": "nibble:soname", "value": stem} for stem in LIBRARIES.get(short, [])],
    }


def sbom():
    version = re.search(r"project\(nibble VERSION ([0-9.]+)", (ROOT / "CMakeLists.txt").read_text()).group(1)
    components = [component(*row) for row in table((ROOT / "docs" / "dependencies.md").read_text())]
    document = {
        "bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1,
        "metadata": {"component": {"type": "library", "bom-ref": "nibble", "name": "nibble", "version": version,
                                   "purl": f"pkg:generic/nibble@{version}"}},
        "components": components,
        "dependencies": [{"ref": "nibble", "dependsOn": [c["bom-ref"] for c in components]}],
    }
    digest = hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()
    document["serialNumber"] = f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, digest)}"
    return document


def check(path, binaries):
    document = json.loads(path.read_text())
    known = {p["value"]: c["name"] for c in document["components"] for p in c["properties"]}
    problems, seen = [], set()
    for binary in binaries:
        listing = subprocess.run(["readelf", "-dW", binary], capture_output=True, text=True, check=True).stdout
        needed = re.findall(r"\(NEEDED\).*\[(.*?)\]", listing)
        if not needed:
            problems.append(f"{binary} needs no library: is it one?")
        for soname in needed:
            stem = soname.split(".so")[0]
            seen.add(known.get(stem))
            if stem not in known:
                problems.append(f"{binary} needs {soname}, which is no component: add its row to docs/dependencies.md and scripts/sbom.py")
    for problem in problems:
        print(problem)
    print(f"{len(seen)} components of {len(document['components'])} are shared libraries that {len(binaries)} binaries need")
    return 1 if problems else 0


if __name__ == "__main__":
    if len(sys.argv) > 3 and sys.argv[1] == "--check":
        sys.exit(check(pathlib.Path(sys.argv[2]), sys.argv[3:]))
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    pathlib.Path(sys.argv[1]).write_text(json.dumps(sbom(), indent=1) + "\n")

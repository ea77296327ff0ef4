#!/usr/bin/env python3
"""What the header promises, as libabigail sees it: every function, struct and constant of nibble.h with its layout.

    abi_dump.py dump HEADER MAP OUTPUT.abi       writes the description (what tests/abi/nibble-0.1.abi was made with)
    abi_dump.py check HEADER MAP LIBRARY OLD.abi compares header and library with an older description: additions are fine

The header is made into a library of empty functions with debugging information, so that the comparison needs none of the real one, and
is the same whatever the compiler's options. Of a struct that has grown, the comparison sees the fields that the older one has: they
must be where they were. The real library is compared by its symbols.
"""
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

def run(*command, allowed=(0,)):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    if done.returncode not in allowed:
        sys.exit(f"{' '.join(map(str, command))}: exit status {done.returncode}\n{done.stdout}{done.stderr}")
    return done


def declared(text):
    """Prototypes without NBL_API."""
    text = re.sub(r"/\*.*?\*/", " ", text, flags=re.S)
    return [" ".join(p.split()) for p in re.findall(r"NBL_API ([^;#]*\))\s*;", text)]


def stub(header, version_map, folder):
    """A library of empty functions."""
    lines = [f'#include "{os.path.abspath(header)}"']
    for prototype in declared(pathlib.Path(header).read_text(encoding="utf-8")):
        lines.append(prototype + (" {}" if prototype.startswith("void nbl") else " { return 0; }"))
    source = folder / "stub.c"
    source.write_text("\n".join(lines) + "\n")
    library = folder / "libnibble.so.0"
    run(os.environ.get("CC", "cc"), "-std=c99", "-g", "-O0", "-fPIC", "-shared", "-Wl,-soname,libnibble.so.0",
        f"-Wl,--version-script={version_map}", source, "-o", library)
    return library


def dump(library, output):
    run("abidw", "--no-corpus-path", "--no-comp-dir-path", "--no-show-locs", "--no-elf-needed", "--out-file", output, library)
    place = pathlib.Path(output)
    place.write_text(re.sub(r"path='/[^']*/stub\.c'", "path='stub.c'", place.read_text()))  # where it was made says nothing


def trimmed(text, old):
    """The header with the structs cut to as many fields as they have in the older description."""
    fields = {}
    for name, body in re.findall(r"<class-decl name='(nbl_\w+)'[^>]*[^/]>(.*?)</class-decl>", pathlib.Path(old).read_text(), flags=re.S):
        fields[name] = body.count("<data-member ")

    def cut(match):
        parts = re.split(r"(;)", re.sub(r"/\*.*?\*/", " ", match.group(2), flags=re.S))
        known = fields.get(match.group(1), len(parts))
        return f"typedef struct {match.group(1)} {{{''.join(parts[:2 * known])}}} {match.group(1)};"

    return re.sub(r"typedef struct (nbl_\w+) \{(.*?)\} \1;", cut, text, flags=re.S)


def difference(old, new):
    """abidiff's report of changes that break programs, or nothing."""
    done = run("abidiff", "--no-added-syms", old, new, allowed=range(16))
    if done.returncode & 3:
        sys.exit(f"abidiff failed: {done.stdout}{done.stderr}")
    return done.stdout if done.returncode & 12 else ""


def header_difference(old, text, version_map, folder):
    (folder / "nibble.h").write_text(trimmed(text, old))
    return difference(old, stub(folder / "nibble.h", version_map, folder))


def check(header, version_map, library, old, folder):
    failures = []
    report = header_difference(old, pathlib.Path(header).read_text(encoding="utf-8"), version_map, folder)
    if report:
        failures.append(f"the header is not compatible with {old}:\n{report}")
    # Stripped, it can be compared by symbols and their versions alone.
    plain = folder / "library.so"
    run("strip", "--strip-debug", "-o", plain, library)
    report = difference(old, plain)
    if report:
        failures.append(f"the library is not compatible with {old}:\n{report}")
    return failures


def selftest(header, version_map, old, folder):
    """That what breaks programs is found: the check is run on headers with one defect each."""
    text = pathlib.Path(header).read_text(encoding="utf-8")
    defects = {
        "a function is gone": (r"NBL_API int64_t nbl_session_position\(const nbl_session\* session\);", ""),
        "another parameter type": (r"nbl_session_truncate\(nbl_session\* session, int64_t position\)",
                                   "nbl_session_truncate(nbl_session* session, int32_t position)"),
        "another return type": (r"NBL_API int64_t nbl_model_vocab_size", "NBL_API int32_t nbl_model_vocab_size"),
        "a field is wider": (r"int32_t threads; ", "int64_t threads; "),
        "fields change places": (r"(  int64_t max_new_tokens;[^\n]*\n)(  float temperature;[^\n]*\n)", r"\2\1"),
        "a parameter more": (r"(nbl_batch_create\(nbl_model\* model), int64_t", r"\1, int32_t more, int64_t"),
    }
    for name, (pattern, replacement) in defects.items():
        changed, count = re.subn(pattern, replacement, text)
        if count != 1:
            sys.exit(f"the defect '{name}' cannot be made: nibble.h has changed")
        if not header_difference(old, changed, version_map, folder):
            sys.exit(f"abidiff finds nothing wrong with a header in which {name}")
    # And that what is allowed is not.
    changed = text.replace("NBL_API const char* nbl_version(void);", "NBL_API const char* nbl_version(void);\nNBL_API int32_t nbl_new(void);")
    changed = re.sub(r"(  void\* on_token_user;\n)(\} nbl_generate_options;)", r"\1  int64_t added;\n\2", changed)
    if "nbl_new" not in changed or "added;" not in changed:
        sys.exit("the allowed changes cannot be made: nibble.h has changed")
    report = header_difference(old, changed, version_map, folder)
    if report:
        sys.exit(f"a new function and a field at the end are refused:\n{report}")


def main(action, header, version_map, *rest):
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        if action == "dump":
            dump(stub(header, version_map, folder), rest[0])
            return 0
        if not shutil.which("abidiff") or not shutil.which("abidw"):
            print("SKIPPED: abidiff is not installed (Debian's package abigail-tools)")
            return 0
        library, old = rest
        failures = check(header, version_map, library, old, folder)
        for failure in failures:
            print(failure)
        if not failures:
            selftest(header, version_map, old, folder)
            print("abi: ok")
        return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

#!/usr/bin/env python3
"""The lint scripts find what they are there to find: each is shown a small tree with one defect of each kind."""

import os
import platform
import subprocess
import sys
import tempfile

import instructions
import layers
import lengths
import paths
import symbols

GOOD = {
    "src/base/status.h": "#include <string>\n",
    "src/tensor/view.h": '#include "base/status.h"\n#include "kernels/gemv/gemv.h"\n',
    "kernels/gemv/gemv.h": "#include <cstdint>\n",
    "src/quant/linalg.cpp": "#include <Eigen/Dense>\n",
    "src/capi/model.cpp": "#include <nibble/nibble.h>\n",
    "include/nibble/nibble.h": "#include <stdint.h>\n",
    "docs/a.md": "see https://example.org/" + "work/it and build/tmp/x\n",
}

# file, its text, a part of the complaint
BAD = [
    (layers, "src/base/up.cpp", '#include "tensor/view.h"\n', "arrows point down only"),
    (layers, "src/text/side.cpp", '#include "quant/method.h"\n', "arrows point down only"),
    (layers, "src/cli/main.cpp", '#include "base/status.h"\n', "arrows point down only"),
    (layers, "src/model/near.cpp", '#include "near.h"\n', '"layer/file.h"'),
    (layers, "src/model/lost.cpp", '#include "base/lost.h"\n', "does not exist"),
    (layers, "src/quant/x.cpp", "#include <Eigen/Dense>\n", "may not include <Eigen/Dense>"),
    (layers, "src/model/team.cpp", "void f() {\n#pragma omp parallel\n}\n", "team.cpp:2: only src/base knows OpenMP"),
    (layers, "src/pipeline/job.cpp", 'bool f() { return arch.name == "x"; }\n', "asked for by name"),
    (layers, "src/misc/x2.cpp", "\n", "is no layer"),
    (layers, "src/model/status.h", "\n", "file names are unique"),
    (lengths, "src/base/long.cpp", "\n" * 700, "700 lines"),
    (paths, "docs/b.md", "run it in /wo" + "rk/there\n", "b.md:1: a path of one machine"),
]


def write(root, path, text):
    full = os.path.join(root, path)
    os.makedirs(os.path.dirname(full), exist_ok=True)
    with open(full, "w", encoding="utf-8") as f:
        f.write(text)


def check_trees():
    failures = []
    with tempfile.TemporaryDirectory() as root:
        for path, text in GOOD.items():
            write(root, path, text)
        for script in (layers, lengths, paths):
            found = script.check(root)
            if found:
                failures.append(f"{script.__name__} complains about a good tree: {found}")
    for script, path, text, expected in BAD:
        with tempfile.TemporaryDirectory() as root:
            for good_path, good_text in GOOD.items():
                write(root, good_path, good_text)
            write(root, path, text)
            found = script.check(root)
            if len(found) != 1 or expected not in found[0]:
                failures.append(f"{script.__name__} on {path}: expected one '{expected}', found {found}")
    return failures


def check_symbols(compiler):
    failures = []
    with tempfile.TemporaryDirectory() as root:
        source = os.path.join(root, "x86_avx2.cpp")
        write(root, "x86_avx2.cpp", """
            #include <cstdlib>
            inline __attribute__((noinline)) int weak_one(int x) { return x + 1; }
            extern "C" __attribute__((visibility("default"))) int nbl_one(int x) {
              if (x > 3) std::abort();
              return weak_one(x) + (std::getenv("X") != nullptr);
            }
            extern "C" __attribute__((visibility("default"))) int stray() { return 0; }
        """)
        target = os.path.join(root, "x86_avx2.cpp.o")
        library = os.path.join(root, "lib.so")
        golden = os.path.join(root, "golden.txt")
        subprocess.run([compiler, "-O1", "-fPIC", "-fvisibility=hidden", "-c", source, "-o", target], check=True)
        subprocess.run([compiler, "-shared", target, "-o", library], check=True)
        write(root, "golden.txt", "nbl_gone\nnbl_one\nstray\n")
        if not any("weak_one" in p for p in symbols.weak([target])):
            failures.append("symbols weak: missed a weak definition")
        if len(symbols.weak([])) != 1:
            failures.append("symbols weak: content with no object at all")
        found = symbols.exports(library, golden, False)
        if len(found) != 2 or "stray" not in found[0] or "nbl_gone" not in found[1]:
            failures.append(f"symbols exports: {found}")
        found = symbols.exports(library, golden, True)
        if len(found) != 1:
            failures.append(f"symbols exports --update: {found}")
        found = symbols.imports(target)
        if sorted(p.split()[2] for p in found) != ["abort:", "getenv:"]:
            failures.append(f"symbols imports: {found}")
    return failures


def check_instructions(compiler):
    if platform.machine() not in ("x86_64", "AMD64"):
        return []
    failures = []
    cases = [("x_avx2.cpp", "vpaddd %ymm1, %ymm2, %ymm3", None), ("x_avx2.cpp", "vpaddd %ymm17, %ymm2, %ymm3", "%ymm17"),
             ("x_avx512.cpp", "vpdpbusd %zmm1, %zmm2, %zmm3", "vpdpbusd"), ("x.cpp", "vpaddd %xmm1, %xmm2, %xmm3", "vpaddd"),
             ("x.cpp", "paddd %xmm1, %xmm2", None), ("x_avx2.cpp", "paddd %xmm1, %xmm2", "uses none")]
    with tempfile.TemporaryDirectory() as root:
        for name, instruction, expected in cases:
            write(root, name, f'void f() {{ __asm__ volatile("{instruction}"); }}\n')
            target = os.path.join(root, name + ".o")
            subprocess.run([compiler, "-O1", "-c", os.path.join(root, name), "-o", target], check=True)
            found = instructions.check(target, "objdump")[1]
            if (found is None) != (expected is None) or (expected is not None and expected not in found):
                failures.append(f"instructions on '{instruction}' in {name}: expected {expected}, found {found}")
    return failures


if __name__ == "__main__":
    problems = check_instructions(sys.argv[1] if len(sys.argv) > 1 else "c++") + check_trees() + check_symbols(sys.argv[1] if len(sys.argv) > 1 else "c++")
    print("\n".join(problems) or "selftest: ok")
    sys.exit(1 if problems else 0)

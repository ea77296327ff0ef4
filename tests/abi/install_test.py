#!/usr/bin/env python3
"""Installs a build into an empty folder and uses it from there as a stranger would.

usage: install_test.py CMAKE BUILD VERSION CC CXX SOURCE
"""

import os
import shlex
import shutil
import subprocess
import sys
import tempfile

PROGRAM = """
#include <nibble/nibble.h>
#include <stdio.h>
int main(void) {
  puts(nbl_version());
  return nbl_version_number() == NBL_VERSION_MAJOR * 10000 + NBL_VERSION_MINOR * 100 + NBL_VERSION_PATCH ? 0 : 1;
}
"""
PROJECT = """
cmake_minimum_required(VERSION 3.25)
project(stranger LANGUAGES C CXX)
find_package(nibble {version} REQUIRED)
add_executable(stranger stranger.c)
target_link_libraries(stranger PRIVATE nibble::nibble)
add_executable(stranger_static stranger.c)
target_link_libraries(stranger_static PRIVATE nibble::nibble_static)
"""
PARENT = """
cmake_minimum_required(VERSION 3.25)
project(parent LANGUAGES C CXX)
{taken}
add_executable(child stranger.c)
target_link_libraries(child PRIVATE nibble::nibble)
"""
PARTS = {"subdirectory": "add_subdirectory({source} nibble)",
         "fetched": "include(FetchContent)\nFetchContent_Declare(nibble SOURCE_DIR {source})\nFetchContent_MakeAvailable(nibble)"}
CPP = """
#include <iostream>
#include <nibble/nibble.hpp>
int main() {
  const nibble::Runtime runtime;
  if (nibble::attempt([&] { return nibble::Model(runtime, "/nowhere"); })) return 1;
  std::cout << nbl_version() << std::endl;
}
"""


def run(*command, **options):
    done = subprocess.run(command, capture_output=True, text=True, **options)
    if done.returncode != 0:
        sys.exit(f"{shlex.join(command)}: exit status {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout.strip()


def write(path, content):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as f:
        f.write(content)


def use_prefix(prefix, work, cmake, version, cc, cxx, source):
    """Builds and runs programs against an installation, in every way that a user would find it."""
    pkgconfig = next(root for root, _, names in os.walk(prefix) if "nibble.pc" in names)
    lib = os.path.dirname(pkgconfig)
    # No other package is found: who links the shared library has none of nibble's own dependencies' files.
    environment = dict(os.environ, PKG_CONFIG_LIBDIR=pkgconfig, PKG_CONFIG_PATH="")
    program = os.path.join(work, "stranger.c")
    write(program, PROGRAM)

    def flags(*arguments):
        return shlex.split(run("pkg-config", *arguments, "nibble", env=environment))

    made = [os.path.join(work, name) for name in ("shared", "static", "build/stranger", "build/stranger_static", "cpp")]
    run(cc, program, "-o", made[0], *flags("--cflags", "--libs"), f"-Wl,-rpath,{lib}")
    write(os.path.join(work, "stranger.cpp"), CPP)
    run(cxx, "-std=c++20", os.path.join(work, "stranger.cpp"), "-o", made[4], *flags("--cflags", "--libs"), f"-Wl,-rpath,{lib}")
    static = ["-l:libnibble.a" if f == "-lnibble" else f for f in flags("--static", "--libs")]
    run(cxx, "-x", "c", program, "-x", "none", "-o", made[1], *flags("--cflags"), *static)
    write(os.path.join(work, "CMakeLists.txt"), PROJECT.format(version=version))
    run(cmake, "-S", work, "-B", os.path.join(work, "build"), f"-DCMAKE_C_COMPILER={cc}", f"-DCMAKE_PREFIX_PATH={prefix}")
    run(cmake, "--build", os.path.join(work, "build"))
    for each in made:
        if run(each) != version:
            sys.exit(f"{each}: not version '{version}'")
    if version not in run(os.path.join(prefix, "bin", "nibble"), "--version"):
        sys.exit("the installed command does not say its version")
    # The built-in model comes along.
    run(os.path.join(prefix, "bin", "nibble"), "inspect", "builtin", "--quiet", cwd=work,
        env={k: v for k, v in environment.items() if k != "NIBBLE_SHARE"})

    example = os.path.join(work, "example")
    shutil.copytree(os.path.join(source, "examples", "c"), example)
    if shutil.which("make"):
        run("make", "-C", example, f"CC={cc}", env=environment)
    else:
        print("make: not installed, not tried")
    if shutil.which("meson"):
        run("meson", "setup", os.path.join(example, "build"), example, env=dict(environment, CC=cc))
        run("ninja", "-C", os.path.join(example, "build"))
    else:
        print("meson: not installed, not tried")


def main(cmake, build, version, cc, cxx, source):
    with tempfile.TemporaryDirectory() as folder:
        prefix = os.path.join(folder, "prefix")
        run(cmake, "--install", build, "--prefix", prefix)
        headers = sorted(os.listdir(os.path.join(prefix, "include", "nibble")))
        if "nibble.h" not in headers:
            sys.exit(f"installed headers: {headers}")
        use_prefix(prefix, os.path.join(folder, "first"), cmake, version, cc, cxx, source)
        # An installation that was moved works as well.
        moved = os.path.join(folder, "somewhere else", "moved")
        os.makedirs(os.path.dirname(moved))
        os.rename(prefix, moved)
        use_prefix(moved, os.path.join(folder, "second"), cmake, version, cc, cxx, source)

        # As part of another project: configured, and the rules that would build it are complete. Building it so once more
        # takes minutes and would compile the same files with the same options.
        for way, taken in PARTS.items():
            parent = os.path.join(folder, way)
            write(os.path.join(parent, "CMakeLists.txt"), PARENT.format(taken=taken.format(source=source)))
            write(os.path.join(parent, "stranger.c"), PROGRAM)
            run(cmake, "-G", "Ninja", "-S", parent, "-B", os.path.join(parent, "build"), f"-DCMAKE_C_COMPILER={cc}",
                f"-DCMAKE_CXX_COMPILER={cxx}")
            planned = run("ninja", "-C", os.path.join(parent, "build"), "-t", "commands", "child")
            if "libnibble.so" not in planned or "gtest" in planned:
                sys.exit(f"as a part of another project ({way}), unexpected rules:\n{planned[-2000:]}")
        print("install: ok")


if __name__ == "__main__":
    main(*sys.argv[1:])

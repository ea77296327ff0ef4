#!/usr/bin/env python3
"""Installs a build into an empty folder and uses it from there as a stranger would.

usage: install_test.py CMAKE BUILD VERSION CC CXX
"""

import os
import shlex
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
project(stranger LANGUAGES C)
find_package(nibble {version} REQUIRED)
add_executable(stranger stranger.c)
target_link_libraries(stranger PRIVATE nibble::nibble)
"""


def run(*command, **options):
    done = subprocess.run(command, capture_output=True, text=True, **options)
    if done.returncode != 0:
        sys.exit(f"{shlex.join(command)}: exit status {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout.strip()


def main(cmake, build, version, cc, cxx):
    with tempfile.TemporaryDirectory() as folder:
        def inside(*parts):
            return os.path.join(folder, *parts)

        prefix = inside("prefix")
        run(cmake, "--install", build, "--prefix", prefix)
        pkgconfig = next(root for root, _, names in os.walk(prefix) if "nibble.pc" in names)
        lib = os.path.dirname(pkgconfig)
        installed = sorted(os.listdir(os.path.join(prefix, "include", "nibble")))
        if "nibble.h" not in installed:
            sys.exit(f"installed headers: {installed}")

        with open(inside("stranger.c"), "w", encoding="utf-8") as f:
            f.write(PROGRAM)
        environment = dict(os.environ, PKG_CONFIG_PATH=pkgconfig)

        def flags(*arguments):
            return shlex.split(run("pkg-config", *arguments, "nibble", env=environment))

        run(cc, inside("stranger.c"), "-o", inside("shared"), *flags("--cflags", "--libs"), f"-Wl,-rpath,{lib}")
        static = ["-l:libnibble.a" if f == "-lnibble" else f for f in flags("--static", "--libs")]
        run(cxx, "-x", "c", inside("stranger.c"), "-x", "none", "-o", inside("static"), *flags("--cflags"), *static)
        with open(inside("CMakeLists.txt"), "w", encoding="utf-8") as f:
            f.write(PROJECT.format(version=version))
        run(cmake, "-S", folder, "-B", inside("build"), f"-DCMAKE_C_COMPILER={cc}", f"-DCMAKE_PREFIX_PATH={prefix}")
        run(cmake, "--build", inside("build"))

        for program in ("shared", "static", "build/stranger"):
            found = run(inside(program))
            if found != version:
                sys.exit(f"{program}: version '{found}', expected '{version}'")
        if version not in run(os.path.join(prefix, "bin", "nibble"), "--version"):
            sys.exit("the installed command does not say its version")
        print("install: ok")


if __name__ == "__main__":
    main(*sys.argv[1:])

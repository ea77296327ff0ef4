"""What a compiler needs to build C and C++ programs on the library inside this package: cc program.c $(python -m nibble.link).

    python -m nibble.link [--cflags | --libs]      both without an argument
"""
from __future__ import annotations

import pathlib
import shlex
import sys

from ._lib import lib


def include() -> str:
    """The folder that `#include <nibble/nibble.h>` is found in."""
    here = pathlib.Path(__file__).resolve().parent
    for folder in (here / "include", here.parents[2] / "include", here.parents[3] / "include"):  # in a wheel, a source tree, Debian's package
        if (folder / "nibble" / "nibble.h").exists():
            return str(folder)
    raise FileNotFoundError("nibble.h is no part of this installation")


def cflags() -> list[str]:
    return [f"-I{include()}"]


def libs() -> list[str]:
    library = lib._name
    if "/" not in library:  # where the system looks anyway
        return [f"-l:{library}"]
    return [library, f"-Wl,-rpath,{pathlib.Path(library).resolve().parent}"]


def main(arguments: list[str] | None = None) -> int:
    arguments = sys.argv[1:] if arguments is None else arguments
    if any(a not in ("--cflags", "--libs") for a in arguments):
        print(__doc__, file=sys.stderr)
        return 2
    words = (cflags() if "--cflags" in arguments or not arguments else []) + (libs() if "--libs" in arguments or not arguments else [])
    print(shlex.join(words))
    return 0


if __name__ == "__main__":
    sys.exit(main())

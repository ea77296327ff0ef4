"""The program `nibble`, as it lies in the wheel, in Debian's package or in a build."""
from __future__ import annotations

import os
import pathlib
import sys


def program() -> str | None:
    """The path of the program, where there is one."""
    here = pathlib.Path(__file__).resolve().parent
    places = [os.environ.get("NIBBLE_COMMAND"), here / "bin" / "nibble", here.parents[2] / "build" / "release" / "bin" / "nibble"]
    if here.parent.name == "dist-packages":  # as Debian's package lays it out: PREFIX/lib/python3/dist-packages, PREFIX/bin
        places.append(here.parents[3] / "bin" / "nibble")
    return next((os.fspath(p) for p in filter(None, places) if os.access(p, os.X_OK)), None)


def main() -> str:
    """Becomes the program; returns only where there is none."""
    path = program()
    if path is not None:
        os.execv(path, ["nibble", *sys.argv[1:]])
    return "nibble: the program is not part of this installation; build it or set NIBBLE_COMMAND to its path"


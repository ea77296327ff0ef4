"""The command `nibble`, as it lies in the wheel: python -m nibble."""
import os
import pathlib
import sys


def main():
    """Becomes the program; returns only where there is none."""
    here = pathlib.Path(__file__).resolve().parent
    places = [os.environ.get("NIBBLE_COMMAND"), here / "bin" / "nibble", here.parents[2] / "build" / "release" / "bin" / "nibble"]
    for program in filter(None, places):
        if os.access(program, os.X_OK):
            os.execv(program, ["nibble", *sys.argv[1:]])
    return "nibble: the program is not part of this installation; build it or set NIBBLE_COMMAND to its path"


if __name__ == "__main__":
    sys.exit(main())

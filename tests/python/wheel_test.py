#!/usr/bin/env python3
"""The wheel as a user gets it: built, made self-contained, installed into an empty environment, used from a folder elsewhere;
and beside numpy, imported in both orders. Needs PyPI.

usage: wheel_test.py SOURCE [SITE-PACKAGES-WITH-LM_EVAL]
"""
import pathlib
import subprocess
import sys
import tempfile
import zipfile

PROGRAM = """
import sys
for name in sys.argv[1:]:
    __import__(name)
import nibble, pathlib
model = nibble.load(str(pathlib.Path(nibble.__file__).parent / "share/nibble/models/prose-3.7m"))
print("".join(model.stream("It was a", max_new_tokens=4)))
"""


def run(*command, **options):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, **options)
    if done.returncode != 0:
        sys.exit(f"{command}: exit status {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def main(source, *_):
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        run(pathlib.Path(source) / "scripts" / "build-wheel.sh", folder / "wheels")
        wheels = list((folder / "wheels").glob("nibble-*.whl"))
        if len(wheels) != 1 or "-py3-none-manylinux" not in wheels[0].name:
            sys.exit(f"unexpected wheels: {wheels}")
        names = zipfile.ZipFile(wheels[0]).namelist()
        for wanted in ("nibble/py.typed", "nibble/lm_eval.py", "nibble/plot.py", "nibble/bin/nibble", "nibble/share/nibble/models/prose-3.7m/config.json"):
            if wanted not in names:
                sys.exit(f"{wheels[0].name} lacks {wanted}")
        # The tree's top builds the same.
        run(pathlib.Path(source) / "build" / "wheel-venv" / "bin" / "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w",
            folder / "plain", source)
        here, there = (zipfile.ZipFile(next(place.glob("nibble-*.whl"))).namelist()
                       for place in (folder / "plain", pathlib.Path(source) / "build" / "wheel-plain"))
        if sorted(here) != sorted(there):
            sys.exit(f"the source tree's top makes another wheel: {sorted(set(here) ^ set(there))}")
        run(sys.executable, "-m", "venv", folder / "venv")
        python = folder / "venv" / "bin" / "python"
        run(python, "-m", "pip", "install", "--quiet", wheels[0])
        first = run(python, "-c", PROGRAM, cwd=folder)
        if not run(folder / "venv" / "bin" / "nibble", "--version", cwd=folder).startswith("nibble "):
            sys.exit("the command does not say its version")
        run(folder / "venv" / "bin" / "nibble", "inspect", "builtin", "--quiet", cwd=folder)
        run(python, "-m", "pip", "install", "--quiet", "numpy")
        for order in (("numpy", "nibble"), ("nibble", "numpy")):
            if run(python, "-c", PROGRAM, *order, cwd=folder) != first:
                sys.exit(f"imported in the order {order}, another text")
        # The class for lm-evaluation-harness comes along; without that package it says what is missing.
        done = subprocess.run([str(python), "-c", "import nibble.lm_eval"], capture_output=True, text=True)
        if "pip install lm_eval" not in done.stderr:
            sys.exit(f"nibble.lm_eval without lm_eval: {done.stderr}")
        if len(sys.argv) > 2:  # site-packages of an environment that has it
            run(python, "-c", f"import sys; sys.path.append({sys.argv[2]!r}); import nibble.lm_eval as n, lm_eval.api.registry as r; "
                              "assert r.get_model('nibble') is n.NibbleLM", cwd=folder)
        print("wheel: ok")


if __name__ == "__main__":
    main(*sys.argv[1:])

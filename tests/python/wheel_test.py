#!/usr/bin/env python3
"""The wheel as a user gets it: built, made self-contained, installed into an empty environment, used from a folder elsewhere;
and beside numpy, imported in both orders. Needs PyPI.

usage: wheel_test.py SOURCE [SITE-PACKAGES ...]

The folders are site-packages of this Python with more to be tried beside it: lm_eval, torch. That of NIBBLE_INTEROP_VENV is one.
"""
import os
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


def main(source, *places):
    places = [*map(pathlib.Path, places)]
    if os.environ.get("NIBBLE_INTEROP_VENV"):
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        places += [p for p in [pathlib.Path(os.environ["NIBBLE_INTEROP_VENV"]) / "lib" / version / "site-packages"] if p.exists()]
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        run(pathlib.Path(source) / "scripts" / "build-wheel.sh", folder / "wheels")
        wheels = list((folder / "wheels").glob("nibble-*.whl"))
        if len(wheels) != 1 or "-py3-none-manylinux" not in wheels[0].name:
            sys.exit(f"unexpected wheels: {wheels}")
        names = zipfile.ZipFile(wheels[0]).namelist()
        for wanted in ("nibble/py.typed", "nibble/lm_eval.py", "nibble/plot.py", "nibble/bin/nibble", "nibble/share/nibble/models/prose-3.7m/config.json",
                       "nibble/include/nibble/nibble.h", "nibble/include/nibble/nibble.hpp", "nibble/link.py"):
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
        for site in places:  # of environments that have other packages
            has = "import importlib.util as u, sys; sys.exit(not u.find_spec(sys.argv[1]))"
            beside = dict(os.environ, PYTHONPATH=str(site))
            if subprocess.run([python, "-c", has, "lm_eval"], env=beside).returncode == 0:
                run(python, "-c", "import nibble.lm_eval as n, lm_eval.api.registry as r; assert r.get_model('nibble') is n.NibbleLM",
                    cwd=folder, env=beside)
                print(f"beside lm_eval of {site}: ok")
            if subprocess.run([python, "-c", has, "torch"], env=beside).returncode == 0:  # which brings an OpenMP runtime of its own
                for order in (("torch", "nibble"), ("nibble", "torch")):
                    if run(python, "-c", PROGRAM, *order, cwd=folder, env=beside) != first:
                        sys.exit(f"imported in the order {order}, another text")
                print(f"beside torch of {site}: ok")
        print("wheel: ok")


if __name__ == "__main__":
    main(*sys.argv[1:])

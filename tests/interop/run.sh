#!/bin/sh
# Runs one of the scripts here with the peers' virtual environment, which is made on first use and gets the packages that the
# script needs:
#   run.sh SCRIPT.py NIBBLE MODEL
# NIBBLE_INTEROP_VENV names the environment; the default is build/interop-venv of the source tree. An environment that is named is
# used as it is. Exit status 77 (skipped) when the packages cannot be had.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
script=$1
shift
venv=${NIBBLE_INTEROP_VENV:-$here/../../build/interop-venv}
if [ -z "${NIBBLE_INTEROP_VENV:-}" ]; then
  case "$script" in
    exports.py) packages="torch transformers safetensors numpy gguf bitsandbytes compressed-tensors accelerate sentencepiece loguru" ;;
    gguf_in_llama.py | real_models.py | gguf_architectures.py) packages="llama-cpp-python gguf numpy" ;;
    random_tokenizers.py) packages="tokenizers numpy" ;;
    tokenizers_random.py) packages="tokenizers sentencepiece numpy" ;;
    gguf_pre_tokenizers.py) packages="tokenizers gguf numpy" ;;
    chat_templates.py | random_templates.py) packages="transformers jinja2 numpy" ;;
    pull_and_push.py) packages="huggingface_hub numpy" ;;
    random_schemas.py | random_grammars.py) packages="jsonschema[format-nongpl] numpy" ;;
    random_architectures.py | greedy_generation.py | architecture_draws.py) packages="torch transformers safetensors numpy gguf sentencepiece" ;;
    peft_adapters.py) packages="torch transformers safetensors numpy peft" ;;
    *) packages="numpy" ;;
  esac
  # Tests that start together must not install into one environment at once.
  mkdir -p "$(dirname "$venv")"
  exec 9>"$venv.lock"
  flock 9
  if [ ! -e "$venv/made/$script" ]; then
    [ -x "$venv/bin/python" ] || python3 -m venv "$venv" || exit 77
    # With OpenBLAS (libopenblas-dev) llama.cpp multiplies quantized weights by float32 activations, as nibble's exact compute does.
    if pkg-config --exists openblas 2>/dev/null; then
      export CMAKE_ARGS="${CMAKE_ARGS:-} -DGGML_BLAS=ON -DGGML_BLAS_VENDOR=OpenBLAS -DGGML_CPU_REPACK=OFF"
    fi
    # shellcheck disable=SC2086 # a list
    "$venv/bin/pip" install --quiet $packages >&2 || exit 77
    # These ask for compilers and GPUs that unpacking does not need.
    if [ "$script" = exports.py ]; then "$venv/bin/pip" install --quiet --no-deps autoawq gptqmodel threadpoolctl >&2 || true; fi
    mkdir -p "$venv/made"
    : >"$venv/made/$script"
  fi
  exec 9>&-
fi
exec "$venv/bin/python" -B "$here/$script" "$@"

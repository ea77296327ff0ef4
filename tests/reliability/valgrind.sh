#!/bin/sh
# The C example under valgrind: quantize, load, generate and measure, without an error and without a definite leak. Valgrind tells
# programs of a processor with AVX2 and no more, so that this is also a run on such a machine.
#   valgrind.sh QUICKSTART_C SOURCE
set -eu
if ! command -v valgrind >/dev/null; then
  echo "SKIPPED: valgrind is not installed"
  exit 77
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# A narrow model and as little text as the example takes: valgrind makes everything some thirty times slower.
python3 -B "$(dirname "$0")/small_model.py" "$2/examples/models/prose-3.7m" "$work/model"
head -c 3000 "$2/examples/data/calibration.txt" >"$work/calibration.txt"
head -c 3000 "$2/examples/data/evaluation.txt" >"$work/evaluation.txt"
OMP_NUM_THREADS=1 valgrind --quiet --error-exitcode=9 --leak-check=full --errors-for-leak-kinds=definite --show-leak-kinds=definite \
  "$1" "$work/model" "$work/calibration.txt" "$work/evaluation.txt" "$work/out.safetensors"
echo "no error, no definite leak"

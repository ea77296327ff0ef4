#!/bin/sh
# Line and branch coverage of src by the fast unit tests and by the fuzz targets' seeds and corpora, with clang's source-based counters.
#   scripts/coverage.sh [JOBS]      writes build/coverage/coverage.txt, a line a file, and prints the totals
set -eu
cd "$(dirname "$0")/.."
jobs=${1:-$(nproc)}
version=$(clang++ --version | sed -n 's/.*version \([0-9]*\).*/\1/p')
cov=$(command -v llvm-cov || command -v "llvm-cov-$version")
profdata=$(command -v llvm-profdata || command -v "llvm-profdata-$version")
build=build/coverage
# The kernels are not counted: those of the release build do.
cmake --preset release
cmake --build --preset release --parallel "$jobs" --target nibble_kernels
cmake --preset coverage -DNIBBLE_KERNELS_DIR="$PWD/build/release"
cmake --build --preset coverage --parallel "$jobs" --target unit_tests

rm -rf "$build/profiles"
mkdir -p "$build/profiles"
objects=""
for program in "$build"/bin/test_*; do
  case "$program" in *test_kernels | *test_faults) continue ;; esac  # what they count is not src
  LLVM_PROFILE_FILE="$PWD/$build/profiles/$(basename "$program")-%p.profraw" "$program" --gtest_brief=1 \
    --gtest_filter='-Full*:*/Full*:Interop*:*/Interop*:Long*:*/Long*' || echo "coverage.sh: $program failed" >&2
  objects="$objects -object $program"
done
for program in "$build"/bin/fuzz_*; do
  target=$(basename "$program" | sed s/^fuzz_//)
  LLVM_PROFILE_FILE="$PWD/$build/profiles/fuzz_$target-%p.profraw" "$program" --mutations 200 "$build/tests/fuzz/seeds/$target" \
    "tests/fuzz/regressions/$target" "build/fuzz/corpus/$target" >/dev/null || echo "coverage.sh: $program failed" >&2
  objects="$objects -object $program"
done
"$profdata" merge -sparse "$build"/profiles/*.profraw -o "$build/all.profdata"
first=$(printf '%s\n' "$build"/bin/test_* | head -n 1)
# shellcheck disable=SC2086 # a list of arguments
"$cov" report "$first" $objects -instr-profile="$build/all.profdata" -show-branch-summary -ignore-filename-regex='(^/usr/|tests/|kernels/|\.inc$)' \
  >"$build/coverage.txt"
tail -n 1 "$build/coverage.txt"
"$profdata" merge -sparse "$build"/profiles/fuzz_*.profraw -o "$build/fuzz.profdata"
# shellcheck disable=SC2086
"$cov" report "$first" $objects -instr-profile="$build/fuzz.profdata" -show-branch-summary -ignore-filename-regex='(^/usr/|tests/|kernels/|\.inc$)' \
  >"$build/coverage-fuzz.txt"
tail -n 1 "$build/coverage-fuzz.txt"

#!/bin/sh
# A minute of libFuzzer, the same each time: every target with a fixed seed, a fixed number of inputs and no corpus but the shipped seeds,
# so that for one tree it either always finds something or never does. What .ci/run ends with.
#   tests/fuzz/smoke.sh [JOBS]
# The build goes to build/fuzz and its output to build/fuzz-smoke.log. The kernels, half of the work, are taken from build/release where
# tests/run.sh has just built them.
set -eu
cd "$(dirname "$0")/../.."
jobs=${1:-$(nproc)}
log=build/fuzz-smoke.log
mkdir -p build

# A machine that can have no clang has no smoke, and says so; what is found by one that has it fails.
if ! scripts/install-deps.sh --fuzz >"$log" 2>&1; then
  tail -n 5 "$log" >&2
  echo "fuzz smoke: left out, clang and its libFuzzer could not be installed"
  exit 0
fi
started=$(date +%s)
kernels=""
if cmake --build --preset release --target nibble_kernels --parallel "$jobs" >"$log" 2>&1; then kernels="$PWD/build/release"; fi
{ cmake --preset fuzz -DNIBBLE_KERNELS_DIR="$kernels" && cmake --build --preset fuzz --parallel "$jobs"; } >"$log" 2>&1 || { tail -n 60 "$log" >&2; exit 1; }
built=$(date +%s)

# Two to four seconds of processor time each; more inputs than there are seeds.
inputs_of() {
  case $1 in
    capi) echo 200 ;;
    calls) echo 300 ;;
    convert) echo 250 ;;
    recode) echo 450 ;;
    native) echo 600 ;;
    gguf) echo 800 ;;
    index | manifest) echo 2500 ;;
    quantized) echo 3500 ;;
    config | sentencepiece | tokenizer_json) echo 5000 ;;
    *) echo 12000 ;;
  esac
}

one='
target=$1 inputs=$2 out=build/fuzz/smoke/$1
rm -rf "$out"
mkdir -p "$out/corpus"
set -- -seed=1 -runs="$inputs" -reload=0 -max_len=65536 -timeout=300 -rss_limit_mb=2048 -print_final_stats=1 -artifact_prefix="$out/"
dictionary=tests/fuzz/dictionaries/$target.dict
if [ -f "$dictionary" ]; then set -- "$@" -dict="$dictionary"; fi
regressions=tests/fuzz/regressions/$target
if [ ! -d "$regressions" ]; then regressions=""; fi
if OMP_NUM_THREADS=1 build/fuzz/bin/fuzz_$target "$@" "$out/corpus" build/fuzz/tests/fuzz/seeds/$target $regressions >"$out/log" 2>&1; then
  echo "$target ok $(sed -n "s/^stat::number_of_executed_units: *//p" "$out/log")"
else
  echo "$target CRASHED 0"
fi
'
for program in build/fuzz/bin/fuzz_*; do
  target=${program#build/fuzz/bin/fuzz_}
  echo "$target $(inputs_of "$target")"
done | xargs -P "$jobs" -L 1 sh -c "$one" sh >build/fuzz/smoke.txt
ended=$(date +%s)

for target in $(sed -n 's/ CRASHED .*//p' build/fuzz/smoke.txt); do
  echo "smoke.sh: fuzz_$target failed; the input lies in build/fuzz/smoke/$target:" >&2
  tail -n 60 "build/fuzz/smoke/$target/log" >&2
done
awk -v build=$((built - started)) -v run=$((ended - built)) '
  { n += $3 } $2 != "ok" { bad++ }
  END { printf "fuzz smoke: %d targets, %d inputs, %d failed; build %d s, run %d s\n", NR, n, bad, build, run; exit bad > 0 || NR == 0 }' build/fuzz/smoke.txt

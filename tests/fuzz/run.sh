#!/bin/sh
# Builds the libFuzzer targets and runs each for a number of minutes, JOBS at a time; ends with a line a target.
#   tests/fuzz/run.sh MINUTES [JOBS] [TARGET...]
set -eu
cd "$(dirname "$0")/../.."
seconds=$(awk "BEGIN { printf \"%d\", $1 * 60 }")
jobs=${2:-$(nproc)}
shift
if [ $# -gt 0 ]; then shift; fi

cmake --preset fuzz
cmake --build --preset fuzz --parallel "$jobs"
if [ $# -eq 0 ]; then
  for program in build/fuzz/bin/fuzz_*; do set -- "$@" "$(basename "$program" | sed s/^fuzz_//)"; done
fi

one='
target=$1 seconds=$2
corpus=build/fuzz/corpus/$target crashes=build/fuzz/crashes/$target
mkdir -p "$corpus" "$crashes"
dictionary=tests/fuzz/dictionaries/$target.dict
set -- -max_total_time="$seconds" -timeout=20 -rss_limit_mb=2048 -max_len=65536 -print_final_stats=1 -artifact_prefix="$crashes/"
if [ -f "$dictionary" ]; then set -- "$@" -dict="$dictionary"; fi
regressions=tests/fuzz/regressions/$target
if [ ! -d "$regressions" ]; then regressions=""; fi
build/fuzz/bin/fuzz_$target "$@" "$corpus" build/fuzz/tests/fuzz/seeds/$target $regressions >"build/fuzz/$target.log" 2>&1 && result=ok || result=CRASHED
runs=$(sed -n "s/^stat::number_of_executed_units: *//p" "build/fuzz/$target.log")
cover=$(sed -n "s/.*cov: \([0-9]*\).*/\1/p" "build/fuzz/$target.log" | tail -n 1)
echo "$target: $result, ${runs:-0} inputs, ${cover:-0} edges"
'
failed=0
printf '%s\n' "$@" | xargs -P "$jobs" -I{} sh -c "$one" sh {} "$seconds" | tee build/fuzz/summary.txt
if grep -q CRASHED build/fuzz/summary.txt; then failed=1; fi
exit $failed

#!/bin/sh
# Some seconds of libFuzzer under the sanitizers, the same each time: a fixed seed, a fixed number of inputs and no corpus but the shipped
# seeds and regressions, so that for one tree it either always finds something or never does. Test fuzz.smoke.TARGET.
#   tests/fuzz/smoke.sh BUILD TARGET
# BUILD is a build folder of the presets sanitized or fuzz. An input that ends the target lies in BUILD/smoke/TARGET afterwards.
set -eu
build=$1 target=$2
here=$(cd "$(dirname "$0")" && pwd)
out=$build/smoke/$target

# Two to four seconds of processor time each in an optimized build; more inputs than there are seeds.
case $target in
  capi) inputs=200 ;;
  calls) inputs=300 ;;
  convert) inputs=250 ;;
  recode) inputs=450 ;;
  native) inputs=600 ;;
  gguf) inputs=800 ;;
  index | manifest) inputs=2500 ;;
  quantized) inputs=3500 ;;
  config | sentencepiece | tokenizer_json) inputs=5000 ;;
  *) inputs=12000 ;;
esac

rm -rf "$out"
mkdir -p "$out/corpus"
set -- -seed=1 -runs=$inputs -reload=0 -max_len=65536 -timeout=300 -rss_limit_mb=2048 -print_final_stats=1 -artifact_prefix="$out/"
if [ -f "$here/dictionaries/$target.dict" ]; then set -- "$@" -dict="$here/dictionaries/$target.dict"; fi
set -- "$@" "$out/corpus" "$build/tests/fuzz/seeds/$target"
if [ -d "$here/regressions/$target" ]; then set -- "$@" "$here/regressions/$target"; fi
if ! OMP_NUM_THREADS=1 "$build/bin/fuzz_$target" "$@" >"$out/log" 2>&1; then
  tail -n 60 "$out/log"
  exit 1
fi
ran=$(sed -n 's/^stat::number_of_executed_units: *//p' "$out/log")
echo "$target: $ran inputs"
# Seeds are among the inputs, so a run that ends early says too little.
[ "$ran" -ge "$inputs" ]

#!/bin/sh
# Line and branch coverage of src, with clang's source-based counters: by the fuzz targets' seeds, regressions and corpora; by these and the
# fast unit tests; and by these and the fast tests of the command and of the Python package.
#   scripts/coverage.sh [--fuzz | --units] [--report] [--missing REGEX] [JOBS]
# writes build/coverage/coverage-fuzz.txt, coverage-units.txt and coverage.txt, a line a file (scripts/coverage_table.py), and prints their
# totals. --fuzz: only the first, which needs no test programs; --units: only the first two. --report: of profiles that are there already.
# --missing: also the lines and branches that were not reached of the files that match. FUZZ_CORPUS: where the corpora lie (build/fuzz/corpus).
# About 25 minutes on two cores with an empty compiler cache, 10 of them for the tests.
set -eu
cd "$(dirname "$0")/.."
part=all run=yes missing='^$'
while [ $# -gt 0 ]; do
  case $1 in
    --fuzz) part=fuzz ;;
    --units) part=units ;;
    --report) run=no ;;
    --missing) missing=$2; shift ;;
    *) break ;;
  esac
  shift
done
jobs=${1:-$(nproc)}
version=$(clang++ --version | sed -n 's/.*version \([0-9]*\).*/\1/p')
cov=$(command -v llvm-cov || command -v "llvm-cov-$version")
profdata=$(command -v llvm-profdata || command -v "llvm-profdata-$version")
build=$PWD/build/coverage
profiles=$build/profiles
case $part in
  fuzz) targets="fuzz_targets" ;;
  units) targets="fuzz_targets unit_tests" ;;
  all) targets="fuzz_targets unit_tests nibble_command nibble" ;;
esac

# What reads bytes or texts that a stranger wrote.
readers=$(git ls-files 'src/base/json_*.cpp' 'src/base/record_file.cpp' 'src/io/safetensors*.cpp' 'src/io/gguf_reader.cpp' 'src/io/gguf_types.cpp' \
  'src/dialects/*_read.cpp' 'src/dialects/*_layout.cpp' 'src/dialects/*_dialect.cpp' 'src/dialects/gguf.cpp' 'src/dialects/gguf_config.cpp' \
  'src/dialects/gguf_blocks.cpp' 'src/dialects/gguf_vocab*.cpp' 'src/dialects/hf_directory.cpp' 'src/dialects/hf_checkpoint.cpp' \
  'src/dialects/huggingface.cpp' 'src/dialects/native_format.cpp' 'src/dialects/llama2c.cpp' 'src/dialects/tokenizer_export.cpp' \
  'src/text/tokenizer_*.cpp' 'src/text/jinja*.cpp' 'src/text/protobuf.cpp' 'src/text/charsmap.cpp' 'src/text/normalizer*.cpp' \
  'src/text/pre_tokenizer.cpp' 'src/text/post_processor.cpp' 'src/text/decoder.cpp' 'src/text/pattern.cpp' 'src/text/regex_syntax.cpp' \
  'src/model/grammar_*.cpp' 'src/model/json_*.cpp' 'src/model/schema_rules.cpp' 'src/model/lora.cpp' 'src/model/session_file.cpp' \
  'src/model/config_reader.cpp' 'src/eval/yaml.cpp' 'src/eval/fields.cpp' 'src/eval/own_task*.cpp' 'src/eval/documents.cpp' \
  'src/pipeline/journal.cpp' 'src/quant/recipe.cpp' 'src/quant/options.cpp' | grep -v -e _writer -e json_text)

# counted NAME COMMAND...: runs it with its counters in profiles/NAME*
counted() {
  name=$1
  shift
  LLVM_PROFILE_FILE="$profiles/$name.profraw" "$@" || echo "coverage.sh: $* failed" >&2
}

if [ $run = yes ]; then
  # The kernels are not counted: those of the release build do.
  cmake --preset release
  cmake --build --preset release --parallel "$jobs" --target nibble_kernels
  cmake --preset coverage -DNIBBLE_KERNELS_DIR="$PWD/build/release"
  for target in $targets; do cmake --build --preset coverage --parallel "$jobs" --target "$target"; done
  rm -rf "$profiles"
  mkdir -p "$profiles"
  for program in "$build"/bin/fuzz_*; do
    target=$(basename "$program" | sed s/^fuzz_//)
    counted "fuzz_$target" "$program" "$build/tests/fuzz/seeds/$target" "tests/fuzz/regressions/$target" \
      "${FUZZ_CORPUS:-build/fuzz/corpus}/$target" >"$build/fuzz_$target.log"
  done
  if [ $part != fuzz ]; then
    for program in "$build"/bin/test_*; do
      case $program in *test_kernels) continue ;; esac  # what it counts is not src
      counted "unit_$(basename "$program")-%p" "$program" --gtest_brief=1 --gtest_filter='-Full*:*/Full*:Interop*:*/Interop*:Long*:*/Long*'
    done
  fi
  # Hundreds of processes: those of one program add to the same few files.
  if [ $part = all ]; then
    counted "whole-%4m" ctest --test-dir "$build" -L '^fast$' -R '^(cli|python)[.]' --parallel "$jobs" --no-label-summary --output-on-failure
  fi
fi

# report NAME PROFILES PROGRAMS: the table of all of src to NAME.txt, and its totals
report() {
  # shellcheck disable=SC2086 # lists of words
  "$profdata" merge -sparse $2 -o "$build/$1.profdata"
  objects=""
  for program in $3; do objects="$objects -object $program"; done
  # shellcheck disable=SC2086
  "$cov" export -format=lcov $objects -instr-profile="$build/$1.profdata" -ignore-filename-regex='^/usr/' |
    python3 -B scripts/coverage_table.py "$1" --missing "$missing" $readers >"$build/$1.txt"
  grep "^$1:" "$build/$1.txt"
}
report coverage-fuzz "$profiles/fuzz_*" "$build/bin/fuzz_*"
if [ $part != fuzz ]; then report coverage-units "$profiles/fuzz_* $profiles/unit_*" "$build/bin/fuzz_* $build/bin/test_*"; fi
if [ $part = all ]; then report coverage "$profiles/*" "$build/bin/* $build/lib/libnibble.so"; fi

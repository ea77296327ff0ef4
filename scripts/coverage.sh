#!/bin/sh
# Line and branch coverage of src by the fast unit tests and by the fuzz targets' seeds and corpora, with clang's source-based counters.
#   scripts/coverage.sh [--fuzz] [JOBS]      writes build/coverage/coverage.txt and coverage-fuzz.txt, a line a file, and prints the totals
# of src and of the readers of files. --fuzz: only what the fuzz targets reach, which needs no test programs.
set -eu
cd "$(dirname "$0")/.."
tests=yes
if [ "${1:-}" = --fuzz ]; then tests=no; shift; fi
jobs=${1:-$(nproc)}
version=$(clang++ --version | sed -n 's/.*version \([0-9]*\).*/\1/p')
cov=$(command -v llvm-cov || command -v "llvm-cov-$version")
profdata=$(command -v llvm-profdata || command -v "llvm-profdata-$version")
build=build/coverage
# The kernels are not counted: those of the release build do.
cmake --preset release
cmake --build --preset release --parallel "$jobs" --target nibble_kernels
cmake --preset coverage -DNIBBLE_KERNELS_DIR="$PWD/build/release"
if [ $tests = yes ]; then targets="unit_tests"; else targets="fuzz_targets"; fi
cmake --build --preset coverage --parallel "$jobs" --target $targets

# What reads bytes or texts that a stranger wrote.
readers=$(git ls-files 'src/base/json_*.cpp' 'src/base/record_file.cpp' 'src/io/safetensors*.cpp' 'src/io/gguf_reader.cpp' 'src/io/gguf_types.cpp' \
  'src/dialects/*_read.cpp' 'src/dialects/*_layout.cpp' 'src/dialects/*_dialect.cpp' 'src/dialects/gguf.cpp' 'src/dialects/gguf_config.cpp' \
  'src/dialects/gguf_blocks.cpp' 'src/dialects/gguf_vocab*.cpp' 'src/dialects/hf_directory.cpp' 'src/dialects/hf_checkpoint.cpp' \
  'src/dialects/huggingface.cpp' 'src/dialects/native_format.cpp' 'src/dialects/llama2c.cpp' 'src/dialects/tokenizer_export.cpp' \
  'src/text/tokenizer_*.cpp' 'src/text/jinja*.cpp' 'src/text/protobuf.cpp' 'src/text/charsmap.cpp' 'src/text/normalizer*.cpp' \
  'src/text/pre_tokenizer.cpp' 'src/text/post_processor.cpp' 'src/text/decoder.cpp' 'src/text/pattern.cpp' 'src/text/regex_syntax.cpp' \
  'src/model/grammar_*.cpp' 'src/model/json_*.cpp' 'src/model/schema_rules.cpp' 'src/model/lora.cpp' 'src/model/session_file.cpp' \
  'src/model/config_reader.cpp' 'src/eval/yaml.cpp' 'src/eval/own_task*.cpp' 'src/eval/documents.cpp' 'src/pipeline/journal.cpp' \
  'src/quant/recipe.cpp' 'src/quant/options.cpp' | grep -v -e _writer -e json_text)

rm -rf "$build/profiles"
mkdir -p "$build/profiles"
objects=""
if [ $tests = yes ]; then
  for program in "$build"/bin/test_*; do
    case "$program" in *test_kernels | *test_faults) continue ;; esac  # what they count is not src
    LLVM_PROFILE_FILE="$PWD/$build/profiles/$(basename "$program")-%p.profraw" "$program" --gtest_brief=1 \
      --gtest_filter='-Full*:*/Full*:Interop*:*/Interop*:Long*:*/Long*' || echo "coverage.sh: $program failed" >&2
    objects="$objects -object $program"
  done
fi
for program in "$build"/bin/fuzz_*; do
  target=$(basename "$program" | sed s/^fuzz_//)
  LLVM_PROFILE_FILE="$PWD/$build/profiles/fuzz_$target-%p.profraw" "$program" --mutations 200 "$build/tests/fuzz/seeds/$target" \
    "tests/fuzz/regressions/$target" "${FUZZ_CORPUS:-build/fuzz/corpus}/$target" >/dev/null || echo "coverage.sh: $program failed" >&2
  objects="$objects -object $program"
done

first=$(printf '%s\n' "$build"/bin/fuzz_* | head -n 1)
# report PROFILES NAME TITLE: the table of all of src to NAME, and the totals of src and of the readers
report() {
  # shellcheck disable=SC2086 # lists of words
  "$profdata" merge -sparse $1 -o "$build/$2.profdata"
  # shellcheck disable=SC2086
  "$cov" report "$first" $objects -instr-profile="$build/$2.profdata" -show-branch-summary \
    -ignore-filename-regex='(^/usr/|tests/|kernels/|\.inc$)' >"$build/$2.txt"
  # shellcheck disable=SC2086
  "$cov" report "$first" $objects -instr-profile="$build/$2.profdata" -show-branch-summary $readers >"$build/$2-readers.txt"
  for part in "$2" "$2-readers"; do
    tail -n 1 "$build/$part.txt" | awk -v name="$part" '{ printf "%s: %s of the lines, %s of the branches\n", name, $10, $13 }'
  done
}
if [ $tests = yes ]; then report "$build/profiles/*.profraw" coverage; fi
report "$build/profiles/fuzz_*.profraw" coverage-fuzz

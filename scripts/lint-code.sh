#!/bin/sh
# cppcheck over src, and clang-tidy (.clang-tidy) over the files that changed since a commit, or over all of src.
#   scripts/lint-code.sh [--tidy-all | --tidy-since COMMIT | --tidy-readers] [--fast] [BUILD]
# BUILD: a configured folder, build/release by default. --tidy-readers: the files that read what strangers wrote first. --fast: without
# the static analyzer, which takes three quarters of the time. What is missing on this machine is left out, saying so; 77 when all is.
set -eu
cd "$(dirname "$0")/.."
tidy=since
since=HEAD
checks=
readers='src/base/json_parse.cpp src/io/safetensors.cpp src/io/gguf_reader.cpp src/text/tokenizer_json.cpp src/text/protobuf.cpp src/eval/yaml.cpp'
while [ $# -gt 0 ]; do
  case "$1" in
    --tidy-all) tidy=all ;;
    --tidy-readers) tidy=readers ;;
    --fast) checks=--checks=-clang-analyzer-* ;;
    --tidy-since) since=$2; shift ;;
    -h | --help) sed -n '2,5s/^# \{0,1\}//p' "$0"; exit 0 ;;
    -*) echo "lint-code.sh: unknown argument '$1'" >&2; exit 2 ;;
    *) break ;;
  esac
  shift
done
build=${1:-build/release}
failed=0
ran=0

if command -v cppcheck >/dev/null; then
  # Two checks do not understand the code they name: Result's operators, and members that a constructor's body sets through a function.
  # tests/lint/cppcheck.txt lists single findings that are wrong, with the reason.
  mkdir -p "$build/cppcheck"  # what did not change is not looked at again
  cppcheck --quiet --error-exitcode=1 --inline-suppr --std=c++20 --language=c++ --enable=warning,portability --max-configs=1 \
           --suppress=uninitMemberVar --suppress=internalAstError --suppress=syntaxError --suppress=toomanyconfigs \
           --suppressions-list=tests/lint/cppcheck.txt --cppcheck-build-dir="$build/cppcheck" -I src -I include -j "$(nproc)" src || failed=1
  ran=1
  echo "cppcheck: done"
else
  echo "cppcheck is not installed: left out"
fi

if command -v clang-tidy >/dev/null; then
  if [ "$tidy" = all ]; then files=$(git ls-files 'src/*.cpp')
  elif [ "$tidy" = readers ]; then files=$readers
  else files=$(git diff --name-only --diff-filter=AM "$since" -- 'src/*.cpp'); fi
  if [ ! -f "$build/compile_commands.json" ]; then
    echo "lint-code.sh: $build is not configured: cmake --preset release" >&2
    exit 2
  fi
  if [ -n "$files" ]; then
    # shellcheck disable=SC2086 # a list of files
    printf '%s\n' $files | xargs -P "$(nproc)" -n 1 clang-tidy --quiet --warnings-as-errors='*' $checks \
      --extra-arg=-Wno-unknown-warning-option -p "$build" || failed=1
  fi
  ran=1
  echo "clang-tidy: $(printf '%s\n' "$files" | grep -c . || true) files"
else
  echo "clang-tidy is not installed: left out"
fi
if [ $ran = 0 ]; then exit 77; fi
exit $failed

#!/bin/sh
# cppcheck over src, and clang-tidy (.clang-tidy) over the files that changed since a commit, or over all of src.
#   scripts/lint-code.sh [--tidy-all | --tidy-since COMMIT] [BUILD]      BUILD: a configured folder, build/release by default
# What is missing on this machine is left out, saying so.
set -eu
cd "$(dirname "$0")/.."
tidy=since
since=HEAD
while [ $# -gt 0 ]; do
  case "$1" in
    --tidy-all) tidy=all ;;
    --tidy-since) since=$2; shift ;;
    -h | --help) sed -n '2,4s/^# \{0,1\}//p' "$0"; exit 0 ;;
    -*) echo "lint-code.sh: unknown argument '$1'" >&2; exit 2 ;;
    *) break ;;
  esac
  shift
done
build=${1:-build/release}
failed=0

if command -v cppcheck >/dev/null; then
  # unusedStructMember, noExplicitConstructor and the like are about style; the two checks below do not understand the code they name:
  # Result's operators, and members that a constructor's body sets through a function.
  cppcheck --quiet --error-exitcode=1 --inline-suppr --std=c++20 --language=c++ --enable=warning,portability --max-configs=1 \
           --suppress=uninitMemberVar --suppress=internalAstError --suppress=syntaxError -I src -I include \
           -j "$(nproc)" src || failed=1
  echo "cppcheck: done"
else
  echo "cppcheck is not installed: left out"
fi

if command -v clang-tidy >/dev/null; then
  if [ "$tidy" = all ]; then files=$(git ls-files 'src/*.cpp'); else files=$(git diff --name-only --diff-filter=AM "$since" -- 'src/*.cpp'); fi
  if [ ! -f "$build/compile_commands.json" ]; then
    echo "lint-code.sh: $build is not configured: cmake --preset release" >&2
    exit 2
  fi
  if [ -n "$files" ]; then
    # shellcheck disable=SC2086 # a list of files
    printf '%s\n' $files | xargs -P "$(nproc)" -n 4 clang-tidy --quiet -p "$build" || failed=1
  fi
  echo "clang-tidy: $(printf '%s\n' "$files" | grep -c . || true) files"
else
  echo "clang-tidy is not installed: left out"
fi
exit $failed

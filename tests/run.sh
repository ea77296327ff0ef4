#!/bin/sh
# Installs what is missing, builds, and runs every test; ends with ctest's own summary. Debian 12, as root or with sudo.
#   tests/run.sh [--label REGEX] [--no-install] [--no-sanitizers] [--jobs N] [--fuzz MINUTES] [-- CTEST-ARGUMENTS]
# --label REGEX      only tests of these labels (fast, full, interop, long); the default is fast and full
# --no-install       take the machine as it is
# --no-sanitizers    leave out the build with the address and undefined-behaviour sanitizers: the unit tests and libFuzzer's short runs
# --fuzz MINUTES     instead of the tests: build the libFuzzer targets with clang and run each for so long; what crashes one is
#                    left in build/fuzz/crashes/TARGET
set -eu
cd "$(dirname "$0")/.."

labels='^(fast|full)$'
install=yes
sanitizers=yes
fuzz=0
jobs=$(nproc)
while [ $# -gt 0 ]; do
  case "$1" in
    --label) labels="^($2)\$"; shift ;;
    --no-install) install=no ;;
    --no-sanitizers) sanitizers=no ;;
    --jobs) jobs=$2; shift ;;
    --fuzz) fuzz=$2; shift ;;
    --) shift; break ;;
    -h | --help) sed -n '2,9s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) echo "tests/run.sh: unknown argument '$1'; try --help" >&2; exit 2 ;;
  esac
  shift
done

if [ "$install" = yes ]; then
  # The sanitized build wants clang's libFuzzer; a machine that can have none does without.
  scripts/install-deps.sh --fuzz || { [ "$fuzz" = 0 ] && scripts/install-deps.sh --test; }
fi
if [ "$fuzz" != 0 ]; then exec tests/fuzz/run.sh "$fuzz" "$jobs"; fi
# A real model, for the tests that run one; without it they skip, saying so.
if [ -z "${NIBBLE_SMOLLM2:-}" ]; then
  if gguf=$(scripts/fetch-smollm2.sh); then export NIBBLE_SMOLLM2="$gguf"; fi
fi

cmake --preset release
sanitized=""
if [ "$sanitizers" = yes ]; then
  # Both builds link the same objects of the vector kernels.
  cmake --build --preset release --target nibble_kernels --parallel "$jobs"
  preset=sanitized
  mkdir -p build
  if ! echo 'extern "C" int LLVMFuzzerTestOneInput(const unsigned char*, unsigned long) { return 0; }' |
    clang++ -fsanitize=fuzzer,address -x c++ - -o build/has-libfuzzer 2>/dev/null; then
    echo "tests/run.sh: no clang++ with libFuzzer here: the sanitizers' build is g++'s, and fuzz targets run without it" >&2
    preset=asan-ubsan
  fi
  sanitized="$PWD/build/$preset"
  cmake --preset "$preset" -DNIBBLE_KERNELS_DIR="$PWD/build/release"
  cmake --build --preset "$preset" --target unit_tests --parallel "$jobs"
fi
cmake --preset release -DNIBBLE_SANITIZED_DIR="$sanitized"
cmake --build --preset release --parallel "$jobs"

# Last, so that its summary is the last thing printed and its result is ours.
exec ctest --test-dir build/release --output-on-failure --no-label-summary --no-tests=error --parallel "$jobs" -L "$labels" "$@"

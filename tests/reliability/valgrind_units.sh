#!/bin/sh
# The unit tests of what reads strangers' bytes under valgrind's memcheck: no read of a byte that nobody wrote. Beside the
# memory sanitizer (preset msan), which knows more of our code and nothing of what the libraries that we use do.
#   valgrind_units.sh BIN [TEST...]        BIN: the folder of the test programs
set -eu
if ! command -v valgrind >/dev/null; then
  echo "SKIPPED: valgrind is not installed"
  exit 77
fi
bin=$1
shift
if [ $# -eq 0 ]; then set -- tensor io text base dialects; fi
for test in "$@"; do
  # Left out: tests that measure time or count on real ones, and those that take all memory on purpose.
  OMP_NUM_THREADS=1 valgrind --quiet --error-exitcode=9 --leak-check=no --trace-children=no "$bin/test_$test" --gtest_brief=1 \
    --gtest_filter='-Full*:*/Full*:Interop*:*/Interop*:Long*:*/Long*:*Linear*:*Speed*:*Time*:*Team*:*Parallel*:*Fork*:*Huge*'
  echo "$test: no byte read that was not written"
done

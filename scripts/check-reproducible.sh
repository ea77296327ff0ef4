#!/bin/sh
# Builds the same sources twice, in folders of different names and without a compiler cache, and compares every byte of what they made.
#   scripts/check-reproducible.sh [JOBS] [TARGET...]      default: all processors; the libraries and the command
set -eu
cd "$(dirname "$0")/.."
jobs=${1:-$(nproc)}
if [ $# -gt 0 ]; then shift; fi
if [ $# -eq 0 ]; then set -- nibble nibble_static nibble_command; fi

work=$(mktemp -d "${TMPDIR:-/tmp}/nibble-reproducible-XXXXXX")
trap 'rm -rf "$work"' EXIT
# As a release is packed: the files under version control, changed or not.
git ls-files -z | tar --null -T - -cf "$work/sources.tar"
for place in one another/and-longer; do
  mkdir -p "$work/$place"
  tar -xf "$work/sources.tar" -C "$work/$place"
  cmake -S "$work/$place" -B "$work/$place/build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DNIBBLE_BUILD_TESTS=OFF -DNIBBLE_BUILD_BENCH=OFF \
        -DCCACHE_PROGRAM= >"$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }
  cmake --build "$work/$place/build" --parallel "$jobs" --target "$@" >"$work/log" 2>&1 || { tail -n 30 "$work/log" >&2; exit 1; }
done

hashes() {
  (cd "$work/$1/build" && find . -type f \( -name '*.o' -o -name '*.a' -o -name '*.so*' -o -path './bin/*' \) -exec sha256sum {} + | sort -k 2)
}
hashes one >"$work/one.txt"
hashes another/and-longer >"$work/another.txt"
count=$(wc -l <"$work/one.txt")
if [ "$count" -eq 0 ]; then
  echo "check-reproducible: nothing was built" >&2
  exit 1
fi
if ! diff "$work/one.txt" "$work/another.txt"; then
  echo "check-reproducible: the two builds differ" >&2
  exit 1
fi
echo "$count files (objects, libraries, programs): the same bytes in both builds"
grep -E '(\.so|\.a|bin/nibble)' "$work/one.txt" | sed 's/^/  /' || true

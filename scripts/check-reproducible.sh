#!/bin/sh
# Builds the same sources twice, in folders of different names and without a compiler cache, and compares every byte of what they made.
#   scripts/check-reproducible.sh [--in FOLDER] [JOBS] [TARGET...]      default: all processors; the libraries and the command
# --in FOLDER: builds there and leaves it, so that a run that was stopped goes on where it was; the sources stay those of the first run.
set -eu
usage() { sed -n '2,4s/^# \{0,1\}//p' "$0"; }
folder=
case "${1:-}" in
  --in)
    if [ $# -lt 2 ]; then usage >&2; exit 2; fi
    mkdir -p "$2"
    folder=$(CDPATH='' cd -- "$2" && pwd)
    shift 2 ;;
  -h | --help) usage; exit 0 ;;
  -*) echo "check-reproducible: unknown argument '$1'" >&2; exit 2 ;;
esac
jobs=${1:-$(nproc)}
case "$jobs" in '' | *[!0-9]*) echo "check-reproducible: '$jobs' is no number of jobs" >&2; exit 2 ;; esac
if [ $# -gt 0 ]; then shift; fi
if [ $# -eq 0 ]; then set -- nibble nibble_static nibble_command; fi

if [ -n "$folder" ]; then
  work=$folder
else
  work=$(mktemp -d "${TMPDIR:-/tmp}/nibble-reproducible-XXXXXX")
  work=$(CDPATH='' cd -- "$work" && pwd)
  trap 'rm -rf "$work"' EXIT
fi
CDPATH='' cd -- "$(dirname -- "$0")/.."
if [ ! -f "$work/sources.tar" ]; then
  # As a release is packed: the files under version control, changed or not; of an unpacked release, all files but builds.
  if git rev-parse --is-inside-work-tree >/dev/null 2>&1; then
    git ls-files -z | xargs -0 sh -c 'for file; do if [ -e "$file" ]; then printf "%s\0" "$file"; fi; done' sh |
      tar --null -T - -cf "$work/sources.tar.part"
  else
    tar --exclude=./build -cf "$work/sources.tar.part" .
  fi
  mv "$work/sources.tar.part" "$work/sources.tar"
fi
for place in one another/and-longer; do
  if [ ! -f "$work/$place/build/build.ninja" ]; then
    mkdir -p "$work/$place"
    tar -xf "$work/sources.tar" -C "$work/$place"
    cmake -S "$work/$place" -B "$work/$place/build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DNIBBLE_BUILD_TESTS=OFF -DNIBBLE_BUILD_BENCH=OFF \
          -DCCACHE_PROGRAM= >"$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }
  fi
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

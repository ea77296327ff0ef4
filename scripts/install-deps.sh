#!/bin/sh
# Installs what nibble is built from, where something is missing (Debian 12; as root or with sudo).
#   scripts/install-deps.sh [--build | --test | --aarch64] [--dry-run]
# --build: to compile the library and the command; --test (the default): also what the tests and benchmarks need;
# --aarch64: also the cross compiler, the arm64 libraries and qemu. --dry-run only prints what is missing.
set -eu

# docs/dependencies.md says what each is for.
build="g++ cmake ninja-build pkg-config libeigen3-dev libxsimd-dev libfmt-dev libsimdjson-dev libzstd-dev libpcre2-dev
       libutf8proc-dev libcli11-dev"
test="libgtest-dev libbenchmark-dev python3 binutils"
cross="g++-aarch64-linux-gnu qemu-user"
arm64="libfmt-dev libsimdjson-dev libzstd-dev libpcre2-dev libutf8proc-dev libgtest-dev"

wanted="$build $test"
dry_run=no
foreign=no
for argument in "$@"; do
  case "$argument" in
    --build) wanted="$build" ;;
    --test) ;;
    --aarch64)
      foreign=yes
      wanted="$wanted $cross"
      for package in $arm64; do wanted="$wanted $package:arm64"; done
      ;;
    --dry-run) dry_run=yes ;;
    *)
      echo "install-deps.sh: unknown argument '$argument'" >&2
      exit 2
      ;;
  esac
done

if ! command -v dpkg-query >/dev/null; then
  echo "install-deps.sh: this is no Debian; please install the equivalents of: $wanted" >&2
  exit 1
fi

installed=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n${db:Status-Status} ${Package}:${Architecture}\n' 2>/dev/null)
missing=""
for package in $wanted; do
  printf '%s\n' "$installed" | grep -qxF "installed $package" || missing="$missing $package"
done
if [ -z "$missing" ]; then exit 0; fi
if [ "$dry_run" = yes ]; then
  echo "missing:$missing"
  exit 0
fi

if [ "$(id -u)" -eq 0 ]; then
  as_root=""
elif command -v sudo >/dev/null; then
  as_root="sudo"
else
  echo "install-deps.sh: neither root nor sudo; please have these installed:$missing" >&2
  exit 1
fi

echo "installing:$missing"
if [ "$foreign" = yes ]; then $as_root dpkg --add-architecture arm64; fi
$as_root apt-get -q update
# shellcheck disable=SC2086 # a list of words
$as_root env DEBIAN_FRONTEND=noninteractive apt-get -qy -o Dpkg::Use-Pty=0 install --no-install-recommends $missing

#!/bin/sh
# Installs what nibble is built from, where something is missing (Debian 12; as root or with sudo).
#   scripts/install-deps.sh [--build | --test | --fuzz | --aarch64] [--dry-run]
# --fuzz: also what links the fuzz targets; --build: to compile the library and the command; --test (the default): also what the tests and benchmarks need;
# --aarch64: also the cross compiler and qemu, and Debian's arm64 libraries, unpacked under build/aarch64-root: some of their
# development packages cannot be installed beside this machine's own. --dry-run only prints what is missing.
set -eu

# docs/dependencies.md says what each is for.
build="g++ cmake ninja-build pkg-config libeigen3-dev libxsimd-dev libfmt-dev libsimdjson-dev libzstd-dev libpcre2-dev
       libutf8proc-dev libcli11-dev libedit-dev libsqlite3-dev"
test="libgtest-dev libbenchmark-dev python3 binutils make meson locales abigail-tools chromium cppcheck clang-tidy valgrind"
fuzz="clang libclang-rt-14-dev"
cross="g++-aarch64-linux-gnu qemu-user"
arm64="libfmt-dev libfmt9 libsimdjson-dev libsimdjson14 libzstd-dev libzstd1 libpcre2-dev libpcre2-8-0 libutf8proc-dev
       libutf8proc2 libgtest-dev libxsimd-dev libeigen3-dev libcli11-dev libsqlite3-dev libsqlite3-0"
arm64_root="$(dirname "$0")/../build/aarch64-root"

wanted="$build $test"
dry_run=no
foreign=no
for argument in "$@"; do
  case "$argument" in
    --build) wanted="$build" ;;
    --test) ;;
    --fuzz) wanted="$wanted $fuzz" ;;
    --aarch64)
      foreign=yes
      wanted="$wanted $cross"
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

install_missing() {
  if [ "$(id -u)" -eq 0 ]; then
    as_root=""
  elif command -v sudo >/dev/null; then
    as_root="sudo"
  else
    echo "install-deps.sh: neither root nor sudo; please have these installed:$missing" >&2
    exit 1
  fi
  echo "installing:$missing"
  $as_root apt-get -q update
  # shellcheck disable=SC2086 # a list of words
  $as_root env DEBIAN_FRONTEND=noninteractive apt-get -qy -o Dpkg::Use-Pty=0 install --no-install-recommends $missing
}

# With lists and a cache of its own, apt fetches for another architecture without this machine's set-up being touched.
unpack_arm64() {
  mkdir -p "$arm64_root/apt/lists/partial" "$arm64_root/apt/cache/archives/partial"
  state=$(cd "$arm64_root/apt" && pwd)
  : >"$state/status"
  apt_arm64="apt-get -q -o APT::Architecture=arm64 -o APT::Architectures=arm64 -o APT::Sandbox::User=
             -o Dir::State::lists=$state/lists -o Dir::State::status=$state/status -o Dir::Cache=$state/cache"
  # shellcheck disable=SC2086
  (cd "$state" && $apt_arm64 update && $apt_arm64 download $arm64)
  for deb in "$state"/*.deb; do dpkg -x "$deb" "$arm64_root"; done
  rm -rf "$state"
  touch "$arm64_root/complete"
}

if [ "$dry_run" = yes ]; then
  if [ -n "$missing" ]; then echo "missing:$missing"; fi
  exit 0
fi
if [ -n "$missing" ]; then install_missing; fi
if [ "$foreign" = yes ] && [ ! -e "$arm64_root/complete" ]; then unpack_arm64; fi

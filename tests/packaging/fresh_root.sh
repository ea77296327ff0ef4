#!/bin/sh
# Installs nibble into a fresh Debian 12, made by debootstrap in a folder, and follows the quickstarts there: the .deb, the wheel, and
# with --source the source tree as a newcomer gets it (which installs a compiler and builds; long).
#   tests/packaging/fresh_root.sh [--source] [--wheel FILE] BUILD-DIRECTORY ROOT-DIRECTORY
# Needs root, debootstrap and a Debian mirror: the one that this machine's apt uses. An existing root is used again; delete it to begin
# anew. Exit status 77: something needed is missing.
set -eu
source=no
wheel=""
while [ $# -gt 2 ]; do
  case "$1" in
    --source) source=yes ;;
    --wheel) wheel=$2; shift ;;
    *) echo "fresh_root.sh: unknown argument '$1'" >&2; exit 2 ;;
  esac
  shift
done
build=$(cd "$1" && pwd)
top=$(cd "$(dirname "$0")/../.." && pwd)
mkdir -p "$2"
root=$(cd "$2" && pwd)

[ "$(id -u)" -eq 0 ] || { echo "SKIPPED: fresh_root.sh must be run as root"; exit 77; }
command -v debootstrap >/dev/null || { echo "SKIPPED: debootstrap is not installed"; exit 77; }
mirror=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE)' | sed -n 's/ bookworm$//p' | head -n 1)
[ -n "$mirror" ] || { echo "SKIPPED: apt knows no mirror of Debian 12"; exit 77; }

if [ ! -e "$root/etc/debian_version" ]; then
  debootstrap --variant=minbase bookworm "$root" "$mirror" >"$root.log" 2>&1 || { tail -n 5 "$root.log"; echo "SKIPPED: debootstrap failed"; exit 77; }
fi
# The machine's own way to the mirror.
for file in resolv.conf hosts; do cp "/etc/$file" "$root/etc/"; done
cp -r /etc/apt/apt.conf.d/. "$root/etc/apt/apt.conf.d/"
inside() { chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive \
  ${http_proxy:+http_proxy="$http_proxy"} ${https_proxy:+https_proxy="$https_proxy"} sh -euc "$1"; }
trap 'umount "$root/proc" 2>/dev/null || true' EXIT
mount -t proc proc "$root/proc"
inside 'apt-get -q update >/dev/null'

echo "== the .deb"
rm -rf "$build/fresh-deb" "$root"/srv/nibble*
(cd "$build" && cpack -G DEB -B "$build/fresh-deb" >/dev/null)
cp "$build"/fresh-deb/*.deb "$root/srv/nibble.deb"
inside 'apt-get -qy install --no-install-recommends /srv/nibble.deb >/dev/null'
inside 'cd /srv && nibble --version
  nibble info >/dev/null
  nibble quantize builtin -o nibble-small --method rtn --bits 4 --group-size 64 --quiet
  nibble verify nibble-small
  nibble run nibble-small -p "It was a bright morning, and" -n 12 --quiet
  nibble compare builtin nibble-small --text builtin --windows 1 --quiet
  nibble convert nibble-small -o nibble.gguf --format gguf --allow-lossy --quiet
  man --version >/dev/null 2>&1 || test -e /usr/share/man/man1/nibble.1.gz'
inside 'dpkg --verify nibble; dpkg -L nibble | grep -q libnibble.so.0'
inside 'apt-get -qy remove nibble >/dev/null; ! command -v nibble'

if [ -n "$wheel" ]; then
  echo "== the wheel, alone in a virtual environment"
  inside 'apt-get -qy install --no-install-recommends python3 python3-venv >/dev/null'
  cp "$wheel" "$root/srv/"
  inside "rm -rf /srv/nibble-venv && python3 -m venv /srv/nibble-venv && /srv/nibble-venv/bin/pip install -q --no-index /srv/$(basename "$wheel")"
  inside 'cd /srv && /srv/nibble-venv/bin/nibble --version && /srv/nibble-venv/bin/nibble inspect builtin --quiet | head -n 3
    /srv/nibble-venv/bin/python -c "
import nibble, pathlib
model = nibble.Model.from_pretrained(pathlib.Path(nibble.__file__).parent / \"share/nibble/models/prose-3.7m\", quantize=\"nf4:block=64\")
print(\"\".join(model.stream(\"It was a bright morning, and\", 12)))"'
fi

if [ "$source" = yes ]; then
  echo "== the source tree"
  inside 'apt-get -qy install --no-install-recommends git python3 ca-certificates >/dev/null'
  rm -rf "$root/srv/nibble-source"
  git clone -q "$top" "$root/srv/nibble-source"
  inside 'cd /srv/nibble-source && examples/quickstart.sh'
fi
echo "fresh root: ok"

#!/bin/sh
# Installs nibble into a fresh Debian 12, made by debootstrap in a folder, and follows the quickstarts in C, C++ and Python there:
# from the .deb, from the wheel, and from the source tree as a newcomer gets it (which installs a compiler and builds; long).
#   tests/packaging/fresh_root.sh [--all] [--source] [--wheel FILE] [--ccache FOLDER] BUILD-DIRECTORY ROOT-DIRECTORY
# --all             all three parts; the wheel is built first where --wheel names none
# --ccache FOLDER   the source part compiles with ccache on this cache (for repeated runs; without it everything is compiled)
# Needs root, debootstrap and a Debian mirror: the one that this machine's apt uses. An existing root is used again; delete it to begin
# anew. Exit status 77: something needed is missing.
set -eu
source=no
wheel=""
build_wheel=no
ccache=""
while [ $# -gt 2 ]; do
  case "$1" in
    --all) source=yes; build_wheel=yes ;;
    --source) source=yes ;;
    --wheel) wheel=$2; shift ;;
    --ccache) ccache=$2; shift ;;
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
  ${http_proxy:+http_proxy="$http_proxy"} ${https_proxy:+https_proxy="$https_proxy"} ${cached:-} sh -euc "$1"; }
undo() {
  umount "$root/proc" 2>/dev/null || true
  umount "$root/root/.cache/ccache" 2>/dev/null || true
}
trap undo EXIT
trap 'exit 130' INT TERM
mount -t proc proc "$root/proc"
inside 'apt-get -q update >/dev/null'
install_inside() { inside "apt-get -qy install --no-install-recommends $* >/dev/null"; }

# The three programs as their comments say, each with the model and the texts of the folder $1.
quickstarts() {
  rm -rf "$root/srv/nibble-examples"
  mkdir "$root/srv/nibble-examples"
  cp -r "$top"/examples/c "$top"/examples/cpp "$top"/examples/python "$root/srv/nibble-examples/"
  data="$1/models/prose-3.7m $1/data/calibration.txt $1/data/evaluation.txt"
  for program in "$2" "$3" "$4"; do
    echo "-- $program"
    inside "cd /srv/nibble-examples && $program $data /srv/nibble-examples/small.safetensors" >"$root/srv/printed"
    grep -Eq 'mean(_kl": | KL )0\.[0-9]+' "$root/srv/printed" || { cat "$root/srv/printed"; echo "fresh_root.sh: no comparison was printed" >&2; exit 1; }
  done
}

echo "== the .deb"
rm -rf "$build/fresh-deb" "$root"/srv/nibble*
cmake "$build" >/dev/null
(cd "$build" && cpack -G DEB -B "$build/fresh-deb" >/dev/null)
cp "$build"/fresh-deb/*.deb "$root/srv/nibble.deb"
inside 'apt-get -qy remove nibble >/dev/null 2>&1 || true'  # what an earlier run left: apt keeps a package of the same version
install_inside /srv/nibble.deb
inside 'cd /srv && nibble --version
  nibble info >/dev/null
  nibble quantize builtin -o nibble-small --method rtn --bits 4 --group-size 64 --quiet
  nibble verify nibble-small
  nibble run nibble-small -p "It was a bright morning, and" -n 12 --quiet
  nibble compare builtin nibble-small --text builtin --windows 1 --quiet
  nibble convert nibble-small -o nibble.gguf --format gguf --allow-lossy --quiet
  man --version >/dev/null 2>&1 || test -e /usr/share/man/man1/nibble.1'
inside 'dpkg --verify nibble; dpkg -L nibble | grep -q libnibble.so.0'
install_inside gcc g++ libc6-dev make pkg-config python3
quickstarts /usr/share/nibble \
  'make -s -C c && c/quickstart' \
  'g++ -std=c++20 -O1 cpp/quickstart.cpp $(pkg-config --cflags --libs nibble) -o cpp/quickstart && cpp/quickstart' \
  'python3 python/quickstart.py'
inside 'cd /srv && python3 -m nibble --version'
inside 'apt-get -qy remove nibble >/dev/null; ! command -v nibble; ! python3 -c "import nibble" 2>/dev/null'

if [ "$build_wheel" = yes ] && [ -z "$wheel" ]; then
  rm -rf "$build/fresh-wheel"
  "$top/scripts/build-wheel.sh" "$build/fresh-wheel" >"$build/fresh-wheel.log" 2>&1 || { tail "$build/fresh-wheel.log"; exit 1; }
  wheel=$(echo "$build"/fresh-wheel/*.whl)
fi
if [ -n "$wheel" ]; then
  echo "== the wheel, alone in a virtual environment"
  install_inside python3 python3-venv gcc g++ libc6-dev
  cp "$wheel" "$root/srv/"
  inside "rm -rf /srv/nibble-venv && python3 -m venv /srv/nibble-venv && /srv/nibble-venv/bin/pip install -q --no-index /srv/$(basename "$wheel")"
  inside 'cd /srv && nibble-venv/bin/nibble --version && nibble-venv/bin/nibble inspect builtin --quiet | head -n 3
    nibble-venv/bin/python -c "
import nibble, pathlib
model = nibble.Model.from_pretrained(pathlib.Path(nibble.__file__).parent / \"share/nibble/models/prose-3.7m\", quantize=\"nf4:block=64\")
print(\"\".join(model.stream(\"It was a bright morning, and\", 12)))"'
  folder=$(inside "/srv/nibble-venv/bin/python -c 'import nibble, os; print(os.path.dirname(nibble.__file__))'")
  link='$(/srv/nibble-venv/bin/python -m nibble.link)'
  quickstarts "$folder/share/nibble" \
    "gcc -std=c99 c/quickstart.c $link -o c/quickstart && c/quickstart" \
    "g++ -std=c++20 -O1 cpp/quickstart.cpp $link -o cpp/quickstart && cpp/quickstart" \
    '/srv/nibble-venv/bin/python python/quickstart.py'
fi

if [ "$source" = yes ]; then
  echo "== the source tree"
  install_inside git python3 ca-certificates
  if [ -n "$ccache" ]; then
    install_inside ccache
    mkdir -p "$root/root/.cache/ccache"
    mount --bind "$ccache" "$root/root/.cache/ccache"
    cached="CCACHE_BASEDIR=/srv CCACHE_NOHASHDIR=1 CCACHE_MAXSIZE=15G"
  fi
  rm -rf "$root/srv/nibble-source"
  git clone -q "$top" "$root/srv/nibble-source"
  inside 'cd /srv/nibble-source && examples/quickstart.sh'
  link='-I/srv/nibble-source/include -L/srv/nibble-source/build/release/lib -lnibble -Wl,-rpath,/srv/nibble-source/build/release/lib'
  quickstarts /srv/nibble-source/examples \
    "cc -std=c99 c/quickstart.c $link -o c/quickstart && c/quickstart" \
    "c++ -std=c++20 -O1 cpp/quickstart.cpp $link -o cpp/quickstart && cpp/quickstart" \
    'PYTHONPATH=/srv/nibble-source/bindings/python python3 python/quickstart.py'
  echo "-- README.md and getting-started.md, block by block"
  inside 'cd /srv/nibble-source/tests/docs && python3 -B -m unittest test_snippets.Readme test_snippets.GettingStarted'
fi
echo "fresh root: ok"

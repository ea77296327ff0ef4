#!/usr/bin/env bash
# nibble against llama.cpp and ik_llama.cpp on this machine: decode and prefill speed of the same model shapes.
#
# Builds both engines natively from the source distributions of their Python bindings (nothing of theirs enters the tree),
# makes one random model in TinyLlama's shapes, quantizes it with each engine, and interleaves the runs.
# An engine that is built already is found as CACHE/ENGINE/engine_bench (llama.cpp, ik_llama.cpp); --engines names those to
# run.
# --isa avx2: engines built for AVX2 and FMA alone (CACHE/ENGINE-avx2), and nibble with --isa avx2.
#   bench/versus_peers.sh [--cache DIR] [--engines A,B] [--isa avx2] [--rounds N] [--threads N] [--layers N] [--out FILE.md]
set -euo pipefail
cd "$(dirname "$0")/.."
cache=build/peers
engines=llama.cpp,ik_llama.cpp
isa=
args=()
while [ $# -gt 0 ]; do
  case "$1" in
    --cache) cache=$2; shift 2 ;;
    --engines) engines=$2; shift 2 ;;
    --isa) isa=$2; shift 2 ;;
    -h|--help) sed -n '2,10s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) args+=("$1"); shift ;;
  esac
done
case $isa in
  "") target=(-DGGML_NATIVE=ON) ;;
  avx2)
    target=(-DGGML_NATIVE=OFF -DGGML_SSE42=ON -DGGML_AVX=ON -DGGML_AVX2=ON -DGGML_FMA=ON -DGGML_F16C=ON -DGGML_BMI2=ON
            -DGGML_AVX_VNNI=OFF -DGGML_AVX512=OFF -DGGML_AVX512_VNNI=OFF -DGGML_AVX512_BF16=OFF)
    ;;
  *)
    echo "versus_peers.sh: --isa $isa is not known; avx2 is" >&2
    exit 2
    ;;
esac
suffix=${isa:+-$isa}
mkdir -p "$cache"
cache=$(cd "$cache" && pwd)

build_engine() {  # NAME PYPI-NAME VERSION
  local name=$1 package=$2 version=$3 tree
  [ -e "$cache/$name/BUILT" ] && return
  echo "building $name from the source distribution of $package $version" >&2
  mkdir -p "$cache/sdist"
  python3 -m pip download -q --no-deps --no-binary :all: --no-build-isolation "$package==$version" -d "$cache/sdist" ||
    python3 -m pip download -q --no-deps --no-binary :all: "$package==$version" -d "$cache/sdist"
  tar -C "$cache" -xf "$cache/sdist/${package//-/_}-$version.tar.gz"
  tree=$(find "$cache/${package//-/_}-$version/vendor" -maxdepth 1 -mindepth 1 -name '*llama.cpp')
  rm -rf "${cache:?}/$name"
  mv "$tree" "$cache/$name"
  # ik's source distribution lacks this generated fragment; an empty one builds.
  mkdir -p "$cache/$name/common/cmake"
  [ -e "$cache/$name/common/cmake/build-info-gen-cpp.cmake" ] || touch "$cache/$name/common/cmake/build-info-gen-cpp.cmake"
  cmake -S "$cache/$name" -B "$cache/$name/build" -G Ninja -DCMAKE_BUILD_TYPE=Release "${target[@]}" -DGGML_OPENMP=ON \
    -DLLAMA_CURL=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_SERVER=OFF -DLLAMA_BUILD_UI=OFF -DBUILD_SHARED_LIBS=ON >/dev/null
  ninja -C "$cache/$name/build" llama >/dev/null
  touch "$cache/$name/BUILT"
}
# Our own measuring program, on the engine's C interface: the same work for every engine.
build_bench() {  # NAME COMPILER-FLAG...
  local name=$1 tree=$cache/$1 library folders
  shift
  [ -x "$tree/engine_bench" ] && return
  mapfile -t library < <(find "$tree/build" -name 'lib*llama.so' -o -name 'libggml*.so')
  folders=$(printf '%s\n' "${library[@]}" | xargs -n1 dirname | sort -u | paste -sd:)
  c++ -O2 -std=c++17 "$@" -I"$tree/include" -I"$tree/ggml/include" bench/peers/engine_bench.cpp "${library[@]}" \
    "-Wl,-rpath,$folders" -o "$tree/engine_bench"
}
built=
for engine in ${engines//,/ }; do
  case $engine in
    llama.cpp) source=(llama-cpp-python 0.3.36) flags=() ;;
    ik_llama.cpp) source=(ik-llama-cpp-python 0.1.5) flags=(-DOLDER_INTERFACE) ;;
    *)
      echo "versus_peers.sh: engine '$engine' is not known; llama.cpp and ik_llama.cpp are" >&2
      exit 2
      ;;
  esac
  [ -x "$cache/$engine$suffix/engine_bench" ] || build_engine "$engine$suffix" "${source[@]}"
  build_bench "$engine$suffix" ${flags[@]+"${flags[@]}"}
  built=$built${built:+,}$engine$suffix
done

if ! "$cache/venv/bin/python" -c 'import numpy, gguf' 2>/dev/null; then
  python3 -m venv "$cache/venv"
  "$cache/venv/bin/pip" install -q numpy gguf
fi
exec "$cache/venv/bin/python" bench/versus_peers.py --cache "$cache" --engines "$built" ${isa:+--isa "$isa"} ${args[@]+"${args[@]}"}

#!/bin/sh
# What the memory sanitizer's preset links instead of the installed libraries, built with the same sanitizer under build/msan-libraries: the
# standard library (the sources of the installed g++'s package, compiled against the installed headers) and the test library (those that
# the package googletest lays under /usr/src). Debian 12 with clang (scripts/install-deps.sh --fuzz); root is not needed.
#   scripts/msan-libraries.sh [JOBS]
# Fetches 90 MB, once, and compiles for about four minutes of processor time.
set -eu
cd "$(dirname "$0")/.."
jobs=${1:-$(nproc)}
work=$PWD/build/msan-libraries
version=12
flags="-fsanitize=memory -fno-omit-frame-pointer -O1 -g1 -fPIC -fsized-deallocation -w"
# clang's name of what random_device reads from the processor.
flags="$flags -D__builtin_ia32_rdseed_si_step=__builtin_ia32_rdseed32_step"

# With a set-up of its own, apt fetches sources without the machine's lists being touched.
fetch() {
  mkdir -p "$work/apt/sources" "$work/apt/lists/partial" "$work/apt/cache/archives/partial"
  if [ -f /etc/apt/sources.list.d/debian.sources ]; then
    sed 's/^Types:.*/Types: deb-src/' /etc/apt/sources.list.d/debian.sources >"$work/apt/sources/debian.sources"
  else
    sed -n 's/^deb /deb-src /p' /etc/apt/sources.list >"$work/apt/sources/debian.list"
  fi
  apt="apt-get -q -o APT::Sandbox::User= -o Dir::Etc::SourceList=/dev/null -o Dir::Etc::SourceParts=$work/apt/sources
       -o Dir::State::lists=$work/apt/lists -o Dir::Cache=$work/apt/cache"
  # shellcheck disable=SC2086 # a list of words
  (cd "$work" && $apt update && $apt source --download-only "$(dpkg-query -W -f '${source:Package}=${source:Version}' libstdc++-$version-dev)")
  mkdir -p "$work/gcc"
  # An archive of archives.
  tar -xzOf "$work"/gcc-$version*.orig.tar.gz --wildcards '*/gcc-*-dfsg.tar.xz' |
    tar -xJf - -C "$work/gcc" --strip-components 1 --wildcards 'gcc-*/libstdc++-v3/src' 'gcc-*/libstdc++-v3/config' \
      'gcc-*/libstdc++-v3/libsupc++'
  rm -r "$work/apt" "$work"/gcc-*
  touch "$work/fetched"
}

# What the headers leave to the library; the language's runtime (exceptions, run-time types) and names kept for programs of older releases
# come from the installed one. Names of this list: src/*/Makefile.am.
standard_library() {
  sources=$work/gcc/libstdc++-v3
  # Headers that are not installed, or elsewhere.
  mkdir -p "$work/include/bits" "$work/include/sys"
  cp "$sources/config/locale/gnu/c++locale_internal.h" "$work/include/bits"
  echo '#include <stdint.h>' >"$work/include/gstdint.h"
  echo '#include <bits/cxxabi_forced.h>' >"$work/include/cxxabi_forced.h"
  : >"$work/include/bits/largefile-config.h"
  : >"$work/include/sys/sdt.h"
  # Of the language's runtime the pointers to exceptions, which programs look into; what they point to is the rest's: taken for written.
  echo 'src:*' >"$work/include/ignored"
  runtime="-std=gnu++17 -I$work/include -I$sources/libsupc++ -fsanitize-ignorelist=$work/include/ignored"
  echo "$runtime -c $sources/libsupc++/eh_ptr.cc -o $work/objects/eh_ptr.o"
  (
    cd "$sources"
    for file in src/c++98/*.cc config/io/basic_file_stdio.cc config/locale/gnu/c[!t]*.cc config/locale/gnu/[mnt]*.cc; do
      echo "gnu++98 $file"
    done
    # Once more for the strings of before C++11, which the former take a function from.
    for file in config/locale/gnu/[mn]*_members.cc; do echo "gnu++98 $file -D_GLIBCXX_USE_CXX11_ABI=0"; done
    for file in src/c++11/*.cc config/locale/gnu/ctype_members.cc config/os/gnu-linux/ctype_configure_char.cc; do echo "gnu++11 $file"; done
    for file in src/c++17/*.cc; do echo "gnu++17 $file"; done
    for file in src/c++20/*.cc; do echo "gnu++20 $file"; done
  ) | sed -e '/compatibility/d' -e '/hash-long-double/d' -e '/parallel_settings/d' -e '/math_stubs/d' |
    sed -e '/c++98.localename/s/gnu++98/gnu++11/' -e '/c++98.locale_init/s/gnu++98/gnu++11/' |
    while read -r standard file more; do
      echo "-std=$standard -I$work/include -I$sources/src/c++98 $more -c $sources/$file -o $work/objects/$(echo "$file$more" | tr / _).o"
    done
}

test_library() {
  for file in gtest-all gtest_main; do
    echo "-std=gnu++17 -I/usr/src/googletest/googletest -c /usr/src/googletest/googletest/src/$file.cc -o $work/objects/$file.o"
  done
}

if [ ! -e "$work/fetched" ]; then fetch; fi
rm -rf "${work:?}/objects" "${work:?}/lib"
mkdir -p "$work/objects" "$work/lib"
compiler=clang++
if command -v ccache >/dev/null; then compiler="ccache clang++"; fi
{ standard_library; test_library; } | xargs -P "$jobs" -I '{}' sh -c "$compiler $flags {} || exit 255"
ar rcs "$work/lib/libgtest.a" "$work"/objects/gtest*.o
rm "$work"/objects/gtest*.o
ar rcs "$work/lib/libinstrumented.a" "$work"/objects/*.o

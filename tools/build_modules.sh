#!/usr/bin/env bash
# build_modules.sh [--prefix DIR] [--sources DIR] [MODULE...]: builds kmask on a cluster without root, with the modules named, into
# DIR/bin ($HOME/kmask). Modules give the compiler, Open MPI, OpenBLAS, HDF5 and CMake; of the small libraries, what no
# module gives and the system has not is built from its released source, into DIR too.
#
#   tools/build_modules.sh gcc openmpi openblas hdf5 cmake      # names differ: `module avail`
#
# Sources are downloaded into --sources (DIR/sources), or taken from there: on a cluster without internet put the archives there.
# It ends with the line that jobs need.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
prefix=$HOME/kmask sources= modules=()
while [ $# -gt 0 ]; do
    case $1 in
        --prefix | --sources)
            [ $# -ge 2 ] || { echo "build_modules.sh: no value follows $1" >&2; exit 2; }
            [ "$1" = --prefix ] && prefix=$2 || sources=$2
            shift
            ;;
        -*) sed -n '2,9p' "$0"; exit 2 ;;
        *) modules+=("$1") ;;
    esac
    shift
done
mkdir -p "$prefix" && prefix=$(cd "$prefix" && pwd) || exit 1
sources=${sources:-$prefix/sources}
jobs=$(nproc)
fail() { echo "build_modules.sh: $*" >&2; exit 1; }

if [ ${#modules[@]} -gt 0 ]; then
    for file in /etc/profile.d/modules.sh /etc/profile.d/lmod.sh /usr/share/lmod/lmod/init/bash /usr/share/modules/init/bash; do
        # shellcheck disable=SC1090
        command -v module >/dev/null || { [ -r "$file" ] && . "$file"; }
    done
    command -v module >/dev/null || fail "no command module here"
    for module in "${modules[@]}"; do module load "$module" || fail "module load $module: see \`module avail\`"; done
fi
export PATH=$prefix/bin:$PATH CMAKE_PREFIX_PATH=$prefix${CMAKE_PREFIX_PATH:+:$CMAKE_PREFIX_PATH}
export PKG_CONFIG_PATH=$prefix/lib/pkgconfig:$prefix/lib64/pkgconfig${PKG_CONFIG_PATH:+:$PKG_CONFIG_PATH}

# ---- What modules must give ----

lacks=()
for program in cc:gcc cmake:cmake pkg-config:pkgconf mpicc:openmpi h5cc:hdf5 make:make; do
    command -v "${program%%:*}" >/dev/null || lacks+=("${program#*:} (${program%%:*})")
done
# Modules of OpenBLAS often have no pkg-config file, but a variable that says where it is.
if ! pkg-config --exists openblas; then
    for root in "${OPENBLAS_ROOT:-}" "${OPENBLAS_DIR:-}" "${OPENBLAS_HOME:-}" "${EBROOTOPENBLAS:-}"; do
        found=$(ls "$root"/lib{,64}/libopenblas.so 2>/dev/null | head -n 1)
        [ -n "$root" ] && [ -n "$found" ] && break
    done
    if [ -n "${found:-}" ]; then
        mkdir -p "$prefix/lib/pkgconfig"
        printf 'Name: openblas\nDescription: OpenBLAS\nVersion: 0\nCflags: -I%s/include\nLibs: -L%s -Wl,-rpath,%s -lopenblas\n' \
            "$root" "$(dirname "$found")" "$(dirname "$found")" >"$prefix/lib/pkgconfig/openblas.pc"
    else
        lacks+=("openblas (openblas.pc, or OPENBLAS_ROOT)")
    fi
fi
[ ${#lacks[@]} -eq 0 ] || fail "not found: $(printf '%s, ' "${lacks[@]}")name the modules that have them, or use jobs/spack.yaml"

# ---- Small libraries ----

fetch() { # FILE URL
    [ -s "$sources/$1" ] && return
    mkdir -p "$sources"
    { curl -fsSL -o "$sources/$1.part" "$2" || wget -qO "$sources/$1.part" "$2"; } && mv "$sources/$1.part" "$sources/$1" ||
        fail "cannot download $2: put it as $1 into $sources"
}
unpack() { # FILE -> in its folder
    rm -rf "$prefix/build" && mkdir -p "$prefix/build" && tar -xf "$sources/$1" -C "$prefix/build" --strip-components=1 &&
        cd "$prefix/build" || fail "$sources/$1: is no archive; remove it"
}
library() { # PC FILE URL HOW [options]
    local pc=$1 file=$2 how=$4
    pkg-config --exists "$pc" && return
    echo "$pc: built from $file"
    fetch "$file" "$3"
    shift 4
    (
        unpack "$file"
        case $how in
            cmake) cmake -S "${folder:-.}" -B out -DCMAKE_BUILD_TYPE=Release -DCMAKE_INSTALL_PREFIX="$prefix" -DCMAKE_INSTALL_LIBDIR=lib \
                -DBUILD_SHARED_LIBS=ON -DCMAKE_POLICY_VERSION_MINIMUM=3.5 "$@" && cmake --build out -j "$jobs" && cmake --install out ;;
            configure) cd "${folder:-.}" && ./configure --prefix="$prefix" "$@" && make -j "$jobs" && make install ;;
        esac
    ) >"$prefix/$pc.log" 2>&1 || { tail -n 5 "$prefix/$pc.log"; fail "$pc: see $prefix/$pc.log"; }
    rm -rf "$prefix/build"
    pkg-config --exists "$pc" || fail "$pc: built, but pkg-config does not find it in $prefix"
}
github=https://github.com
library zlib zlib-1.3.1.tar.gz $github/madler/zlib/releases/download/v1.3.1/zlib-1.3.1.tar.gz configure
library libcjson cjson-1.7.18.tar.gz $github/DaveGamble/cJSON/archive/refs/tags/v1.7.18.tar.gz cmake -DENABLE_CJSON_TEST=OFF
library libarchive libarchive-3.7.4.tar.gz $github/libarchive/libarchive/releases/download/v3.7.4/libarchive-3.7.4.tar.gz cmake -DENABLE_TEST=OFF -DENABLE_WERROR=OFF
library libpcre2-8 pcre2-10.42.tar.gz $github/PCRE2Project/pcre2/releases/download/pcre2-10.42/pcre2-10.42.tar.gz configure --enable-jit
library libutf8proc utf8proc-2.9.0.tar.gz $github/JuliaStrings/utf8proc/archive/refs/tags/v2.9.0.tar.gz cmake
folder=cmake_unofficial library libxxhash xxhash-0.8.2.tar.gz $github/Cyan4973/xxHash/archive/refs/tags/v0.8.2.tar.gz cmake -DXXHASH_BUILD_XXHSUM=OFF
library libsodium libsodium-1.0.20.tar.gz $github/jedisct1/libsodium/releases/download/1.0.20-RELEASE/libsodium-1.0.20.tar.gz configure
folder=source library icu-uc icu4c-74.2.tgz $github/unicode-org/icu/releases/download/release-74-2/icu4c-74_2-src.tgz \
    configure --disable-tests --disable-samples --disable-extras

# ---- kmask ----

build=build/modules
cmake -S . -B "$build" -DCMAKE_BUILD_TYPE=Release -DKMASK_TESTS=OFF -DCMAKE_INSTALL_PREFIX="$prefix" \
    -DCMAKE_INSTALL_RPATH_USE_LINK_PATH=ON >"$prefix/kmask.log" 2>&1 &&
    cmake --build "$build" -j "$jobs" >>"$prefix/kmask.log" 2>&1 && cmake --install "$build" >>"$prefix/kmask.log" 2>&1 ||
    { tail -n 20 "$prefix/kmask.log"; fail "see $prefix/kmask.log"; }
"$prefix/bin/kmask" --version || fail "$prefix/bin/kmask does not run"
echo "In jobs: export KMASK=$prefix/bin/kmask KMASK_MODULES=\"${modules[*]}\""

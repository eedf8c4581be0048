#!/usr/bin/env bash
# src/kernel compiles without a warning with gcc and with clang: the latter also says where a loop that is marked to
# be vectorized was not (-Wpass-failed).
set -u
mkdir -p "$WORK" && cd "$WORK" || exit 1
flags=(-std=c11 -D_GNU_SOURCE -O3 -g -DNDEBUG -fno-math-errno -fno-trapping-math -ffp-contract=fast -fopenmp-simd
    -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror -I"$SOURCE/include")
case $(uname -m) in x86_64) flags+=(-mprefer-vector-width=512) ;; esac
read -ra openblas < <(pkg-config --cflags openblas)
flags+=("${openblas[@]}")
bad=0
compilers=0
for compiler in gcc clang; do
    command -v "$compiler" >/dev/null || { echo "$compiler is not here: left out"; continue; }
    compilers=$((compilers + 1))
    for file in "$SOURCE"/src/kernel/*.c; do
        "$compiler" "${flags[@]}" -c "$file" -o object.o || { echo "$compiler warns of $file"; bad=1; }
    done
done
[ "$compilers" -gt 0 ] || { echo "neither gcc nor clang is here"; exit 1; }
exit $bad

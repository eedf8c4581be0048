#!/usr/bin/env bash
# src/kernel compiles without a warning with gcc and with clang: the latter also says where a loop that is marked to
# be vectorized was not (-Wpass-failed).
set -u
mkdir -p "$WORK" && cd "$WORK" || exit 1
flags=(-std=c11 -D_GNU_SOURCE -O3 -DNDEBUG -fno-math-errno -fno-trapping-math -ffp-contract=fast -fopenmp-simd
    -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror -I"$SOURCE/include")
case $(uname -m) in x86_64) flags+=(-mprefer-vector-width=512) ;; esac
read -ra openblas < <(pkg-config --cflags openblas)
flags+=("${openblas[@]}")
echo '#include <dnnl.h>' | gcc -E -x c - >/dev/null 2>&1 && flags+=(-DKM_ONEDNN=1)
compile() { # compile COMPILER: every file
    local bad=0
    for file in "$SOURCE"/src/kernel/*.c; do
        "$1" "${flags[@]}" -c "$file" -o "$1.o" || { echo "$1 warns of $file"; bad=1; }
    done
    return $bad
}
jobs=()
for compiler in gcc clang; do
    command -v "$compiler" >/dev/null || { echo "$compiler is not here: left out"; continue; }
    compile "$compiler" &
    jobs+=($!)
done
[ ${#jobs[@]} -gt 0 ] || { echo "neither gcc nor clang is here"; exit 1; }
bad=0
for job in "${jobs[@]}"; do wait "$job" || bad=1; done
exit $bad

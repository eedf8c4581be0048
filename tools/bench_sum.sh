#!/usr/bin/env bash
# bench_sum.sh [--length 128] [--views 8] [--repeat 5] [--layers 12]: what the exact sum costs over a plain fp32 sum with
# MPI_Reduce_scatter, as a share of a training step of BERT-base on two ranks. Builds build/release/bench_sum and runs it; what
# it prints is told at the head of tools/bench_sum.c. With the defaults it takes some minutes and 7 GB of memory.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
unset OPENBLAS_CORETYPE # the program's choice, as it is kmask's

options=()
if [ ! -e build/release/CMakeCache.txt ]; then
    options=(-DKMASK_TESTS=OFF)
    command -v ninja >/dev/null && options+=(-G Ninja)
fi
log=$(mktemp)
trap 'rm -f "$log"' EXIT
{
    cmake --preset release ${options[@]+"${options[@]}"} &&
        cmake --build build/release --target bench_sum -j "$(nproc)"
} >"$log" 2>&1 || {
    tail -n 30 "$log" >&2
    echo "bench_sum.sh: the build failed; its last words are above" >&2
    exit 1
}
tests/launch.sh 2 build/release/bench_sum "$@"

#!/usr/bin/env bash
# bench_step.sh [--length 128] [--views 8] [--batches 4] [--repeat 7] [--layers 12]: a training step of BERT-base
# against the bare matrix products in it, on one thread. Builds build/release/bench_step and runs it; what it prints
# is told at the head of tools/bench_step.c. With the defaults it takes some ten minutes and 4 GB of memory.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Which kernel OpenBLAS runs is bench_step's choice, as it is kmask's.
unset OPENBLAS_CORETYPE

options=()
if [ ! -e build/release/CMakeCache.txt ]; then
    options=(-DKMASK_TESTS=OFF)
    command -v ninja >/dev/null && options+=(-G Ninja)
fi
log=$(mktemp)
trap 'rm -f "$log"' EXIT
{
    cmake --preset release ${options[@]+"${options[@]}"} &&
        cmake --build build/release --target bench_step -j "$(nproc)"
} >"$log" 2>&1 || {
    tail -n 30 "$log" >&2
    echo "bench_step.sh: the build failed; its last words are above" >&2
    exit 1
}
build/release/bench_step "$@"

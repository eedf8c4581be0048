#!/usr/bin/env bash
# long_faults.sh [TEST...]: the long form of the tests of tests/faults: each call of a run fails, is cut or loses power, and 200
# kills in one run; with names (kill power disk random bits) only these. Half an hour on two cores, which they share: a test is
# mostly starting and waiting, so all run at once, each with its account in turn. $SEED (1) chooses the random kills, $BUILD
# (build/release) is where the program is built.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
build=${BUILD:-build/release}
if [ ! -x "$build/tests/kmask_faults" ]; then
    echo "long_faults.sh: no $build/tests/kmask_faults: build first (cmake --preset release && cmake --build $build)" >&2
    exit 2
fi
scratch=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null; rm -rf "$scratch"' EXIT
export KMASK=$PWD/$build/kmask KMASK_FAULTS=$PWD/$build/tests/kmask_faults TORN=$PWD/$build/tests/faults/torn.so
export SOURCE=$PWD LAUNCH=$PWD/tests/launch.sh
export PATIENCE=900 # seconds for a run of half a second: all tests run side by side
names=("$@")
[ $# -eq 0 ] && names=(kill power disk random bits)
declare -A running

long() { # NAME SCRIPT [arguments]
    local name=$1
    shift
    WORK=$scratch/$name bash tests/tidy.sh "$@" >"$scratch/$name.txt" 2>&1 &
    running[$name]=$!
}
for name in "${names[@]}"; do
    case $name in
        kill) long kill tests/faults/run_kill.sh ;;
        power) long power tests/faults/run_power.sh 1 ;;
        disk) long disk tests/faults/run_disk.sh 1 ;;
        random) long random tests/faults/run_random.sh 200 ;;
        bits) long bits tests/run/run_bits_many.sh ;;
        *)
            echo "long_faults.sh: no test $name; there are kill, power, disk, random and bits" >&2
            exit 2
            ;;
    esac
done
failed=0
for name in "${names[@]}"; do
    echo "== $name"
    tail -n +1 -f --pid="${running[$name]}" "$scratch/$name.txt" # what it has said, then what it says
    wait "${running[$name]}" || { failed=$((failed + 1)); echo "FAILED: $name"; }
    rm -rf "${scratch:?}/$name"
done
[ "$failed" -eq 0 ] && echo "all well"
exit $((failed > 0))

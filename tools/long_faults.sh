#!/usr/bin/env bash
# long_faults.sh [TEST...]: the long form of the tests of tests/faults: each call of a run fails, is cut or loses power, and 200
# kills in one run. Some hours of a machine's time; with names (kill power disk random bits) only these. $SEED (1) chooses the
# random kills, $BUILD (build/release) is where the program is built.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
build=${BUILD:-build/release}
if [ ! -x "$build/tests/kmask_faults" ]; then
    echo "long_faults.sh: no $build/tests/kmask_faults: build first (cmake --preset release && cmake --build $build)" >&2
    exit 2
fi
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export KMASK=$PWD/$build/kmask KMASK_FAULTS=$PWD/$build/tests/kmask_faults TORN=$PWD/$build/tests/faults/torn.so
export SOURCE=$PWD LAUNCH=$PWD/tests/launch.sh
failed=0

long() { # NAME SCRIPT [arguments]
    local name=$1
    shift
    echo "== $name: $*"
    WORK=$scratch/$name bash "$@" || { failed=$((failed + 1)); echo "FAILED: $name"; }
    rm -rf "${scratch:?}/$name"
}

for name in "${@:-kill power disk random bits}"; do
    for one in $name; do
        case $one in
            kill) long kill tests/faults/run_kill.sh ;;
            power) long power tests/faults/run_power.sh 1 ;;
            disk) long disk tests/faults/run_disk.sh 1 ;;
            random) long random tests/faults/random.sh 200 ;;
            bits) long bits tests/train/run_bits_many.sh ;;
            *)
                echo "long_faults.sh: no test $one; there are kill, power, disk, random and bits" >&2
                exit 2
                ;;
        esac
    done
done
[ "$failed" -eq 0 ] && echo "all well"
exit $((failed > 0))

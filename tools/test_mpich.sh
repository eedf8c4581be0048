#!/usr/bin/env bash
# test_mpich.sh [CTEST-OPTIONS...]: builds kmask with MPICH instead of Open MPI in build/mpich, and runs the tests that do not depend
# on Open MPI itself. Debian's packages libmpich-dev and mpich must be there (apt-get install libmpich-dev mpich; Open MPI stays
# the default MPI: update-alternatives --set mpi ...). CTEST-OPTIONS replace the choice of tests, such as -R run_bits.
# MPICH's ranks keep their core busy while they wait, so more ranks than cores take long: the choice has two ranks at most. Tests that find
# or kill ranks through Open MPI's launcher (run_stop, run_hang, tests/slurm, tests/hosts) are left out.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
mpicc=$(command -v mpicc.mpich || command -v mpicc) mpiexec=$(command -v mpiexec.mpich || command -v mpiexec)
"$mpicc" -show 2>/dev/null | grep -q mpich || { echo "test_mpich.sh: no MPICH here (Debian: apt-get install libmpich-dev mpich)" >&2; exit 2; }
generator=()
command -v ninja >/dev/null && [ ! -e build/mpich/CMakeCache.txt ] && generator=(-G Ninja)
cmake --preset release -B build/mpich "${generator[@]}" -DMPI_C_COMPILER="$mpicc" -DMPIEXEC_EXECUTABLE="$mpiexec" -DKMASK_WERROR=ON >/dev/null
cmake --build build/mpich -j "$(nproc)"
ldd build/mpich/kmask | grep -q libmpich || { echo "test_mpich.sh: build/mpich/kmask is not linked with MPICH" >&2; exit 1; }
export KMASK_MPIEXEC=$mpiexec # tests/launch.sh starts ranks with it
[ $# -gt 0 ] || set -- -R '/mpi_.*@[12]$|/run_(corpus|ten_steps|resume_roberta|order|readback)$'
ctest --test-dir build/mpich --output-on-failure --no-tests=error "$@"

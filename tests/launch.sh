#!/usr/bin/env bash
# launch.sh RANKS PROGRAM ...: mpirun for tests, also as root and with more ranks than cores.
# KMASK_MPIEXEC names the launcher of another MPI than Open MPI, with which the programs were built (tools/test_mpich.sh).
ranks=$1
shift
if [ -n "${KMASK_MPIEXEC:-}" ]; then
    exec "$KMASK_MPIEXEC" -n "$ranks" "$@"
fi
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_mpi_yield_when_idle=1
export OMPI_MCA_btl=self,vader,tcp OMPI_MCA_btl_tcp_if_include=lo OMPI_MCA_oob_tcp_if_include=lo
export OMPI_MCA_rmaps_base_oversubscribe=1
exec mpirun --oversubscribe --bind-to none -n "$ranks" "$@"

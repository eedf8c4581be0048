#!/usr/bin/env bash
# tidy.sh SCRIPT...: runs a test's script, and takes away what Open MPI leaves behind where it is killed itself: the ranks' shared memory
# and the session's folder.
set -u
TMPDIR=$(mktemp -d -t kmask-test-XXXXXX) || exit 1
export TMPDIR
memory=$(mktemp -d /dev/shm/kmask-test-XXXXXX 2>/dev/null) && export OMPI_MCA_btl_vader_backing_directory=$memory
trap 'rm -rf "$TMPDIR" ${memory:+"$memory"}' EXIT
bash "$@"

#!/usr/bin/env bash
# The bits do not depend on ranks, threads, recomputation or restarts: one hash for each unit and BLAS kernel.
. "$SOURCE/tests/common.sh"
. "$SOURCE/tests/run/bits.sh"
make_corpus
make_config c.json run

# OpenBLAS's serial build is refused with more than one thread: there, threads are not compared.
threads=2
train probe 1 --set train.steps=4 --set parallel.threads=2
grep -q "serial build" log.txt && { echo "OpenBLAS's serial build: one thread only"; threads=1; failures=0; }

for unit in subword word span; do
    train "$unit-1" 1 --set "mask.unit=$unit"
    reference=$hash
    for ranks in 2 3 5 8; do
        train "$unit-$ranks" "$ranks" --set "mask.unit=$unit"
        same "$unit on $ranks ranks"
    done
    train "$unit-threads" 1 --set "mask.unit=$unit" --set parallel.threads=$threads
    same "$unit with 2 threads"
    [ -n "${previous:-}" ] && [ "$previous" = "$reference" ] && fail "$unit gives the hash of another unit"
    previous=$reference
done
train recompute 2 --set mask.unit=span --set train.recompute=true --set parallel.threads=$((2 * threads - 1))
same "recompute on 2 ranks with threads"
"$KMASK" inspect recompute/checkpoints/step-00000020.h5 --json | grep -q "$reference" || fail "inspect has another hash"

for core in Haswell SkylakeX; do
    grep -q avx512f /proc/cpuinfo || [ "$core" = Haswell ] || continue
    grep -q avx2 /proc/cpuinfo || continue
    export OPENBLAS_CORETYPE=$core
    train "$core-1" 1
    reference=$hash
    train "$core-3" 3 --set parallel.threads=$threads
    same "$core on 3 ranks"
    unset OPENBLAS_CORETYPE
done

train roberta-1 1 --set model.type=roberta --set mask.over=epochs --set mask.ratio=partition
reference=$hash
train roberta-2 2 --set model.type=roberta --set mask.over=epochs --set mask.ratio=partition
same "roberta over epochs"
finish

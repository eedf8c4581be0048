#!/usr/bin/env bash
# Where the templates put ranks: each on cores of its own, as many as it has threads, by srun and by mpirun; one BLAS thread. On a
# cluster of two nodes that have this machine's cores; the program that they run is a script which says what it has been given.
. "$SOURCE/tests/common.sh"
. "$SOURCE/tests/slurm/cluster.sh"
cores=$(nproc)
[ "$cores" -ge 2 ] || { echo "one core only: nothing to bind"; exit 77; }
cluster_task_plugin=task/affinity
cluster_up 2 "$cores" || exit "$(${cluster_is_broken:-false} && echo 1 || echo 77)"
. "$SOURCE/tests/slurm/jobs.sh"
cat >kmask <<'EOS'
#!/usr/bin/env bash
echo "RANK $(hostname) cpus $(taskset -cp $$ | sed 's/.*: //') blas $OPENBLAS_NUM_THREADS omp $OMP_NUM_THREADS arguments $*"
sleep 1
EOS
chmod +x kmask
export KMASK=$PWD/kmask
echo '{"run": {"dir": "run"}}' >c.json

# bound RANKS THREADS: so many lines a node, of so many cores each, none of them twice on a node.
bound() {
    local ranks=$1 threads=$2 node cpus
    start multi-node run "$ranks" 2 --cpus-per-task="$threads" --
    ended "$job" 60 && [ "$(field "$job" JobState)" = COMPLETED ] || fail "$KMASK_LAUNCHER: $(field "$job" JobState): $(tail -n 5 "$log")"
    [ "$(grep -c '^RANK' "$log")" -eq "$ranks" ] || fail "$KMASK_LAUNCHER, $ranks ranks: found $(grep -c '^RANK' "$log"): $(tail -n 5 "$log")"
    [ "$(grep -c "blas 1 omp 1 arguments pretrain --set parallel.threads=$threads c.json" "$log")" -eq "$ranks" ] ||
        fail "$KMASK_LAUNCHER: $(grep '^RANK' "$log")"
    for node in host1 host2; do
        cpus=$(sed -nE "s/^RANK $node cpus ([0-9,-]*) .*/\1/p" "$log" | tr ',' '\n' |
            awk -F- '{ for (i = $1; i <= $NF; i++) print i }' | sort -n)
        [ "$(wc -w <<<"$cpus")" -eq $((ranks / 2 * threads)) ] && [ -z "$(uniq -d <<<"$cpus")" ] ||
            fail "$KMASK_LAUNCHER, $ranks ranks of $threads threads: $(grep "$node" "$log")"
    done
}
for KMASK_LAUNCHER in srun mpirun; do
    export KMASK_LAUNCHER
    bound 4 1
    bound 2 2
done
finish

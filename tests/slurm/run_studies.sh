#!/usr/bin/env bash
# The templates that prepare a study and run it, on a real SLURM cluster whose nodes count their memory: corpus.sbatch builds the
# corpus that one process builds; array.sbatch trains each arm with each seed in a folder of its own, and a job without an arm says so;
# --mem=0 gives a job all memory of its nodes, where a job that asks for nothing gets a little.
. "$SOURCE/tests/common.sh"
. "$SOURCE/tests/slurm/cluster.sh"
cluster_select=CR_Core_Memory
cluster_more="DefMemPerCPU=20"
cluster_up 3 4 || exit "$(${cluster_is_broken:-false} && echo 1 || echo 77)"
STEPS=20 PATIENCE=300
. "$SOURCE/tests/slurm/jobs.sh"
make_job_config
export KMASK_LAUNCHER=srun

# finished WHAT [MEMORY]: the job has completed, with so much memory on each of its nodes.
finished() {
    ended "$job" "$PATIENCE" || { fail "$1: job $job is $(field "$job" JobState)"; scancel "$job"; }
    [ "$(field "$job" JobState)" = COMPLETED ] || fail "$1: $(field "$job" JobState): $(tail -n 3 "$(field "$job" StdOut)")"
    field "$job" TRES | grep -qE "mem=$2(,|$)" || fail "$1: $(field "$job" TRES), not $2"
}

printf '#!/bin/sh\ntrue\n' >small.sh
submit -n 1 -o small.log small.sh || finish
finished "a job that asks for nothing" 20M

head -n 2000 text.txt >more.txt
"$KMASK" corpus build --tokenizer tok --holdout 0.1 --out one.h5 text.txt more.txt >one.txt 2>&1 || fail "a corpus of one process: $(tail -n 1 one.txt)"
submit --nodes=2 --ntasks-per-node=3 "$SOURCE/jobs/corpus.sbatch" --tokenizer tok --holdout 0.1 --out six.h5 text.txt more.txt || finish
finished "corpus.sbatch" 8000M
for file in '' .holdout; do
    [ -s "one$file.h5" ] && [ "$("$KMASK" inspect "one$file.h5" | grep hash)" = "$("$KMASK" inspect "six$file.h5" | grep hash)" ] ||
        fail "corpus.sbatch: another corpus than that of one process ($file)"
done
submit --ntasks-per-node=1 "$SOURCE/jobs/corpus.sbatch" || finish
ended "$job" "$PATIENCE" || fail "corpus.sbatch without arguments: $(squeue)"
[ "$(field "$job" JobState) $(field "$job" ExitCode)" = "FAILED 2:0" ] || fail "corpus.sbatch without arguments: $(field "$job" JobState)"

cat >arms.txt <<END
# name      options
explored    --set mask.policy=fully_explored

random      --set mask.policy=random --set mask.splits=2
END
export KMASK_SEEDS=2
submit --array=0-4 --nodes=1 --ntasks=2 "$SOURCE/jobs/array.sbatch" c.json arms.txt study || finish
array=$job
ended "$array" "$PATIENCE" || fail "array.sbatch: $(squeue)"
for arm in 0:explored:1:fully_explored:4 1:explored:2:fully_explored:4 2:random:1:random:2 3:random:2:random:2; do
    IFS=: read -r index name seed policy splits <<<"$arm"
    job=${array}_$index
    finished "array.sbatch, job $index" 4000M
    run=study/$name-seed$seed
    grep -qE '"status":[[:space:]]*0,' "$run/status.json" || fail "$run: $(cat "$run/status.json")"
    tr -d ' \n' <"$run/config.json" | grep -q "\"seed\":$seed.*\"policy\":\"$policy\".*\"splits\":$splits" || fail "$run: another arm: $(cat "$run/config.json")"
done
[ "$(for run in study/*; do last_hash "$run"; done | sort -u | wc -l)" -eq 4 ] || fail "two arms or seeds have the same weights"
job=${array}_4
[ "$(field "$job" JobState) $(field "$job" ExitCode)" = "FAILED 2:0" ] || fail "a job without an arm: $(field "$job" JobState) $(field "$job" ExitCode)"
grep -q "arms.txt has no arm 3" "kmask-array-$array-4.log" || fail "a job without an arm says: $(cat "kmask-array-$array-4.log")"
finish

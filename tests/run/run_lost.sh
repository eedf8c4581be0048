#!/usr/bin/env bash
# Checkpoints that were removed while the log, the status or snapshots show saved steps: a new start is refused and changes nothing. And
# tasks of a launcher that MPI does not know, which would each train alone.
. "$SOURCE/tests/common.sh"
make_corpus
make_config c.json run
config=(--set train.steps=20 --set checkpoint.every=5 --set checkpoint.snapshots=10)
sums() { (cd run && find . -type f ! -name '*.lock' | sort | xargs md5sum); }

"$KMASK" pretrain c.json "${config[@]}" >log.txt 2>&1 || fail "the run: $(tail -n 2 log.txt)"
cp -r run whole
rm run/checkpoints/*
sums >before.txt
for change in run.seed=3 run.seed=4 optimizer.lr=1e-3; do
    expect 3 "Nothing was changed" "$KMASK" pretrain c.json "${config[@]}" --set $change
    sums | cmp - before.txt || fail "a refused start changed the run folder ($change)"
done
grep -qF "model.init = run/snapshots/step-00000020.h5" err.txt || fail "no way out: $(cat err.txt)"
expect 3 "they were removed" "$KMASK" plan c.json "${config[@]}"
sums | cmp - before.txt || fail "plan changed the run folder"
# Each witness alone is enough.
cp -r run kept
rm -r run/status.json run/snapshots
expect 3 "metrics.jsonl shows that step" "$KMASK" pretrain c.json "${config[@]}"
rm run/metrics.jsonl
cp -r kept/snapshots run/
expect 3 "a snapshot shows that step 20" "$KMASK" pretrain c.json "${config[@]}"
rm -r run/snapshots
cp kept/status.json run/
expect 3 "status.json shows that step 20" "$KMASK" pretrain c.json "${config[@]}"
# The way out that the sentence names.
sed -E 's/^ "model": .*/ "model": {},/; /"intermediate_size"/d' c.json >init.json
"$KMASK" pretrain init.json --set run.dir=other --set model.init=whole/snapshots/step-00000020.h5 --set train.steps=4 >log.txt 2>&1 ||
    fail "from a snapshot: $(tail -n 2 log.txt)"
grep -qF "starts from the weights of whole/snapshots/step-00000020.h5; its moments and steps begin at 0" log.txt ||
    fail "the log does not say what the run starts from"

# ---- A run folder in place of a model: its newest checkpoint ----
"$KMASK" eval whole --corpus corpus.holdout.h5 >folder.txt 2>err.txt || fail "eval of a run folder: $(cat err.txt)"
"$KMASK" eval whole/checkpoints/step-00000020.h5 --corpus corpus.holdout.h5 >file.txt 2>/dev/null
cmp folder.txt file.txt || fail "eval of a run folder is not that of its newest checkpoint"
grep -qF "whole is a run folder: its newest file whole/checkpoints/step-00000020.h5 is taken" err.txt || fail "it is not said"
"$KMASK" pretrain init.json --set run.dir=next --set model.init=whole --set train.steps=4 >log.txt 2>&1 || fail "model.init = RUN: $(tail -n 2 log.txt)"

# ---- Paths with names of the environment ----
PLACE=$PWD/here HOME=$PWD/home "$KMASK" pretrain c.json --set 'run.dir=$PLACE/run' --set train.steps=4 >log.txt 2>&1 ||
    fail "\$PLACE: $(tail -n 2 log.txt)"
grep -qF "\"$PWD/here/run\"" here/run/config.json || fail "config.json does not have the path that it became"
HOME=$PWD/home "$KMASK" pretrain c.json --set 'run.dir=~/run' --set train.steps=4 >log.txt 2>&1 && [ -e home/run/config.json ] ||
    fail "~: $(tail -n 2 log.txt)"
expect 2 'expected a path' "$KMASK" pretrain c.json --set 'run.dir=$NO_SUCH_NAME_HERE/run'
[ ! -e '$NO_SUCH_NAME_HERE' ] || fail "a folder of that name was made"

# ---- A held-out corpus that was not split from the training corpus ----
"$KMASK" corpus build --tokenizer tok --out all.h5 text.txt >/dev/null 2>&1
expect 2 "they are not held out" "$KMASK" pretrain c.json --set run.dir=leak --set data.train=all.h5
expect 2 "they are not held out" "$KMASK" plan c.json --set run.dir=leak --set data.train=all.h5
expect 2 "they are not held out" "$KMASK" pretrain c.json --set run.dir=leak --set data.eval=corpus.h5
[ ! -e leak/checkpoints ] || fail "a run with such a corpus was begun"

# ---- Launchers whose tasks MPI does not know ----
tasks() { # NAME=VALUE... : two tasks of four
    local i
    for i in 0 1; do
        env "$@" SLURM_PROCID=$i PMI_RANK=$i FLUX_TASK_RANK=$i "$KMASK" pretrain c.json --set run.dir=alone >task$i.txt 2>&1
        [ $? = 2 ] || fail "status of task $i with $*: $(tail -n 1 task$i.txt)"
    done
    grep -qF "started 4 tasks" task0.txt || fail "no sentence with $*: $(tail -n 2 task0.txt)"
    [ ! -e alone ] || fail "a task of many worked alone ($*)"
}
tasks SLURM_JOB_ID=77 SLURM_STEP_ID=0 SLURM_NTASKS=4 SLURM_STEP_NUM_TASKS=4
tasks PMI_SIZE=4
tasks FLUX_JOB_SIZE=4
expect 2 "started 4 tasks" env SLURM_STEP_NUM_TASKS=4 SLURM_PROCID=0 "$KMASK" corpus build --tokenizer tok --out alone.h5 text.txt
[ ! -e alone.h5 ] || fail "a corpus was built"
# A batch script, where nothing was started, and one task of one.
env SLURM_JOB_ID=77 SLURM_NTASKS=4 SLURM_PROCID=0 "$KMASK" eval whole --corpus corpus.holdout.h5 >/dev/null 2>err.txt || fail "batch: $(cat err.txt)"
env SLURM_STEP_NUM_TASKS=1 SLURM_PROCID=0 "$KMASK" eval whole --corpus corpus.holdout.h5 >/dev/null 2>err.txt || fail "one: $(cat err.txt)"
finish

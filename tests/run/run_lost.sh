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
grep -qE "starts from the weights of whole/snapshots/step-00000020.h5 \(step 20 of the run in run, weights_hash [0-9a-f]{32}\); its moments are new, and its steps begin at 0" log.txt ||
    fail "the log does not say what the run starts from"

# ---- A run folder in place of a model: its newest checkpoint ----
"$KMASK" eval whole --corpus corpus.holdout.h5 >folder.txt 2>err.txt || fail "eval of a run folder: $(cat err.txt)"
"$KMASK" eval whole/checkpoints/step-00000020.h5 --corpus corpus.holdout.h5 >file.txt 2>/dev/null
cmp folder.txt file.txt || fail "eval of a run folder is not that of its newest checkpoint"
grep -qF "whole is a run folder: its newest file whole/checkpoints/step-00000020.h5 is taken" err.txt || fail "it is not said"
"$KMASK" pretrain init.json --set run.dir=next --set model.init=whole --set train.steps=4 >log.txt 2>&1 || fail "model.init = RUN: $(tail -n 2 log.txt)"

for verb in "fill whole [MASK]" "export whole --out exported" "inspect whole"; do
    "$KMASK" $verb >/dev/null 2>err.txt
    grep -qF "whole/checkpoints/step-00000020.h5" err.txt || fail "$verb does not take, or name, the run's newest checkpoint: $(cat err.txt)"
done
# A log with a hole is told where the run goes on and where it is evaluated; a whole log is not.
grep -qF "have no line" log.txt && fail "a whole log is taken for one with a hole"
cp -r whole holed && sed -i '/"step":\(7\|8\|13\),/d' holed/metrics.jsonl
"$KMASK" pretrain c.json --set run.dir=holed --set train.steps=22 >log.txt 2>&1 || fail "a log with a hole: $(tail -n 2 log.txt)"
grep -qF "holed/metrics.jsonl: 3 step(s) have no line" log.txt || fail "the hole is not told on resuming"
"$KMASK" eval holed --corpus corpus.holdout.h5 >/dev/null 2>err.txt
grep -qF "holed/metrics.jsonl: 3 step(s) have no line" err.txt || fail "the hole is not told by eval"
"$KMASK" pretrain c.json --set run.dir=sparse --set train.steps=17 --set log.every=4 --set checkpoint.every=6 >log.txt 2>&1 &&
    "$KMASK" pretrain c.json --set run.dir=sparse --set train.steps=30 --set log.every=3 >log.txt 2>&1 || fail "sparse: $(tail -n 2 log.txt)"
grep -qF "have no line" log.txt && fail "lines of several steps are taken for holes: $(grep -F 'have no line' log.txt)"

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

expect 2 "they are not held out" "$KMASK" pretrain c.json --set run.dir=holed --set train.steps=30 --set data.eval=corpus.h5
printf 'a b\n\nc d\n\ne f\n\n' >short.txt
"$KMASK" corpus build --tokenizer tok --out short.h5 short.txt >/dev/null 2>&1
expect 2 "they are not held out" "$KMASK" plan c.json --set run.dir=leak --set data.train=short.h5 --set data.eval=short.h5 --set data.length=8

# ---- A corpus that a run uses is not replaced by another text ----
grep -qF "\"run\":\"$PWD/sparse\"" corpus.h5.runs || fail "a run does not note its corpora: $(cat corpus.h5.runs)"
sum() { md5sum corpus.h5 corpus.holdout.h5; }
sum >before.txt
build() { "$KMASK" corpus build --tokenizer tok --holdout 0.1 --out corpus.h5 "$@"; }
build text.txt >/dev/null 2>err.txt || fail "the same content is refused: $(tail -n 1 err.txt)"
grep -qF "is used by the run in" err.txt || fail "the use is not told"
{ cat text.txt; for i in 1 2 3 4 5 6 7 8; do printf '\na further document of this text, number %s\n' $i; done; } >more.txt
expect 1 "--force" build more.txt
expect 1 "uses this corpus" build --duplicates drop more.txt text.txt more.txt
expect 1 "--force" "$KMASK" corpus build --tokenizer tok --holdout 0.2 --out corpus.h5 text.txt
expect 1 "--force" "$LAUNCH" 2 "$KMASK" corpus build --tokenizer tok --holdout 0.1 --out corpus.h5 more.txt
sum | cmp - before.txt || fail "a refused build changed the corpus"
[ -z "$(find . -maxdepth 1 -name '*.tmp')" ] || fail "left behind: $(find . -name '*.tmp')"
expect 1 "a held-out corpus" "$KMASK" corpus build --tokenizer tok --out corpus.h5 text.txt
cp corpus.h5 unused.h5
"$KMASK" corpus build --tokenizer tok --out unused.h5 more.txt >/dev/null 2>err.txt || fail "a copy that no run uses: $(tail -n 1 err.txt)"
build --force more.txt >/dev/null 2>err.txt || fail "--force: $(tail -n 1 err.txt)"
expect 2 "has other content" "$KMASK" pretrain c.json --set run.dir=whole --set train.steps=22
build text.txt >/dev/null 2>err.txt || fail "a corpus of a content that no run uses: $(tail -n 1 err.txt)"

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

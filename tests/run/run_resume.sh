#!/usr/bin/env bash
# A run killed at any moment and resumed on another number of ranks ends with the bits, and the log, of an
# uninterrupted one; a signal saves and says 75; a finished run says so.
. "$SOURCE/tests/common.sh"
make_corpus
make_config c.json whole
pretrain() { "$LAUNCH" "$1" "$KMASK" pretrain c.json --set "run.dir=$2" --set train.steps=60 --set eval.every=20; }

pretrain 2 whole >log.txt 2>&1 || fail "the whole run: $(tail -n 3 log.txt)"
reference=$(last_hash whole)
[ -n "$reference" ] || fail "no hash in the whole run's log"
# What a line says apart from times must be the same.
steps() { sed -E 's/"(tokens_per_s|gflops|seconds|comm_seconds)":[^,}]*//g' "$1/metrics.jsonl"; }

for delay in 0.3 0.6 0.9 1.3; do
    name=killed-$delay
    pretrain 2 "$name" >log.txt 2>&1 &
    launcher=$!
    sleep "$delay"
    kill_run "$name"
    wait "$launcher"
    pretrain 3 "$name" >log.txt 2>&1 || fail "resuming after $delay s: $(tail -n 3 log.txt)"
    [ "$(last_hash "$name")" = "$reference" ] || fail "killed after $delay s: another hash"
    [ "$(steps "$name")" = "$(steps whole)" ] || fail "killed after $delay s: another log"
done

# An orderly stop: status 75, a checkpoint of the very step, and the same end.
"$KMASK" pretrain c.json --set run.dir=stopped --set train.steps=60 --set eval.every=20 --set checkpoint.every=1000 \
    >log.txt 2>&1 &
process=$!
until_step stopped 3
kill -USR1 "$process"
wait "$process"
status=$?
if [ "$status" -eq 75 ]; then
    [ "$(ls stopped/checkpoints | wc -l)" -eq 1 ] || fail "no checkpoint after the signal"
    grep -q '"status":[[:space:]]*75' stopped/status.json || fail "status.json: $(cat stopped/status.json)"
elif [ "$status" -ne 0 ]; then
    fail "status $status after the signal: $(tail -n 3 log.txt)"
fi
pretrain 1 stopped >log.txt 2>&1 || fail "after the signal: $(tail -n 3 log.txt)"
[ "$(last_hash stopped)" = "$reference" ] || fail "after the signal: another hash"

before=$(sha256sum whole/metrics.jsonl whole/checkpoints/*)
expect 0 "finished" pretrain 2 whole
[ "$before" = "$(sha256sum whole/metrics.jsonl whole/checkpoints/*)" ] || fail "a finished run was changed"

# More steps: the run goes on, and says that the schedule follows.
expect 0 "train.steps" "$KMASK" pretrain c.json --set run.dir=whole --set train.steps=65 --set eval.every=20
# Other changes are refused, with the way out.
expect 2 "optimizer.lr" "$KMASK" pretrain c.json --set run.dir=whole --set train.steps=70 --set optimizer.lr=1
expect 2 "model.init" "$KMASK" pretrain c.json --set run.dir=whole --set train.steps=70 --set mask.splits=2

# keep, snapshots, and starting from a model.
"$KMASK" pretrain c.json --set run.dir=kept --set checkpoint.keep=1 --set checkpoint.snapshots='[3,10]' >log.txt 2>&1 ||
    fail "keep and snapshots: $(tail -n 3 log.txt)"
[ "$(ls kept/checkpoints)" = step-00000020.h5 ] || fail "keep 1 leaves $(ls kept/checkpoints)"
[ "$(ls kept/snapshots | tr '\n' ' ')" = "step-00000003.h5 step-00000010.h5 " ] || fail "snapshots: $(ls kept/snapshots)"
# A file under another step's name is none that the run goes on from: that is said, and it is neither counted nor removed.
KMASK_FAULT=save.open:3:kill "$LAUNCH" 1 "$KMASK_FAULTS" pretrain c.json --set run.dir=renamed >log.txt 2>&1 && fail "nothing died"
cp renamed/checkpoints/step-00000010.h5 renamed/checkpoints/step-00000099.h5
expect 0 "holds step 10, not the 99 of its name" "$KMASK" pretrain c.json --set run.dir=renamed --set checkpoint.keep=1
[ "$(last_hash renamed)" = "$(last_hash kept)" ] || fail "with a renamed checkpoint: another hash"
[ "$(ls renamed/checkpoints | tr '\n' ' ')" = "step-00000020.h5 step-00000099.h5 " ] || fail "with a renamed one: $(ls renamed/checkpoints)"
cat >init.json <<EOF
{"run": {"dir": "continued"}, "model": {"init": "kept/snapshots/step-00000010.h5", "hidden_dropout_prob": 0},
 "data": {"train": "corpus.h5", "length": 40}, "train": {"steps": 3, "sequences": 4}, "optimizer": {"lr": 1e-3}}
EOF
"$KMASK" pretrain init.json >log.txt 2>&1 || fail "model.init: $(tail -n 3 log.txt)"
finish

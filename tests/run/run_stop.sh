#!/usr/bin/env bash
# Orderly stops: by a signal that comes early, during the first evaluation, or to one rank alone; by run.max_hours; by the end of
# the SLURM job. Always 75 with a checkpoint, and the bits of an uninterrupted run after going on.
. "$SOURCE/tests/common.sh"
make_corpus
make_config c.json whole
sed -i 's/"checkpoint": {/"eval": {"every": 7}, "checkpoint": {/' c.json
pretrain() { "$LAUNCH" "$1" "$KMASK" pretrain c.json --set "run.dir=$2" "${@:3}"; }

pretrain 2 whole >log.txt 2>&1 || fail "the whole run: $(tail -n 3 log.txt)"
reference=$(last_hash whole)
steps() { sed -E 's/"(tokens_per_s|gflops|seconds|comm_seconds)":[^,}]*//g; s/"weights_hash":"[^"]*"//; s/,+/,/g; s/,}/}/' "$1/metrics.jsonl"; }

# goes_on RUN: it has said 75 with a checkpoint; without the limit it ends as the whole run did, with its log.
goes_on() {
    grep -q '"status":[[:space:]]*75' "$1/status.json" || fail "$1: status.json: $(cat "$1/status.json")"
    ls "$1"/checkpoints/step-*.h5 >/dev/null || fail "$1: 75 without a checkpoint"
    pretrain 3 "$1" >log.txt 2>&1 || fail "$1: going on: $(tail -n 3 log.txt)"
    [ "$(last_hash "$1")" = "$reference" ] || fail "$1: another hash"
    [ "$(steps "$1")" = "$(steps whole)" ] || fail "$1: another log"
}

# As soon as the signal is caught at all: before MPI starts.
"$KMASK" pretrain c.json --set run.dir=early --set train.steps=1000000 >log.txt 2>&1 &
process=$!
catches_usr1() {
    local mask
    mask=$(sed -n 's/^SigCgt:[[:space:]]*//p' "/proc/$1/status" 2>/dev/null)
    [ $((0x${mask:-0} & 0x200)) -ne 0 ]
}
within 60 catches_usr1 "$process"
kill -USR1 "$process"
wait "$process"
status=$?
[ "$status" -eq 75 ] || fail "status $status after a signal before MPI: $(tail -n 3 log.txt)"
goes_on early

# During the first evaluation, which would take minutes, and to one rank only.
pretrain 3 evaluating --set train.steps=1000000 --set eval.ratio=0.001 >log.txt 2>&1 &
launcher=$!
until_logged 'a new run'
for process in $(ranks_of evaluating); do
    tr '\0' '\n' <"/proc/$process/environ" | grep -q '^OMPI_COMM_WORLD_RANK=1$' && kill -USR1 "$process"
done
wait "$launcher"
status=$?
[ "$status" -eq 75 ] || fail "status $status after a signal in the first evaluation: $(tail -n 3 log.txt)"
[ -e evaluating/checkpoints/step-00000000.h5 ] || fail "found only $(ls evaluating/checkpoints)"
[ -s evaluating/metrics.jsonl ] && fail "lines without a step: $(cat evaluating/metrics.jsonl)"
# Killed before the next save: the first evaluation has been made meanwhile, and is not made twice.
KMASK_FAULT=save.open:1:kill "$LAUNCH" 2 "$KMASK_FAULTS" pretrain c.json --set run.dir=evaluating >log.txt 2>&1 &&
    fail "nothing died at the first save"
[ "$(grep -c . evaluating/metrics.jsonl)" -ge 5 ] || fail "before the first save there are only $(cat evaluating/metrics.jsonl)"
echo '{"status": 75}' >evaluating/status.json # goes_on wants to see it
goes_on evaluating

# During an evaluation in the middle, and during the last one: its line has it when the run goes on. It goes on from step 5 of a
# killed run.
KMASK_FAULT=save.open:2:kill "$LAUNCH" 2 "$KMASK_FAULTS" pretrain c.json --set run.dir=middle >log.txt 2>&1 &&
    fail "nothing died at the second save"
# broken_off STEP [--set ...]: the run in middle/ goes on and is asked to stop while it evaluates after this step: rank 0 stops
# itself where that begins, and finds the signal when it is woken.
broken_off() {
    local step=$1 launcher root status
    shift
    KMASK_FAULT=train.evaluate:1:stop@0 "$LAUNCH" 2 "$KMASK_FAULTS" pretrain c.json --set run.dir=middle "$@" >log.txt 2>&1 &
    launcher=$!
    root=$(within 60 stopped_of middle) || { fail "step $step: no evaluation began: $(tail -n 3 log.txt)"; kill "$launcher"; return; }
    kill -USR1 "$root"
    kill -CONT "$root"
    wait "$launcher"
    status=$?
    [ "$status" -eq 75 ] || fail "status $status after a signal in the evaluation of step $step: $(tail -n 3 log.txt)"
    grep -q "step $step: the evaluation is broken off by SIGUSR1" log.txt || fail "step $step: $(tail -n 3 log.txt)"
    grep -q '"status":[[:space:]]*75' middle/status.json || fail "step $step: status.json: $(cat middle/status.json)"
    tail -n 1 middle/metrics.jsonl | grep "\"step\":$step," | grep -vq eval_loss || fail "step $step: $(tail -n 1 middle/metrics.jsonl)"
}
broken_off 7
broken_off 7 # again, before anything else
cp -r middle twice
goes_on twice
rm -rf middle && cp -r twice middle && rm middle/checkpoints/step-00000020.h5 # from step 15 to the last
broken_off 20 --set eval.every=0
expect 0 "is finished" pretrain 3 middle
[ "$(steps middle)" = "$(steps whole)" ] || fail "the last evaluation comes late: another log: $(diff <(steps middle) <(steps whole))"
grep -q '"status":[[:space:]]*0' middle/status.json || fail "the last evaluation came: status.json: $(cat middle/status.json)"
before=$(sha256sum middle/* middle/*/* 2>/dev/null)
expect 0 "is finished" pretrain 2 middle
[ "$before" = "$(sha256sum middle/* middle/*/* 2>/dev/null)" ] || fail "a run that is finished and evaluated was changed"

# Never 75 without a save: a stop whose save fails ends with the reason; one whose last try comes about is a stop.
stopped_with() { # RUN FAULTS: sets status
    local process
    KMASK_FAULT=$2,save.pause:1+:fail "$KMASK_FAULTS" pretrain c.json --set "run.dir=$1" --set train.steps=1000000 \
        --set eval.every=0 --set checkpoint.every=1000000 >log.txt 2>&1 &
    process=$!
    until_step "$1" 5
    kill -TERM "$process" && kill -USR1 "$process"
    wait "$process"
    status=$?
}
stopped_with unsaved save.open:1+:fail
[ "$status" -eq 1 ] || fail "status $status of a stop whose save fails: $(tail -n 3 log.txt)"
grep -q '"reason":.*no checkpoint was saved: save.open' unsaved/status.json || fail "unsaved: $(cat unsaved/status.json)"
[ -z "$(ls unsaved/checkpoints 2>/dev/null)" ] || fail "unsaved: $(ls unsaved/checkpoints)"
stopped_with late save.open:1:fail,save.open:2:fail,save.rename:1:fail
[ "$status" -eq 75 ] || fail "status $status of a stop whose last try works: $(tail -n 3 log.txt)"
grep -q "saved again" log.txt || fail "late: $(tail -n 3 log.txt)"
"$KMASK" inspect late/checkpoints/*.h5 >/dev/null || fail "late: $(ls late/checkpoints)"

# Limits.
long() { "$KMASK" pretrain c.json --set "run.dir=$1" --set train.steps=1000000 --set eval.every=0 "${@:2}"; }
expect 75 "run.max_hours" long hours --set run.max_hours=0.0005
goes_on_later() {
    grep -q "\"reason\":[[:space:]]*\"$2" "$1/status.json" || fail "$1: $(cat "$1/status.json")"
}
goes_on_later hours run.max_hours
SLURM_JOB_ID=12 SLURM_JOB_END_TIME=$(($(date +%s) + 5)) expect 75 "SLURM job 12" long environment
goes_on_later environment "the end of SLURM job 12"
mkdir bin
printf '#!/bin/sh\ndate -d "+5 seconds" +%%Y-%%m-%%dT%%H:%%M:%%S\n' >bin/squeue
chmod +x bin/squeue
PATH=$PWD/bin:$PATH SLURM_JOB_ID=13 expect 75 "SLURM job 13" long squeue
goes_on_later squeue "the end of SLURM job 13"
printf '#!/bin/sh\nexit 1\n' >bin/squeue
PATH=$PWD/bin:$PATH SLURM_JOB_ID=14 expect 75 "its end is not known" long unknown --set run.max_hours=0.0005

# A person at a terminal who presses Ctrl-C twice.
if command -v script >/dev/null; then
    script -qefc "$KMASK pretrain c.json --set run.dir=person --set eval.ratio=0.001" terminal.txt >/dev/null 2>&1 </dev/null &
    launcher=$!
    log=terminal.txt until_logged 'a new run'
    process=$(ranks_of person)
    [ -n "$process" ] && kill -STOP "$process" && kill -INT "$process" && kill -CONT "$process"
    log=terminal.txt until_logged 'Ctrl-C again'
    kill -INT "$process" 2>/dev/null
    wait "$launcher"
    status=$?
    case $status in
        1) grep -q 'interrupted again' terminal.txt || fail "Ctrl-C twice: $(tail -n 3 terminal.txt)" ;;
        75) grep -q 'Ctrl-C again' terminal.txt || fail "no word after Ctrl-C: $(tail -n 3 terminal.txt)" ;; # had saved by then
        *) fail "status $status after Ctrl-C twice: $(tail -n 3 terminal.txt)" ;;
    esac
fi
finish

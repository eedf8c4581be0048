#!/usr/bin/env bash
# The best checkpoint by held-out loss (checkpoint.best) and early stopping (eval.patience): on several ranks, after kills, with pruning.
. "$SOURCE/tests/common.sh"
make_text | head -n 120 >text.txt
"$KMASK" tokenizer train --type wordpiece --vocab-size 300 --out tok text.txt >/dev/null 2>log.txt &&
    "$KMASK" corpus build --tokenizer tok --holdout 0.2 --out corpus.h5 text.txt >/dev/null 2>>log.txt || { cat log.txt; fail "no corpus"; finish; }
make_config c.json run
sed -i 's/"warmup": 4/"warmup": 0/' c.json
# A rate that is too high makes the held-out loss go up and down: 5.76, 5.67, 8.34, 6.63 ... 5.39 after step 12, 5.48, 5.59.
best=(--set checkpoint.best=true --set checkpoint.keep=1 --set eval.every=1 --set train.steps=14 --set checkpoint.every=6 --set optimizer.lr=1e-1
    --set schedule.name=constant)
pretrain() { # RANKS DIR [--set ...]
    local ranks=$1 dir=$2
    shift 2
    "$LAUNCH" "$ranks" "$KMASK" pretrain c.json --set run.dir="$dir" "${best[@]}" "$@" >log.txt 2>&1
}
lowest() { # DIR: the step with the lowest eval_loss, of equal ones the first
    sed -nE 's/.*"step":([0-9]+),.*"eval_loss":([0-9.e+-]+).*/\2 \1/p' "$1/metrics.jsonl" | sort -k1,1g -k2,2n | awk 'NR == 1 { print $2 }'
}
step_of() { "$KMASK" inspect "$1" --json 2>/dev/null | sed -nE 's/.*"step":[[:space:]]*([0-9]+).*/\1/p' | head -n 1; }
hash_of() { "$KMASK" inspect "$1" --json 2>/dev/null | grep -oE '"weights_hash":[[:space:]]*"[0-9a-f]+"' | head -n 1 | grep -oE '[0-9a-f]{32}'; }
is_best() { # DIR WHAT
    local step
    step=$(lowest "$1")
    [ -n "$step" ] && [ "$(step_of "$1/checkpoints/best.h5")" = "$step" ] ||
        fail "$2: best.h5 is of step $(step_of "$1/checkpoints/best.h5"), the lowest loss of step $step"
    [ "$(ls "$1/checkpoints" | tr '\n' ' ')" = "best.h5 step-00000014.h5 " ] || fail "$2: $(ls "$1/checkpoints")"
    [ "$(hash_of "$1/checkpoints/best.h5")" = "$(hash_of one/checkpoints/best.h5)" ] || fail "$2: another best checkpoint"
}

pretrain 1 one || fail "one rank: $(tail -n 2 log.txt)"
step=$(lowest one)
[ "$step" -gt 0 ] && [ "$step" -lt 14 ] || fail "the best evaluation is step $step: this test needs another one"
grep -qF "the lowest held-out loss was" log.txt && grep -qF "at step $step: one/checkpoints/best.h5" log.txt || fail "the best one is not told: $(tail -n 4 log.txt)"
is_best one "1 rank"
for ranks in 2 3; do
    pretrain $ranks many || fail "$ranks ranks: $(tail -n 2 log.txt)"
    is_best many "$ranks ranks"
    rm -r many
done
"$KMASK" eval one/checkpoints/best.h5 --corpus corpus.holdout.h5 --json 2>/dev/null | grep -q '"loss"' || fail "best.h5 cannot be evaluated"

# ---- Killed where the best one is written, before and behind its new name; resumed on other ranks ----
for place in save.open:1 save.verify:2 best.link:3 save.prune:3 train.step:13; do
    KMASK_FAULT=$place:kill bash -c '"$@" >log.txt 2>&1; true' - "$KMASK_FAULTS" pretrain c.json --set run.dir=killed "${best[@]}" 2>/dev/null
    grep -qF resumed log.txt && fail "$place came too late"
    pretrain 2 killed || fail "after $place: $(tail -n 2 log.txt)"
    is_best killed "after $place"
    [ -z "$(find killed -name '*.tmp')" ] || fail "left behind after $place"
    rm -r killed
done
# A file system without hard links; a best checkpoint that was removed while its file is there; a later one than the run goes on from.
KMASK_FAULT=best.link:1+:fail=1 "$KMASK_FAULTS" pretrain c.json --set run.dir=copied "${best[@]}" >log.txt 2>&1 || fail "copies: $(tail -n 2 log.txt)"
is_best copied "copied"
pretrain 1 kept --set checkpoint.keep=9 && rm kept/checkpoints/best.h5 && pretrain 1 kept --set checkpoint.keep=9
[ "$(step_of kept/checkpoints/best.h5)" = "$step" ] || fail "a best.h5 that was removed is not made again from its checkpoint"
expect 3 "model.init = lost/checkpoints/best.h5" bash -c "mkdir -p lost/checkpoints && cp one/checkpoints/best.h5 lost/checkpoints && '$KMASK' pretrain c.json --set run.dir=lost"

# ---- Patience ----
pretrain 1 patient --set eval.patience=3 || fail "patience: $(tail -n 2 log.txt)"
stop=$(grep -o '"step":[0-9]*' patient/metrics.jsonl | tail -n 1 | cut -d: -f2)
[ "$stop" -lt 14 ] || fail "patience did not end the run"
[ $((stop - $(lowest patient))) -eq 3 ] || fail "ended at $stop, best at $(lowest patient)"
grep -q '"reason":.*eval.patience' patient/status.json && grep -q '"status":[[:space:]]*0' patient/status.json || fail "status.json: $(cat patient/status.json)"
[ -e "patient/checkpoints/step-$(printf %08d "$stop").h5" ] || fail "no checkpoint of the last step"
before=$(md5sum patient/metrics.jsonl)
pretrain 2 patient --set eval.patience=3 || fail "again: $(tail -n 2 log.txt)"
grep -qF "Raise eval.patience" log.txt && [ "$before" = "$(md5sum patient/metrics.jsonl)" ] || fail "a run that patience has ended went on"
"$KMASK" plan c.json --set run.dir=patient "${best[@]}" --set eval.patience=3 2>/dev/null | grep -q "the run is finished" || fail "plan does not know that it is finished"
for ranks in 2 3; do
    pretrain $ranks early --set eval.patience=3 || fail "patience on $ranks ranks"
    cmp <(lines early | sed "s/,}/}/") <(lines patient | sed "s/,}/}/") || fail "patience on $ranks ranks ends otherwise"
    rm -r early
done
KMASK_FAULT=train.step:$stop:kill bash -c '"$@" >log.txt 2>&1; true' - "$KMASK_FAULTS" pretrain c.json --set run.dir=early "${best[@]}" --set eval.patience=3 2>/dev/null
pretrain 1 early --set eval.patience=3 || fail "killed: $(tail -n 2 log.txt)"
cmp <(lines early | sed "s/,}/}/") <(lines patient | sed "s/,}/}/") || fail "patience after a kill ends otherwise"
pretrain 1 patient --set eval.patience=0 || fail "without patience: $(tail -n 2 log.txt)"
cmp <(lines patient | sed "s/,}/}/") <(lines one | sed "s/,}/}/") || fail "a run that went on is not the uninterrupted one"
expect 2 "eval.patience: found 3 without eval.every" "$KMASK" pretrain c.json --set run.dir=no --set eval.patience=3
sed -i 's/"eval": "corpus.holdout.h5", //' c.json
expect 2 "checkpoint.best: found true without data.eval" "$KMASK" pretrain c.json --set run.dir=no --set checkpoint.best=true
finish

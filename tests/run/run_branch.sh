#!/usr/bin/env bash
# Runs that begin with the moments of a checkpoint (optimizer.init). In the corpus of this test a step is all rows, of which every token
# is masked, so that a step depends on nothing but weights and moments: a branch must end with the very weights of the run that it left.
. "$SOURCE/tests/common.sh"
make_text | head -n 60 >text.txt
"$KMASK" tokenizer train --type wordpiece --vocab-size 300 --out tok text.txt >/dev/null 2>log.txt &&
    "$KMASK" corpus build --tokenizer tok --out corpus.h5 text.txt >/dev/null 2>>log.txt || { cat log.txt; fail "no corpus"; finish; }
make_config c.json whole
sed -i 's/"eval": "corpus.holdout.h5", //; s/"splits": 4/"splits": 1, "ratio": "partition"/
    s/"initializer_range": 0.05/"hidden_dropout_prob": 0, "attention_probs_dropout_prob": 0/' c.json
rows=$("$KMASK" plan c.json --gflops 1 --json 2>/dev/null | sed -nE 's/.*"rows":[[:space:]]*([0-9]+).*/\1/p' | head -n 1)
[ "${rows:-0}" -gt 3 ] || fail "no rows: $rows"
still=(--set train.sequences="$rows" --set train.micro_batch=1 --set schedule.name=constant --set schedule.warmup=0 --set optimizer.beta2=0.9)
sed '/^ "model"/,/max_position/c\ "model": {"hidden_dropout_prob": 0, "attention_probs_dropout_prob": 0},' c.json >init.json
pretrain() { # CONFIG RANKS DIR STEPS [--set ...]
    local config=$1 ranks=$2 dir=$3 steps=$4
    shift 4
    "$LAUNCH" "$ranks" "$KMASK" pretrain "$config" --set run.dir="$dir" --set train.steps="$steps" "${still[@]}" "$@" >log.txt 2>&1 ||
        fail "$dir: $(tail -n 2 log.txt)"
}
pretrain c.json 1 whole 10 --set checkpoint.every=4 --set checkpoint.keep=10 --set checkpoint.snapshots='[4]'
from=whole/checkpoints/step-00000004.h5
branch() { # RANKS DIR STEPS [--set ...]
    local ranks=$1 dir=$2 steps=$3
    shift 3
    pretrain init.json "$ranks" "$dir" "$steps" --set model.init=$from --set optimizer.init=true "$@"
}

# ---- The same weights, on any number of ranks, and after a stop ----
for ranks in 1 2 3; do
    branch "$ranks" "branch-$ranks" 6
    [ "$(last_hash "branch-$ranks")" = "$(last_hash whole)" ] || fail "a branch on $ranks ranks is not the run that it left"
done
grep -qF "starts from the weights and moments of $from (step 4 of the run in whole, weights_hash " log.txt || fail "descent: $(head -n 3 log.txt)"
grep -qF "Adam's step count goes on from 4, while the schedule and the order of rows begin at step 0" log.txt || fail "the step count is not told"
grep -q '"starts_from":"whole/.*"moments":"taken"' branch-3/starts.jsonl || fail "starts.jsonl: $(head -n 1 branch-3/starts.jsonl)"
"$KMASK" pretrain init.json --set run.dir=stopped --set train.steps=6 "${still[@]}" --set model.init=$from --set optimizer.init=true \
    --set checkpoint.every=2 --set run.max_hours=1e-9 >log.txt 2>&1
[ $? = 75 ] && [ ! -e stopped/checkpoints/step-00000006.h5 ] || fail "the run was not stopped"
branch 1 stopped 6 --set checkpoint.every=2
[ "$(last_hash stopped)" = "$(last_hash whole)" ] || fail "a branch that was stopped and resumed ends otherwise"
# A branch of a branch counts the updates of both.
from=branch-1/checkpoints/step-00000006.h5
pretrain c.json 1 longer 13
branch 2 second 3
[ "$(last_hash second)" = "$(last_hash longer)" ] || fail "a branch of a branch is not the run that both left"
grep -qF "goes on from 10," log.txt || fail "updates of both are not counted: $(head -n 3 log.txt)"

# ---- New moments, and what else may differ ----
from=whole/checkpoints/step-00000004.h5
pretrain init.json 1 fresh 6 --set model.init=$from
grep -qF "; its moments are new, and its steps begin at 0" log.txt || fail "that the moments are new is not said: $(head -n 3 log.txt)"
grep -q '"moments":"new"' fresh/starts.jsonl || fail "starts.jsonl does not say that the moments are new"
[ "$(last_hash fresh)" != "$(last_hash whole)" ] || fail "moments make no difference"
branch 1 other 2 --set optimizer.lr=1e-4 --set schedule.name=linear --set schedule.warmup=1 --set mask.ratio=0.15 --set mask.splits=2 --set train.loss_norm=masks
grep -qF "the moments are of gradients with train.loss_norm = tokens" log.txt || fail "another size of gradients is not warned of"
if grep -q avx512_bf16 /proc/cpuinfo && "$KMASK" --version | grep -q oneDNN; then branch 1 bf16 2 --set train.precision=bf16; fi

# ---- Refused ----
"$KMASK" export $from --out folder >/dev/null 2>&1
for init in whole/snapshots/step-00000004.h5 folder; do
    expect 2 "without AdamW's moments" "$KMASK" pretrain init.json --set run.dir=no "${still[@]}" --set model.init=$init --set optimizer.init=true
    expect 2 "without AdamW's moments" "$KMASK" plan init.json --set run.dir=no "${still[@]}" --set model.init=$init --set optimizer.init=true
done
expect 2 "optimizer.init: found true without model.init" "$KMASK" pretrain c.json --set run.dir=no --set optimizer.init=true
[ ! -e no/checkpoints ] || fail "a refused run was begun"
finish

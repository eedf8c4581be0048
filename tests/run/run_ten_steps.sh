#!/usr/bin/env bash
# Ten steps on two ranks with two threads each, all kinds of masks: what the sanitizers are to see whole.
. "$SOURCE/tests/common.sh"
make_corpus
make_config c.json run
options=(--set train.steps=10 --set mask.replace_mask=0.8 --set mask.replace_random=0.1)
"$KMASK" pretrain c.json --set run.dir=probe --set train.steps=4 --set parallel.threads=2 >log.txt 2>&1 &&
    options+=(--set parallel.threads=2)
for unit in subword word span; do
    "$LAUNCH" 2 "$KMASK" pretrain c.json --set "run.dir=$unit" --set "mask.unit=$unit" "${options[@]}" >log.txt 2>&1 ||
        fail "ten steps with unit $unit: $(tail -n 30 log.txt)"
    grep -qE "AddressSanitizer|runtime error" log.txt && fail "$unit: $(grep -m 3 -E 'Sanitizer|runtime error' log.txt)"
    [ "$(grep -c . "$unit/metrics.jsonl")" -eq 11 ] || fail "$unit: $(grep -c . "$unit/metrics.jsonl") lines instead of 11"
done
"$LAUNCH" 2 "$KMASK" eval span/checkpoints/step-00000010.h5 --corpus corpus.holdout.h5 --json >out.txt 2>log.txt ||
    fail "eval: $(tail -n 5 log.txt)"
"$KMASK" fill span/checkpoints/step-00000010.h5 "the [MASK] of a <mask>" >>out.txt 2>log.txt || fail "fill: $(tail -n 5 log.txt)"
finish

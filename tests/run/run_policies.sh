#!/usr/bin/env bash
# Encoder-decoders under every policy and target: one hash whatever the ranks, threads, recomputation, kills and resumes; evaluation
# gives the same numbers on any ranks. POLICY_RANKS="2 3 5 8" tries more ranks.
. "$SOURCE/tests/common.sh"
. "$SOURCE/tests/run/bits.sh"
. "$SOURCE/tests/run/policies.sh"
same_everywhere "${POLICY_RANKS:-2 3}"

for ranks in 1 3; do
    "$LAUNCH" "$ranks" "$KMASK" eval denoise-1/checkpoints/step-00000010.h5 --corpus corpus.holdout.h5 --json >"eval-$ranks.json" 2>log.txt ||
        fail "eval: $(tail -n 3 log.txt)"
done
cmp -s eval-1.json eval-3.json || fail "evaluation differs: $(paste eval-1.json eval-3.json)"
loss=$(grep -o '"eval_loss":[0-9.]*' denoise-1/metrics.jsonl | tail -n 1 | cut -d: -f2)
grep -qE "\"loss\":[[:space:]]*${loss:0:8}" eval-1.json || fail "eval gives $(tr -d '\n' <eval-1.json), the run $loss"

# Names alone: fewer hidden tokens, one rank as three, and nothing where the corpus has none.
for ranks in 1 3; do
    "$LAUNCH" "$ranks" "$KMASK" eval salient-1/checkpoints/step-00000010.h5 --corpus corpus.holdout.h5 --names --json >"names-$ranks.json" \
        2>log.txt || fail "eval --names: $(tail -n 3 log.txt)"
done
cmp -s names-1.json names-3.json || fail "evaluation of names differs: $(paste names-1.json names-3.json)"
hidden() { grep -oE '"masked":[[:space:]]*[0-9]+' "$1" | grep -oE '[0-9]+'; }
[ "$(hidden names-1.json)" -gt 0 ] && [ "$(hidden names-1.json)" -lt "$(hidden eval-1.json)" ] ||
    fail "$(hidden names-1.json) tokens of names are hidden, $(hidden eval-1.json) of all words"
"$KMASK" corpus build --tokenizer tok --out plain.h5 text.txt >/dev/null 2>&1
expect 2 "plain.h5: it holds no names, dates and numbers" "$KMASK" eval salient-1/checkpoints/step-00000010.h5 --corpus plain.h5 --names
finish

#!/usr/bin/env bash
# A search gives the same files on any number of ranks in any division, and after kills; its model predicts, exports and comes back.
. "$SOURCE/tests/common.sh"
. "$SOURCE/tests/run/bits.sh"
. "$SOURCE/tests/task/labelled.sh"

model_hash() { "$KMASK" inspect "$1/model.h5" --json | grep -o '"weights_hash":[^,]*' | head -n 1; }
same_as_one() { # DIR WHAT
    cmp -s one/results.json "$1/results.json" || fail "$2: another results.json"
    cmp -s one/predictions/test.tsv "$1/predictions/test.tsv" || fail "$2: other predictions"
    [ "$(model_hash one)" = "$(model_hash "$1")" ] || fail "$2: another model"
}

tune one 1
grep -q '"n":' one/results.json || fail "no summary"
[ "$(grep -c chosen table.txt)" -eq 1 ] || fail "the table does not say what was chosen"
[ "$(ls one/runs/*.json | wc -l)" -eq 8 ] || fail "not eight runs"
[ -e one/model.h5 ] && ! ls one/runs/*.h5 >/dev/null 2>&1 || fail "models of runs are left"
tune two 2
same_as_one two "2 ranks side by side"
tune together 3 --set finetune.ranks_per_run=3
same_as_one together "3 ranks on a run"
tune mixed 4 --set finetune.ranks_per_run=2
same_as_one mixed "4 ranks in two groups"

# Kills at three moments; what has finished is not made again.
for moment in 1 2 3; do
    "$LAUNCH" 2 "$KMASK" finetune c.json --set run.dir=killed >/dev/null 2>&1 &
    until [ "$(ls killed/runs/*.json 2>/dev/null | wc -l)" -ge $((2 * moment)) ] || ! kill -0 $! 2>/dev/null; do sleep 0.05; done
    kill_run killed
    wait $! 2>/dev/null
    ls -i killed/runs/*.json >"before$moment.txt" 2>/dev/null
done
tune killed 2
same_as_one killed "after kills"
ls -i killed/runs/*.json >after.txt
grep -vqxFf after.txt before3.txt && fail "a finished run was made again"

# In bf16: other bits, the same on any number of ranks; refused in a sentence where the build or the CPU has none.
one_run=(--set finetune.batch=8 --set finetune.lr=1e-3)
if "$KMASK" finetune c.json --set run.dir=halves "${one_run[@]}" --set finetune.precision=bf16 >table.txt 2>log.txt; then
    tune halves2 2 "${one_run[@]}" --set finetune.precision=bf16 --set finetune.ranks_per_run=2
    cmp -s halves/results.json halves2/results.json || fail "bf16: 2 ranks find other results"
    tune floats 1 "${one_run[@]}"
    [ "$(model_hash halves)" != "$(model_hash floats)" ] || fail "bf16 computes the bits of fp32"
else
    grep -q "finetune.precision: found bf16" log.txt || fail "bf16: $(tail -n 1 log.txt)"
fi

# Another seed adds runs to those that are there.
tune one 2 --set finetune.seeds=1,2,3
[ "$(ls one/runs/*.json | wc -l)" -eq 12 ] || fail "seeds were not added"
"$KMASK" compare one/results.json two/results.json >table.txt 2>&1 || fail "compare"
grep -q "over 2 seeds" table.txt || fail "compare does not pair the seeds: $(cat table.txt)"

# The model predicts what the search has written, also from its export.
"$KMASK" predict two/model.h5 --in test.tsv --out p.tsv 2>log.txt || fail "predict: $(cat log.txt)"
cut -f1,2 p.tsv | cmp -s - two/predictions/test.tsv || fail "predict says something else than the search"
"$KMASK" export two/model.h5 --out hf >/dev/null 2>log.txt || fail "export: $(cat log.txt)"
grep -q BertForSequenceClassification hf/config.json && grep -q '"many"' hf/config.json || fail "config.json of the export"
"$KMASK" predict hf --in test.tsv --length 32 --out q.tsv 2>log.txt || fail "predict from the folder: $(cat log.txt)"
cmp -s p.tsv q.tsv || fail "the folder predicts something else"
tune folder 1 --set finetune.init=hf --set finetune.batch=8 --set finetune.lr=1e-3 --set finetune.steps=2
"$KMASK" import hf --out back.h5 >/dev/null 2>log.txt || fail "import: $(cat log.txt)"
"$KMASK" predict back.h5 --in test.tsv --length 32 --out q.tsv 2>log.txt && cmp -s p.tsv q.tsv || fail "import predicts something else"
expect 1 "a classifier" "$KMASK" eval two/model.h5 --corpus corpus.h5
finish

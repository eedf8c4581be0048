#!/usr/bin/env bash
# Pairs, numbers, presets of published tasks, runs that diverge, averages over tasks.
. "$SOURCE/tests/common.sh"
. "$SOURCE/tests/task/labelled.sh"

# Pairs and numbers, and lr_then_batch.
tune numbers 2 --set task.kind=regression --set task.label=number --set task.text_pair=other --set 'task.metrics=["pearson"]'
grep -q pearson numbers/results.json || fail "no regression"
tune then 2 --set finetune.search=lr_then_batch
[ "$(ls then/runs/*.json | wc -l)" -eq 6 ] || fail "lr_then_batch makes other than six runs"

# Presets take a folder with files as GLUE has them: QQP with a broken line and a test without labels, MNLI with both parts of dev.
mkdir -p qqp mnli
for split in train dev test; do
    awk -F'\t' -v part="$split" 'BEGIN { OFS = FS } NR == 1 { print part == "test" ? "id\tquestion1\tquestion2" : "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate"; next }
        part == "test" { print NR, $1, $2; next }
        NR == 5 && part == "train" { print "a line that is broken" }
        { print NR, 1, 2, $1, $2, $3 == "few" ? 0 : 1 }' "$split.tsv" >"qqp/$split.tsv"
done
for pair in train:train dev:dev_matched test:dev_mismatched; do
    awk -F'\t' 'BEGIN { OFS = FS; split("neutral entailment contradiction", name, " ") } NR == 1 { print "index", "genre", "sentence1", "sentence2", "label1", "gold_label"; next }
        { print NR, "fiction", $1, $2, name[NR % 3 + 1], name[NR % 3 + 1] }' "${pair%%:*}.tsv" >"mnli/${pair#*:}.tsv"
done
small=(--set finetune.steps=2 --set finetune.batch=8 --set finetune.lr=1e-3)
sed 's/"task": {.*}/"task": {"length": 32}/' c.json | sed '/"task"/s/{"length": 32},*/{"length": 32},/' >preset.json
mv qqp qqp.data && mv mnli mnli.data
for task in qqp mnli; do
    "$KMASK" finetune preset.json --set run.dir=$task --set task.preset=$task --set task.train=$task.data "${small[@]}" >table.txt 2>log.txt ||
        fail "preset $task: $(tail -n 1 log.txt)"
done
[ "$(wc -l <qqp/predictions/test.tsv)" -eq 41 ] || fail "no predictions for a test without labels"
"$KMASK" compare --average mnli/results.json --json >average.json || fail "compare --average of MNLI"
[ "$(grep -c '"path"' average.json)" -eq 3 ] || fail "MNLI does not count twice: $(cat average.json)"

# A run that diverges is recorded and named, the search goes on, and what it finds does not depend on the ranks.
for split in train dev test; do awk -F'\t' 'BEGIN { OFS = FS } NR > 1 { $4 *= 2000 } { print }' $split.tsv >large-$split.tsv; done
large=(--set task.kind=regression --set task.label=number --set 'task.metrics=["pearson"]' --set task.train=large-train.tsv
    --set task.dev=large-dev.tsv --set task.test=large-test.tsv --set finetune.batch=8 --set finetune.clip=0)
tune diverging 2 "${large[@]}" --set finetune.lr=1e-3,1
[ "$(grep -c '"diverged":' diverging/results.json)" -eq 3 ] || fail "not two runs and a summary that diverged"
grep -q '2 diverged' table.txt && grep -q 'diverged at step' log.txt || fail "diverged runs are not named: $(cat table.txt)"
grep 'chosen' table.txt | grep -q '0\.001 ' || fail "a diverged rate was chosen"
cp -r diverging again && rm -f again/runs/* again/results.json
tune again 1 "${large[@]}" --set finetune.lr=1e-3,1
cmp -s diverging/results.json again/results.json || fail "other diverged runs on one rank"
expect 1 "all 2 runs diverged; expected one that ends. Lower finetune.lr" "$KMASK" finetune c.json --set run.dir=none "${large[@]}" --set finetune.lr=1

# Averages over tasks, by model.
tune one 2 --set finetune.batch=8 --set finetune.lr=1e-3
for model in a b; do mkdir -p avg/$model/first avg/$model/second; cp one/results.json avg/$model/first; cp numbers/results.json avg/$model/second; done
"$KMASK" compare --average avg/a/*/results.json >table.txt 2>&1 || fail "compare --average: $(cat table.txt)"
grep -q 'average' table.txt && grep -q 'over 2 seeds' table.txt || fail "no average over seeds: $(cat table.txt)"
awk -v s="$("$KMASK" compare --average avg/a/*/results.json --json | tr -d '\n\t')" 'BEGIN {
    n = split(s, part, "\"mean\":"); if (n != 4) exit 1
    for (i = 2; i <= 4; i++) v[i] = part[i] + 0
    d = v[4] - (v[2] + v[3]) / 2; exit !(d < 1e-9 && d > -1e-9) }' || fail "the average is not the mean of its tasks"
mv avg/b/first avg/b/other && sed -i 's/"task":[^,]*,/"task": "rte",/' avg/b/other/results.json
expect 1 "expected results of the same tasks" "$KMASK" compare --average avg/a/*/results.json avg/b/*/results.json
finish

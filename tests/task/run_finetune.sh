#!/usr/bin/env bash
# A search gives the same files on any number of ranks in any division, and after kills; its model predicts, exports and comes back.
. "$SOURCE/tests/common.sh"
. "$SOURCE/tests/run/bits.sh"

# Texts with words of two kinds: the class is which kind there is more of. A pair's number is how many words both have.
make_data() { # FILE ROWS SEED
    awk -v rows="$2" -v seed="$3" 'BEGIN {
        state = seed; print "text\tother\tlabel\tnumber"
        for (i = 0; i < rows; i++) {
            n = 4 + draw(6); up = 0; text = ""; other = ""
            for (j = 0; j < n; j++) { kind = draw(2); up += kind; text = text (j ? " " : "") (kind ? "red" : "blue") draw(5) }
            for (j = 0; j < 3; j++) other = other (j ? " " : "") "red" draw(5)
            print text "\t" other "\t" (2 * up > n ? "many" : "few") "\t" up / n
        } }
        function draw(k) { state = (state * 1103515245 + 12345) % 2147483648; return int(state / 65536) % k }' >"$1"
}
make_data train.tsv 96 1
make_data dev.tsv 40 2
make_data test.tsv 40 3
"$KMASK" tokenizer train --type wordpiece --vocab-size 120 --out tok train.tsv 2>log.txt >/dev/null || fail "no tokenizer"
"$KMASK" corpus build --tokenizer tok --out corpus.h5 train.tsv 2>>log.txt >/dev/null || fail "no corpus"
cat >pretrain.json <<'EOF'
{"run": {"dir": "pre"}, "model": {"type": "bert", "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
 "intermediate_size": 64, "max_position_embeddings": 64, "initializer_range": 0.1},
 "data": {"train": "corpus.h5", "length": 24}, "train": {"steps": 4, "sequences": 4}, "optimizer": {"lr": 1e-3},
 "checkpoint": {"every": 4}}
EOF
"$KMASK" pretrain pretrain.json >/dev/null 2>log.txt || { cat log.txt; fail "no model to begin with"; }
cat >c.json <<'EOF'
{"run": {"dir": "one"},
 "task": {"train": "train.tsv", "dev": "dev.tsv", "test": "test.tsv", "metrics": ["f1_macro", "accuracy"], "length": 32},
 "finetune": {"init": "pre/checkpoints/step-00000004.h5", "epochs": 3, "batch": [8, 12], "lr": [1e-3, 3e-3], "seeds": [1, 2],
              "micro_batch": 2}}
EOF

tune() { # DIR RANKS [--set ...]
    local dir=$1 ranks=$2
    shift 2
    "$LAUNCH" "$ranks" "$KMASK" finetune c.json --set "run.dir=$dir" "$@" >table.txt 2>log.txt || { tail -n 3 log.txt; fail "finetune of $dir"; }
}
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
for model in a b; do mkdir -p avg/$model/first avg/$model/second; cp one/results.json avg/$model/first; cp numbers/results.json avg/$model/second; done
"$KMASK" compare --average avg/a/*/results.json >table.txt 2>&1 || fail "compare --average: $(cat table.txt)"
grep -q 'average' table.txt && grep -q 'over 2 seeds' table.txt || fail "no average over seeds: $(cat table.txt)"
awk -v s="$("$KMASK" compare --average avg/a/*/results.json --json | tr -d '\n\t')" 'BEGIN {
    n = split(s, part, "\"mean\":"); if (n != 4) exit 1
    for (i = 2; i <= 4; i++) v[i] = part[i] + 0
    d = v[4] - (v[2] + v[3]) / 2; exit !(d < 1e-9 && d > -1e-9) }' || fail "the average is not the mean of its tasks"
mv avg/b/first avg/b/other && sed -i 's/"task":[^,]*,/"task": "rte",/' avg/b/other/results.json
expect 1 "expected results of the same tasks" "$KMASK" compare --average avg/a/*/results.json avg/b/*/results.json

# Bad input: one sentence with file, line and what was expected.
bad() { # "words" [--set ...]
    local words=$1
    shift
    expect 1 "$words" "$KMASK" finetune c.json --set run.dir=bad "$@"
}
bad 'no column `review`' --set task.text=review
: >empty.tsv
bad "empty.tsv: holds no examples" --set task.dev=empty.tsv
head -n 1 dev.tsv >header.tsv
bad "header.tsv: holds no examples" --set task.dev=header.tsv
{ cat dev.tsv; printf 'red1\tred2\n'; } >ragged.tsv
bad "ragged.tsv: line 42: 2 columns, expected 4" --set task.dev=ragged.tsv
sed 's/few/1/; s/many/2/' dev.tsv >numbers.tsv
bad "labels are numbers in one file and names in another" --set task.dev=numbers.tsv
sed '3s/few/none/; 3s/many/none/' dev.tsv >unknown.tsv
bad 'unknown.tsv: line 3: label `none` of dev is none of' --set task.dev=unknown.tsv
bad 'no example has the label `other`' --set 'task.labels=["few","many","other"]'
sed '5s/[^\t]*$/nan/' dev.tsv >nan.tsv
bad 'nan.tsv: line 5: found `nan`, expected a finite number' --set task.dev=nan.tsv --set task.kind=regression --set task.label=number \
    --set 'task.metrics=["pearson"]'
{ head -n 3 dev.tsv; head -c 10000000 /dev/zero | tr '\0' a; printf '\tb\tfew\t0\n'; } >long.tsv
bad "long.tsv: line 4: a text of 10000000 bytes, expected at most 1048576" --set task.dev=long.tsv
printf '{"text": "red1"}\n' >lacking.jsonl
bad 'lacking.jsonl: line 1: no text or number under the key "label"' --set task.dev=lacking.jsonl
printf 'text,label\n"red1,few\n' >open.csv
bad "open.csv: line 2: a quoted field does not end" --set task.dev=open.csv
expect 2 "task.length: found 65, expected at most 64" "$KMASK" finetune c.json --set run.dir=bad --set task.length=65
expect 2 "task.metrics: found pearson" "$KMASK" finetune c.json --set run.dir=bad --set 'task.metrics=["pearson"]'
gzip -c dev.tsv | head -c 200 >cut.tsv.gz
bad "cut.tsv.gz" --set task.dev=cut.tsv.gz
# Every recipe of jobs/ is a config that is understood; its data is not here.
for recipe in "$SOURCE"/jobs/finetune/*.json; do
    case $recipe in */qa-*) continue ;; esac # tests/task/run_seq2seq.sh
    expect 2 "is not there, expected a file, or the folder" "$KMASK" finetune "$recipe" --set run.dir=bad --set finetune.init=two/model.h5
done
finish

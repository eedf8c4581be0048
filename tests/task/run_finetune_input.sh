#!/usr/bin/env bash
# Bad input of a fine-tuning: one sentence with file, line and what was expected.
. "$SOURCE/tests/common.sh"
. "$SOURCE/tests/task/labelled.sh"

tune two 1 --set finetune.steps=2 --set finetune.batch=8 --set finetune.lr=1e-3
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
expect 2 "finetune.precision: found bf16 with label_smoothing 0.1" "$KMASK" finetune c.json --set run.dir=bad --set finetune.precision=bf16 \
    --set finetune.label_smoothing=0.1
# Every recipe of jobs/ is a config that is understood; its data is not here.
for recipe in "$SOURCE"/jobs/finetune/*.json; do
    case $recipe in */qa-*) continue ;; esac # tests/task/run_seq2seq.sh
    expect 2 "is not there, expected a file, or the folder" "$KMASK" finetune "$recipe" --set run.dir=bad --set finetune.init=two/model.h5
done
finish

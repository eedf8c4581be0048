#!/usr/bin/env bash
# Sequence-to-sequence fine-tuning: the same predictions and scores on any number of ranks, in any division and after kills; what
# `kmask generate` and `kmask score` make of the model and of the predictions; the forms that questions have; bad input.
. "$SOURCE/tests/common.sh"

# People with numbers live in towns: which one follows from the name.
make_questions() { # FROM TO
    awk -v from="$1" -v to="$2" 'BEGIN {
        split("anna bert carl dora emil fred gina hans", name, " "); split("paris rome oslo bern", town, " ")
        for (i = from; i < to; i++) {
            n = i % 8 + 1; t = town[(n + 1) % 4 + 1]
            printf "{\"id\": \"q%d\", \"source\": \"where does %s %d live\", \"target\": [\"%s\", \"the city of %s\"], \"context\": \"%s lives in %s.\"}\n",
                i, name[n], i, t, t, name[n], t } }'
}
make_questions 0 64 >train.jsonl
make_questions 64 84 >dev.jsonl
make_questions 84 104 >test.jsonl
sed 's/.*"source": "\([^"]*\)".*\["\([^"]*\)".*/\1 \2 ./' train.jsonl dev.jsonl test.jsonl >text.txt
"$KMASK" tokenizer train --type bpe --vocab-size 300 --out tok text.txt >/dev/null 2>log.txt || fail "no tokenizer"
"$KMASK" corpus build --tokenizer tok --out corpus.h5 text.txt >/dev/null 2>>log.txt || fail "no corpus"
cat >pretrain.json <<'EOF'
{"run": {"dir": "pre"}, "model": {"type": "bart", "d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2,
 "decoder_attention_heads": 2, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "max_position_embeddings": 64, "init_std": 0.1},
 "data": {"train": "corpus.h5", "length": 24}, "mask": {"policy": "denoise"}, "train": {"steps": 2, "sequences": 4},
 "optimizer": {"lr": 1e-3}, "checkpoint": {"every": 2}}
EOF
"$KMASK" pretrain pretrain.json >/dev/null 2>log.txt || { cat log.txt; fail "no model to begin with"; }
cat >c.json <<'EOF'
{"run": {"dir": "one"},
 "task": {"kind": "seq2seq", "train": "train.jsonl", "dev": "dev.jsonl", "test": "test.jsonl", "metrics": ["em", "f1_token", "rouge_l"],
          "matched_share": 0.125, "length": 32},
 "finetune": {"init": "pre/checkpoints/step-00000002.h5", "epochs": 12, "batch": 8, "lr": [2e-3, 4e-3], "seeds": [1, 2],
              "label_smoothing": 0.1, "evaluate_epochs": 3, "max_length": 12, "micro_batch": 2}}
EOF

tune() { # DIR RANKS [--set ...]
    local dir=$1 ranks=$2
    shift 2
    "$LAUNCH" "$ranks" "$KMASK" finetune c.json --set "run.dir=$dir" "$@" >table.txt 2>log.txt || { tail -n 3 log.txt; fail "finetune of $dir"; }
}
same_as_one() { # DIR WHAT
    cmp -s one/results.json "$1/results.json" || fail "$2: another results.json"
    for split in dev test matched; do
        cmp -s "one/predictions/$split.jsonl" "$1/predictions/$split.jsonl" || fail "$2: other predictions for $split"
    done
}

tune one 1
[ "$(wc -l <one/predictions/test.jsonl)" -eq 20 ] && [ "$(wc -l <one/predictions/matched.jsonl)" -eq 8 ] || fail "not a prediction for each question"
grep -q '"matched"' one/results.json || fail "no scores of the matched split"
tune two 2
same_as_one two "2 ranks side by side"
tune three 3 --set finetune.ranks_per_run=3
same_as_one three "3 ranks on a run"
for moment in 1 3; do
    "$LAUNCH" 2 "$KMASK" finetune c.json --set run.dir=killed >/dev/null 2>&1 &
    until [ "$(ls killed/runs/*.json 2>/dev/null | wc -l)" -ge $moment ] || ! kill -0 $! 2>/dev/null; do sleep 0.05; done
    kill_run killed
    wait $! 2>/dev/null
done
tune killed 2
same_as_one killed "after kills"

# Products are computed by the thread that asks for them, however many threads OpenBLAS may start: no other has worked an eighth as long.
# The model is wide enough for OpenBLAS to use them.
"$KMASK" pretrain pretrain.json --set run.dir=wide --set model.d_model=128 --set model.encoder_ffn_dim=512 --set train.steps=1 >/dev/null 2>log.txt ||
    fail "no wide model: $(tail -n 2 log.txt)"
OPENBLAS_NUM_THREADS=2 "$KMASK" finetune c.json --set run.dir=alone --set finetune.init=wide/checkpoints/step-00000001.h5 --set finetune.epochs=8 \
    --set finetune.seeds=1 --set finetune.lr=2e-3 --set finetune.micro_batch=8 >/dev/null 2>log.txt &
pid=$!
while kill -0 $pid 2>/dev/null; do
    cat /proc/$pid/task/*/stat 2>/dev/null | awk '{ print $1, $14 }' >>ticks.txt # each thread, and the ticks that it has run
    sleep 0.02
done
wait $pid || fail "finetune with two threads of OpenBLAS: $(tail -n 3 log.txt)"
ticks=$(awk '$2 > most[$1] { most[$1] = $2 } END { for (thread in most) print most[thread] + 0 }' ticks.txt | sort -rn | head -n 2 | tr '\n' ' ')
awk -v ticks="$ticks" 'BEGIN { split(ticks, of, " "); exit of[2] * 8 > of[1] }' || fail "a second thread computes: ticks $ticks"

# It learns what follows from the name; the scores are those of `kmask score`, the answers those of `kmask generate`.
em=$(awk '/"chosen":/ { chosen = 1 } chosen && /"test":/ { test = 1 } test && /"mean":/ { gsub(/[^0-9.]/, ""); print; exit }' one/results.json)
awk -v em="$em" 'BEGIN { exit !(em >= 0.5) }' || fail "exact match on test is $em, expected 0.5 at least; towns at random have 0.25"
sed 's/.*"prediction":"\([^"]*\)".*/\1/' one/predictions/test.jsonl >predicted.txt
sed 's/.*"target": \["\([^"]*\)", "\([^"]*\)"\].*/\1\t\2/' test.jsonl >gold.txt
sed 's/.*"source": \("[^"]*"\).*/{"source": \1}/' test.jsonl >sources.jsonl
"$KMASK" generate one/model.h5 --in sources.jsonl --max-length 12 >generated.txt 2>log.txt || fail "generate: $(cat log.txt)"
cmp -s predicted.txt generated.txt || fail "generate answers otherwise than the search has written"
"$KMASK" export one/model.h5 --out hf >/dev/null 2>log.txt || fail "export: $(cat log.txt)"
grep -q BartForConditionalGeneration hf/config.json || fail "config.json of the export"
"$KMASK" generate hf --in sources.jsonl --max-length 12 2>log.txt | cmp -s - predicted.txt || fail "the export answers otherwise"

# predict answers as the search did, in its form; the export hands the settings of the search on, and options override them.
"$KMASK" predict one/model.h5 --in test.jsonl --out predicted.jsonl 2>log.txt || fail "predict: $(cat log.txt)"
cmp -s predicted.jsonl one/predictions/test.jsonl || fail "predict answers otherwise than the search has written"
"$LAUNCH" 3 "$KMASK" predict one/model.h5 --in sources.jsonl --out three.jsonl 2>log.txt || fail "predict on 3 ranks: $(cat log.txt)"
sed 's/"id":"[^"]*",//; s/"target":.*/"target":[]}/' predicted.jsonl | cmp -s - three.jsonl || fail "questions without answers, on 3 ranks"
printf 'where does anna 70 live\nwhere does bert 71 live\n' >bare.tsv
"$KMASK" predict one/model.h5 --in bare.tsv --out bare.jsonl 2>log.txt || fail "predict of a table: $(cat log.txt)"
[ "$(grep -c '"source":"where does [ab][a-z]* 7[01] live","prediction":"' bare.jsonl)" -eq 2 ] || fail "answers to a table: $(cat bare.jsonl)"
expect 2 "--text-pair: found x, expected nothing" "$KMASK" predict one/model.h5 --in test.jsonl --text-pair x --out no.jsonl
for key in '"num_beams":4' '"max_length":12' '"min_length":1' '"length_penalty":1.0'; do
    tr -d ' \t\n' <hf/generation_config.json | grep -qF "$key" || fail "no $key in the export: $(cat hf/generation_config.json)"
done
"$KMASK" generate hf --in sources.jsonl 2>log.txt | cmp -s - predicted.txt || fail "generate does not take generation_config.json"
sed -i 's/"num_beams":[^,]*/"num_beams": 1/; s/"max_length":[^,]*/"max_new_tokens": 2/; s/"early_stopping":[^,]*/"early_stopping": true/' hf/generation_config.json
"$KMASK" generate hf --in sources.jsonl --json >short.json 2>log.txt || fail "max_new_tokens: $(cat log.txt)"
grep -q "early_stopping true, which kmask does not follow" log.txt || fail "early stopping is not said: $(cat log.txt)"
"$KMASK" generate one/model.h5 --in sources.jsonl --json --beam 1 --max-length 3 2>log.txt | cmp -s - short.json || fail "options do not override"
sed -i 's/"num_beams":[^,]*/"num_beams": "many"/' hf/generation_config.json
expect 1 'hf: its generation settings have num_beams "many", expected a number from 1 to 256' "$KMASK" generate hf --in sources.jsonl

# Open book, in lower case, a share of train, UnifiedQA's table and DPR's, greedily: another model of each, but the same for both ranks.
tune open 2 --set task.context_in_source=true --set task.length=48 --set task.lower_case=true --set task.train_share=0.5 --set finetune.lr=2e-3 \
    --set finetune.beam=1 --set finetune.epochs=2 --set finetune.seeds=1 --set finetune.smoothing_form=transformers
grep -q '"source":"where does' open/predictions/dev.jsonl || fail "no predictions of the open book"
printf 'where does anna live? \\n (A) rome (B) oslo \\n anna lives in oslo.\toslo\nwhere does bert live? \\n (A) rome (B) oslo \\n bert lives in rome.\t["rome", "roma"]\n' >unified.tsv
"$KMASK" predict open/model.h5 --in dev.jsonl --out open.jsonl 2>log.txt && cmp -s open.jsonl open/predictions/dev.jsonl || fail "predict of the open book"
tune unified 1 --set task.train=unified.tsv --set task.dev=unified.tsv --set task.test=null --set task.matched_share=0 --set 'task.metrics=["choice"]' \
    --set finetune.epochs=1 --set finetune.batch=2 --set finetune.lr=2e-3 --set finetune.seeds=1 --set task.length=64
grep -q '"target":\["rome","roma"\]' unified/predictions/dev.jsonl || fail "a list of answers in a table"

# Models by tasks: the best of a column is bold, and equal scores are not worse.
tune again 1 --set 'task.name=other'
"$KMASK" compare --table one/results.json again/results.json >table.txt 2>log.txt || fail "compare --table: $(cat log.txt)"
grep -q '| train.jsonl, em of test | other, em of test |' table.txt || fail "columns of the table: $(cat table.txt)"
[ "$(grep -o '[*][*]' table.txt | wc -l)" -eq 4 ] || fail "not one best a column: $(cat table.txt)"
tune both 2 --set 'finetune.init=["pre/checkpoints/step-00000002.h5","one/model.h5"]' --set finetune.lr=2e-3 --set finetune.epochs=2
"$KMASK" compare --table --split matched --json both/results.json >table.json 2>log.txt || fail "compare --table: $(cat log.txt)"
grep -q '"not_worse":.*true' table.json && grep -qE '"p":[^0-9a-z]*(0\.[0-9]+|0|1),' table.json || fail "no test against the best: $(cat table.json)"
# Models of equal weights are rows of their own, whichever group of ranks works on them.
cp pre/checkpoints/step-00000002.h5 copy.h5
tune twins 2 --set 'finetune.init=["copy.h5","pre/checkpoints/step-00000002.h5"]' --set finetune.lr=2e-3 --set finetune.epochs=2
[ "$(ls twins/runs/*.json | wc -l)" -eq 2 ] || fail "equal runs are made more than once"
"$KMASK" compare --table twins/results.json >table.txt 2>log.txt || fail "compare --table of equal models: $(cat log.txt)"
grep -q '^| copy.h5 | ' table.txt && grep -q '^| pre/checkpoints/step-00000002.h5 | ' table.txt || fail "equal models share a row: $(cat table.txt)"
tune third 1 --set finetune.seeds=3 --set finetune.lr=2e-3 --set finetune.epochs=2
"$KMASK" compare --table --json one/results.json third/results.json >table.json 2>log.txt || fail "seeds from two files: $(cat log.txt)"
[ "$(tr -d ' \t\n' <table.json | grep -o '"n":3' | wc -l)" -eq 1 ] || fail "seeds of two files are not joined: $(cat table.json)"
expect 1 "two results" "$KMASK" compare --table one/results.json two/results.json

bad() { # "words" [--set ...]
    local words=$1
    shift
    expect 1 "$words" "$KMASK" finetune c.json --set run.dir=bad "$@"
}
printf '{"source": "who"}\n' >lacking.jsonl
bad 'lacking.jsonl: line 1: "target" is missing' --set task.dev=lacking.jsonl
printf '{"source": "who", "target": "me"}\n{"x": 1}\n' >other.jsonl
bad 'other.jsonl: line 2: no question in a form that is known' --set task.dev=other.jsonl
printf '{"source": "who", "target": "me"}\n{"source": "who", \n' >torn.jsonl
bad 'torn.jsonl: line 2' --set task.dev=torn.jsonl
: >empty.jsonl
bad 'empty.jsonl' --set task.dev=empty.jsonl
expect 2 "task.metrics: found accuracy, expected metrics of answers" "$KMASK" finetune c.json --set run.dir=bad --set 'task.metrics=["accuracy"]'
expect 2 "expected one of both" "$KMASK" finetune c.json --set run.dir=bad --set finetune.evaluate_every=3
expect 2 "finetune.max_length" "$KMASK" finetune c.json --set run.dir=bad --set finetune.max_length=1
sed 's/"type": "bart".*/"type": "bert", "preset": "tiny"},/; s/"data"/"mask": {}, "data"/; /decoder_attention/d; s/, "mask": {"policy": "denoise"}//; s/"mask": {}, //' pretrain.json >bert.json
"$KMASK" tokenizer train --type wordpiece --vocab-size 120 --out wp text.txt >/dev/null 2>log.txt
"$KMASK" corpus build --tokenizer wp --out wp.h5 text.txt >/dev/null 2>log.txt
"$KMASK" pretrain bert.json --set run.dir=bert --set data.train=wp.h5 >/dev/null 2>log.txt || fail "no bert: $(tail -n 2 log.txt)"
expect 2 "a model without a decoder" "$KMASK" finetune c.json --set run.dir=bad --set finetune.init=bert/checkpoints/step-00000002.h5
# Every recipe of jobs/ is a config that is understood; its data is not here.
for recipe in "$SOURCE"/jobs/finetune/qa-*.json; do
    expect 1 "data/" "$KMASK" finetune "$recipe" --set run.dir=bad --set finetune.init=one/model.h5
done
finish

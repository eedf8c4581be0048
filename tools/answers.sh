#!/usr/bin/env bash
# answers.sh DATA [--dir DIR] [--ranks N] [--pretrain 400] [--steps 60] [--long "ropes squad"] [--long-steps 800]: questions of five published data
# sets, read as they are published. DATA is a folder with
#   openqa/WebQuestions-train.txt.gz, WebQuestions-test.txt, NQ-open.efficientqa.dev.1.1.jsonl, NQ-open.efficientqa.test.1.1.jsonl.gz
#   squad-triples/dev.json.gz     a list of {context, question, answer}
#   ropes/train-v1.0.json.gz, dev-v1.0.json.gz
#   aida-yago/train.jsonl.gz, testa.jsonl.gz, testb.jsonl.gz     {text, mentions: [[begin, end, title]]}
# A small BART is pre-trained on their texts for some steps, and fine-tuned on each data set: --steps, or --long-steps for those that --long
# names. Prints for each how many examples there are, the exact match and F1 on dev, and those of the most frequent answer of train.
# ROPES and the SQuAD triples have their context in the source, and the triples keep a fifth for dev.
set -euo pipefail
project=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
dir=$PWD/answers ranks=$(nproc) pretrain=400 steps=60 long="ropes squad" long_steps=800
[ $# -ge 1 ] && [ -d "$1/openqa" ] || { echo "answers.sh: expected the folder of the data sets" >&2; exit 2; }
data=$(cd "$1" && pwd) && shift
while [ $# -gt 1 ]; do
    case $1 in
        --dir) dir=$2 ;;
        --ranks) ranks=$2 ;;
        --pretrain) pretrain=$2 ;;
        --steps) steps=$2 ;;
        --long) long=$2 ;;
        --long-steps) long_steps=$2 ;;
        *) echo "answers.sh: no option $1; see its first lines" >&2; exit 2 ;;
    esac
    shift 2
done
export PATH=$project/build/release:$PATH
mkdir -p "$dir" && cd "$dir"
run() { mpirun --oversubscribe -n "$ranks" "$@"; }

if [ ! -e corpus.h5 ]; then
    zcat -f "$data"/openqa/WebQuestions-train.txt.gz "$data"/openqa/*dev*.jsonl "$data"/squad-triples/dev.json.gz "$data"/ropes/train-v1.0.json.gz \
        "$data"/aida-yago/train.jsonl.gz | grep -oE '"[^"]{12,}"' | tr -d '"' | sed 's/\\n/\n/g' >text.txt
    kmask tokenizer train --type bpe --vocab-size 6000 --out tok text.txt
    kmask corpus build --tokenizer tok --out corpus.h5 --document line text.txt >corpus.log
fi
cat >base.json <<EOF
{"run": {"dir": "base", "seed": 1},
 "model": {"type": "bart", "d_model": 128, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4, "decoder_attention_heads": 4,
           "encoder_ffn_dim": 512, "decoder_ffn_dim": 512, "max_position_embeddings": 512, "init_std": 0.05},
 "data": {"train": "corpus.h5", "length": 96}, "mask": {"policy": "denoise", "splits": 1},
 "train": {"steps": $pretrain, "sequences": 24}, "optimizer": {"lr": 1e-3, "beta2": 0.98}, "schedule": {"warmup": 40},
 "checkpoint": {"every": 1000000}, "log": {"every": 20}}
EOF
run kmask pretrain base.json
model=$(ls base/checkpoints/step-*.h5 | tail -n 1)

tune() { # NAME LENGTH [--set ...]
    local name=$1 length=$2 updates=$steps
    shift 2
    case " $long " in *" $name "*) updates=$long_steps ;; esac
    cat >"$name.json" <<EOF
{"run": {"dir": "$name"},
 "task": {"kind": "seq2seq", "name": "$name", "train": "none", "length": $length, "target_length": 24, "metrics": ["em", "f1_token"]},
 "finetune": {"init": "$model", "steps": $updates, "batch": 24, "lr": 5e-4, "beta2": 0.98, "warmup": 20, "evaluate_every": $(((updates + 3) / 4)),
              "label_smoothing": 0.1, "dropout": 0.1}}
EOF
    run kmask finetune "$name.json" "$@"
}
tune webquestions 32 --set "task.train=$data/openqa/WebQuestions-train.txt.gz" --set "task.dev=$data/openqa/WebQuestions-test.txt"
tune efficientqa 32 --set "task.train=$data/openqa/NQ-open.efficientqa.dev.1.1.jsonl" --set "task.dev=$data/openqa/NQ-open.efficientqa.test.1.1.jsonl.gz"
tune squad 256 --set "task.train=$data/squad-triples/dev.json.gz" --set task.dev_share=0.2 --set task.context_in_source=true
tune ropes 320 --set "task.train=$data/ropes/train-v1.0.json.gz" --set "task.dev=$data/ropes/dev-v1.0.json.gz" --set task.context_in_source=true
tune aida 96 --set "task.train=$data/aida-yago/train.jsonl.gz" --set "task.dev=$data/aida-yago/testa.jsonl.gz" --set "task.test=$data/aida-yago/testb.jsonl.gz" \
    --set task.dev_share=0

# ---- What the most frequent answer of dev itself would score: no constant answer can be better in exact match.
echo "| data | examples scored | EM | F1 | EM of dev's most frequent answer |"
echo "| --- | --- | --- | --- | --- |"
for name in webquestions efficientqa squad ropes aida; do
    sed 's/.*"target":\["\([^"]*\)".*/\1/' "$name/predictions/dev.jsonl" | sort | uniq -c | sort -rn | head -n 1 | sed 's/^ *[0-9]* //' >most.txt
    awk -v most="$(cat most.txt)" '{ print most }' "$name/predictions/dev.jsonl" >constant.txt
    sed 's/.*"target":\["//; s/"\]}$//; s/","/\t/g; s/\\"/"/g' "$name/predictions/dev.jsonl" >gold.txt
    constant=$(kmask score --metrics em --gold gold.txt --pred constant.txt | awk '{ print $2 }')
    awk -v name="$name" -v n="$(wc -l <gold.txt)" -v constant="$constant" '
        /"chosen":/ { chosen = 1 } chosen && /"em":/ { metric = "em" } chosen && /"f1_token":/ { metric = "f1" }
        chosen && metric != "" && /"mean":/ { gsub(/[^0-9.e-]/, ""); sub(/^e/, ""); if (!(metric in value)) value[metric] = $0; metric = "" }
        END { printf "| %s | %d | %.4f | %.4f | %.4f |\n", name, n, value["em"], value["f1"], constant }' "$name/results.json"
done

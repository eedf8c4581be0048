#!/usr/bin/env bash
# answers.sh DATA [--dir DIR] [--ranks N] [--pretrain 1500] [--steps 200] [--long "squad ropes"] [--long-steps 2500] [--only "NAME ..."]
# Questions of five published data sets, read as they are published. DATA is a folder with
#   openqa/WebQuestions-train.txt.gz, WebQuestions-test.txt, NQ-open.efficientqa.dev.1.1.jsonl, NQ-open.efficientqa.test.1.1.jsonl.gz
#   squad-triples/dev.json.gz     a list of {context, question, answer}
#   ropes/train-v1.0.json.gz, dev-v1.0.json.gz
#   aida-yago/train.jsonl.gz, testa.jsonl.gz, testb.jsonl.gz     {text, mentions: [[begin, end, title]]}
# A small BART is pre-trained on their texts for some steps, and fine-tuned on each data set: --steps, or --long-steps for those that --long
# names. ROPES and the SQuAD triples have their context in the source, and the triples keep a fifth for dev. At last, a thousandth and a
# hundredth of AIDA's train (task.train_share) for this model and for one without pre-training. --only: these data sets, or "shares".
# Prints for each how many examples there are, exact match and F1 on dev, and the exact match of answers without reading
# (answers_chance.py, which needs Python).
set -euo pipefail
project=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
dir=$PWD/answers ranks=$(nproc) pretrain=1500 steps=200 long="squad ropes" long_steps=2500 only="webquestions efficientqa squad ropes aida shares"
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
        --only) only=$2 ;;
        *) echo "answers.sh: no option $1; see its first lines" >&2; exit 2 ;;
    esac
    shift 2
done
export PATH=$project/build/release:$PATH
mkdir -p "$dir" && cd "$dir"
run() { mpirun --oversubscribe -n "$ranks" "$@"; }
wanted() { case " $only " in *" $1 "*) return 0 ;; *) return 1 ;; esac; }

# ---- A model of their texts. --prefix-space: an answer has the pieces that it has within its context, or the model cannot copy it.
if [ ! -e corpus.h5 ]; then
    zcat -f "$data"/openqa/WebQuestions-train.txt.gz "$data"/openqa/*dev*.jsonl "$data"/squad-triples/dev.json.gz "$data"/ropes/train-v1.0.json.gz \
        "$data"/aida-yago/train.jsonl.gz | grep -oE '"[^"]{12,}"' | tr -d '"' | sed 's/\\n/\n/g' >text.txt
    kmask tokenizer train --type bpe --prefix-space --vocab-size 8000 --out tok text.txt
    kmask corpus build --tokenizer tok --out corpus.h5 --document line text.txt >corpus.log
fi
start() { # NAME STEPS
    cat >"$1.json" <<EOF
{"run": {"dir": "$1", "seed": 1},
 "model": {"type": "bart", "d_model": 128, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4, "decoder_attention_heads": 4,
           "encoder_ffn_dim": 512, "decoder_ffn_dim": 512, "max_position_embeddings": 512, "init_std": 0.05},
 "data": {"train": "corpus.h5", "length": 96}, "mask": {"policy": "denoise", "splits": 1},
 "train": {"steps": $2, "sequences": 24}, "optimizer": {"lr": 1e-3, "beta2": 0.98}, "schedule": {"name": "cosine"},
 "checkpoint": {"every": 1000000}, "log": {"every": 20}}
EOF
    run kmask pretrain "$1.json" --set "schedule.warmup=$(($2 / 20))"
    ln -sf "$(ls "$1"/checkpoints/step-*.h5 | tail -n 1)" "$1.h5"
}
start base "$pretrain"

# ---- The questions.
tune() { # NAME LENGTH [--set ...]
    local name=$1 length=$2 updates=$steps
    shift 2
    wanted "$name" || return 0
    case " $long " in *" $name "*) updates=$long_steps ;; esac
    cat >"$name.json" <<EOF
{"run": {"dir": "$name"},
 "task": {"kind": "seq2seq", "name": "$name", "train": "none", "length": $length, "target_length": 24, "metrics": ["em", "f1_token"]},
 "finetune": {"init": "base.h5", "steps": $updates, "batch": 16, "lr": 5e-4, "beta2": 0.98, "warmup": 0.06, "evaluate_every": $(((updates + 1) / 2)),
              "label_smoothing": 0.1, "dropout": 0.1}}
EOF
    run kmask finetune "$name.json" "$@"
}
tune webquestions 32 --set "task.train=$data/openqa/WebQuestions-train.txt.gz" --set "task.dev=$data/openqa/WebQuestions-test.txt"
tune efficientqa 32 --set "task.train=$data/openqa/NQ-open.efficientqa.dev.1.1.jsonl" --set "task.dev=$data/openqa/NQ-open.efficientqa.test.1.1.jsonl.gz"
tune squad 256 --set "task.train=$data/squad-triples/dev.json.gz" --set task.dev_share=0.2 --set task.context_in_source=true
tune ropes 320 --set "task.train=$data/ropes/train-v1.0.json.gz" --set "task.dev=$data/ropes/dev-v1.0.json.gz" --set task.context_in_source=true
tune aida 64 --set "task.train=$data/aida-yago/train.jsonl.gz" --set "task.dev=$data/aida-yago/testa.jsonl.gz" --set "task.test=$data/aida-yago/testb.jsonl.gz" \
    --set task.dev_share=0

# ---- Few examples: the same ones for both models.
share() { # SHARE
    cat >"share-$1.json" <<EOF
{"run": {"dir": "share-$1"},
 "task": {"kind": "seq2seq", "name": "aida, share $1", "train": "$data/aida-yago/train.jsonl.gz", "dev": "$data/aida-yago/testa.jsonl.gz", "length": 64,
          "target_length": 24, "metrics": ["em", "f1_token"], "train_share": $1, "dev_share": 0},
 "finetune": {"init": ["base.h5", "fresh.h5"], "steps": $steps, "batch": 16, "lr": 5e-4, "beta2": 0.98, "warmup": 0.06, "seeds": [1, 2, 3],
              "evaluate_every": $steps, "label_smoothing": 0.1}}
EOF
    run kmask finetune "share-$1.json"
}
if wanted shares; then
    start fresh 1
    share 0.001
    share 0.01
fi

# ---- Tables.
mean() { # NAME METRIC
    awk -v metric="\"$2\":" '/"chosen":/ { chosen = 1 } chosen && index($0, metric) { found = 1 }
        found && /"mean":/ { gsub(/.*:|,|[ \t]/, ""); printf "%.4f", $0; exit }' "$1/results.json"
}
echo "| data | examples of dev | EM | F1 | train's most frequent answer | dev's | words of the source at random | one of two named | the mention |"
echo "| --- | --- | --- | --- | --- | --- | --- | --- | --- |"
for name in webquestions efficientqa squad ropes aida; do
    wanted "$name" || continue
    echo "| $name | $(wc -l <"$name/predictions/dev.jsonl") | $(mean "$name" em) | $(mean "$name" f1_token) |" \
        "$(python3 "$project/tools/answers_chance.py" "$data" "$name" "$name/predictions/dev.jsonl") |"
done
if wanted shares; then
    echo
    kmask compare --table share-0.001/results.json share-0.01/results.json
fi

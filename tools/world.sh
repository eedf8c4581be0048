#!/usr/bin/env bash
# world.sh [--dir DIR] [--quick] [--ranks N] [--seeds "1 2 3"] [--arms "none random denoise salient asked"]: which masks make a model remember
# what it will be asked? Pre-trains a small BART on biographies of people who do not exist (world.awk), then fine-tunes it on questions
# about half of them, and asks about the others, of whom it has only read. At equal steps and rows a step:
#   none      no further training after the 400 steps of denoising with which all arms begin
#   random    15 % of the tokens, the masked tokens are the target
#   denoise   BART's noise, the whole text is the target
#   salient   one name, town, firm or date, which is the target
#   asked     one town or firm, which is the target: what the questions ask for
# Settings are those of the section "An invented world" of tools/README.md. --quick has a half of the people, a third of the steps and
# one seed. The runs lie in DIR (./world): what is finished is not trained again, what was interrupted goes on. At the end a table
# (Markdown) of exact match over the seeds of fine-tuning, with a paired t-test against the best arm, and DIR/tune/results.json.
# A further arm is a line in `arm` below, and its name in --arms.
set -euo pipefail
project=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
dir=$PWD/world ranks=$(nproc) seeds="1 2 3" arms="none random denoise salient asked"
people=120 copies=16 first=400 further=1800 questions=350
while [ $# -gt 0 ]; do
    case $1 in
        --dir) dir=$2 && shift ;;
        --ranks) ranks=$2 && shift ;;
        --seeds) seeds=$2 && shift ;;
        --arms) arms=$2 && shift ;;
        --quick) people=60 first=200 further=600 questions=200 seeds=1 ;;
        *) echo "world.sh: no option $1; there are --dir, --ranks, --seeds, --arms and --quick" >&2; exit 2 ;;
    esac
    shift
done
export PATH=$project/build/release:$PATH
mkdir -p "$dir" && cd "$dir"
run() { mpirun --oversubscribe -n "$ranks" "$@"; }

# ---- The world.
if [ ! -e asked.h5 ]; then
    awk -v people="$people" -v copies="$copies" -v seed=1 -v out=. -f "$project/tools/world.awk"
    kmask tokenizer train --type bpe --vocab-size 1200 --out tok text.txt
    for corpus in world asked; do kmask corpus build --tokenizer tok --out "$corpus.h5" "$corpus.jsonl" >"$corpus.log"; done
fi
cat >base.json <<EOF
{"run": {"dir": "base", "seed": 1},
 "model": {"type": "bart", "d_model": 128, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4, "decoder_attention_heads": 4,
           "encoder_ffn_dim": 512, "decoder_ffn_dim": 512, "max_position_embeddings": 128, "init_std": 0.05, "dropout": 0.1},
 "data": {"train": "world.h5", "length": 96, "packing": "documents"},
 "mask": {"policy": "denoise", "splits": 1},
 "train": {"steps": $first, "sequences": 24, "micro_batch": 12},
 "optimizer": {"lr": 1e-3, "beta2": 0.98}, "schedule": {"warmup": 40}, "checkpoint": {"every": 1000000}, "log": {"every": 20}}
EOF

# ---- The arms.
models=()
arm() { # NAME CORPUS [--set ...]
    local name=$1 corpus=$2
    shift 2
    case " $arms " in *" $name "*) ;; *) return 0 ;; esac
    sed 's/"model": {.*/"model": {"init": "base\/last.h5"},/; /"encoder_ffn_dim"/d' base.json >"$name.json"
    run kmask pretrain "$name.json" --set "run.dir=$name" --set "data.train=$corpus" --set "train.steps=$further" --set schedule.warmup=90 "$@"
    models+=("\"$(ls "$name"/checkpoints/step-*.h5 | tail -n 1)\"")
}
run kmask pretrain base.json
ln -sf "$(basename "$(ls base/checkpoints/step-*.h5 | tail -n 1)")" base/checkpoints/last.h5
ln -sf checkpoints/last.h5 base/last.h5
case " $arms " in *" none "*) models+=('"base/last.h5"') ;; esac
arm random world.h5 --set mask.policy=random --set mask.target=masked
arm denoise world.h5
arm salient world.h5 --set mask.policy=salient --set mask.spans=1 --set mask.target=masked
arm asked asked.h5 --set mask.policy=salient --set mask.spans=1 --set mask.target=masked

# ---- The questions.
list=$(IFS=,; echo "${models[*]}")
cat >tune.json <<EOF
{"run": {"dir": "tune"},
 "task": {"kind": "seq2seq", "name": "world", "train": "train.jsonl", "dev": "dev.jsonl", "test": "test.jsonl", "length": 32, "metrics": ["em", "f1_token"]},
 "finetune": {"init": [$list], "steps": $questions, "batch": 24, "lr": 3e-4, "beta2": 0.98, "warmup": 20, "seeds": [${seeds// /, }],
              "evaluate_every": 50, "label_smoothing": 0}}
EOF
run kmask finetune tune.json
kmask compare --table tune/results.json

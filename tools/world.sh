#!/usr/bin/env bash
# world.sh [--dir DIR] [--quick] [--ranks N] [--seeds "1 2 3"] [--arms "none random denoise salient asked"]: which masks make a model remember
# what it will be asked? Pre-trains a small BART on biographies of people who do not exist (world.awk), then fine-tunes it on questions
# about half of them, and asks about the others, of whom it has only read. At equal steps and rows a step:
#   none      no further training after the 400 steps of denoising with which all arms begin
#   random    15 % of the tokens, the masked tokens are the target
#   denoise   BART's noise, the whole text is the target
#   salient   one name, town, firm or date, which is the target
#   asked     one town or firm, which is the target: what the questions ask for
# and, where --arms names them, of policies that are learned from the questions of train with their people's biographies (Ye et al. 2021):
#   top1, top5   the supervised policy's best span, or one of its best five, which is the target
#   meta         the meta-learned policy's tokens; the whole text is the target
# A seed is that of the weights, of pre-training and of fine-tuning; the world is the same for all. Settings are those of the section "An invented
# world" of tools/README.md. --quick has a half of the people, half the steps and one seed. The runs lie in DIR (./world): what is
# finished is not trained again, what was interrupted goes on. At the end a table (Markdown) of exact match on test, with a paired
# t-test against the best arm, and the page DIR/world.html with the same table and bars (DIR/world.png where chromium is there).
# A further arm is a line in `arms_of` below, and its name in --arms.
set -euo pipefail
project=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
dir=$PWD/world ranks=$(nproc) seeds="1 2 3" arms="none random denoise salient asked"
people=120 copies=16 first=400 further=800 questions=200
while [ $# -gt 0 ]; do
    case $1 in
        --dir) dir=$2 && shift ;;
        --ranks) ranks=$2 && shift ;;
        --seeds) seeds=$2 && shift ;;
        --arms) arms=$2 && shift ;;
        --quick) people=60 first=200 further=400 questions=200 seeds=1 ;;
        *) echo "world.sh: no option $1; there are --dir, --ranks, --seeds, --arms and --quick" >&2; exit 2 ;;
    esac
    shift
done
export PATH=$project/build/release:$PATH
mkdir -p "$dir" && cd "$dir"
run() { mpirun --oversubscribe -n "$ranks" "$@"; }

# ---- The world. Every word is one piece, and the same one at the beginning of an answer and within a text: a model of this size does not learn
# how names are spelt.
if [ ! -e asked.h5 ]; then
    awk -v people="$people" -v copies="$copies" -v seed=1 -v out=. -f "$project/tools/world.awk"
    kmask tokenizer train --type bpe --prefix-space --vocab-size 3000 --out tok text.txt 2>tok.log
    for corpus in world asked; do kmask corpus build --tokenizer tok --out "$corpus.h5" "$corpus.jsonl" >"$corpus.log"; done
fi

# ---- Pre-training, in the folder of a seed.
pretrain() { # NAME CORPUS STEPS WARMUP MODEL [--set ...]
    local name=$1
    cat >"$name.json" <<EOF
{"run": {"dir": "$name", "seed": $seed}, "model": $5, "data": {"train": "../$2.h5", "length": 96, "packing": "documents"},
 "mask": {"policy": "denoise", "splits": 1}, "train": {"steps": $3, "sequences": 24, "micro_batch": 12},
 "optimizer": {"lr": 1e-3, "beta2": 0.98}, "schedule": {"warmup": $4}, "checkpoint": {"every": 1000000}, "log": {"every": 20}}
EOF
    shift 5
    run kmask pretrain "$name.json" "$@"
    ln -sf "$(ls "$name"/checkpoints/step-*.h5 | tail -n 1)" "$name.h5"
}
# Learns a policy where one of the arms is wanted. The objective of "meta" is the loss after both steps, not its decrease.
policy() { # NAME OPTIONS ARM...
    local name=$1 options=$2 wanted=
    shift 2
    for one in "$@"; do case " $arms " in *" $one "*) wanted=1 ;; esac; done
    [ -n "$wanted" ] || return 0
    cat >"policy-$name.json" <<EOF
{"run": {"dir": "policy-$name", "seed": $seed}, "policy": {"examples": "../triples.jsonl", "init": "none.h5", "hidden": 64, "length": 98, "epochs": 3, $options},
 "checkpoint": {"every": 1000}}
EOF
    run kmask policy train "policy-$name.json"
}
models=()
arm() { # NAME CORPUS [--set ...]
    local name=$1 corpus=$2
    shift 2
    case " $arms " in *" $name "*) ;; *) return 0 ;; esac
    pretrain "$name" "$corpus" "$further" 90 '{"init": "none.h5"}' "$@"
    models+=("\"$name.h5\"")
}
arms_of() {
    pretrain none world "$first" 40 '{"type": "bart", "d_model": 128, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4,
        "decoder_attention_heads": 4, "encoder_ffn_dim": 512, "decoder_ffn_dim": 512, "max_position_embeddings": 128, "init_std": 0.05, "dropout": 0.1}'
    case " $arms " in *" none "*) models+=('"none.h5"') ;; esac
    arm random world --set mask.policy=random --set mask.target=masked
    arm denoise world
    arm salient world --set mask.policy=salient --set mask.spans=1 --set mask.target=masked
    arm asked asked --set mask.policy=salient --set mask.spans=1 --set mask.target=masked
    policy supervised '"kind": "supervised", "batch": 32, "micro_batch": 8, "lr": 2e-3' top1 top5
    for top in 1 5; do
        arm "top$top" world --set mask.policy=supervised --set mask.model=policy-supervised/policy.h5 --set mask.top=$top --set mask.target=masked
    done
    policy meta '"kind": "meta", "batch": 24, "micro_batch": 12, "kernel": 3, "objective": "loss", "alpha0": 0.1, "alpha1": 3e-3, "alpha2": 2, "beta": 1e-3,
        "temperature": 0.2, "clip": 0.02, "keep_pretrained": false' meta
    arm meta world --set mask.policy=meta --set mask.model=policy-meta/policy.h5
}

# ---- The questions.
ask() {
    cat >tune.json <<EOF
{"run": {"dir": "tune"}, "task": {"kind": "seq2seq", "name": "world", "train": "../train.jsonl", "dev": "../dev.jsonl", "test": "../test.jsonl",
 "length": 32, "metrics": ["em", "f1_token"]},
 "finetune": {"init": [$(IFS=,; echo "${models[*]}")], "steps": $questions, "batch": 24, "lr": 3e-4, "beta2": 0.98, "warmup": 20, "seeds": [$seed],
              "evaluate_every": 50, "label_smoothing": 0}}
EOF
    run kmask finetune tune.json
}

results=() folders=()
for seed in $seeds; do
    mkdir -p "seed-$seed" && cd "seed-$seed"
    models=()
    arms_of
    ask
    cd ..
    results+=("seed-$seed/tune/results.json") folders+=("seed-$seed/tune")
done
kmask report "${folders[@]}" --out world.html
if command -v chromium >/dev/null; then
    chromium --headless --no-sandbox --disable-gpu --hide-scrollbars --window-size=1100,760 --virtual-time-budget=3000 \
        --screenshot="$PWD/world.png" "file://$PWD/world.html" >/dev/null 2>&1 || echo "no picture: chromium failed" >&2
fi
kmask compare --table "${results[@]}"

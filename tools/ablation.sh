#!/usr/bin/env bash
# ablation.sh [--dir DIR] [--steps N] [--seeds "1 2 3 4 5"] [--jobs N] [--only "continued"]: the paper's Figure 4 at the quickstart's size, with held-out
# loss as the measure. DIR (./quickstart) is a folder that tools/quickstart.sh has filled. Three comparisons (or those of --only), each
# at equal views a step and equal steps, each run once a seed, with the same seeds in every arm:
#   splits     K = 2, 4, 6, 8 disjoint masks of 12.5 %, from the quickstart's last checkpoint; sequences = views / K
#   continued  six arms from the quickstart's last checkpoint, which is past the unigram plateau
#   scratch    the same arms from fresh weights
#     explored  fully-explored S x 4      random    random S x 4 (Theorem 1's control)
#     standard  random 4S x 1 (MLM)       epochs    fully-explored, its 4 masks spread over 4 visits, 4S x 1 a step
#     proposal  masks that a network proposes, S x 4 independent ones with exact weights
#     tokens    the same, S x 4 disjoint ones with weights by token
# The runs lie in DIR/ablation/<comparison>/<arm>-<seed>; what is finished is not trained again, what was interrupted goes on.
# At the end: DIR/ablation.html, and tables (Markdown) of rows, views, tau, masked tokens and held-out loss, with the difference to
# the first arm, paired by seed, and its 95 % interval.
set -euo pipefail
project=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
dir=$PWD/quickstart
steps=1000
seeds="1 2 3 4 5"
jobs=$(nproc)
only="splits continued scratch"
while [ $# -gt 0 ]; do
    case $1 in
        --dir) dir=$2 ;;
        --steps) steps=$2 ;;
        --seeds) seeds=$2 ;;
        --jobs) jobs=$2 ;;
        --only) only=$2 ;;
        *) echo "ablation.sh: no option $1; there are --dir, --steps, --seeds, --jobs and --only" >&2; exit 2 ;;
    esac
    shift 2
done
export PATH=$project/build/release:$PATH
cd "$dir" 2>/dev/null && [ -e corpus.holdout.h5 ] && start=$(ls run/checkpoints/step-*.h5 2>/dev/null | tail -n 1) &&
    [ -n "$start" ] || { echo "ablation.sh: $dir has no corpus and checkpoint; run tools/quickstart.sh first" >&2; exit 1; }

# With model.init all model keys come from the file.
awk '/^ *"model": *\{/ { inside = 1 } !inside { print } inside && /\}/ { inside = 0 }' config.json >continued.json

# ---- What is to be run: a line a run, its folder and its settings.
arms() { # arms COMPARISON STEPS SEED COMMON...
    local comparison=$1 total=$2 seed=$3
    shift 3
    local common="--set run.seed=$seed --set train.steps=$total $*"
    echo "$comparison/explored-$seed $common --set mask.policy=fully_explored --set mask.splits=4 --set train.sequences=16"
    echo "$comparison/random-$seed $common --set mask.policy=random --set mask.splits=4 --set train.sequences=16"
    echo "$comparison/standard-$seed $common --set mask.policy=random --set mask.splits=1 --set train.sequences=64"
    echo "$comparison/epochs-$seed $common --set mask.policy=fully_explored --set mask.splits=4 --set mask.over=epochs --set train.sequences=64"
    echo "$comparison/proposal-$seed $common --set mask.policy=proposal --set mask.splits=4 --set train.sequences=16"
    echo "$comparison/tokens-$seed $common --set mask.policy=proposal --set mask.splits=4 --set mask.weights=token --set mask.disjoint=true --set train.sequences=16"
}
wanted() { case " $only " in *" $1 "*) true ;; *) false ;; esac; }
plan() {
    local seed splits from="--set model.init=$start --set optimizer.lr=1e-3"
    for seed in $seeds; do
        ! wanted continued || arms continued "$steps" "$seed" "$from"
        for splits in 2 4 6 8; do
            ! wanted splits || echo "splits/k$splits-$seed --set run.seed=$seed --set train.steps=$steps $from --set mask.ratio=0.125" \
                "--set mask.splits=$splits --set train.sequences=$((48 / splits))"
        done
        ! wanted scratch || arms scratch $((2 * steps)) "$seed" ""
    done
}

# ---- Runs of one rank, several side by side: they share nothing, so that no core waits.
one() { # one FOLDER SETTINGS...
    local folder=ablation/$1 config=config.json total
    shift
    case $* in *model.init*) config=continued.json ;; esac
    mkdir -p "${folder%/*}"
    total=$(sed -E 's/.*train\.steps=([0-9]+).*/\1/' <<<"$*")
    # shellcheck disable=SC2048,SC2086
    kmask pretrain $config --set "run.dir=$folder" $* --set "eval.every=$((total / 5))" --set "schedule.warmup=$((total / 10))" --set checkpoint.every="$total" \
        --set checkpoint.keep=1 --set log.every=10 >"$folder.log" 2>&1 || { echo "ablation.sh: $folder: $(tail -n 1 "$folder.log")" >&2; return 255; }
    echo "$folder: $(sed -nE 's/^held-out loss: //p' "$folder.log" | tail -n 1)"
}
export -f one
count=$(plan | wc -l)
echo "$count runs of $steps steps (from fresh weights twice as many), $jobs at a time"
began=$SECONDS
plan | xargs -P "$jobs" -I{} bash -c 'one {}' | {
    number=0 # (mawk would hold lines back)
    while IFS= read -r line; do
        number=$((number + 1))
        printf '%3d of %d  %s\n' "$number" "$count" "$line"
    done
}

# ---- The tables: the last held-out loss of each run is in its metrics.
last() { sed -nE "s/.*\"$2\":[[:space:]]*([-+.0-9eE]+).*/\1/p" "ablation/$1/metrics.jsonl" | tail -n 1; }
masked() { sed -nE 's/.*"masked":[[:space:]]*([0-9]+).*/\1/p' "ablation/$1/metrics.jsonl" | awk '{ n += $1 } END { print n }'; }
row() { # row COMPARISON ARM FIRST ROWS VISITS STEPS
    local seed
    for seed in $seeds; do
        echo "$(last "$1/$2-$seed" eval_loss) $(last "$1/$3-$seed" eval_loss) $(masked "$1/$2-$seed")"
    done | awk -v arm="$2" -v same="$([ "$2" = "$3" ] && echo 1)" -v rows="$4" -v views=$(($4 * $5)) -v steps="$6" '
        # Two-sided 95 % of t for 1..9 degrees of freedom.
        BEGIN { split("12.71 4.303 3.182 2.776 2.571 2.447 2.365 2.306 2.262", t, " ") }
        { n++; x[n] = $1; d[n] = $2 - $1; sum += $1; gain += $2 - $1; tokens = $3 }
        END {
            mean = sum / n; lead = gain / n
            for (i = 1; i <= n; i++) { s += (x[i] - mean)^2; p += (d[i] - lead)^2 }
            deviation = n > 1 ? sqrt(s / (n - 1)) : 0
            half = n > 1 ? (n <= 10 ? t[n - 1] : 1.96) * sqrt(p / (n - 1) / n) : 0
            difference = same ? "" : sprintf("%+.4f ± %.4f", lead, half)
            printf "| %s | %d | %d | %.2f | %.2f M | %.4f ± %.4f | %s |\n", arm, rows, views, tokens / (views * steps), tokens / 1e6,
                mean, deviation, difference
        }'
}
head_of() {
    printf '\n%s\n\n| arm | rows a step | views a step | tau (mean) | masked tokens | held-out loss | less than the first by (95 %%) |\n' "$1"
    echo "| --- | --- | --- | --- | --- | --- | --- |"
}
compare() { # compare COMPARISON STEPS
    row "$1" explored explored 16 4 "$2"
    row "$1" random explored 16 4 "$2"
    row "$1" standard explored 64 1 "$2"
    row "$1" epochs explored 64 1 "$2"
    row "$1" proposal explored 16 4 "$2"
    row "$1" tokens explored 16 4 "$2"
}
entropy=$(sed -nE 's/.*unigram entropy ([0-9.]+).*/\1/p' ablation/*/*.log | head -n 1)
echo
echo "Seeds $seeds; held-out loss in nats (unigram entropy $entropy); $((SECONDS - began)) s for what was not there yet."
if wanted splits; then
    head_of "**splits**: $steps steps from $start, ratio 0.125"
    for splits in 2 4 6 8; do row splits "k$splits" k2 $((48 / splits)) "$splits" "$steps"; done
fi
if wanted continued; then
    head_of "**continued**: $steps steps from $start, ratio 0.15"
    compare continued "$steps"
fi
if wanted scratch; then
    head_of "**scratch**: $((2 * steps)) steps from fresh weights, ratio 0.15"
    compare scratch $((2 * steps))
fi
folders=()
for comparison in splits continued scratch; do
    for arm in k2 k4 k6 k8 explored random standard epochs proposal tokens; do
        for seed in $seeds; do [ ! -d "ablation/$comparison/$arm-$seed" ] || folders+=("ablation/$comparison/$arm-$seed"); done
    done
done
kmask report "${folders[@]}" --out ablation.html

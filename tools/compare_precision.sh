#!/usr/bin/env bash
# compare_precision.sh [--dir DIR] [--steps N] [--seeds "1 2 3 4 5"] [--preset NAME] [--jobs N]: does training in bf16 learn as well
# as in fp32? DIR (./quickstart) is a folder that tools/quickstart.sh has filled. Each seed is trained from fresh weights in both
# precisions, everything else the same: what differs between the two runs of a seed is rounding, what differs between seeds is chance.
# The model is the quickstart's, or one of model.preset.
# The runs lie in DIR/precision/<fp32|bf16>-<seed>; what is finished is not trained again, what was interrupted goes on. At the
# end: a table (Markdown) of training loss (means of ten steps) and held-out loss, and DIR/precision.png where gnuplot is there.
set -euo pipefail
project=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
dir=$PWD/quickstart
steps=500
seeds="1 2 3 4 5"
preset=
jobs=$(nproc)
while [ $# -gt 0 ]; do
    case $1 in
        --dir) dir=$2 ;;
        --steps) steps=$2 ;;
        --seeds) seeds=$2 ;;
        --preset) preset=$2 ;;
        --jobs) jobs=$2 ;;
        *) echo "compare_precision.sh: no option $1; there are --dir, --steps, --seeds, --preset and --jobs" >&2; exit 2 ;;
    esac
    shift 2
done
export PATH=$project/build/release:$PATH
cd "$dir" 2>/dev/null && [ -e corpus.holdout.h5 ] ||
    { echo "compare_precision.sh: $dir has no corpus; run tools/quickstart.sh first" >&2; exit 1; }
mkdir -p precision

cp config.json precision/config.json
model=() name="the quickstart's model"
if [ -n "$preset" ]; then
    awk '/^ *"model": *\{/ { inside = 1 } !inside { print } inside && /\}/ { inside = 0 }' config.json >precision/config.json
    model=(--set "model.preset=$preset" --set optimizer.lr=1e-3) name=$preset
fi

one() { # one PRECISION SEED STEPS [--set ...]
    local precision=$1 seed=$2 steps=$3 run=precision/$1-$2
    shift 3
    kmask pretrain precision/config.json --set "run.dir=$run" --set "run.seed=$seed" --set "train.precision=$precision" \
        --set "train.steps=$steps" --set "schedule.warmup=$((steps / 10))" --set eval.every=0 "$@" --set checkpoint.every="$steps" --set checkpoint.keep=1 --set log.every=10 >"$run.log" 2>&1 ||
        { echo "compare_precision.sh: $run: $(tail -n 1 "$run.log")" >&2; return 255; }
    echo "$run: held-out loss $(column "$precision-$seed" eval_loss | tail -n 1)"
}
column() { sed -nE "s/.*\"$2\":[[:space:]]*([-+.0-9eE]+).*/\1/p" "precision/$1/metrics.jsonl"; }
export -f one column
for seed in $seeds; do for precision in fp32 bf16; do echo "$precision $seed $steps ${model[*]}"; done; done | xargs -P "$jobs" -I{} bash -c 'one {}'

# ---- A line a point: step, the seeds' losses in fp32, then in bf16.
# An orderly stop leaves a line between those of every ten steps.
points() {
    sed -nE 's/.*"step":[[:space:]]*([0-9]+).*"loss":[[:space:]]*([-+.0-9eE]+).*/\1 \2/p' "precision/$1/metrics.jsonl" | awk '$1 > 0 && $1 % 10 == 0'
}
first=${seeds%% *}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
points "fp32-$first" | cut -d' ' -f1 >"$work/step"
for precision in fp32 bf16; do for seed in $seeds; do points "$precision-$seed" | cut -d' ' -f2 >"$work/$precision-$seed"; done; done
# shellcheck disable=SC2046,SC2086
paste "$work/step" $(for s in $seeds; do echo "$work/fp32-$s"; done) $(for s in $seeds; do echo "$work/bf16-$s"; done) |
    awk -v n="$(wc -w <<<"$seeds")" '
        { low = high = $2; m = b = 0
          for (i = 1; i <= n; i++) { x = $(1 + i); low = x < low ? x : low; high = x > high ? x : high; m += x / n; b += $(1 + n + i) / n }
          s = p = 0
          for (i = 1; i <= n; i++) { s += ($(1 + i) - m)^2; d = $(1 + n + i) - $(1 + i); p += d^2 }
          print $1, low, m, high, b, (n > 1 ? sqrt(s / (n - 1)) : 0), sqrt(p / n) }' >precision/points.txt

echo
echo "$steps steps from fresh weights, $name, seeds $seeds; training loss: means of 10 steps."
awk '{ n++; inside += $5 >= $2 && $5 <= $4; off = $5 - $3; off = off < 0 ? -off : off; most = off > most ? off : most; all += off; spread += $6; pair += $7 }
     END { printf "bf16, mean over seeds: inside the range of fp32\047s seeds at %d of %d points; from their mean %.4f on average, at most %.4f\n", inside, n, all / n, most
           printf "standard deviation between seeds in fp32: %.4f on average; root mean square of bf16 - fp32 with the same seed: %.4f\n", spread / n, pair / n }' precision/points.txt
printf '\n| seed | held-out loss, fp32 | bf16 | bf16 less fp32 |\n| --- | --- | --- | --- |\n'
for seed in $seeds; do echo "$seed $(column "fp32-$seed" eval_loss | tail -n 1) $(column "bf16-$seed" eval_loss | tail -n 1)"; done |
    awk '{ printf "| %d | %.4f | %.4f | %+.4f |\n", $1, $2, $3, $3 - $2; a += $2; b += $3; n++; x[n] = $2; y[n] = $3 - $2 }
         END { for (i = 1; i <= n; i++) { s += (x[i] - a / n)^2; t += (y[i] - (b - a) / n)^2 }
               printf "| mean (deviation) | %.4f (%.4f) | %.4f | %+.4f (%.4f) |\n", a / n, (n > 1 ? sqrt(s / (n - 1)) : 0), b / n, (b - a) / n, (n > 1 ? sqrt(t / (n - 1)) : 0) }'

command -v gnuplot >/dev/null || { echo "no gnuplot here: no picture"; exit 0; }
gnuplot <<PLOT
set terminal pngcairo size 760,420 font ",10"
set output "precision.png"
set xlabel "step"; set ylabel "training loss (means of 10 steps)"
set grid; set key top right
plot "precision/points.txt" using 1:2:4 with filledcurves fc rgb "#b8cfe8" title "fp32: range of the seeds", \
     "" using 1:3 with lines lw 2 lc rgb "#1f5fa8" title "fp32: mean", \
     "" using 1:5 with lines lw 2 dt 2 lc rgb "#d1491b" title "bf16: mean of the same seeds"
PLOT
echo "wrote $dir/precision.png"

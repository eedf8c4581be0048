#!/usr/bin/env bash
# bart.sh [--out DIR] [--steps N] [--examples N] [--arms "denoise random salient"] [TEXT...]: encoder-decoders from nothing, on real text,
# in minutes on two cores.
# A BART of 2 + 2 layers, 128 wide, is pre-trained from fresh weights three times: under BART's noise (denoise, target: the whole row),
# under random masks of words (target: what is hidden), and under masks of one name, date or number (salient, likewise). The text is
# the quickstart's (quickstart/text, which tools/quickstart.sh leaves), or files of yours, compressed or not. N steps (1,500) of 32 rows
# on two ranks; four times as many under random masks, whose few targets are the hardest to learn from. Printed: for each, the held-out loss of hidden tokens (for salient of hidden names) beside the entropy of their
# frequencies, which is what a model reaches that looks at nothing; and what it writes for held-out rows under masks of its kind. Status
# 1 where a loss is not half a nat below that entropy. $KMASK is the program (build/release/kmask); all output goes to DIR (./bart).
set -euo pipefail
project=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
kmask=$(realpath "${KMASK:-$project/build/release/kmask}")
out=$PWD/bart steps=1500 examples=4 arms='denoise random salient' texts=()
fail() { echo "bart.sh: $*" >&2; exit 1; }
while [ $# -gt 0 ]; do
    case $1 in
        --out | --steps | --examples | --arms) [ $# -ge 2 ] || { echo "bart.sh: $1 needs a value; see its first lines" >&2; exit 2; } ;;&
        --out) out=$2; shift ;;
        --steps) steps=$2; shift ;;
        --examples) examples=$2; shift ;;
        --arms) arms=$2; shift ;;
        -*) echo "bart.sh: no option $1; see its first lines" >&2; exit 2 ;;
        *) [ -r "$1" ] || fail "$1: no such text file"; texts+=("$(realpath "$1")") ;;
    esac
    shift
done
[ ${#texts[@]} -gt 0 ] || { [ -r quickstart/text ] && texts=("$PWD/quickstart/text"); } ||
    fail "quickstart/text is not there: run tools/quickstart.sh first, or name text files"
[ -x "$kmask" ] || fail "$kmask: not there; build kmask, or set KMASK"
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
export OMPI_MCA_hwloc_base_binding_policy=none OMPI_MCA_mpi_yield_when_idle=1
mkdir -p "$out"
cd "$out"

# ---- The text: names, dates and numbers are found in it; one document in fifty is held out.
text() { local file; for file in "${texts[@]}"; do gzip -cdf "$file"; echo; done; }
[ -e corpus.holdout.h5 ] || {
    text >text
    "$kmask" tokenizer train --type bpe --vocab-size 4000 --out tokenizer text
    mpirun -n 2 "$kmask" corpus build --tokenizer tokenizer --spans find --holdout 0.02 --out corpus.h5 text
    rm text
}

# ---- Three runs that differ in their masks alone. What is finished is not trained again.
read -ra arms <<<"$arms"
declare -A mask=(
    [denoise]="policy=denoise,target=full"
    [random]="policy=random,target=masked,unit=word,splits=1"
    [salient]="policy=salient,target=masked"
)
cat >config.json <<JSON
{"model":      {"type": "bart", "preset": "bart-tiny", "init_std": 0.08, "dropout": 0},
 "data":       {"train": "corpus.h5", "length": 48},
 "train":      {"sequences": 32},
 "optimizer":  {"lr": 2e-3, "beta2": 0.98, "clip": 1},
 "checkpoint": {"every": 500, "keep": 1}}
JSON
set_mask() { sed 's/\([^,=]*=[^,]*\),*/ --set mask.\1/g' <<<"${mask[$1]}"; }
steps_of() { if [ "$1" = random ]; then echo $((4 * steps)); else echo "$steps"; fi; }
for arm in "${arms[@]}"; do
    # shellcheck disable=SC2046
    mpirun -n 2 "$kmask" pretrain config.json --set "run.dir=$arm" --set "train.steps=$(steps_of "$arm")" --set "schedule.warmup=$(($(steps_of "$arm") / 10))" \
        $(set_mask "$arm")
done

# ---- Held-out loss
last_of() { printf '%s/checkpoints/step-%08d.h5' "$1" "$(steps_of "$1")"; }
value() { sed -nE "s/.*\"$1\":[[:space:]]*([-+.0-9eE]+).*/\1/p" "$2.eval.json" | head -n 1; }
{
    printf '| masks | held-out loss, nats a hidden token | entropy of their frequencies | hidden tokens |\n| --- | --- | --- | --- |\n'
    for arm in "${arms[@]}"; do
        names=()
        [ "$arm" != salient ] || names=(--names)
        mpirun -n 2 "$kmask" eval "$(last_of "$arm")" --corpus corpus.holdout.h5 "${names[@]}" --json >"$arm.eval.json"
        printf '| %s | %.4f | %.4f | %.0f |\n' "$arm" "$(value loss "$arm")" "$(value unigram_entropy "$arm")" "$(value masked "$arm")"
    done
} | tee table.md

# ---- What they write: held-out rows under masks of their policy, answered by beam search.
decode() { "$kmask" tokenizer decode --tokenizer tokenizer "$@"; }
views() { # KEY < what corpus show prints: a line of ids for each row
    sed -nE "s/.*\"$1\":\[\[([0-9,]*)\]\].*/\1/p" | tr , ' '
}
for arm in "${arms[@]}"; do
    "$kmask" corpus show corpus.holdout.h5 --row 1 --rows "$examples" --length 48 --mask "${mask[$arm]}" --json >"$arm.rows"
    views sources <"$arm.rows" >"$arm.sources"
    sed 's/ /,/g; s/.*/{"input_ids": [&]}/' "$arm.sources" >"$arm.jsonl"
    "$kmask" generate "$(last_of "$arm")" --in "$arm.jsonl" --beam 4 --max-length 48 >"$arm.answers" 2>/dev/null
    echo
    echo "== $arm"
    paste -d '\n' <(decode <"$arm.sources" | sed 's/^/source  /') <(views targets <"$arm.rows" | decode | sed 's/^/target  /') \
        <(sed 's/^/answer  /' "$arm.answers")
done | tee examples.txt
for arm in "${arms[@]}"; do
    awk -v loss="$(value loss "$arm")" -v entropy="$(value unigram_entropy "$arm")" 'BEGIN { exit !(loss > 0 && loss < entropy - 0.5) }' ||
        fail "$arm: a loss of $(value loss "$arm") is not half a nat below $(value unigram_entropy "$arm")"
done

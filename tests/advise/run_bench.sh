#!/usr/bin/env bash
# bench: what it prints is whole and adds up, alone and on ranks and threads, which change no bit; nothing about speed itself.
. "$SOURCE/tests/common.sh"
small="--preset tiny --length 32 --micro-batch 8 --views 32 --set model.vocab_size=512 --set model.hidden_dropout_prob=0.1 --repeat 2"

# number FILE KEY: of the outer object; share FILE OPERATION.
number() { sed -E 's/"by_operation":\{.*\}\}/"by_operation":0/' "$1" | grep -oE "\"$2\":-?[0-9.e+-]+" | head -n 1 | cut -d: -f2; }
text() { grep -oE "\"$2\":\"[^\"]*\"" "$1" | head -n 1 | cut -d'"' -f4; }
share() { grep -oE "\"$2\":\{\"seconds\":[^,]*,\"share\":[0-9.e+-]+" "$1" | sed 's/.*"share"://'; }
holds() { awk "BEGIN {exit !($1)}" || fail "$1 does not hold in $2"; }

look() { # look FILE RANKS THREADS
    local file=$1 key sum=0
    for key in tokens_per_s gflops gflops_whole gemm_gflops gemm_gflops_done gemm_gflops_dense gemm_gflops_attention \
        gemm_share gemm_share_done step_seconds peak_memory_bytes planned_memory_bytes parameters masked; do
        holds "0$(number "$file" $key) > 0" "$file: $key"
    done
    [ "$(number "$file" ranks)" = "$2" ] || fail "$file: ranks $(number "$file" ranks)"
    [ "$(number "$file" threads)" = "$3" ] || fail "$file: threads $(number "$file" threads)"
    holds "$(number "$file" exposed_share) >= 0 && $(number "$file" exposed_share) < 1" "$file"
    for key in $(grep -oE '"[a-z_]+":\{"seconds"' "$file" | cut -d'"' -f2); do
        holds "$(share "$file" "$key") >= 0 && $(share "$file" "$key") <= 1" "$file: $key"
        sum="$sum+$(share "$file" "$key")"
    done
    holds "$sum > 0.999 && $sum < 1.001" "$file"
    for key in forward_products forward_attention forward_norm forward_gelu loss backward_products backward_attention \
        backward_norm backward_gelu dropout exact_sum optimizer rest; do
        holds "0$(share "$file" $key) > 0" "$file: $key"
    done
    # Rates are of one step: what is divided by what.
    holds "$(number "$file" gflops) < $(number "$file" gflops_whole)" "$file"
    [ "$(text "$file" better_blas_kernel)" = "" ] || echo "OpenBLAS could run $(text "$file" better_blas_kernel)"
}

run() { # run FILE command...
    local file=$1
    shift
    "$@" >out.txt 2>err.txt || { fail "status $? of $*: $(tail -n 3 err.txt)"; finish; }
    tr -d '\n\t' <out.txt >"$file"
}

before=$(ls "${TMPDIR:-/tmp}" | grep -c '^kmask-bench-')
run one.json "$KMASK" bench $small --json
look one.json 1 1
[ "$(number one.json views)" = 32 ] && [ "$(number one.json length)" = 32 ] && [ "$(number one.json layers)" = 2 ] ||
    fail "other shapes than asked for: $(cat one.json)"
# 30 maskable tokens, ratio 0.15: 5 of each of 32 views.
[ "$(number one.json masked)" = 160 ] || fail "masked $(number one.json masked), expected 160"
holds "$(share one.json communication)+$(share one.json waiting) < 0.5" one.json
[ -z "$(share one.json idle)" ] || holds "$(share one.json idle) < 0.5" one.json

# Forward is 2 N C (4C + 2I) + 4 N T C a layer and 2 M C (C + V) for the head; backward twice that.
work="3 * (2 * (2*1024*128*(4*128+2*512) + 4*1024*32*128) + 2*160*128*(128+512))"
ratio="($(number one.json gflops_whole) * 1e9 * 1024 / ($work * $(number one.json tokens_per_s)))"
holds "$ratio > 0.99 && $ratio < 1.01" one.json

# Switches that change no bit: ranks, threads, recomputing.
run ranks.json "$LAUNCH" 2 "$KMASK" bench $small --json
look ranks.json 2 1
run threads.json "$KMASK" bench $small --threads 2 --json
look threads.json 1 2
run recompute.json "$KMASK" bench $small --set train.recompute=true --json
look recompute.json 1 1
for file in ranks threads recompute; do
    [ -n "$(text one.json weights_hash)" ] && [ "$(text $file.json weights_hash)" = "$(text one.json weights_hash)" ] ||
        fail "$file: other weights than one rank's"
done
holds "$(number recompute.json planned_memory_bytes) < $(number one.json planned_memory_bytes)" recompute.json
run other.json "$KMASK" bench $small --json --set run.seed=2
[ "$(text other.json weights_hash)" = "$(text one.json weights_hash)" ] && fail "the seed changes nothing"

run only.json "$KMASK" bench $small --steps-only --json
[ "$(text only.json weights_hash)" = "$(text one.json weights_hash)" ] || fail "--steps-only: other weights"
grep -q gemm only.json && fail "--steps-only measures products: $(cat only.json)"

# The shapes of the small model of 4 layers, by keys alone; whole words; masks over epochs.
run keys.json "$KMASK" bench --length 24 --views 6 --micro-batch 3 --repeat 1 --json --set model.num_hidden_layers=4 \
    --set model.hidden_size=48 --set model.num_attention_heads=4 --set model.intermediate_size=96 \
    --set model.vocab_size=300 --set mask.unit=word --set model.max_position_embeddings=24
look keys.json 1 1
[ "$(number keys.json layers)" = 4 ] && [ "$(number keys.json vocab_size)" = 300 ] || fail "keys: $(cat keys.json)"
run epochs.json "$KMASK" bench --preset tiny --set model.hidden_dropout_prob=0.1 --length 24 --views 5 --repeat 1 --json --set mask.over=epochs --steps 1
look epochs.json 1 1
run roberta.json "$KMASK" bench --preset roberta-base --length 16 --views 2 --repeat 1 --json \
    --set model.num_hidden_layers=1 --set model.vocab_size=500
look roberta.json 1 1

"$KMASK" bench $small >out.txt 2>err.txt || fail "status $? as text: $(cat err.txt)"
for words in "as if the last layer ran whole" "work really done" "exposed communication" backward_attention "peak memory" \
    "bytes a parameter" "kernel"; do
    grep -q "$words" out.txt || fail "no '$words' in what is printed"
done

expect 2 "--preset: found huge, expected one of" "$KMASK" bench --preset huge
expect 2 "--repeat: found 0" "$KMASK" bench --repeat 0
expect 2 "bench takes no file" "$KMASK" bench config.json
expect 2 "--views: found 6, expected a multiple of mask.splits (4)" "$KMASK" bench --preset tiny --views 6 --set mask.splits=4
expect 2 "fewer than the 2 ranks" "$LAUNCH" 2 "$KMASK" bench --preset tiny --views 4
expect 2 "--ranks: found 3, but 2 were started" "$LAUNCH" 2 "$KMASK" bench --ranks 3
expect 2 "model.max_position_embeddings" "$KMASK" bench --preset tiny --length 513
expect 2 "Did you mean model.hidden_size?" "$KMASK" bench --set model.hiden_size=3
expect 2 "model.init" "$KMASK" bench --set model.init=x.h5
expect 2 "model.vocab_size" "$KMASK" bench --preset tiny --set model.vocab_size=7
[ "$(ls "${TMPDIR:-/tmp}" | grep -c '^kmask-bench-')" -le "$before" ] || fail "a temporary folder is left behind"
finish

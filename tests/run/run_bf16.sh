#!/usr/bin/env bash
# train.precision=bf16 and parallel.gemm=onednn: refused in a sentence where the build or the CPU has none; else the bits do not depend
# on ranks, threads, recomputation or restarts, as in fp32.
. "$SOURCE/tests/common.sh"
. "$SOURCE/tests/run/bits.sh"
make_corpus
make_config c.json run

# ctest shows "Skipped"; the line says why.
refusal() { "$KMASK" pretrain c.json --set run.dir=refused --set "$1" 2>&1 | grep -E "^kmask: (train.precision|parallel.gemm): found"; }
if refusal train.precision=bf16 >why.txt; then
    expect 2 "train.precision: found bf16" "$KMASK" plan c.json --set train.precision=bf16 ||
        expect 0 "train.precision" "$KMASK" plan c.json --set train.precision=bf16 --gflops 100
    expect 2 "train.precision: found bf16" "$KMASK" bench --preset tiny --precision bf16
    [ ! -e refused/checkpoints ] || fail "a refused run has left checkpoints"
    echo "skipped: $(cat why.txt)"
    [ "$failures" -eq 0 ] || finish
    exit 77
fi

threads=2
train serial 1 --set train.steps=4 --set parallel.threads=2
grep -q "serial build" log.txt && { echo "OpenBLAS's serial build: one thread only"; threads=1; failures=0; }

train fp32 1
single=$hash
for way in train.precision=bf16 parallel.gemm=onednn; do
    train "${way#*=}-1" 1 --set $way
    reference=$hash
    [ "$reference" != "$single" ] || fail "$way gives the bits of OpenBLAS in fp32"
    for ranks in 2 3; do
        train other "$ranks" --set $way
        same "$way on $ranks ranks"
    done
    train other 1 --set $way --set parallel.threads=$threads
    same "$way with $threads threads"
    train other 2 --set $way --set train.recompute=true --set parallel.threads=$threads
    same "$way, recomputed"
    "$KMASK" inspect other/checkpoints/step-00000020.h5 >out.txt && grep -q "oneDNN" out.txt || fail "$way: inspect does not name oneDNN"

    # Killed while it saves, and gone on with on other ranks.
    rm -rf other
    KMASK_FAULT=save.open:3:kill "$LAUNCH" 1 "$KMASK_FAULTS" pretrain c.json --set run.dir=other --set $way >log.txt 2>&1 &&
        fail "$way: nothing died"
    "$LAUNCH" 2 "$KMASK" pretrain c.json --set run.dir=other --set $way >log.txt 2>&1 || fail "$way: $(tail -n 3 log.txt)"
    grep -q "resumed" log.txt || grep -q "step 10" log.txt || fail "$way: started over: $(head -n 5 log.txt)"
    hash=$(last_hash other)
    same "$way, killed and resumed"
done

# The precision is part of what a run is; the library of fp32 is not, but said.
expect 2 "train.precision" "$KMASK" pretrain c.json --set run.dir=bf16-1 --set train.steps=21
"$KMASK" pretrain c.json --set run.dir=onednn-1 --set train.steps=21 >log.txt 2>&1 || fail "other library: $(tail -n 3 log.txt)"
grep -q "computed until now with oneDNN" log.txt || fail "another library is not said: $(head -n 8 log.txt)"

# Losses: near those of fp32, step by step.
losses() { grep -o '"loss":[0-9.]*' "$1/metrics.jsonl" | cut -d: -f2; }
paste <(losses fp32) <(losses bf16-1) | awk '{ d = $1 - $2; if (d < 0) d = -d; if (d > 0.05 * $1) bad = 1; n++ } END { exit !(n == 20 && !bad) }' ||
    fail "losses in bf16 are not those of fp32: $(paste <(losses fp32) <(losses bf16-1) | tail -n 3)"

# As many threads as in fp32: oneDNN starts none.
most_threads() { # most_threads [--set ...]
    local most=0 now process
    rm -rf counted
    "$KMASK" pretrain c.json --set run.dir=counted --set train.steps=60 --set parallel.threads=$threads "$@" >/dev/null 2>&1 &
    process=$!
    while now=$(sed -n 's/^Threads:[[:space:]]*//p' "/proc/$process/status" 2>/dev/null) && [ -n "$now" ]; do
        [ "$now" -gt "$most" ] && most=$now
        sleep 0.02
    done
    wait "$process" || fail "a run to count threads in"
    echo "$most"
}
in_fp32=$(most_threads) in_bf16=$(most_threads --set train.precision=bf16) by_onednn=$(most_threads --set parallel.gemm=onednn)
[ "$in_bf16" -le "$in_fp32" ] && [ "$by_onednn" -le "$in_fp32" ] || fail "threads: $in_fp32 in fp32, $in_bf16 in bf16, $by_onednn with oneDNN"

# probe and bench.
echo '{"input_ids": [[2, 9, 4, 30, 3], [2, 11, 3]], "labels": [[-100, 9, -100, 77, -100], [-100, 5, -100]]}' >ids.json
loss_of() { sed -nE 's/^loss[^0-9]*([0-9.e+-]+).*/\1/p' out.txt; }
model=bf16-1/checkpoints/step-00000020.h5
"$KMASK" probe $model --input ids.json --out single.h5 >out.txt && single=$(loss_of) &&
    "$KMASK" probe $model --input ids.json --out half.h5 --precision bf16 >out.txt && half=$(loss_of) || fail "probe: $(cat out.txt)"
awk -v a="$single" -v b="$half" 'BEGIN { d = (a - b) / a; exit !(d != 0 && d < 0.02 && d > -0.02) }' || fail "probe: $half in bf16, $single in fp32"
cmp -s single.h5 half.h5 && fail "probe: the same file in both precisions"
small="--preset tiny --length 32 --micro-batch 8 --views 32 --set model.vocab_size=512 --repeat 1 --json"
for more in "--threads 1" "--threads $threads" "--threads 1 --set train.recompute=true"; do
    # shellcheck disable=SC2086
    "$KMASK" bench $small --precision bf16 $more >out.txt 2>err.txt || fail "bench $more: $(cat err.txt)"
    grep -q '"blas":[[:space:]]*"oneDNN' out.txt || fail "bench does not name oneDNN"
    grep -q '"rounding"' out.txt || fail "bench: no time for rounding weights"
    grep -o '"weights_hash":.*' out.txt >>hashes.txt
done
[ "$(sort -u hashes.txt | wc -l)" -eq 1 ] || fail "bench: other weights with threads or recomputation: $(cat hashes.txt)"
"$KMASK" doctor >out.txt 2>&1; grep -q "oneDNN" out.txt || fail "doctor does not name oneDNN"
"$KMASK" plan c.json --set train.precision=bf16 --set run.dir=planned >out.txt 2>&1 || fail "plan: $(tail -n 3 out.txt)"
finish

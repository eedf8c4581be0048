#!/usr/bin/env bash
# Encoder-decoders under every policy and target: one hash whatever the ranks, threads, recomputation, kills and resumes; evaluation
# gives the same numbers on any ranks.
. "$SOURCE/tests/common.sh"
. "$SOURCE/tests/run/bits.sh"
make_text | awk 'NF { $0 = $0 " Anna Berg saw it in 19" NR % 90 + 10 "." } { print }' >text.txt
"$KMASK" tokenizer train --type bpe --vocab-size 600 --out tok text.txt >/dev/null 2>log.txt &&
    "$KMASK" corpus build --tokenizer tok --spans find --holdout 0.1 --out corpus.h5 text.txt >/dev/null 2>>log.txt ||
    { cat log.txt; fail "no corpus"; finish; }
cat >c.json <<JSON
{"run": {"dir": "run", "seed": 3},
 "model": {"type": "bart", "d_model": 48, "encoder_layers": 2, "decoder_layers": 1, "encoder_attention_heads": 4,
           "decoder_attention_heads": 2, "encoder_ffn_dim": 64, "decoder_ffn_dim": 96, "max_position_embeddings": 64, "init_std": 0.05,
           "dropout": 0.1},
 "data": {"train": "corpus.h5", "eval": "corpus.holdout.h5", "length": 40},
 "train": {"steps": 10, "sequences": 12, "micro_batch": 3},
 "optimizer": {"lr": 2e-3}, "schedule": {"warmup": 4}, "checkpoint": {"every": 4}}
JSON

threads=2
train probe 1 --set train.steps=4 --set parallel.threads=2
grep -q "serial build" log.txt && { echo "OpenBLAS's serial build: one thread only"; threads=1; failures=0; }

declare -A policies=(
    [denoise]="--set mask.policy=denoise --set mask.splits=2 --set mask.replace_mask=0.9 --set mask.replace_random=0.1"
    [noise]="--set mask.policy=denoise --set mask.target=masked --set mask.insert=0.1 --set mask.rotate=0.5 --set mask.over=epochs --set mask.splits=3"
    [salient]="--set mask.policy=salient --set mask.target=masked --set mask.splits=2"
    [random]="--set mask.policy=random --set mask.target=masked --set mask.unit=word"
    [explored]="--set mask.policy=fully_explored --set mask.target=full --set mask.unit=span"
)
seen=" "
for name in denoise noise salient random explored; do
    options=${policies[$name]}
    train "$name-1" 1 $options
    reference=$hash
    [[ $seen != *" $hash "* ]] || fail "$name gives the hash of another policy"
    seen+="$hash "
    train "$name-2" 2 $options --set parallel.threads=$threads
    same "$name on 2 ranks"
    train "$name-3" 3 $options --set train.recompute=true
    same "$name on 3 ranks, recomputing"
    rm -rf "$name-killed"
    "$LAUNCH" 3 "$KMASK" pretrain c.json --set "run.dir=$name-killed" $options >log.txt 2>&1 &
    until_step "$name-killed" 5
    kill_run "$name-killed"
    wait $! 2>/dev/null
    "$LAUNCH" 2 "$KMASK" pretrain c.json --set "run.dir=$name-killed" $options >log.txt 2>&1 || fail "$name: $(tail -n 3 log.txt)"
    hash=$(last_hash "$name-killed")
    same "$name, killed and resumed on 2 ranks"
done

for ranks in 1 3; do
    "$LAUNCH" "$ranks" "$KMASK" eval denoise-1/checkpoints/step-00000010.h5 --corpus corpus.holdout.h5 --json >"eval-$ranks.json" 2>log.txt ||
        fail "eval: $(tail -n 3 log.txt)"
done
cmp -s eval-1.json eval-3.json || fail "evaluation differs: $(paste eval-1.json eval-3.json)"
loss=$(grep -o '"eval_loss":[0-9.]*' denoise-1/metrics.jsonl | tail -n 1 | cut -d: -f2)
grep -qE "\"loss\":[[:space:]]*${loss:0:8}" eval-1.json || fail "eval gives $(tr -d '\n' <eval-1.json), the run $loss"
finish

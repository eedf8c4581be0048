# policies.sh: sourced after tests/common.sh and bits.sh: an encoder-decoder, a corpus, and trainings of it under every policy and target.
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
 "train": {"steps": 10, "sequences": 24, "micro_batch": 3},
 "optimizer": {"lr": 2e-3}, "schedule": {"warmup": 4}, "checkpoint": {"every": 4}}
JSON

declare -A policies=(
    [denoise]="--set mask.policy=denoise --set mask.splits=2 --set mask.replace_mask=0.9 --set mask.replace_random=0.1"
    [noise]="--set mask.policy=denoise --set mask.target=masked --set mask.insert=0.1 --set mask.rotate=0.5 --set mask.over=epochs --set mask.splits=3"
    [salient]="--set mask.policy=salient --set mask.target=masked --set mask.splits=2"
    [random]="--set mask.policy=random --set mask.target=masked --set mask.unit=word"
    [explored]="--set mask.policy=fully_explored --set mask.target=full --set mask.unit=span"
)

# $threads: 2, or 1 where OpenBLAS's serial build refuses two.
threads=2
train probe 1 --set train.steps=4 --set parallel.threads=2
grep -q "serial build" log.txt && { echo "OpenBLAS's serial build: one thread only"; threads=1; failures=0; }

# same_everywhere "RANKS..." [--set ...]: every policy gives a hash of its own, and gives it on each of the numbers of ranks, with one
# thread and two and with and without recomputation in turn, and after it was killed on three ranks and resumed on two.
same_everywhere() {
    local numbers=$1 seen=" " name ranks turn=0 options
    shift
    for name in denoise noise salient random explored; do
        options="${policies[$name]} $*"
        train "$name-1" 1 $options
        reference=$hash
        [[ $seen != *" $hash "* ]] || fail "$name gives the hash of another policy"
        seen+="$hash "
        for ranks in $numbers; do
            turn=$((turn + 1))
            train "$name-$ranks" "$ranks" $options --set "parallel.threads=$((turn % 2 == 1 ? threads : 1))" \
                --set "train.recompute=$([ $((turn % 3)) = 0 ] && echo true || echo false)"
            same "$name $* on $ranks ranks"
        done
        rm -rf "$name-killed"
        "$LAUNCH" 3 "$KMASK" pretrain c.json --set "run.dir=$name-killed" $options >log.txt 2>&1 &
        until_step "$name-killed" 5
        kill_run "$name-killed"
        wait $! 2>/dev/null
        "$LAUNCH" 2 "$KMASK" pretrain c.json --set "run.dir=$name-killed" $options >log.txt 2>&1 || fail "$name: $(tail -n 3 log.txt)"
        hash=$(last_hash "$name-killed")
        same "$name $*, killed and resumed on 2 ranks"
    done
}

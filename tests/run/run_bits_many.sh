#!/usr/bin/env bash
# The same bits, order, masks and log on 1 to 64 ranks with dropout, with one and two threads, with and without
# recomputation, and for a run that goes on five times, each time on another number of ranks.
. "$SOURCE/tests/common.sh"
make_corpus
cat >c.json <<END
{"run": {"dir": "run", "seed": 5},
 "model": {"type": "bert", "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16,
           "max_position_embeddings": 64, "initializer_range": 0.05,
           "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1},
 "data": {"train": "corpus.h5", "length": 40},
 "mask": {"splits": 4, "replace_mask": 0.8, "replace_random": 0.1},
 "train": {"steps": 6, "sequences": 16, "micro_batch": 1},
 "optimizer": {"lr": 2e-3},
 "schedule": {"name": "constant"},
 "checkpoint": {"every": 3}}
END

# What a line says: the step, the place in the order, what the masks and the dropout have made of the loss.
lines() {
    for key in step epoch loss lr grad_norm tokens masked; do
        grep -oE "\"$key\":[^,}]*" "$1/metrics.jsonl" | paste -s -d' '
    done
}

# train NAME RANKS [--set ...]
train() {
    local name=$1 ranks=$2
    shift 2
    timeout 200 "$LAUNCH" "$ranks" "$KMASK" pretrain c.json --set "run.dir=$name" "$@" >log.txt 2>&1 ||
        fail "$name on $ranks ranks with $*: $(tail -n 3 log.txt)"
}
same() { # NAME WHAT
    [ "$(last_hash "$1")" = "$reference" ] || fail "$2: weights_hash $(last_hash "$1") instead of $reference"
    [ "$(lines "$1")" = "$(lines whole)" ] || fail "$2: another log: $(diff <(lines "$1") <(lines whole) | head -n 4)"
}

train whole 1
reference=$(last_hash whole)
[ -n "$reference" ] || fail "no hash in the log"
[ "$(lines whole | head -n 1)" = '"step":1 "step":2 "step":3 "step":4 "step":5 "step":6' ] || fail "the log's steps: $(lines whole | head -n 1)"
train other 1 --set run.seed=6
[ "$(last_hash other)" != "$reference" ] || fail "another seed gives the same hash"
threads=2 # OpenBLAS's serial build is refused with more than one
train threads 1 --set parallel.threads=2 --set train.recompute=true
grep -q "serial build" log.txt && { threads=1; failures=0; echo "OpenBLAS's serial build: one thread only"; } ||
    same threads "two threads and recomputation"
number=0
for ranks in 2 3 4 6 8 16 32 64; do
    # Threads and recomputation in turn: each with few and with many ranks.
    number=$((number + 1))
    options=(--set "parallel.threads=$((number % 2 == 1 ? threads : 1))" --set "train.recompute=$([ $((number / 2 % 2)) = 1 ] && echo true || echo false)")
    train "ranks-$ranks" "$ranks" "${options[@]}"
    same "ranks-$ranks" "$ranks ranks with ${options[*]}"
done

step=1
for ranks in 2 64 3 16 1 6; do
    train resumed "$ranks" --set "train.steps=$step" --set "parallel.threads=$((step % 2 == 0 ? threads : 1))" \
        --set "train.recompute=$([ $((step % 3)) = 0 ] && echo true || echo false)"
    [ "$step" -eq 1 ] || grep -q "resumed from .* at step $((step - 1)) " log.txt || fail "step $step is no resume"
    step=$((step + 1))
done
same resumed "five resumes on 2, 64, 3, 16, 1, 6 ranks"
finish

#!/usr/bin/env bash
# mask.policy proposal: the same bits of model and network on any ranks and threads, and when killed and resumed; what a checkpoint holds of
# the network; variance before and after; what cannot be done with it is a sentence.
. "$SOURCE/tests/common.sh"
make_corpus
make_config c.json whole
sed -i 's/"eval": "corpus.holdout.h5", //' c.json
export KMASK_PROGRESS=none
pretrain() { # RANKS RUN [more]
    "$LAUNCH" "$1" "$KMASK" pretrain c.json --set "run.dir=$2" --set mask.policy=proposal --set mask.weights=token \
        --set mask.disjoint=true --set train.steps=12 "${@:3}"
}
# The hashes of the model and of the network in the last checkpoint.
hashes() { # RUN
    h5dump -a /proposal_weights_hash -a /weights_hash "$1"/checkpoints/step-00000012.h5 | grep -o '"[0-9a-f]\{32\}"'
}
pretrain 1 whole >log.txt 2>&1 || fail "one rank: $(tail -n 3 log.txt)"
reference=$(last_hash whole)
[ -n "$reference" ] || fail "no hash"
for ranks in 2 3 5; do
    pretrain "$ranks" "on-$ranks" >log.txt 2>&1 || fail "$ranks ranks: $(tail -n 3 log.txt)"
    [ "$(last_hash "on-$ranks")" = "$reference" ] || fail "$ranks ranks: another hash"
    [ "$(lines "on-$ranks")" = "$(lines whole)" ] || fail "$ranks ranks: another log"
done
if pretrain 1 threads --set parallel.threads=3 >log.txt 2>&1; then
    [ "$(last_hash threads)" = "$reference" ] || fail "three threads: another hash"
else
    grep -q "serial build" log.txt || fail "threads: $(tail -n 3 log.txt)"
fi
grep -q '"proposal_loss":' whole/metrics.jsonl || fail "no error of the network in the log"
grep -q '"proposal_correlation":' whole/metrics.jsonl || fail "no correlation in the log"

# Killed after a save at another number of ranks, and resumed.
program=$KMASK KMASK=$KMASK_FAULTS
KMASK_FAULT=train.step:11:killall@0 pretrain 2 killed --set checkpoint.every=3 >log.txt 2>&1 && fail "nothing died"
KMASK=$program
pretrain 3 killed --set checkpoint.every=3 >log.txt 2>&1 || fail "resuming: $(tail -n 3 log.txt)"
grep -qE "resumed from .* at step (6|9) of" log.txt || fail "it did not resume: $(tail -n 5 log.txt)"
[ "$(last_hash killed)" = "$reference" ] || fail "killed and resumed: another hash"
if command -v h5dump >/dev/null; then
    [ "$(hashes whole | sort -u | wc -l)" -eq 2 ] || fail "not two hashes in a checkpoint: $(hashes whole)"
    [ "$(hashes killed)" = "$(hashes whole)" ] || fail "killed and resumed: another network"
    h5dump -n 1 whole/checkpoints/step-00000012.h5 | grep -q "/optimizer/proposal/v/linear2.weight" || fail "no moments of the network"
fi

# Other weights, other gradients; a plan counts the network; the model serves as any other does.
pretrain 1 exact --set mask.weights=exact >log.txt 2>&1 || fail "exact: $(tail -n 3 log.txt)"
[ "$(last_hash exact)" != "$reference" ] || fail "weights change nothing"
pretrain 1 words --set mask.unit=word --set mask.disjoint=false --set train.loss_norm=masks >log.txt 2>&1 || fail "words: $(tail -n 3 log.txt)"
"$KMASK" plan c.json --set run.dir=planned --set mask.policy=proposal >plan.txt 2>log.txt || fail "plan: $(tail -n 3 log.txt)"
"$KMASK" eval whole/checkpoints/step-00000012.h5 --corpus corpus.holdout.h5 >eval.txt 2>log.txt || fail "eval: $(tail -n 3 log.txt)"
expect 2 "mask.policy" pretrain 1 whole --set mask.policy=random --set train.steps=13

# Variance, of a model with a network and of one without.
cat >v.json <<'END'
{"model": {"type": "bert", "hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 96, "max_position_embeddings": 64},
 "data": {"train": "corpus.h5", "length": 24}, "train": {"sequences": 2}, "mask": {"weights": "token", "splits": 2},
 "variance": {"model": ["fresh", "whole"], "policies": ["random", "proposal"], "draws": 4, "rows": [2, 5], "params": ["*.query.weight"], "distances": [0]}}
END
"$KMASK" variance v.json >variance.txt 2>log.txt || fail "variance: $(tail -n 3 log.txt)"
[ "$(grep -c '^proposal ' variance.txt)" -eq 2 ] || fail "not an estimate for each model: $(cat variance.txt)"
grep -q "Var(proposal) / Var(random)" variance.txt || fail "no ratio: $(cat variance.txt)"

expect 2 "epochs" pretrain 1 bad --set mask.over=epochs
expect 2 "disjoint masks" pretrain 1 bad --set mask.ratio=0.5
expect 2 "expected an odd number" pretrain 1 bad --set proposal.kernel=4
echo '{"run": {"dir": "bad"}, "model": {"type": "bart", "preset": "bart-tiny"}, "data": {"train": "corpus.h5"}, "mask": {"policy": "proposal"},
    "train": {"steps": 1, "sequences": 4}, "optimizer": {"lr": 1e-3}}' >bart.json
expect 2 "such as model.type bert" "$KMASK" pretrain bart.json
expect 2 "trained together with a model" "$KMASK" corpus show corpus.h5 --row 0 --mask policy=proposal
[ ! -e bad ] || fail "a refused run left a folder"
finish

#!/usr/bin/env bash
# Files of the first version of the format, written by the kmask of that time (tools/golden_versions.sh): they open, a run goes on from
# them on any number of ranks, and ends where the old program ended. Files of a later version are refused, and nothing is touched.
. "$SOURCE/tests/common.sh"
golden=$SOURCE/tests/run/golden/version1
cp "$golden/corpus.h5" "$golden/config.json" .
sed '/"model"/,/}/d' config.json >init.json # all of the model comes from model.init

continue_on() { # NAME RANKS: the run after 4 steps, gone on with; its hash is in $hash
    rm -rf "$1"
    mkdir -p "$1/checkpoints"
    cp "$golden/checkpoint.h5" "$1/checkpoints/step-00000004.h5"
    "$LAUNCH" "$2" "$KMASK" pretrain config.json --set run.dir="$1" >log.txt 2>&1 || fail "$1: $(tail -n 3 log.txt)"
    grep -q "resumed from $1/checkpoints/step-00000004.h5 at step 4 of 8" log.txt || fail "$1: not resumed: $(cat log.txt)"
    hash=$(last_hash "$1")
}

"$KMASK" inspect "$golden/checkpoint.h5" >out.txt 2>err.txt || fail "inspect: $(cat err.txt)"
grep -qF "checkpoint, intact" out.txt || fail "inspect: $(head -n 1 out.txt)"
"$KMASK" corpus show corpus.h5 >out.txt 2>err.txt || fail "corpus show: $(cat err.txt)"
"$KMASK" eval "$golden/checkpoint.h5" --corpus corpus.h5 >out.txt 2>err.txt || fail "eval: $(cat err.txt)"
"$KMASK" fill "$golden/checkpoint.h5" "the [MASK] sees a dog ." >out.txt 2>err.txt || fail "fill: $(cat err.txt)"
"$KMASK" pretrain init.json --set run.dir=init --set model.init="$golden/checkpoint.h5" >log.txt 2>&1 ||
    fail "model.init: $(tail -n 3 log.txt)"

continue_on one 1
reference=$hash
continue_on two 2
[ "$hash" = "$reference" ] || fail "on two ranks $hash, on one $reference"
"$KMASK" inspect one/checkpoints/step-00000008.h5 | grep -E '^(computed|built) with' >machine.txt
if cmp -s machine.txt "$golden/machine.txt"; then
    [ "$reference" = "$(cat "$golden/hash.txt")" ] || fail "ends at $reference, the old program at $(cat "$golden/hash.txt")"
else
    echo "another machine than the file's: the hash at the end is not compared ($(tr '\n' ' ' <machine.txt))"
fi

# A later version: one sentence, wherever the file is met.
later="written by a later kmask, in version 99 of the file format"
expect 1 "$later" "$KMASK" inspect "$golden/later.h5"
expect 1 "$later" "$KMASK" corpus show "$golden/later.h5"
expect 1 "$later" "$KMASK" eval "$golden/later.h5" --corpus corpus.h5
expect 1 "$later" "$LAUNCH" 2 "$KMASK" pretrain config.json --set run.dir=new --set data.train="$golden/later.h5"
[ ! -e new ] || fail "a folder was made for a run that cannot start"
expect 1 "$later" "$KMASK" pretrain init.json --set run.dir=new --set model.init="$golden/later.h5"

# A later kmask has gone on with the run: it is not gone on with from an older step.
cp "$golden/later.h5" one/checkpoints/step-00000012.h5
find one -type f ! -name lock -exec cksum {} + | sort >before.txt
expect 1 "one/checkpoints/step-00000012.h5: $later" "$LAUNCH" 2 "$KMASK" pretrain config.json --set run.dir=one --set train.steps=16
expect 1 "one/checkpoints/step-00000012.h5: $later" "$KMASK" plan config.json --set run.dir=one --set train.steps=16
find one -type f ! -name lock -exec cksum {} + | sort >after.txt
cmp before.txt after.txt || fail "the run's folder was changed: $(diff before.txt after.txt)"
finish

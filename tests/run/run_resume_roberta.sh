#!/usr/bin/env bash
# A RoBERTa run goes on: its padding has another id than 0, and is the tokenizer's where the config does not give it.
. "$SOURCE/tests/common.sh"
make_text >text.txt
"$KMASK" tokenizer train --type bpe --vocab-size 600 --out tok text.txt >/dev/null 2>log.txt &&
    "$KMASK" corpus build --tokenizer tok --holdout 0.1 --out corpus.h5 text.txt >/dev/null 2>>log.txt || fail "no corpus: $(cat log.txt)"
make_config c.json run
pretrain() { "$KMASK" pretrain c.json --set "run.dir=$1" --set model.type=roberta --set train.steps=8 "${@:2}"; }

expect 0 "" pretrain whole
"$KMASK" inspect whole/checkpoints/step-00000008.h5 --json | grep -qE '"pad_token_id":[[:space:]]*1$' || fail "the padding is not the tokenizer's"
for given in "" "--set model.pad_token_id=1"; do
    rm -rf stopped
    # shellcheck disable=SC2086
    expect 75 "stopped early" pretrain stopped --set run.max_hours=1e-9 $given
    expect 0 "resumed from" pretrain stopped
    [ "$(last_hash stopped)" = "$(last_hash whole)" ] || fail "stopped and resumed: another hash"
done
expect 2 "model.pad_token_id (was 1, now 3)" pretrain whole --set train.steps=9 --set model.pad_token_id=3
sed 's/"model": {.*/"model": {"init": "whole\/checkpoints\/step-00000008.h5"},/; /intermediate_size/d' c.json >init.json
mv init.json c.json
expect 75 "stopped early" "$KMASK" pretrain c.json --set run.dir=continued --set run.max_hours=1e-9
expect 0 "resumed from" "$KMASK" pretrain c.json --set run.dir=continued
finish

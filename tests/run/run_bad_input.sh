#!/usr/bin/env bash
# Bad input is a sentence: the right status on every rank, no hang, nothing half-written.
. "$SOURCE/tests/common.sh"
make_corpus
make_config c.json run
pretrain() { "$KMASK" pretrain c.json "$@"; }
on_two() { "$LAUNCH" 2 "$KMASK" pretrain c.json "$@"; }

expect 1 "nowhere.h5" pretrain --set data.train=nowhere.h5
expect 1 "nowhere.h5" on_two --set data.train=nowhere.h5
expect 1 "text.txt" pretrain --set data.train=text.txt
: >empty.h5
expect 1 "empty.h5" on_two --set data.train=empty.h5
head -c 5000 corpus.h5 >cut.h5
expect 1 "cut.h5" on_two --set data.train=cut.h5
[ -e run ] && fail "a run folder was made for a run that could not start"

expect 2 "optimizer.lrr" pretrain --set optimizer.lrr=1
expect 2 "mask.splits" on_two --set mask.splits=0
expect 2 "mask.splits" pretrain --set mask.splits=9
expect 2 "micro-batches" "$LAUNCH" 9 "$KMASK" pretrain c.json
expect 2 "max_position_embeddings" pretrain --set data.length=65
expect 2 "length" pretrain --set data.length=1
rm -rf run

# A corpus of another tokenizer than the model's.
"$KMASK" tokenizer train --type wordpiece --vocab-size 500 --out tok2 text.txt >/dev/null 2>&1
"$KMASK" corpus build --tokenizer tok2 --out other.h5 text.txt >/dev/null 2>&1
expect 2 "tokenizer" pretrain --set data.eval=other.h5
"$KMASK" pretrain c.json --set train.steps=10 >log.txt 2>&1 || fail "ten steps: $(tail -n 3 log.txt)"
expect 2 "tokenizer" pretrain --set data.train=other.h5 --set data.eval=null
expect 2 "tokenizer" "$KMASK" eval run/checkpoints/step-00000010.h5 --corpus other.h5
expect 1 "corpus" "$KMASK" eval corpus.h5 --corpus corpus.h5
expect 2 "blank" "$KMASK" fill run/checkpoints/step-00000010.h5 "no gap here"

# Rows: none usable.
printf 'a b\n' >tiny.txt
"$KMASK" corpus build --tokenizer tok --out tiny.h5 tiny.txt >/dev/null 2>&1
expect 1 "row" on_two --set data.train=tiny.h5 --set run.dir=tiny --set mask.splits=20 --set mask.ratio=0.05

# Damage: the newest is named and skipped; when none is valid nothing is touched.
cp -r run damaged
for file in damaged/checkpoints/*; do printf 'x' | dd of="$file" bs=1 seek=6000 conv=notrunc 2>/dev/null; done
before=$(find damaged -type f -exec sha256sum {} + | sort)
expect 3 "none is valid" on_two --set run.dir=damaged
[ "$before" = "$(find damaged -type f -exec sha256sum {} + | sort)" ] || fail "status 3, and the folder was changed"
cp run/checkpoints/step-00000005.h5 damaged/checkpoints/
expect 0 "step-00000010.h5" pretrain --set run.dir=damaged
[ -e damaged/checkpoints/step-00000010.h5.damaged ] || fail "the damaged file was not set aside"

# A read-only run folder, a full disk, a folder where a file is.
: >file
expect 1 "file" pretrain --set run.dir=file
expect 1 "file" on_two --set run.dir=file/below

# A loss that is not finite stops the run and names step and rows.
expect 1 "not finite" on_two --set run.dir=nan --set optimizer.lr=1e30 --set optimizer.clip=0 --set train.steps=50
grep -q "rows" err.txt || fail "the rows are not named: $(cat err.txt)"
finish

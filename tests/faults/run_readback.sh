#!/usr/bin/env bash
# A disk that takes a write and stores something else: what was written is read back, so that the save counts as failed, is made
# again, and the checkpoint before it stays until then, although only one is to be kept.
. "$SOURCE/tests/common.sh"
. "$SOURCE/tests/faults/faults.sh"
make_tiny
export KMASK_TORN_FOLDER=$PWD/disk/run/checkpoints
run() { rm -rf disk && mkdir -p "$KMASK_TORN_FOLDER" && KMASK_TORN_LOG=$PWD/account faulty disk/run 0 --set checkpoint.keep=1 >log.txt 2>&1; }

# The last write before a file gets its name is that of its first block, with the checksum; here of the last save.
run || fail "the run without faults: $(tail -n 3 log.txt)"
[ "$(ls disk/run/checkpoints)" = step-00000020.h5 ] || fail "checkpoints without faults: $(ls disk/run/checkpoints)"
last=$(awk '$2 == "write" { writes++ } $2 == "rename" { last = writes } END { print last }' account)

# Once: the run saves the step again, beside the damaged file.
KMASK_TORN=write:$last:flip run || fail "a damage that is not there any more: $(tail -n 3 log.txt)"
grep -q "step 20: no checkpoint was saved" log.txt || fail "the damage is not named: $(tail -n 5 log.txt)"
[ "$(newest_valid disk/run)" = 20 ] || fail "no valid checkpoint of the last step: $(ls disk/run/checkpoints)"

# From then on: the run fails, and what was saved before is there to go on from.
KMASK_TORN=write:$last+:flip run && fail "damaged saves were taken for good ones"
[ "$(newest_valid disk/run)" = 15 ] || fail "the checkpoint before is not there: $(ls disk/run/checkpoints)"
train disk/run 0 --set checkpoint.keep=1 >log.txt 2>&1 || fail "going on: $(tail -n 3 log.txt)"
grep -q "resumed from" log.txt || fail "it was not gone on from the checkpoint before: $(head -n 5 log.txt)"
[ "$(newest_valid disk/run)" = 20 ] || fail "no valid checkpoint of the last step afterwards"
finish

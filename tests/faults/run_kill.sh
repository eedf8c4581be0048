#!/usr/bin/env bash
# kill -9 of one rank, of rank 0 and of all ranks at each stage of a save: the run that is started again, on another number
# of ranks, goes on from a checkpoint and ends with the bits and the log of a run that nobody killed.
. "$SOURCE/tests/common.sh"
. "$SOURCE/tests/faults/faults.sh"
make_tiny
make_reference
count_passages 2

ranks=0
for place in $PLACES; do
    at=$(third_save "$place" 0)
    if [ "$at" -eq 0 ]; then
        fail "no save passes save.$place"
        continue
    fi
    # Rank 1 dies there itself, or where only rank 0 comes by, by its hand.
    one="kill=1@0"
    [ "$(passages "$place" 1)" -gt 0 ] && one="kill@1"
    for who in "$one" "kill@0" "killall@0"; do
        case="KMASK_FAULT=save.$place:$at:$who"
        rm -rf run
        KMASK_FAULT=save.$place:$at:$who faulty run 2 >log.txt 2>&1 && fail "$case: nothing died"
        [ "$(newest_valid run)" -ge 5 ] || fail "$case: no checkpoint is left: $(ls run/checkpoints)"
        ranks=$((ranks % 4 + 1))
        ends_well "$case" run "$ranks"
        grep -q "resumed from" resume.txt || fail "$case: it started from the beginning"
    done
done
# In the very first save there is nothing to go on from: it starts at step 0 and says so.
for place in open write rename dirsync; do
    rm -rf run
    KMASK_FAULT=save.$place:1:killall@0 faulty run 2 >log.txt 2>&1 && fail "save.$place:1: nothing died"
    ends_well "KMASK_FAULT=save.$place:1:killall@0" run 3
done
# The newest one damaged, and killed again before an older one is removed: what is damaged is set aside and counts for none.
rm -rf run
KMASK_FAULT=save.open:4:kill faulty run 1 >log.txt 2>&1 && fail "save.open:4: nothing died"
truncate -s -1 run/checkpoints/step-00000015.h5
KMASK_FAULT=save.prune:1:kill faulty run 2 >log.txt 2>&1 && fail "save.prune:1: nothing died"
[ "$(ls run/checkpoints | tr '\n' ' ')" = "step-00000010.h5 step-00000015.h5 step-00000015.h5.damaged " ] ||
    fail "damaged and killed: $(ls run/checkpoints)"
rm run/checkpoints/step-00000015.h5.damaged
ends_well "damaged and killed" run 3
# A passage that fails is a save that fails: said, and training goes on.
for place in $PLACES; do
    rm -rf run
    case="KMASK_FAULT=save.$place:$(third_save "$place" 0):fail@0"
    KMASK_FAULT=save.$place:$(third_save "$place" 0):fail@0 faulty run 2 >log.txt 2>&1 ||
        fail "$case: status $? ($(tail -n 3 log.txt))"
    grep -q "save.$place: failed" log.txt || fail "$case: nothing is said of it"
    [ "$(last_hash run)" = "$reference" ] || fail "$case: another hash"
    lines run | cmp -s - whole.lines || fail "$case: another log"
done
finish

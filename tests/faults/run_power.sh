#!/usr/bin/env bash
# run_power.sh [EVERY]: the power fails at each stage of a save, and at every EVERY-th call (47) that changes a file of the
# run: what was not synced is gone, as the seed of torn says. What was saved is there; the run that is started again ends
# with the bits and the log of one that nothing happened to.
. "$SOURCE/tests/common.sh"
. "$SOURCE/tests/faults/faults.sh"
make_tiny
make_reference
count_passages 2
mkdir disk
export KMASK_TORN_FOLDER=$PWD/disk

# The step that was saved before a run lost power, by torn's account of its calls: a save is complete after the fsync of the
# folder that follows the rename. The account's last call was not made.
saved_in() {
    awk 'NR > 1 { if (kind == "rename" && match(path, /checkpoints\/step-[0-9]+\.h5$/)) renamed = substr(path, RSTART + 17, 8) + 0
            if (kind == "fsync" && path ~ /checkpoints$/) saved = renamed }
        { kind = $2; path = $3 } END { print saved + 0 }' "$1"
}

# fails_at WHAT RANKS RESUMED: with KMASK_FAULT or KMASK_TORN exported; a run on so many ranks, resumed on so many.
fails_at() {
    local found saved
    rm -rf disk/run account
    KMASK_TORN_LOG=$PWD/account faulty disk/run "$2" >log.txt 2>&1 && {
        # On a slow machine the run that was counted refreshed its lock more often.
        [ "$(grep -c . account)" -lt "$at" ] || fail "$1: nothing died"
        return
    }
    saved=$(saved_in account)
    found=$(newest_valid disk/run)
    [ "$found" -ge "$saved" ] || fail "$1: step $saved was saved, but the newest valid checkpoint is of step $found"
    [ "$saved" -gt 0 ] && with_saves=$((${with_saves:-0} + 1))
    ends_well "$1" disk/run "$3"
    [ "$saved" -eq 0 ] || grep -qE "resumed from|is finished" resume.txt || fail "$1: it started from the beginning"
}

ranks=0
for place in $PLACES; do
    at=$(third_save "$place" 0)
    for seed in 0 1 $((4 + ranks)); do
        ranks=$((ranks % 4 + 1))
        export KMASK_FAULT=save.$place:$at:power@0 KMASK_TORN_SEED=$seed
        fails_at "KMASK_FAULT=$KMASK_FAULT KMASK_TORN_SEED=$seed" 2 "$ranks"
    done
done
at=$(third_save write 0)
export KMASK_FAULT=save.write:$at:tear@0 KMASK_TORN_SEED=0
fails_at "KMASK_FAULT=$KMASK_FAULT" 2 1
unset KMASK_FAULT

[ "${with_saves:-0}" -eq 37 ] || fail "only ${with_saves:-0} of 37 third saves had one before them"

# At any call of a run on one rank, which is the only one that writes anyway. How many there are is counted first.
rm -rf disk/run
KMASK_TORN_LOG=$PWD/calls KMASK_TORN="" faulty disk/run 0 >log.txt 2>&1 || fail "counting calls: $(tail -n 3 log.txt)"
all=$(grep -c . calls)
[ "$all" -gt 100 ] || fail "only $all calls were seen"
every=${1:-47}
for at in $(seq "$every" "$every" "$all"); do
    [ $((at % 100)) -eq 0 ] && echo "call $at of $all"
    ranks=$(((ranks + 1) % 4))
    export KMASK_TORN=call:$at:power KMASK_TORN_SEED=$((at % 7))
    fails_at "KMASK_TORN=$KMASK_TORN KMASK_TORN_SEED=$KMASK_TORN_SEED" 0 "$ranks"
done
[ "$with_saves" -gt 42 ] || fail "hardly a loss of power came after a save: $with_saves"
finish

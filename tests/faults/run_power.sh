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

# fails_at WHAT RANKS RESUMED SAVED: with KMASK_FAULT or KMASK_TORN exported; a run on so many ranks, resumed on so many; the
# step that must have been saved.
fails_at() {
    rm -rf disk/run
    faulty disk/run "$2" >log.txt 2>&1 && { fail "$1: nothing died"; return; }
    local found
    found=$(newest_valid disk/run)
    [ "$found" -ge "$4" ] || fail "$1: step $4 was saved, but the newest valid checkpoint is of step $found"
    ends_well "$1" disk/run "$3"
    [ "$4" -eq 0 ] || grep -qE "resumed from|is finished" resume.txt || fail "$1: it started from the beginning"
}

ranks=0
for place in $PLACES; do
    at=$(third_save "$place" 0)
    for seed in 0 1 $((4 + ranks)); do
        ranks=$((ranks % 4 + 1))
        export KMASK_FAULT=save.$place:$at:power@0 KMASK_TORN_SEED=$seed
        fails_at "KMASK_FAULT=$KMASK_FAULT KMASK_TORN_SEED=$seed" 2 "$ranks" 10
    done
done
export KMASK_FAULT=save.write:$(third_save write 0):tear@0 KMASK_TORN_SEED=0
fails_at "KMASK_FAULT=$KMASK_FAULT" 2 1 10
unset KMASK_FAULT

# At any call of a run on one rank, which is the only one that writes anyway. How many there are is counted first, and at which of
# them a save was complete.
rm -rf disk/run
KMASK_TORN_LOG=$PWD/calls KMASK_TORN="" faulty disk/run 0 >log.txt 2>&1 || fail "counting calls: $(tail -n 3 log.txt)"
all=$(grep -c . calls)
[ "$all" -gt 100 ] || fail "only $all calls were seen"
every=${1:-47}
for at in $(seq "$every" "$every" "$all"); do
    [ $((at % 100)) -eq 0 ] && echo "call $at of $all"
    # Complete after the fsync of the folder that follows the rename: the step of the last such one before this call.
    saved=$(awk -v at="$at" '$1 >= at { exit } $2 == "rename" && match($3, /checkpoints\/step-[0-9]+\.h5$/) {
            renamed = substr($3, RSTART + 17, 8) + 0 }
        $2 == "fsync" && $3 ~ /checkpoints$/ { saved = renamed } END { print saved + 0 }' calls)
    ranks=$(((ranks + 1) % 4))
    export KMASK_TORN=call:$at:power KMASK_TORN_SEED=$((at % 7))
    fails_at "KMASK_TORN=$KMASK_TORN KMASK_TORN_SEED=$KMASK_TORN_SEED" 0 "$ranks" "$saved"
done
finish

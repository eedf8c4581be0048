#!/usr/bin/env bash
# run_disk.sh [EVERY]: calls that fail with ENOSPC, EDQUOT, EIO or EINTR, and writes that do half of their work: every EVERY-th
# write (19) and every other call of a run that goes on from a checkpoint; a disk that fills up and is freed while it trains.
# What was there is not harmed, and the run ends with the same bits: by itself, or started again where the last save failed.
. "$SOURCE/tests/common.sh"
. "$SOURCE/tests/faults/faults.sh"
make_tiny
make_reference
mkdir disk
export KMASK_TORN_FOLDER=$PWD/disk
# What a run leaves behind that was killed after its checkpoint of step 10 of 20.
for passage in 1 2 3 4 5 6; do
    rm -rf disk/run
    KMASK_FAULT=save.open:$passage:kill faulty disk/run 0 >log.txt 2>&1
    [ "$(newest_valid disk/run)" -ge 10 ] && break
done
[ "$(newest_valid disk/run)" -eq 10 ] || { fail "no run to go on from: $(ls disk/run/checkpoints)"; finish; }
mv disk/run halfway
sums=$(cd halfway/checkpoints && sha256sum step-0000*.h5)

# goes_on WHAT RANKS: from halfway with KMASK_TORN exported. Status 0 with the same bits, or 1 with one sentence; then again.
goes_on() {
    local what=$1 ranks=$2 status name sum
    rm -rf disk/run
    cp -r halfway disk/run
    faulty disk/run "$ranks" >log.txt 2>&1
    status=$?
    # Those of before are as they were or, once a newer one is whole, gone.
    while read -r sum name; do
        [ ! -e "disk/run/checkpoints/$name" ] || [ "$(sha256sum <"disk/run/checkpoints/$name")" = "$sum  -" ] ||
            fail "$what: $name was changed"
    done <<<"$sums"
    [ "$(newest_valid disk/run)" -ge 10 ] || fail "$what: no valid checkpoint is left: $(ls disk/run/checkpoints)"
    if [ "$status" -eq 1 ]; then
        [ "$(grep '^kmask: ' log.txt | grep -vc '^kmask: warning')" -eq 1 ] || fail "$what: not one sentence: $(tail -n 4 log.txt)"
        stopped=$((stopped + 1))
    elif [ "$status" -gt 1 ]; then
        fail "$what: status $status ($(tail -n 3 log.txt))"
    elif [ "$status" -eq 0 ]; then
        [ "$(newest_valid disk/run)" -eq "$STEPS" ] || fail "$what: status 0, but the last step is not saved"
        lines disk/run | cmp -s - whole.lines && is_whole "$what" disk/run && return
    fi
    ends_well "$what, started again" disk/run "$ranks"
}
stopped=0
SAVES_FAILED=yes # which generations are there at the end depends on which could be saved

cp -r halfway disk/run
KMASK_TORN_LOG=$PWD/calls KMASK_TORN="" faulty disk/run 0 >log.txt 2>&1 || fail "counting calls: $(tail -n 3 log.txt)"
is_whole "going on" disk/run
all=$(grep -c . calls)
[ "$all" -gt 100 ] || fail "only $all calls were seen"
every=${1:-19}
which=0
# Few are not writes: these are all tried; of writes every `every`-th.
for at in $(awk -v every="$every" '$2 != "write" || ++n % every == 0 { print $1 }' calls); do
    errors=(ENOSPC EIO EDQUOT)
    [ "$every" -gt 1 ] && errors=("${errors[which++ % 3]}")
    [ $((at % 50)) -eq 0 ] && echo "call $at of $all"
    for error in "${errors[@]}"; do
        export KMASK_TORN=call:$at:$error
        goes_on "KMASK_TORN=$KMASK_TORN ($(sed -n "${at}s/^[0-9]* //p" calls))" 0
    done
done
for spec in write:1+:short write:40:short write:40:EINTR fsync:1-4:EINTR fsync:2:EINTR fsync:1+:EINTR write:9+:EINTR open:3:EINTR call:50:EINTR; do
    export KMASK_TORN=$spec
    goes_on "KMASK_TORN=$spec" 0
done
# Full from a call on, for good: what can be done is done, and said; started again with room it ends well.
for at in 1 7 30 120 200; do
    export KMASK_TORN=space:$at+:ENOSPC
    goes_on "KMASK_TORN=$KMASK_TORN" $((at % 3))
done
export KMASK_TORN=call:60+:EIO
goes_on "KMASK_TORN=$KMASK_TORN" 2
[ "$stopped" -gt 0 ] || fail "nothing that failed has stopped the run: is anything made to fail?"
# Full while it trains, and freed: it goes on by itself. A range of calls, so that it is the same every time.
for range in 3-40 20-90 60-61 100-260; do
    export KMASK_TORN=space:$range:ENOSPC
    stopped=0
    goes_on "KMASK_TORN=$KMASK_TORN" 2
done
finish

#!/usr/bin/env bash
# random.sh [KILLS] (24): one run is killed that often, at places of a save and at any time, one rank or all, and goes on
# each time on another number of ranks: it ends with the bits and the log of a run that nobody killed. $SEED chooses.
. "$SOURCE/tests/common.sh"
. "$SOURCE/tests/faults/faults.sh"
make_tiny
# The learning rate does not depend on the end, which is set once all kills are done.
sed -i 's/"schedule": {/"schedule": {"name": "constant", /; s/"every": 5/"every": 25/' c.json
kills=${1:-24}
far="--set train.steps=1000000"
places=($PLACES)
ranks_of() { pgrep -P "$1" 2>/dev/null; } # those that an mpirun has started

# by_place RANKS, by_time RANKS: the run goes on until it is killed; $what says how.
by_place() {
    draw 12 && local place=${places[drawn]}
    draw 3 && local who=(kill@0 killall@0 "kill=$(($1 - 1))@0") && who=${who[drawn]}
    draw 3
    local at=$((drawn + 1))
    [ "$place" = write ] && { draw 60; at=$((drawn + 1)); }
    what="KMASK_FAULT=save.$place:$at:$who on $1 ranks"
    KMASK_FAULT=save.$place:$at:$who faulty run "$1" $far >log.txt 2>&1
    case $? in 0 | 124) fail "$what: nothing died" ;; esac
}
by_time() {
    draw 60
    local after=0.$((drawn + 30)) launcher victims
    draw 3
    what="killed after $after s on $1 ranks, $drawn"
    "$LAUNCH" "$1" "$KMASK" pretrain c.json --set run.dir=run $far >log.txt 2>&1 &
    launcher=$!
    sleep "$after"
    victims=($(ranks_of "$launcher"))
    [ "${#victims[@]}" -gt 0 ] && [ "$drawn" -gt 0 ] && victims=("${victims[drawn % ${#victims[@]}]}")
    [ "${#victims[@]}" -eq 0 ] && victims=("$launcher")
    kill -9 "${victims[@]}" 2>/dev/null
    wait "$launcher" 2>/dev/null && fail "$what: it ended"
}

for number in $(seq "$kills"); do
    draw 8
    ranks=$((drawn + 1))
    draw 2
    if [ "$drawn" -eq 0 ]; then by_place "$ranks"; else by_time "$ranks"; fi
    # What the ranks that are left say of the one that is gone is in order; any other sentence is a failure.
    grep -E '^kmask: ' log.txt | grep -vE '^kmask: (warning|rank [0-9]+ on .* is gone)' | head -n 1 >said.txt
    [ -s said.txt ] && fail "kill $number ($what) is followed by: $(cat said.txt)"
    grep -q "resumed from" log.txt && resumed=$((${resumed:-0} + 1))
done
[ "${resumed:-0}" -gt $((kills / 4)) ] || fail "of $kills runs only ${resumed:-0} went on from a checkpoint"
last=$(newest_valid run)
STEPS=$((last + 7))
sed -i "s/\"steps\": [0-9]*/\"steps\": $STEPS/" c.json
make_reference
ends_well "after $kills kills (SEED=${SEED:-1}) and $last steps" run 3
echo "$kills kills, $STEPS steps"
finish

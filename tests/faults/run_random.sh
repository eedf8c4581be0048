#!/usr/bin/env bash
# run_random.sh [KILLS] (12): one run is killed that often, at places of a save, while it starts and after some steps, one rank or
# all, and goes on each time on another number of ranks: it ends with the bits and the log of a run that nobody killed. $SEED
# chooses. A kill comes at most 150 steps after the one before, on any machine.
. "$SOURCE/tests/common.sh"
. "$SOURCE/tests/faults/faults.sh"
make_tiny
# The learning rate does not depend on the end, which is set once all kills are done.
sed -i 's/"schedule": {/"schedule": {"name": "constant", /; s/"every": 5/"every": 25/' c.json
kills=${1:-12}
far="--set train.steps=1000000"
places=($PLACES)
# Those that an mpirun has started and that live: one that is stuck itself never takes notice of its dead ones (state Z).
living_of() { ps -o pid=,stat= --ppid "$1" | awk '$2 !~ /^Z/ { print $1 }'; }

logged() { { wc -l <run/metrics.jsonl; } 2>/dev/null || echo 0; }

# Each has the run go on until it is killed; $what says how.
by_place() { # RANKS
    draw 12 && local place=${places[drawn]}
    draw 3 && local who=(kill@0 killall@0 "kill=$(($1 - 1))@0") && who=${who[drawn]}
    draw 3
    local at=$((drawn + 1))
    [ "$place" = write ] && { draw 60; at=$((drawn + 1)); }
    what="KMASK_FAULT=save.$place:$at:$who on $1 ranks"
    KMASK_FAULT=save.$place:$at:$who faulty run "$1" $far >log.txt 2>&1
    case $? in 0 | 124) fail "$what: nothing died" ;; esac
}
# Once the log has more lines than `lines`, or `until` is over, in hundredths of a second.
kill_then() { # RANKS LINES UNTIL
    local launcher victims from alone=0
    KMASK_FAULT=train.step:150:killall@0 "$LAUNCH" "$1" "$KMASK_FAULTS" pretrain c.json --set run.dir=run $far >log.txt 2>&1 &
    launcher=$!
    from=$(date +%s%N)
    while [ "$(logged)" -le "$2" ] && [ $(($(date +%s%N) - from)) -lt "${3}0000000" ]; do sleep 0.01; done
    victims=($(living_of "$launcher"))
    draw 3
    [ "${#victims[@]}" -gt 0 ] && [ "$drawn" -gt 0 ] && victims=("${victims[drawn % ${#victims[@]}]}")
    [ "${#victims[@]}" -eq 0 ] && victims=("$launcher")
    kill -9 "${victims[@]}" 2>/dev/null
    # An mpirun whose ranks die while they connect to it may wait for ever: what counts is that no rank does.
    for _ in $(seq 600); do
        kill -0 "$launcher" 2>/dev/null || break
        [ -z "$(living_of "$launcher")" ] && alone=$((alone + 1))
        [ "$alone" -lt 100 ] || break
        sleep 0.05
    done
    if kill -0 "$launcher" 2>/dev/null; then
        [ -z "$(living_of "$launcher")" ] || fail "$what: ranks are left: $(ps -o pid,stat,cmd --ppid "$launcher")"
        kill -9 $(living_of "$launcher") "$launcher"
    fi
    wait "$launcher" 2>/dev/null && fail "$what: it ended"
}
while_starting() { # RANKS
    draw 60
    local until=$((drawn + 2))
    what="killed after 0.$until s on $1 ranks"
    kill_then "$1" 1000000000 "$until"
}
after_steps() { # RANKS: of the log, which is ahead of the newest checkpoint
    draw 60
    what="killed after $drawn more lines on $1 ranks"
    kill_then "$1" $(($(logged) + drawn)) 6000
}

for number in $(seq "$kills"); do
    draw 8
    ranks=$((drawn + 1))
    draw 4
    case $drawn in
        0 | 1) by_place "$ranks" ;;
        2) while_starting "$ranks" ;;
        3) after_steps "$ranks" ;;
    esac
    # What the ranks that are left say of the one that is gone is in order; any other sentence is a failure.
    grep -E '^kmask: ' log.txt | grep -vE '^kmask: (warning|rank [0-9]+ on .* is gone)' | head -n 1 >said.txt
    [ $((number % 20)) -eq 0 ] && echo "kill $number of $kills"
    [ -s said.txt ] && fail "kill $number ($what) is followed by: $(cat said.txt)"
    grep -q "resumed from" log.txt && resumed=$((${resumed:-0} + 1))
done
[ "${resumed:-0}" -ge $((kills / 5)) ] || fail "of $kills runs only ${resumed:-0} went on from a checkpoint"
last=$(newest_valid run)
STEPS=$((last + 7))
sed -i "s/\"steps\": [0-9]*/\"steps\": $STEPS/" c.json
make_reference
ends_well "after $kills kills (SEED=${SEED:-1}) and $last steps" run 3
echo "$kills kills, $STEPS steps"
finish

#!/usr/bin/env bash
# A rank that is stopped or dead is named in one sentence, and every rank has ended within the timeout; what was saved goes on.
. "$SOURCE/tests/common.sh"
make_corpus
make_config c.json run
timeout=8 # seconds, as given to the runs; a second more for a machine at work

# start RUN RANKS: a long run, until it is training. Sets launcher and pids (by rank).
start() {
    "$LAUNCH" "$2" "$KMASK" pretrain c.json --set "run.dir=$1" --set train.steps=1000000 \
        --set parallel.timeout=$timeout --set log.every=20 --set checkpoint.every=200 --set eval.every=0 >"$1.txt" 2>&1 &
    launcher=$!
    log=$1.txt until_step "$1" 20
    sleep 2 # a beat or two
    pids=()
    for pid in $(ranks_of "$1"); do
        rank=$(tr '\0' '\n' <"/proc/$pid/environ" 2>/dev/null | sed -n 's/^OMPI_COMM_WORLD_RANK=//p')
        [ -n "$rank" ] && pids[rank]=$pid
    done
    [ "${#pids[@]}" -eq "$2" ] || fail "$1: found ${#pids[@]} ranks of $2 ($(tail -n 3 "$1.txt"))"
}

# ended RUN VICTIM WORDS: within the timeout all ranks are gone, the launcher's status is a failure, and one sentence names the
# victim with these words.
ended() {
    ended_within $((timeout * 1000 + 1000)) "$1" "${pids[@]}"
    wait "$launcher" && fail "$1: the launcher says that all is well"
    [ "$(grep -c '^kmask: rank' "$1.txt")" -eq 1 ] || fail "$1: not one sentence: $(tail -n 5 "$1.txt")"
    grep '^kmask: rank' "$1.txt" | grep -F "rank $2 on $(hostname)" | grep -F "pid ${pids[$2]}" | grep -F 'at step ' |
        grep -qF "$3" || fail "$1: $(grep ^kmask: "$1.txt")"
}

for victim in 1 0; do
    start "stopped-$victim" 3
    kill -STOP "${pids[$victim]}"
    ended "stopped-$victim" $victim "it is stopped"
    grep -q '"status":[[:space:]]*1,' "stopped-$victim/status.json" || fail "no status.json after rank $victim stopped"
    start "killed-$victim" 3
    kill -9 "${pids[$victim]}"
    ended "killed-$victim" $victim "is gone"
done

finish

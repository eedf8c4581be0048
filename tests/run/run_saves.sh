#!/usr/bin/env bash
# Saves that overlap training: at every step, on several numbers of ranks, killed in between, on a disk that fills up and
# is freed, under a limit on file sizes. Nothing old is harmed and every end is the uninterrupted run's hash.
. "$SOURCE/tests/common.sh"
make_corpus
make_config c.json whole
sed -i 's/"eval": "corpus.holdout.h5", //; s/"every": 5/"every": 1, "keep": 2/; s/"steps": 20/"steps": 40/' c.json
pretrain() { # RANKS DIR [--set ...]
    local ranks=$1 dir=$2
    shift 2
    timeout 120 "$LAUNCH" "$ranks" "$KMASK" pretrain c.json --set "run.dir=$dir" "$@"
}
pretrain 2 whole --set checkpoint.every=1000 >log.txt 2>&1 || fail "the whole run: $(tail -n 3 log.txt)"
reference=$(last_hash whole)
[ -n "$reference" ] || fail "no hash in the whole run's log"
same() { # DIR WHAT
    [ "$(last_hash "$1")" = "$reference" ] || fail "$2: another hash"
    [ "$(grep -c . "$1/metrics.jsonl")" -eq 40 ] || fail "$2: $(grep -c . "$1/metrics.jsonl") lines of 40 steps"
    [ "$(grep -o '"step":[0-9]*' "$1/metrics.jsonl" | sort -u | wc -l)" -eq 40 ] || fail "$2: a step twice"
    [ -z "$(find "$1" -name '*.tmp*')" ] || fail "$2: left behind: $(find "$1" -name '*.tmp*')"
    local file
    for file in "$1"/checkpoints/*; do
        "$KMASK" inspect "$file" --json >inspect.json 2>err.txt || fail "$2: $(cat err.txt)"
    done
    grep -q "\"weights_hash\":[[:space:]]*\"$reference\"" inspect.json || fail "$2: the last checkpoint has another hash"
}

# ---- Every step saved, weights also apart ----
for ranks in 1 2 3; do
    pretrain "$ranks" "every-$ranks" --set checkpoint.snapshots='[3,4,40]' >log.txt 2>&1 ||
        fail "every step on $ranks: $(tail -n 3 log.txt)"
    same "every-$ranks" "every step on $ranks ranks"
    [ "$(grep -c weights_hash "every-$ranks/metrics.jsonl")" -eq 40 ] || fail "not every step was saved"
    [ "$(ls "every-$ranks/checkpoints" | tr '\n' ' ')" = "step-00000039.h5 step-00000040.h5 " ] ||
        fail "keep 2 leaves $(ls "every-$ranks/checkpoints")"
    [ "$(ls "every-$ranks/snapshots" | wc -l)" -eq 3 ] || fail "snapshots: $(ls "every-$ranks/snapshots")"
    "$KMASK" inspect "every-$ranks/snapshots/step-00000040.h5" --json | grep -q "$reference" || fail "another snapshot"
done
grep -q "saves come faster than they are written" log.txt || fail "that saves wait is not said"
cmp -s every-1/checkpoints/step-00000040.h5 every-1/checkpoints/step-00000039.h5 && fail "two steps are the same"
for file in step-00000039.h5 step-00000040.h5; do # but for the config, which names the run's folder
    "$KMASK" inspect "every-1/checkpoints/$file" --json | grep weights_hash >one.txt
    "$KMASK" inspect "every-3/checkpoints/$file" --json | grep weights_hash >three.txt
    cmp -s one.txt three.txt || fail "$file differs between 1 and 3 ranks"
done

# ---- Killed in between ----
number=0
for delay in 0.35 0.5 0.6 0.7 0.8 1.0; do
    number=$((number + 1))
    ranks=$((number % 3 + 1))
    pretrain "$ranks" killed --set checkpoint.snapshots=7 >log.txt 2>&1 &
    launcher=$!
    sleep "$delay"
    kill_run killed
    wait "$launcher" 2>/dev/null
done
pretrain 2 killed --set checkpoint.snapshots=7 >log.txt 2>&1 || fail "after kills: $(tail -n 3 log.txt)"
same killed "killed and resumed"

# ---- Until the first save an interrupted run starts again, and says so ----
mkdir -p early/checkpoints
head -n 2 whole/metrics.jsonl >early/metrics.jsonl
echo torn >early/checkpoints/step-00000001.h5.tmp
pretrain 1 early --set checkpoint.every=1000 >log.txt 2>&1 || fail "early: $(tail -n 3 log.txt)"
grep -q "starts at step 0 again" log.txt || fail "that it starts again is not said"
same early "interrupted before the first save"

# ---- Files may not be that long: refused before the first step, and nothing is left ----
expect 1 "File too large" bash -c "ulimit -f 8192; exec '$KMASK' pretrain c.json --set run.dir=limited --set checkpoint.keep=12"
[ -z "$(find limited -name '*.h5*' -o -name '*.tmp*')" ] || fail "left behind: $(find limited -type f)"

# ---- Every checkpoint damaged: nothing is touched ----
cp -r every-2 ruined
for file in ruined/checkpoints/*; do truncate -s -1 "$file"; done
listing() { find ruined -printf '%p %s %T@ %i\n' | sort; }
before=$(listing)
expect 3 "nothing was changed" pretrain 2 ruined --set train.steps=50
[ "$before" = "$(listing)" ] || fail "a run folder without a valid checkpoint was touched: $(listing)"

# ---- What makes room where room was wanting, and only there ----
# refused ERRNO CHECKPOINTS: the fourth save on fails with that system error; what is left of the earlier ones when the run ends.
refused() {
    rm -rf refused
    KMASK_FAULT="save.open:4+:fail=$1@0" timeout 120 "$LAUNCH" 2 "$KMASK_FAULTS" pretrain c.json --set run.dir=refused \
        --set checkpoint.every=10 >log.txt 2>&1
    local status=$?
    [ "$status" -eq 1 ] || fail "error number $1: status $status: $(tail -n 3 log.txt)"
    [ "$(ls refused/checkpoints | tr '\n' ' ')" = "$2" ] || fail "error number $1 leaves $(ls refused/checkpoints)"
}
room="all checkpoints but the newest valid one were removed to make room"
refused 5 "step-00000020.h5 step-00000030.h5 " # an input/output error
grep -q "$room" log.txt && fail "an input/output error removes checkpoints"
refused 122 "step-00000030.h5 " # a quota
grep -q "$room" log.txt || fail "a quota removes nothing: $(tail -n 4 log.txt)"

# ---- A disk that fills up and is freed ----
# filling KEEP freed|never: trains on a disk that is full from its third save on, and is freed when a save has failed. Rank 0 stops
# itself (KMASK_FAULT) where that save would open its file, so that nothing is being written while the disk is filled.
filling() {
    rm -rf kept small && mkdir -p kept small
    timeout -k 5 200 unshare -rm bash -c 'mount -t tmpfs -o size=6m small small || exit 99
        KMASK_FAULT=save.open:3:stop@0 "$LAUNCH" 2 "$KMASK_FAULTS" pretrain c.json --set run.dir=small/run \
            --set train.steps=100 --set checkpoint.every=20 --set checkpoint.keep="$1" >full.txt 2>&1 &
        launcher=$!
        root=$(within 60 stopped_of small/run) || exit 98
        dd if=/dev/zero of=small/filler bs=1k 2>/dev/null
        truncate -s -100K small/filler # for the log
        kill -CONT "$root"
        if [ "$2" = freed ]; then
            within 60 grep -q "no checkpoint was saved.*No space left" full.txt
            rm small/filler
        fi
        wait "$launcher"
        status=$?
        rm -f small/filler
        cp -r small/. kept
        exit $status' bash "$@"
}
export LAUNCH KMASK_FAULTS
export -f within processes_of ranks_of stopped_of
# is_full KEEP freed|never STATUS CHECKPOINTS (a pattern): and what is said; afterwards the run goes on to its end.
is_full() {
    local what="a full disk ($2, keep $1)" status
    filling "$1" "$2"
    status=$?
    [ "$status" -eq "$3" ] || fail "$what: status $status instead of $3: $(tail -n 3 full.txt)"
    grep -q "warning: .*no checkpoint was saved.*No space left" full.txt || fail "$what was not noticed: $(tail -n 3 full.txt)"
    [ -z "$(find kept -name '*.tmp*' ! -name status.json.tmp)" ] || fail "$what leaves $(find kept -name '*.tmp*')"
    [[ "$(ls kept/run/checkpoints | tr '\n' ' ')" = $4 ]] || fail "$what leaves $(ls kept/run/checkpoints)"
    if [ "$status" -ne 0 ]; then
        grep "^kmask: " full.txt | grep -v "^kmask: warning" | grep -q "no checkpoint was saved.*No space left" ||
            fail "$what: the reason is not said: $(tail -n 3 full.txt)"
        pretrain 3 kept/run --set train.steps=100 --set checkpoint.every=20 >log.txt 2>&1 || fail "$what, then: $(tail -n 3 log.txt)"
    fi
    [ "$(last_hash kept/run)" = "$long" ] || fail "$what: another hash"
    [ "$(grep -oE '"step":[0-9]+' kept/run/metrics.jsonl | cut -d: -f2 | tr '\n' ' ')" = "$(seq 100 | tr '\n' ' ')" ] ||
        fail "$what: $(grep -c . kept/run/metrics.jsonl) lines of 100 steps"
}
pretrain 2 long --set train.steps=100 --set checkpoint.every=1000 >log.txt 2>&1 || fail "the long run: $(tail -n 3 log.txt)"
long=$(last_hash long)
if unshare -rm bash -c 'mount -t tmpfs -o size=1m none /mnt' 2>/dev/null; then
    is_full 1 freed 0 "step-00000100.h5 "
    grep -q "saved again" full.txt || fail "that saves come about again is not said: $(tail -n 4 full.txt)"
    is_full 1 never 1 "step-00000040.h5 "
    # Of two generations the older one makes room for the next.
    is_full 2 never 0 "step-????????.h5 step-00000100.h5 "
    grep -q "$room" full.txt || fail "what made room is not said"
else
    echo "no disk can be mounted here: that it fills up is not tested"
fi
finish

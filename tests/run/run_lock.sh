#!/usr/bin/env bash
# One run, one owner, with the program itself: a second live run is refused, one after kill -9 starts at once, and a config
# that is refused leaves no file behind.
. "$SOURCE/tests/common.sh"
make_corpus
make_config c.json run
on_two() { "$LAUNCH" 2 "$KMASK" pretrain c.json "$@"; }

"$KMASK" pretrain c.json --set run.dir=locked --set train.steps=10000000 --set log.every=100 >log.txt 2>&1 &
owner=$!
trap 'kill -9 "$owner" 2>/dev/null' EXIT
within 60 [ -s locked/metrics.jsonl ]
grep -q "^pid $owner$" locked/lock || fail "the lock names: $(cat locked/lock)"
expect 1 "another run (process $owner on $(hostname)" on_two --set run.dir=locked --set train.steps=10000000
grep -q "waiting up to 60 s" err.txt || fail "the starter did not say for whom it waits"
kill -0 "$owner" || fail "the owner did not survive: $(tail -n 3 log.txt)"

# A starter that finds its owner killed goes on at once.
on_two --set run.dir=locked --set train.steps=10000000 --set run.max_hours=0.0001 >second.txt 2>&1 &
starter=$!
sleep 3
kill -9 "$owner"
wait "$owner" 2>/dev/null
before=$SECONDS
wait "$starter"
status=$?
[ "$status" -eq 75 ] || fail "status $status after kill -9: $(tail -n 3 second.txt)"
[ $((SECONDS - before)) -lt 30 ] || fail "$((SECONDS - before)) s after kill -9"
[ -e locked/lock ] && fail "an orderly end leaves the lock: $(cat locked/lock)"

# One that looks while the run at work removes what it has listed waits like any other: it does not call them damaged.
"$KMASK" pretrain c.json --set run.dir=looked --set train.steps=10000000 --set log.every=100 --set eval.every=0 \
    --set checkpoint.keep=1 >log.txt 2>&1 &
owner=$!
within 60 compgen -G 'looked/checkpoints/*.h5' >/dev/null
KMASK_FAULT=resume.listed:1:sleep=4000 "$KMASK_FAULTS" pretrain c.json --set run.dir=looked --set train.steps=10000000 \
    --set checkpoint.keep=1 --set run.max_hours=0.0001 >second.txt 2>&1 &
starter=$!
sleep 5
kill -USR1 "$owner"
wait "$owner" || [ $? -eq 75 ] || fail "the run at work: $(tail -n 3 log.txt)"
wait "$starter"
status=$?
[ "$status" -eq 75 ] || fail "status $status of a starter whose list was outdated: $(tail -n 3 second.txt)"
grep -q "resumed from" second.txt || fail "a starter whose list was outdated: $(tail -n 3 second.txt)"
grep -q "it is skipped" second.txt && fail "what was removed meanwhile is called damaged: $(tail -n 3 second.txt)"

# Several at once: one after the other has the folder, and the log has each step once.
for number in 1 2 3; do
    "$LAUNCH" $number "$KMASK" pretrain c.json --set run.dir=rivals >rival$number.txt 2>&1 &
    rivals[number]=$!
done
for number in 1 2 3; do
    wait "${rivals[number]}" || fail "rival $number: status $? ($(tail -n 3 rival$number.txt))"
done
[ "$(cat rival?.txt | grep -c 'is finished')" -eq 2 ] || fail "of three at once not one has trained: $(cat rival?.txt | grep -E 'finished|resumed|new run')"
[ "$(grep -oE '"step":[0-9]+' rivals/metrics.jsonl | cut -d: -f2 | tr '\n' ' ')" = "$(seq 0 20 | tr '\n' ' ')" ] ||
    fail "three at once: the log's steps are $(grep -oE '"step":[0-9]+' rivals/metrics.jsonl | tr '\n' ' ')"

expect 2 "optimizer.lr" on_two --set run.dir=locked --set train.steps=10000000 --set optimizer.lr=0.5
[ -e locked/lock ] && fail "a refused change leaves the lock"
sed 's/"type".*/"init": "nowhere.h5"/; /intermediate_size/d; s/"init": "nowhere.h5"$/"init": "nowhere.h5"},/' c.json >init.json
expect 1 "nowhere.h5" "$LAUNCH" 2 "$KMASK" pretrain init.json --set run.dir=fresh
[ -e fresh ] && fail "a model.init that is not there leaves $(ls -A fresh)"
finish

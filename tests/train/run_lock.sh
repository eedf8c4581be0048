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
for _ in $(seq 200); do [ -s locked/metrics.jsonl ] && break; sleep 0.05; done
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

expect 2 "optimizer.lr" on_two --set run.dir=locked --set train.steps=10000000 --set optimizer.lr=0.5
[ -e locked/lock ] && fail "a refused change leaves the lock"
sed 's/"type".*/"init": "nowhere.h5"/; /intermediate_size/d; s/"init": "nowhere.h5"$/"init": "nowhere.h5"},/' c.json >init.json
expect 1 "nowhere.h5" "$LAUNCH" 2 "$KMASK" pretrain init.json --set run.dir=fresh
[ -e fresh ] && fail "a model.init that is not there leaves $(ls -A fresh)"
finish

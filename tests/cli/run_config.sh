#!/usr/bin/env bash
# kmask config: the value of a key as a verb would use it, however the file writes it; and jobs/run.sh asks it for run.dir.
source "$SOURCE/tests/common.sh"
value() { # EXPECTED ARGUMENTS...
    local want=$1 got
    shift
    got=$("$KMASK" config "$@" 2>err.txt) || fail "config $*: $(cat err.txt)"
    [ "$got" = "$want" ] || fail "config $*: '$got' instead of '$want'"
}
cat >c.json <<'END'
{"model": {"type": "bert"}, "data": {"train": "x \"dir\": \"no\"}"},
 "run": {"seed": 3,
   "dir": "a\"b\/l\u00e4uf"}, "train": {"steps": 7}}
END
value 'a"b/läuf' run.dir c.json
value 7 train.steps c.json
value 9 train.steps c.json --set train.steps=8 --set=train.steps=9
value "" data.eval c.json
value 0.15 mask.ratio c.json # a default
value "with blanks, and = signs" run.dir c.json --set 'run.dir=with blanks, and = signs'
expect 2 "run.dri: no verb has such a key" "$KMASK" config run.dri c.json
expect 2 "unknown key" "$KMASK" config run.dir c.json --set run.dri=x
expect 2 "takes a key and a config file" "$KMASK" config run.dir
expect 2 "absent.json" "$KMASK" config run.dir absent.json

# What a job's script makes of it.
run_dir() { (. "$SOURCE/jobs/run.sh" && kmask=$KMASK && kmask_run_dir "$@"); }
[ "$(run_dir c.json)" = 'a"b/läuf' ] || fail "run.sh: $(run_dir c.json)"
[ "$(run_dir --set train.steps=3 c.json --set run.dir='my run')" = "my run" ] || fail "run.sh and --set: $(run_dir c.json --set run.dir='my run')"
printf '{"run": {"dir": "runs\\/a"}}' >slash.json
[ "$(run_dir slash.json)" = runs/a ] || fail "run.sh: $(run_dir slash.json)"
finish

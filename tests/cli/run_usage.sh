#!/usr/bin/env bash
# The command line: help with an example for every verb, wrong verbs and options are one sentence and status 2.
. "$SOURCE/tests/common.sh"
verbs=$("$KMASK" --help | sed -nE '/^From text/q; s/^  ([a-z]+) .*/\1/p' | grep -vx kmask)
[ "$(wc -w <<<"$verbs")" -ge 15 ] || fail "--help names only these verbs: $verbs"

"$KMASK" --version >out.txt 2>err.txt || fail "--version: status $?"
version=$(sed -nE 's/^project\(kmask VERSION ([0-9.]+) .*/\1/p' "$SOURCE/CMakeLists.txt")
[ -n "$version" ] && grep -qxF "kmask $version" out.txt || fail "--version says $(cat out.txt), CMakeLists.txt says $version"
for way in --help -h help; do
    "$KMASK" "$way" >out.txt 2>err.txt || fail "$way: status $?"
    [ -s err.txt ] && fail "$way talks to standard error: $(cat err.txt)"
    for verb in $verbs; do grep -qE "^ +$verb " out.txt || fail "$way does not name $verb"; done
done
for verb in $verbs; do
    "$KMASK" "$verb" --help >out.txt 2>err.txt || fail "$verb --help: status $?"
    grep -qE "^ +(mpirun .*)?kmask $verb " out.txt || fail "$verb --help shows no example"
    [ -s err.txt ] && fail "$verb --help talks to standard error: $(cat err.txt)"
    "$KMASK" help "$verb" | cmp -s - out.txt || fail "help $verb is not $verb --help"
    [[ $verb = bench || $verb = doctor ]] || expect 2 "$verb" "$KMASK" "$verb" # these two need no argument
    expect 2 "--no-such-option" "$KMASK" "$verb" --no-such-option
    [ "$(wc -l <err.txt)" -eq 1 ] || fail "$verb --no-such-option: more than one sentence: $(cat err.txt)"
done
for key in hidden_size ratio splits micro_batch warmup snapshots timeout; do
    "$KMASK" pretrain --help | grep -q " $key " || fail "pretrain --help does not explain $key"
done
# What may differ on resume has an asterisk, and nothing else has.
for key in dir max_hours train eval steps recompute every keep best snapshots patience threads timeout gemm; do
    "$KMASK" pretrain --help | grep -qE "^  \* $key " || fail "pretrain --help: no asterisk at $key"
done
for key in seed length packing policy splits sequences micro_batch loss_norm precision lr beta1 clip warmup hidden_size; do
    "$KMASK" pretrain --help | grep -qE "^    $key " || fail "pretrain --help: $key has an asterisk, or is not there"
done

expect 2 "no verb" "$KMASK"
expect 2 "Did you mean pretrain?" "$KMASK" pertrain c.json
expect 2 "Did you mean eval?" "$KMASK" --eval
expect 2 "unknown verb" "$KMASK" ""
expect 2 "xyzzy" "$KMASK" help xyzzy
expect 2 "Did you mean --corpus?" "$KMASK" eval m.h5 --corpsu c.h5
expect 2 "--length: found 1.5" "$KMASK" eval m.h5 --corpus c.h5 --length 1.5
expect 2 "--length: found 2" "$KMASK" eval m.h5 --corpus c.h5 --length=2
expect 2 "--length: no value" "$KMASK" eval m.h5 --corpus c.h5 --length
expect 2 "--ratio: found nan" "$KMASK" eval m.h5 --corpus c.h5 --ratio nan
expect 2 "--packing: found full, expected one of" "$KMASK" eval m.h5 --corpus c.h5 --packing full
expect 2 "--json: found the value" "$KMASK" eval m.h5 --corpus c.h5 --json=yes
expect 1 "nowhere.h5" "$KMASK" inspect nowhere.h5
expect 1 "nowhere.h5" "$KMASK" eval nowhere.h5 --corpus c.h5
expect 2 "nowhere.json" "$KMASK" pretrain nowhere.json
expect 2 "pretrain takes one config file" "$KMASK" pretrain a.json b.json
echo '{"run": {"sede": 1}}' >wrong.json
expect 2 "wrong.json: run.sede: unknown key. Did you mean run.seed?" "$KMASK" pretrain wrong.json

# One sentence, not one a rank; help once; and a full disk is noticed.
expect 2 "Did you mean pretrain?" "$LAUNCH" 3 "$KMASK" pertrain
[ "$(grep -c 'unknown verb' err.txt)" -eq 1 ] || fail "each rank complains: $(cat err.txt)"
expect 2 "nowhere.json" "$LAUNCH" 2 "$KMASK" pretrain nowhere.json
[ "$(grep -c 'nowhere.json' err.txt)" -eq 1 ] || fail "each rank complains: $(cat err.txt)"
"$LAUNCH" 2 "$KMASK" eval --help >out.txt 2>err.txt || fail "help under mpirun: status $?"
[ "$(grep -c '^kmask eval' out.txt)" -eq 1 ] || fail "help is printed by each rank"
if [ -w /dev/full ]; then
    "$KMASK" --help 2>err.txt >/dev/full && fail "a full disk behind standard output goes unnoticed"
    grep -q "standard output" err.txt || fail "a full disk: $(cat err.txt)"
fi
finish

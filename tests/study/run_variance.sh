#!/usr/bin/env bash
# kmask variance: the same numbers on any ranks and threads, and after a kill; two models in one command; every policy, unit and K;
# bad configs are sentences.
. "$SOURCE/tests/common.sh"
make_corpus
cat >c.json <<EOF
{"run": {"dir": "run", "seed": 3},
 "model": {"type": "bert", "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
           "intermediate_size": 64, "max_position_embeddings": 64, "initializer_range": 0.1},
 "data": {"train": "corpus.h5", "length": 32},
 "train": {"sequences": 2},
 "variance": {"rows": [3, "5..7"], "splits": [2, 4], "units": ["subword", "word", "span"], "draws": 8,
              "params": ["*.query.weight", "*.LayerNorm.*"]}}
EOF
export KMASK_PROGRESS=none
variance() { "$LAUNCH" "$1" "$KMASK" variance c.json --set "run.dir=$2" --json "${@:3}" >"$2.json" 2>log.txt; }

variance 1 one || fail "one rank: $(tail -n 3 log.txt)"
for ranks in 2 3 4; do
    variance "$ranks" "on-$ranks" || fail "$ranks ranks: $(tail -n 3 log.txt)"
    cmp -s one.json "on-$ranks.json" || fail "other numbers on $ranks ranks"
    cmp -s one/variance/variance.json "on-$ranks/variance/variance.json" || fail "another file on $ranks ranks"
done
if variance 2 threads --set parallel.threads=3; then
    cmp -s one.json threads.json || fail "other numbers with threads"
else
    grep -q "serial build" log.txt || fail "threads: $(tail -n 3 log.txt)"
fi
variance 1 seed --set run.seed=4 && cmp -s one.json seed.json && fail "another seed gives the same numbers"
[ "$(grep -c '"policy"' one.json)" -eq 12 ] || fail "not an estimate for each policy, unit and K"
[ "$(grep -c '"var_low"' one.json)" -eq 12 ] || fail "not an interval for each estimate"
[ "$(grep -c '"pairs"' one.json)" -gt 4 ] || fail "no curve"
grep -q '"tensor":[[:space:]]*"bert.encoder.layer.1.attention.self.query.weight"' one/variance/variance.json ||
    fail "no histogram of a chosen tensor"
"$KMASK" inspect corpus.h5 >/dev/null || fail "inspect"

# A table for people; nothing is measured again.
"$KMASK" variance c.json --set run.dir=one >table.txt 2>log.txt || fail "table: $(tail -n 3 log.txt)"
grep -q "were there already" log.txt || fail "a finished measurement was made again"
grep -q "Var(fully_explored) / Var(random)" table.txt || fail "no ratios in the table"

# Killed at any moment, resumed on other ranks: the same numbers.
more="--set variance.draws=150 --set variance.units=subword --set parallel.timeout=60"
variance 2 whole $more || fail "the long one: $(tail -n 3 log.txt)"
for delay in 0.4 0.8; do
    variance 2 "killed-$delay" $more &
    launcher=$!
    sleep "$delay"
    kill_run "killed-$delay"
    wait "$launcher"
    [ -e "killed-$delay/variance/items-0.bin" ] && printf 'torn' >>"killed-$delay/variance/items-0.bin"
    variance 3 "killed-$delay" $more || fail "resuming after $delay s: $(tail -n 3 log.txt)"
    cmp -s whole.json "killed-$delay.json" || fail "killed after $delay s: other numbers"
done
# Damage in the middle of a file costs what follows it, and nothing else.
cp -r whole damaged
rm damaged/variance/variance.*
printf 'xxxx' | dd of=damaged/variance/items-1.bin bs=1 seek=5000 conv=notrunc 2>/dev/null
variance 1 damaged $more || fail "after damage: $(tail -n 3 log.txt)"
cmp -s whole.json damaged.json || fail "after damage: other numbers"
# Another measurement in the same folder takes nothing from the first.
variance 1 damaged --set variance.draws=8 || fail "another measurement: $(tail -n 3 log.txt)"
cmp -s one.json damaged.json || fail "another measurement took items of the first"

# A signal: an orderly stop, and on.
"$KMASK" variance c.json --set run.dir=stopped $more >out.txt 2>log.txt &
process=$!
has_items() { [ "$(stat -c %s stopped/variance/items-0.bin 2>/dev/null || echo 0)" -gt 100 ]; }
within 60 has_items
kill -USR1 "$process" 2>/dev/null
wait "$process"
status=$?
[ "$status" -eq 75 ] || [ "$status" -eq 0 ] || fail "status $status after the signal: $(tail -n 3 log.txt)"
variance 2 stopped $more || fail "after the signal: $(tail -n 3 log.txt)"
cmp -s whole.json stopped.json || fail "after the signal: other numbers"
expect 75 "run the same command again" "$KMASK" variance c.json --set run.dir=late --set run.max_hours=1e-9

# Before and after training, in one command.
"$KMASK" pretrain c.json --set run.dir=trained --set train.steps=10 --set optimizer.lr=1e-3 --set data.train=corpus.h5 \
    --set checkpoint.snapshots='[2]' --set mask.splits=4 >log.txt 2>&1 || fail "training: $(tail -n 3 log.txt)"
"$KMASK" variance c.json --json --set variance.draws=2 --set variance.units=word \
    --set 'variance.model=["fresh","trained/snapshots/step-00000002.h5","trained/checkpoints/step-00000010.h5"]' >two.json \
    2>log.txt || fail "two models: $(tail -n 3 log.txt)"
for model in fresh snapshots/step-00000002 checkpoints/step-00000010; do
    [ "$(grep -c "$model" two.json)" -ge 10 ] || fail "no estimates of $model"
done

# Without a folder nothing is written; the config of a paper's figure works on what is there.
sed 's/"dir": "run", //' c.json >nowhere.json
mkdir empty && (cd empty && "$KMASK" variance ../nowhere.json --set data.train=../corpus.h5 --set variance.draws=2 --json) \
    >out.txt 2>log.txt || fail "without run.dir: $(tail -n 3 log.txt)"
[ -z "$(ls empty)" ] || fail "without run.dir files were written: $(ls empty)"

bad() { expect 2 "$1" "$KMASK" variance c.json --set run.dir=bad "${@:2}"; }
bad "variance.rows: row 4000000 does not exist" --set variance.rows=4000000
bad "named twice" --set variance.rows=3,3,4
bad "cannot be drawn from 2 rows" --set variance.rows=3,4 --set train.sequences=3
bad "fits none of the" --set 'variance.params=*.quern.weight'
bad "projections:N" --set variance.params=projections:0
bad "even numbers" --set variance.distances=3
bad "at most" --set variance.distances=0,4000
bad "tiled" --set variance.distances=2 --set variance.units=span
bad "disjoint masks" --set mask.ratio=0.3 --set variance.splits=2,4
bad "too few for K = 12" --set variance.splits=12 --set mask.ratio=0.05 --set variance.units=subword,word --set variance.rows=0..99
bad "exhaustive" --set variance.exhaustive=true --set variance.units=subword
bad "spans" --set variance.exhaustive=true --set variance.units=span
bad "dropout" --set variance.exhaustive=true --set variance.dropout=true
bad "max_position_embeddings" --set data.length=65
bad "variance.draws" --set variance.draws=1
bad "variance.model" --set variance.modell=x
expect 1 "no usable row" "$KMASK" variance c.json --set run.dir=bad --set variance.splits=900 --set mask.ratio=0.001
expect 1 "nothing.h5" "$KMASK" variance c.json --set variance.model=nothing.h5 --set run.dir=bad
expect 1 "nothing.h5" "$LAUNCH" 2 "$KMASK" variance c.json --set variance.model=nothing.h5 --set run.dir=bad
expect 2 "model.type" "$KMASK" variance c.json --set variance.model=fresh --set model.type=null --set run.dir=bad
expect 2 "data.train: missing" "$KMASK" variance nowhere.json --set data.train=null
finish

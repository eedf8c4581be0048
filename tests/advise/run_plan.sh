#!/usr/bin/env bash
# plan makes the checks of pretrain before its first step: what is wrong is said in the same words with the same status, and nothing is
# made or changed. Its numbers are those of the run that follows.
. "$SOURCE/tests/common.sh"
make_corpus
make_config c.json run
fast=(--gflops 10)
everything() { find . -mindepth 1 -not -name '*.txt' -printf '%p %y %s %T@\n' | sort; }
field() { grep -oE "\"$1\":[[:space:]]*[0-9.e+-]+" "${2:-plan.txt}" | head -n 1 | sed -E 's/.*:[[:space:]]*//'; }
sentence() { grep '^kmask: ' "$1" | grep -v '^kmask: warning' | tail -n 1; }

# same OPTIONS...: plan refuses, and pretrain in the same words. NB: pretrain comes second, it may make a folder.
ranks=1
same() {
    local before want got plan=("${fast[@]}")
    [ "$ranks" -gt 1 ] && plan+=(--ranks "$ranks")
    before=$(everything)
    "$KMASK" plan "${config:-c.json}" "${plan[@]}" "$@" >out.txt 2>plan-err.txt
    got=$?
    [ "$(everything)" = "$before" ] || fail "plan changed files: $* ($(diff <(echo "$before") <(everything)))"
    [ -s out.txt ] && fail "plan prints numbers of what is wrong: $*"
    if [ "$ranks" -gt 1 ]; then
        "$LAUNCH" "$ranks" "$KMASK" pretrain "${config:-c.json}" "$@" >out.txt 2>err.txt
    else
        "$KMASK" pretrain "${config:-c.json}" "$@" >out.txt 2>err.txt
    fi
    want=$?
    [ "$got" -eq "$want" ] && [ "$got" -ne 0 ] || fail "status $got, pretrain's is $want: $* ($(tail -n 2 plan-err.txt))"
    [ -n "$(sentence err.txt)" ] && [ "$(sentence plan-err.txt)" = "$(sentence err.txt)" ] ||
        fail "$*: '$(sentence plan-err.txt)', pretrain says '$(sentence err.txt)'"
}

# Config, corpus, model: nothing of the run is there yet.
config=nowhere.json same
for wrong in optimizer.lrr=1 mask.splits=0 mask.splits=9 data.length=65 data.length=1 train.steps=0 data.train=nowhere.h5 \
    data.eval=nowhere.h5 model.init=nowhere.h5 model.vocab_size=7 data.train=text.txt model.init=corpus.h5 model.hidden_size=47 \
    run.dir=text.txt run.dir=text.txt/run; do
    same --set "$wrong"
done
head -c 5000 corpus.h5 >cut.h5
same --set data.train=cut.h5
same --set data.eval=cut.h5
cp corpus.h5 broken.h5
printf 'x' | dd of=broken.h5 bs=1 seek=9000 conv=notrunc 2>/dev/null
same --set data.train=broken.h5
ranks=9 same
"$KMASK" tokenizer train --type wordpiece --vocab-size 500 --out tok2 text.txt >/dev/null 2>&1
"$KMASK" corpus build --tokenizer tok2 --out other.h5 text.txt >/dev/null 2>&1
same --set data.eval=other.h5
printf 'a b\n' >tiny.text
"$KMASK" corpus build --tokenizer tok --out tiny.h5 tiny.text >/dev/null 2>&1
same --set data.train=tiny.h5 --set mask.splits=20 --set mask.ratio=0.05
if [ "$(id -u)" -eq 0 ] && unshare --mount true 2>/dev/null; then
    mkdir -p ro/run
    for dir in ro/run ro/new ro/new/run; do
        for verb in plan pretrain; do
            unshare --mount bash -c 'mount --bind ro ro; mount -o remount,ro,bind ro; exec "$@"' in "$KMASK" "$verb" c.json \
                --set "run.dir=$dir" >out.txt 2>"$verb.txt" && fail "$verb in a read-only folder: status 0"
        done
        grep -q 'Read-only' plan.txt && [ "$(sentence plan.txt)" = "$(sentence pretrain.txt)" ] ||
            fail "$dir, read-only: '$(sentence plan.txt)', pretrain says '$(sentence pretrain.txt)'"
    done
fi
rm -rf run ro

# All well: the numbers, before and after, and what the run does.
well() { "$KMASK" plan c.json "$@" >out.txt 2>err.txt || fail "plan $*: status $? ($(cat err.txt))"; }
well
head -n 1 out.txt | grep -qx 'nothing is wrong: the run can start' || fail "verdict: $(head -n 1 out.txt)"
grep -q 'measured here' out.txt || fail "no rate was measured: $(cat out.txt)"
for line in nodes=1 ntasks-per-node= cpus-per-task=1 mem= time=; do
    grep -q "^#SBATCH --$line" out.txt || fail "no #SBATCH --$line: $(cat out.txt)"
done
before=$(everything)
"$KMASK" plan c.json "${fast[@]}" --ranks 2 --json >plan.txt 2>err.txt || fail "plan: $(cat err.txt)"
[ "$(everything)" = "$before" ] && [ ! -e run ] || fail "plan made something"
for key in rows rows_left_out epochs parameters micro_batches checkpoint_bytes disk_bytes core network nodes sbatch efficiency hours \
    rank_bytes bottleneck mem_mib time; do
    grep -q "\"$key\":" plan.txt || fail "no key $key in: $(cat plan.txt)"
done
cat >peak.sh <<'EOF'
#!/usr/bin/env bash
"$@" &
while kill -0 $! 2>/dev/null; do
    sed -n 's/^VmHWM:[[:space:]]*\([0-9]*\) kB/\1/p' /proc/$!/status 2>/dev/null >>"peak.$OMPI_COMM_WORLD_RANK.txt"
    sleep 0.02
done
wait $!
EOF
"$LAUNCH" 2 bash peak.sh "$KMASK" pretrain c.json --set train.steps=200 >log.txt 2>&1 || fail "the run: $(tail -n 3 log.txt)"
grep -qE "^$(field rows) rows of|^[0-9.]+ k rows of" log.txt || fail "rows: $(field rows), the run says $(grep ' rows of ' log.txt)"
grep -qF "($(field rows_left_out) too short" log.txt || fail "rows left out: $(field rows_left_out)"
grep -qF "$(field views) views a step in $(field micro_batches) micro-batches" log.txt || fail "views: $(grep views log.txt)"
awk -v plan="$(field epochs)" -v run="$(sed -n 20p run/metrics.jsonl | grep -oE '"epoch":[^,]*' | cut -d: -f2)" \
    -v step="$(sed -n 20p run/metrics.jsonl | grep -oE '"step":[^,]*' | cut -d: -f2)" 'BEGIN {
        run *= 20 / step; exit !(plan > 0.999 * run && plan < 1.001 * run) }' || fail "epochs: $(field epochs)"
for file in run/checkpoints/*.h5; do
    [ "$(stat -c %s "$file")" -eq "$(field checkpoint_bytes)" ] ||
        fail "a checkpoint has $(stat -c %s "$file") bytes, planned were $(field checkpoint_bytes)"
done
for rank in 0 1; do
    peak=$(($(sort -n "peak.$rank.txt" | tail -n 1) * 1024))
    planned=$(field rank_bytes | cut -d. -f1)
    [ "$peak" -le "$planned" ] || fail "rank $rank took $peak bytes, planned were $planned"
    [ "$((peak * 3))" -ge "$planned" ] || fail "rank $rank took only $peak bytes, planned were $planned"
done

# Going on: what may not change, another corpus, a finished run, a run that is at work, damage.
same --set run.seed=4
same --set data.train=other.h5 --set data.eval=null
same --set train.sequences=7
well --set train.steps=200 "${fast[@]}"
grep -q 'the run is finished' out.txt || fail "a finished run: $(cat out.txt)"
"$KMASK" plan c.json --set train.steps=300 "${fast[@]}" --json >plan.txt 2>err.txt || fail "going on: $(cat err.txt)"
[ "$(field resume_step)" = 200 ] || fail "resume_step: $(field resume_step)"
"$KMASK" pretrain c.json --set train.steps=1000000 --set checkpoint.every=1000000 >log.txt 2>&1 &
run=$!
until_step run 210
before=$(sha256sum run/lock | cut -d' ' -f1)
expect 1 "is at work in this run folder" "$KMASK" plan c.json --set train.steps=1000000 "${fast[@]}"
kill -0 $run 2>/dev/null || fail "the run did not survive the plan: $(tail -n 3 log.txt)"
kill -9 $run 2>/dev/null
wait $run 2>/dev/null
well --set train.steps=1000000 "${fast[@]}" # its owner is dead
for file in run/checkpoints/*.h5; do printf 'x' | dd of="$file" bs=1 seek=6000 conv=notrunc 2>/dev/null; done
same --set train.steps=300

# Nodes: where there is no work for more, the table ends; more nodes and a faster network are never slower; threads share a rank.
plan() { "$KMASK" plan c.json --set run.dir=new --set train.sequences=512 --set data.eval=null "$@" --json >plan.txt 2>err.txt || fail "plan $*: $(cat err.txt)"; }
steps() { grep -oE '"step_seconds":[[:space:]]*[0-9.e+-]+' plan.txt | sed -E 's/.*:[[:space:]]*//'; }
plan --gflops 0.01 --cores-per-node 8
[ "$(steps | wc -l)" -ge 4 ] && steps | sort -g -r | cmp -s - <(steps) || fail "more nodes are not faster: $(steps)"
[ "$(field micro_batches)" -ge "$(grep -oE '"ranks":[[:space:]]*[0-9]+' plan.txt | grep -oE '[0-9]+$' | sort -n | tail -n 1)" ] ||
    fail "more ranks than micro-batches: $(cat plan.txt)"
plan --gflops 1000 --nodes 4 --network 1
slow=$(steps | tail -n 1)
plan --gflops 1000 --nodes 4 --network 0.01
awk -v a="$slow" -v b="$(steps | tail -n 1)" 'BEGIN { exit !(b > a) }' || fail "a slower network is no slower: $slow"
plan --gflops 1 --cores-per-node 16 --set parallel.threads=4
grep -qE '"ntasks_per_node":[[:space:]]*4' plan.txt && grep -qE '"cpus_per_task":[[:space:]]*4' plan.txt || fail "threads: $(cat plan.txt)"
expect 2 "plan takes one config file" "$KMASK" plan a.json b.json
expect 2 "--gflops: found -1" "$KMASK" plan c.json --gflops -1
# More than a month is said before the numbers, with what shortens it; measuring is announced, and shown while it goes on.
"$KMASK" plan c.json --cores-per-node 1 --nodes 1 --gflops 0.001 --set train.steps=100000000 --set run.dir=month >month.txt 2>err.txt || fail "month: $(cat err.txt)"
sed -n 2p month.txt | grep -qE '^but it takes [0-9]+ days on 1 node' || fail "more than a month is not said at the top: $(head -n 3 month.txt)"
for cure in '^ +more nodes' '^ +bf16: train.precision=bf16' '^ +fewer views: with mask.splits=1 a step computes' '^ +fewer train.steps.*model\.init'; do
    sed -n 3,6p month.txt | grep -qE "$cure" || fail "nothing of '$cure': $(head -n 6 month.txt)"
done
"$KMASK" plan c.json --cores-per-node 1 --gflops 0.02 --set train.steps=1000000 --set train.sequences=512 --set run.dir=month --json >plan.txt 2>err.txt ||
    fail "month: $(cat err.txt)"
if [ "$(field days | cut -d. -f1)" -ge 30 ]; then
    grep -qE 'more nodes: on [0-9]+ it takes [0-9.]+ days' plan.txt || fail "no number of nodes is named: $(cat plan.txt)"
else
    fail "not a month: $(field days) days"
fi
grep -q 'measuring' err.txt && fail "a given rate is measured"
KMASK_PROGRESS=live "$KMASK" plan c.json --cores-per-node 1 --nodes 1 --set run.dir=month >month.txt 2>err.txt || fail "measured: $(cat err.txt)"
grep -q 'measuring how fast' err.txt || fail "measuring is not announced"
[ "$(tr '\r' '\n' <err.txt | grep -c 'measuring the cores \[')" -ge 5 ] || fail "no progress is shown while it measures: $(cat err.txt)"
grep -q 'but it takes' month.txt && fail "twenty steps take more than a month"

# Without a corpus: a number of tokens stands for it. Shapes and micro-batches are those of the run; a run that has begun has its corpus.
"$KMASK" plan c.json "${fast[@]}" --set run.dir=later --json >plan.txt 2>err.txt || fail "with the corpus: $(cat err.txt)"
there=$(field micro_batches) parameters=$(field parameters)
tokens=(--tokens 3e6 "${fast[@]}" --set data.train=later.h5 --set data.eval=later.holdout.h5 --set run.dir=later)
vocabulary=$(wc -l <tok/vocab.txt)
expect 1 "later.h5" "$KMASK" plan c.json "${tokens[@]:2}"
before=$(everything)
"$KMASK" plan c.json "${tokens[@]}" --set model.vocab_size="$vocabulary" --json >plan.txt 2>err.txt || fail "--tokens: $(cat err.txt)"
[ "$(everything)" = "$before" ] || fail "plan --tokens made something"
[ "$(field micro_batches) $(field parameters)" = "$there $parameters" ] || fail "--tokens: $(field micro_batches) micro-batches, $(field parameters) parameters"
length=$(grep -oE '"length": *[0-9]+' c.json | grep -oE '[0-9]+')
[ "$(field rows)" = $(((3000000 + length - 3) / (length - 2))) ] || fail "--tokens: $(field rows) rows"
"$KMASK" plan c.json "${tokens[@]}" >out.txt 2>err.txt || fail "--tokens: $(cat err.txt)"
grep -qE '^corpus +3.00 M tokens, not there yet' out.txt || fail "--tokens: $(cat out.txt)"
for policy in salient denoise; do # a policy that needs names and dates, and an encoder-decoder's
    sed -e 's/"init": [^}]*/"preset": "bart-tiny"/' -e "s/\"salient\"/\"$policy\"/" -e '/"spans"/d' "$SOURCE/jobs/bart-ssm.json" >bart.json
    "$KMASK" plan bart.json "${tokens[@]}" >out.txt 2>err.txt ||
        fail "--tokens, $policy: $(cat err.txt)"
done
"$KMASK" pretrain c.json --set run.dir=begun --set train.steps=1 --set schedule.warmup=0 >log.txt 2>&1 || fail "$(tail -n 2 log.txt)"
expect 2 "--tokens: the run in begun has begun" "$KMASK" plan c.json "${tokens[@]}" --set run.dir=begun --set train.steps=4
sed -e 's/^ "model": .*/ "model": {"init": "begun"},/' -e '/"intermediate_size"/d' c.json >from.json
"$KMASK" plan from.json "${tokens[@]}" >out.txt 2>err.txt || fail "--tokens with model.init: $(cat err.txt)"
finish

#!/usr/bin/env bash
# Learned policies. Supervised: the same file on any number of ranks, after a kill and after a stop; marks that are the same on any ranks, are found
# again and are refused with another tokenizer; masks that are spans of the policy's, and K different ones.
. "$SOURCE/tests/common.sh"

# Contexts of words, in which the answer is always the number behind the word "is".
awk 'BEGIN {
    state = 7
    for (i = 0; i < 120; i++) {
        text = ""; n = 5 + draw(8); at = draw(n)
        for (j = 0; j < n; j++) text = text (j ? " " : "") (j == at ? "is n" draw(9) " today" : "word" draw(7))
        match(text, /n[0-9]/); answer = substr(text, RSTART, 2)
        if (i % 20 == 19) answer = "absent"
        print "{\"context\": \"" text "\", \"source\": \"what\", \"target\": [\"" answer "\", \"nothing\"]}"
        print text "\n" >"text.txt"
    } }
    function draw(k) { state = (state * 1103515245 + 12345) % 2147483648; return int(state / 65536) % k }' >triples.jsonl
"$KMASK" tokenizer train --type wordpiece --vocab-size 90 --out tok text.txt 2>log.txt >/dev/null || fail "no tokenizer"
"$KMASK" tokenizer train --type wordpiece --vocab-size 60 --out other text.txt 2>log.txt >/dev/null || fail "no other tokenizer"
"$KMASK" corpus build --tokenizer tok --out corpus.h5 text.txt 2>>log.txt >/dev/null || fail "no corpus"
"$KMASK" corpus build --tokenizer other --out other.h5 text.txt 2>>log.txt >/dev/null || fail "no other corpus"
cat >p.json <<'EOF'
{"run": {"dir": "one"}, "policy": {"examples": "triples.jsonl", "init": "tok", "width": 16, "hidden": 12, "epochs": 6, "batch": 24,
 "micro_batch": 4, "lr": 0.02, "dev_share": 0.2}, "checkpoint": {"every": 3}}
EOF
train() { # DIR RANKS [--set ...]
    local dir=$1 ranks=$2
    shift 2
    launch "$ranks" policy train p.json --set "run.dir=$dir" "$@" >"$dir.txt" 2>"$dir.log" || { cat "$dir.log"; fail "policy train of $dir"; }
}
launch() { # RANKS VERB...: one rank needs no launcher
    local ranks=$1
    shift
    if [ "$ranks" = 1 ]; then "$KMASK" "$@"; else "$LAUNCH" "$ranks" "$KMASK" "$@"; fi
}
hash_of() { grep -o 'weights [0-9a-f]*' "$1.txt"; }

train one 1
grep -q ' 6 left out' one.txt || { cat one.txt; fail "the examples without an answer are not counted"; }
grep -q '"eval_loss"' one/metrics.jsonl || fail "no dev loss"
awk -F'"eval_among_5":' '/eval_among/ { share = $2 + 0 } END { exit share < 0.9 }' one/metrics.jsonl || fail "it has not learned where answers are"
train two 2 --set parallel.threads=2
[ "$(hash_of one)" = "$(hash_of two)" ] || fail "two ranks of two threads: another policy"

# Killed once it has a checkpoint, then gone on with on three ranks.
"$KMASK" policy train p.json --set run.dir=killed >/dev/null 2>&1 &
pid=$!
for ((i = 0; i < 400; i++)); do
    ls killed/checkpoints/step-*.h5 >/dev/null 2>&1 && break
    sleep 0.02
done
kill -9 $pid 2>/dev/null
wait $pid 2>/dev/null
train killed 3
[ "$(hash_of one)" = "$(hash_of killed)" ] || fail "after a kill: another policy"
[ "$(grep -c '"step"' killed/metrics.jsonl)" = "$(grep -c '"step"' one/metrics.jsonl)" ] || fail "after a kill: other steps in the log"
"$KMASK" policy train p.json --set run.dir=killed --set policy.lr=0.5 >/dev/null 2>log.txt && fail "another rate is not refused"
grep -q 'policy.lr' log.txt || { cat log.txt; fail "the refusal does not name the key"; }

# Masks: one span, that of the policy; two splits hide two.
mask="policy=supervised,model=one/policy.h5"
"$KMASK" corpus show corpus.h5 --rows 20 --length 16 --packing documents --mask "$mask" --json >rows.txt 2>log.txt || { cat log.txt; fail "corpus show"; }
right=$(grep -c '"masks":\[\[[0-9,]*\]\]' rows.txt)
[ "$right" -eq 20 ] || { head -n 2 rows.txt; fail "not one mask in each of 20 rows: $right"; }
"$KMASK" corpus show corpus.h5 --rows 20 --length 16 --packing documents --mask "$mask,splits=2,top=5" --json >two.txt 2>log.txt || { cat log.txt; fail "corpus show of two splits"; }
grep -q '"masks":\[\(\[[0-9,]*\]\),\1\]' two.txt && fail "two splits hide the same span"
"$KMASK" corpus show other.h5 --row 0 --mask "$mask" >/dev/null 2>log.txt && fail "another tokenizer is not refused"
grep -q 'another tokenizer' log.txt || { cat log.txt; fail "the refusal does not speak of the tokenizer"; }
"$KMASK" corpus show corpus.h5 --row 0 --mask policy=supervised >/dev/null 2>log.txt && fail "no model is not refused"
grep -q 'mask.model' log.txt || fail "the refusal does not name mask.model"

# Pre-training under it: the same bits on two ranks, and marks that are found again.
cat >c.json <<'EOF'
{"run": {"dir": "a"}, "model": {"type": "bart", "d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2,
 "decoder_attention_heads": 2, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "max_position_embeddings": 32},
 "data": {"train": "corpus.h5", "length": 16, "packing": "documents"}, "mask": {"policy": "supervised", "model": "one/policy.h5", "top": 5},
 "train": {"steps": 4, "sequences": 8, "micro_batch": 2}, "optimizer": {"lr": 1e-3}, "checkpoint": {"every": 2}}
EOF
"$KMASK" plan c.json --gflops 10 >plan.txt 2>log.txt || { cat log.txt; fail "plan"; }
grep -q '^marks .*FLOP' plan.txt || { cat plan.txt; fail "plan does not count the marks"; }
"$KMASK" pretrain c.json >/dev/null 2>log.txt || { cat log.txt; fail "pretrain"; }
grep -q 'marked [0-9]* rows' log.txt || { cat log.txt; fail "the cost of marks is not said"; }
launch 3 pretrain c.json --set run.dir=b >/dev/null 2>log.txt || { cat log.txt; fail "pretrain on 3 ranks"; }
cmp -s a/marks-*.idx b/marks-*.idx || fail "other marks on 3 ranks"
last() { grep -o '"weights_hash":"[0-9a-f]*"' "$1/metrics.jsonl" | tail -n 1; }
[ -n "$(last a)" ] && [ "$(last a)" = "$(last b)" ] || fail "other weights on 3 ranks"
rm a/checkpoints/step-00000004.h5
launch 2 pretrain c.json >/dev/null 2>log.txt || { cat log.txt; fail "resuming"; }
grep -q 'marked [0-9]* rows' log.txt && fail "marks are made again on resume"
[ "$(last a)" = "$(last b)" ] || fail "other weights after resuming"
"$KMASK" plan c.json --set train.steps=6 --gflops 10 >plan.txt 2>log.txt || { cat log.txt; fail "plan of a run that has marks"; }
grep -q '^marks ' plan.txt && fail "plan counts marks that are there"
"$KMASK" pretrain c.json --set run.dir=d --set data.train=other.h5 >/dev/null 2>log.txt && fail "pretrain with another tokenizer is not refused"
grep -q 'another tokenizer' log.txt || { cat log.txt; fail "pretrain: the refusal does not speak of the tokenizer"; }

# A meta-learned policy: the inner steps train a small encoder-decoder; the same bits on any ranks and after a stop; masks of whole words.
"$KMASK" pretrain c.json --set run.dir=start --set mask.policy=random --set mask.target=full --set mask.model=null --set mask.top=null \
    --set mask.splits=1 --set train.steps=2 >/dev/null 2>log.txt || { cat log.txt; fail "no model to start from"; }
cp start/checkpoints/step-00000002.h5 start.h5
sed 's/"init": "tok", "width": 16/"kind": "meta", "init": "start.h5"/; s/"dev_share": 0.2/"length": 24, "alpha0": 0.1, "alpha1": 0.1, "beta": 0.01/; s/"epochs": 6/"epochs": 2/; s/"lr": 0.02/"alpha2": 5/' \
    p.json >m.json
meta() { # DIR RANKS [--set ...]
    local dir=$1 ranks=$2
    shift 2
    launch "$ranks" policy train m.json --set "run.dir=$dir" "$@" >"$dir.txt" 2>"$dir.log" || { cat "$dir.log"; fail "policy train of $dir"; }
}
meta m1 1
for key in loss_pretrain loss_before loss_after masked_share within_budget; do
    grep -q "\"$key\"" m1/metrics.jsonl || fail "no $key in the log"
done
meta m2 2 --set parallel.threads=2
[ "$(hash_of m1)" = "$(hash_of m2)" ] || fail "meta on two ranks of two threads: another policy"
rm m2/policy.h5
for file in m2/checkpoints/step-*.h5; do last_file=$file; done
rm "$last_file"
meta m2 3
[ "$(hash_of m1)" = "$(hash_of m2)" ] || fail "meta after the loss of its last checkpoint: another policy"
cmp -s <(sed 's/"seconds":[^,}]*//' m1/metrics.jsonl) <(sed 's/"seconds":[^,}]*//' m2/metrics.jsonl) || fail "meta after the loss of its last checkpoint: another log"
"$KMASK" corpus show corpus.h5 --rows 20 --length 16 --packing documents --mask "policy=meta,model=m1/policy.h5" --json >rows.txt 2>log.txt ||
    { cat log.txt; fail "corpus show under a meta-learned policy"; }
grep -q '"masks":\[\[\]\]' rows.txt && fail "a row without a masked token"
meta_run() { launch "$1" pretrain c.json --set "run.dir=$2" --set mask.policy=meta --set mask.model=m1/policy.h5 --set mask.top=null >/dev/null 2>log.txt ||
    { cat log.txt; fail "pretrain under a meta-learned policy"; }; }
meta_run 1 e
meta_run 3 f
cmp -s e/marks-*.idx f/marks-*.idx || fail "meta: other marks on 3 ranks"
[ -n "$(last e)" ] && [ "$(last e)" = "$(last f)" ] || fail "meta: other weights on 3 ranks"

# What policies mask: `masks` and `variance` mark the rows that they look at; the page shows what is masked over time.
cat >masks.json <<'EOF'
{"data": {"train": "corpus.h5", "length": 16, "packing": "documents"}, "masks": {"policies": ["random", "supervised"], "share": 0.5},
 "mask": {"model": "one/policy.h5", "top": 1}}
EOF
"$KMASK" masks masks.json --json >masks1.txt 2>log.txt || { cat log.txt; fail "masks"; }
"$LAUNCH" 2 "$KMASK" masks masks.json --json >masks2.txt 2>log.txt || { cat log.txt; fail "masks on two ranks"; }
cmp -s masks1.txt masks2.txt || fail "masks: other figures on two ranks"
grep -q '"supervised"' masks1.txt || fail "masks: no supervised policy"
"$KMASK" masks masks.json --set mask.model=null >/dev/null 2>log.txt && fail "masks without mask.model is not refused"
grep -q 'mask.model' log.txt || { cat log.txt; fail "masks: the refusal does not name mask.model"; }
"$KMASK" variance c.json --set 'variance.policies=["random","meta"]' --set mask.policy=meta --set mask.top=null --set mask.model=m1/policy.h5 --set mask.splits=2 \
    --set variance.model=start.h5 --set variance.draws=2 --set train.sequences=3 --json >variance.txt 2>log.txt || { cat log.txt; fail "variance"; }
grep -q '"meta"' variance.txt || fail "variance: no meta-learned policy"
"$KMASK" report one m1 --out page.html >/dev/null 2>log.txt || { cat log.txt; fail "report"; }
for what in '"masked_over_time":\[{' '"eval_among_5":\[' '"masked_share":\[' '"within_budget":\[' '"loss_pretrain":\['; do
    grep -q "$what" page.html || fail "the page has no $what"
done
"$KMASK" policy train m.json --set run.dir=g --set policy.init=tok >/dev/null 2>log.txt && fail "meta without a model is not refused"
grep -q 'policy.init' log.txt || { cat log.txt; fail "the refusal does not name policy.init"; }
finish

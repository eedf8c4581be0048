#!/usr/bin/env bash
# Every config of jobs/ trains, or measures: its keys are known and fit together. Paths, the model and the numbers of rows and steps are
# replaced by small ones, all else is the config's. Likewise each arm of jobs/README.md.
. "$SOURCE/tests/common.sh"
make_corpus
make_config start.json start
"$KMASK" pretrain start.json --set train.steps=1 --set schedule.warmup=0 >log.txt 2>&1 || fail "start: $(tail -n 3 log.txt)"
small=(--set data.train=corpus.h5 --set data.eval=corpus.holdout.h5 --set data.length=40 --set train.steps=2
    --set train.sequences=4 --set schedule.warmup=0 --set checkpoint.every=2 --set eval.every=2)
fresh=(--set model.preset=tiny --set model.vocab_size=700 --set model.hidden_size=24 --set model.num_attention_heads=3
    --set model.intermediate_size=40 --set model.num_hidden_layers=1 --set model.max_position_embeddings=40)

# Encoder-decoders begin with one, and read a corpus with names.
awk 'NF { $0 = $0 " Anna Berg saw it in 19" NR % 90 + 10 "." } { print }' text.txt >named.txt
"$KMASK" corpus build --tokenizer tok --spans find --holdout 0.1 --out named.h5 named.txt >log.txt 2>&1 || fail "names: $(tail -n 3 log.txt)"
cat >bart.json <<JSON
{"run": {"dir": "bart", "seed": 3}, "data": {"train": "named.h5", "length": 40}, "mask": {"policy": "denoise"},
 "model": {"type": "bart", "d_model": 24, "encoder_layers": 1, "encoder_attention_heads": 3, "encoder_ffn_dim": 40,
           "max_position_embeddings": 128}, "train": {"steps": 1, "sequences": 4}, "optimizer": {"lr": 1e-3}}
JSON
"$KMASK" pretrain bart.json >log.txt 2>&1 || fail "bart: $(tail -n 3 log.txt)"

# Policies are learned from the year that ends each line.
awk 'NF { gsub(/["\\]/, ""); year = substr($NF, 1, 4)
    printf "{\"context\": \"%s\", \"source\": \"when\", \"target\": \"%s\"}\n", $0, year }' named.txt | head -n 60 >triples.jsonl
policies=0
for config in "$SOURCE"/jobs/policy-*.json; do
    name=$(basename "$config" .json)
    "$KMASK" policy train "$config" --set run.dir="$name" --set policy.examples=triples.jsonl --set policy.init=bart/checkpoints/step-00000001.h5 \
        --set policy.length=100 --set policy.hidden=8 --set policy.epochs=1 --set policy.batch=16 --set policy.dev=null \
        --set checkpoint.every=2 >out.txt 2>log.txt || fail "$name: $(grep -m 2 '^kmask:' log.txt)"
    [ -s "$name/policy.h5" ] || fail "$name: no policy"
    sed 's/"kind"/"sort"/' "$config" >wrong.json # a key that is not known is noticed here
    expect 2 "policy.sort: unknown key" "$KMASK" policy train wrong.json
    [ "$("$KMASK" config run.dir "$config")" = "runs/$name" ] || fail "$name: another run.dir"
    policies=$((policies + 1))
done
[ "$policies" -eq 2 ] || fail "$policies policies"

run() { # CONFIG OPTIONS...
    local config=$1 model=("${fresh[@]}")
    shift
    grep -q '"init"' "$config" && model=(--set model.init=start/checkpoints/step-00000001.h5)
    [[ $config = */bart-* ]] && model=(--set model.init=bart/checkpoints/step-00000001.h5 --set data.train=named.h5 --set data.eval=named.holdout.h5)
    case $config in
        */bart-supervised.json) model+=(--set mask.model=policy-supervised/policy.h5) ;;
        */bart-meta.json) model+=(--set mask.model=policy-meta/policy.h5) ;;
    esac
    rm -rf run
    "$KMASK" pretrain "$config" --set run.dir=run "${small[@]}" "${model[@]}" "$@" >log.txt 2>&1 ||
        fail "$(basename "$config") $*: $(grep -m 2 '^kmask:' log.txt)"
    [ "$(grep -c '"step"' run/metrics.jsonl)" -eq 3 ] || fail "$(basename "$config") $*: not two steps"
}

configs=0
for config in "$SOURCE"/jobs/*.json; do
    [[ $config = */policy-* ]] && continue
    configs=$((configs + 1))
    if grep -q '"variance"' "$config"; then
        "$KMASK" variance "$config" --set run.dir=run "${small[@]}" "${fresh[@]}" --set variance.model=fresh \
            --set variance.draws=2 --json >out.txt 2>log.txt || fail "$(basename "$config"): $(grep -m 2 '^kmask:' log.txt)"
        grep -q '"ratio_high"' out.txt || fail "$(basename "$config"): no ratio"
        continue
    fi
    run "$config"
    key=$(sed -E 's/"lr"/"learning"/' "$config") # a key that is not known is noticed here
    printf '%s\n' "$key" >wrong.json
    expect 2 "optimizer.learning: unknown key" "$KMASK" pretrain wrong.json
done
[ "$configs" -ge 4 ] || fail "$configs configs"

# The chain from examples to a table: what is submitted, and what waits for what. This sbatch writes down its arguments.
mkdir bin
cat >bin/sbatch <<'EOF'
#!/usr/bin/env bash
number=$(($(wc -l <submitted.txt) + 1))
echo "$number: $*" >>submitted.txt
echo "$number;cluster"
EOF
chmod +x bin/sbatch
: >submitted.txt
PATH=$PWD/bin:$PATH KMASK=$KMASK "$SOURCE/jobs/policies.sh" --arms "base rand supervised" "$SOURCE/jobs/finetune/qa-triviaqa.json" -p quick >chain.txt 2>log.txt ||
    fail "policies.sh: $(cat log.txt)"
submitted() { grep -q -- "$1" submitted.txt || fail "policies.sh: not submitted: $1 ($(cat submitted.txt))"; }
submitted "^1: --parsable -p quick .*/continual.sbatch .*/bart-rand.json$"
submitted "^2: --parsable -p quick .*/policy.sbatch .*/policy-supervised.json$"
submitted "^3: --parsable --dependency=afterok:2 .*/continual.sbatch .*/bart-supervised.json --set mask.model=runs/policy-supervised/policy.h5$"
submitted '^4: --parsable --dependency=afterok:1:3 .*/finetune.sbatch .* --set finetune.init=\["models/bart-base","runs/bart-rand/model","runs/bart-supervised/model"\]$'
submitted "^5: --parsable --dependency=afterok:4 .*compare --table 'runs/finetune-qa-triviaqa/results.json'"
[ "$(wc -l <submitted.txt)" -eq 5 ] || fail "policies.sh: $(wc -l <submitted.txt) jobs"
PATH=$PWD/bin:$PATH KMASK=$KMASK "$SOURCE/jobs/policies.sh" --arms absent "$SOURCE/jobs/finetune/qa-triviaqa.json" >chain.txt 2>&1 && fail "policies.sh: an arm without a config"
grep -q 'bart-absent.json' chain.txt || fail "policies.sh does not name what is missing: $(cat chain.txt)"

arms=0
while IFS= read -r arm; do
    read -ra options <<<"${arm//train.sequences=4S/train.sequences=16}"
    options=("${options[@]//train.sequences=S\/4/train.sequences=1}")
    for config in "$SOURCE"/jobs/{roberta-cs-continual,bert-base-scratch}.json; do
        run "$config" "${options[@]}"
    done
    arms=$((arms + 1))
done < <(sed -nE '/^## Arms/,/^## What/s/^\|.*\| `(--set [^`]*)` \|$/\1/p' "$SOURCE/jobs/README.md")
[ "$arms" -ge 9 ] || fail "$arms arms were found in jobs/README.md"
finish

#!/usr/bin/env bash
# compare_builds.sh OLD NEW [--only PATTERN] [--keep FOLDER]: do two builds of kmask compute the same, to the bit, and does NEW open what
# OLD wrote? OLD and NEW are two kmask programs, built on this machine.
#
#   git worktree add /tmp/before COMMIT && cmake -S /tmp/before -B /tmp/before/build && cmake --build /tmp/before/build -j
#   tools/compare_builds.sh /tmp/before/build/kmask build/release/kmask
#
#   --only PATTERN   only the rows of the table whose name matches the regular expression
#   --keep FOLDER    works in this (new) folder and leaves it; otherwise everything is removed at the end
#
# Both programs train small models on text that this script makes, always the same. A line of the table compares the hash of the last
# weights of one config, and under "same" also the log: loss, rate, norm, tokens and held-out loss of each step. Further lines compare
# what the other verbs write, and let NEW go on with runs that OLD began. Every number must be equal; files are equal byte by byte, or,
# where NEW writes more into them, in all that OLD wrote. Status 1 where anything differs, 2 for wrong usage. Takes some two minutes on two cores.
# Needs python3 and h5diff (Debian: hdf5-tools).
set -uo pipefail
source=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
launch=$source/tests/launch.sh
usage() { echo "usage: compare_builds.sh OLD NEW [--only PATTERN] [--keep FOLDER]" >&2; exit 2; }

programs=() only=. keep=
while [ $# -gt 0 ]; do
    case $1 in
        --only | --keep) [ $# -ge 2 ] || usage; declare "${1#--}=$2"; shift 2 ;;
        -*) usage ;;
        *) programs+=("$1"); shift ;;
    esac
done
[ ${#programs[@]} = 2 ] || usage
OLD=$(realpath -- "${programs[0]}") NEW=$(realpath -- "${programs[1]}")
for program in "$OLD" "$NEW"; do
    [ -x "$program" ] && [ -f "$program" ] || { echo "compare_builds.sh: $program is no program" >&2; exit 2; }
done
for tool in python3 h5diff; do
    command -v "$tool" >/dev/null || { echo "compare_builds.sh: $tool is not here" >&2; exit 2; }
done
if [ -n "$keep" ]; then
    mkdir "$keep" || exit 2
    work=$(realpath -- "$keep")
else
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
fi
cd "$work" || exit 2
mkdir old new
cp -- "$OLD" old.kmask && cp -- "$NEW" new.kmask || exit 2 # whoever builds again meanwhile changes nothing here
OLD=$work/old.kmask NEW=$work/new.kmask
unset OPENBLAS_CORETYPE # a weak kernel that somebody chose
export KMASK_PROGRESS=none OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1

# ---- The table ----

different=0 compared=0 skipped=0
wanted() { [[ $1 =~ $only ]]; }
line() { printf '| %-38s | %-32s | %-32s | %s |\n' "$@"; }
row() { # row NAME OLD NEW VERDICT
    line "$@"
    case $4 in
        same*) compared=$((compared + 1)) ;;
        skipped*) skipped=$((skipped + 1)) ;;
        *) different=$((different + 1)) ;;
    esac
}
give_up() { echo "compare_builds.sh: $1: $(tail -n 3 "$2")" >&2; exit 1; }

# ---- Text: 120 documents of made-up and of English words, names, dates, numbers, and letters beyond ASCII ----

make_text() {
    LC_ALL=C awk 'function below(n) { seed = (seed * 16807) % 2147483647; return seed % n }
        BEGIN {
            seed = 20201
            n = split("ba ke li mo nu ra se ti vo za qui pha ster ing tion", part, " ")
            for (i = 0; i < 300; i++) { w = ""; for (k = 1 + below(3); k >= 0; k--) w = w part[1 + below(n)]; word[i] = w }
            m = split("the of and to in is that for was on with as it by at which from this are not", small, " ")
            p = split("Paris|Zürich|Ada Lovelace|New York|3 March 1999|12:45|1,024|naïve|São Paulo|日本|œuvre|state-of-the-art|don\x27t", special, "|")
            for (d = 0; d < 120; d++) {
                for (s = 3 + below(9); s > 0; s--) {
                    line = ""
                    for (k = 5 + below(18); k > 0; k--) {
                        r = below(20)
                        w = r < 7 ? small[1 + below(m)] : r < 19 ? word[int(below(300) * below(300) / 300)] : special[1 + below(p)]
                        line = line (line == "" ? toupper(substr(w, 1, 1)) substr(w, 2) : " " w) (below(12) == 0 ? "," : "")
                    }
                    print line (below(9) == 0 ? "?" : ".")
                }
                print ""
            }
        }'
}
make_text >text.txt
# A line a document, for byte-level BPE: builds differ in what a line end inside a paragraph is to it.
awk 'BEGIN { RS = ""; FS = "\n"; OFS = " "; ORS = "\n\n" } { $1 = $1; print }' text.txt >lines.txt
cat >c.json <<'END'
{"run": {"dir": "run", "seed": 3},
 "model": {"type": "bert", "hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
           "intermediate_size": 96, "max_position_embeddings": 64, "initializer_range": 0.05},
 "data": {"train": "old/wordpiece.h5", "eval": "old/wordpiece.holdout.h5", "length": 40},
 "mask": {"splits": 4},
 "train": {"steps": 8, "sequences": 6, "micro_batch": 3},
 "optimizer": {"lr": 2e-3, "clip": 0.5},
 "schedule": {"warmup": 3},
 "checkpoint": {"every": 3}}
END
roberta=(--set model.type=roberta --set data.train=old/bpe.h5 --set data.eval=old/bpe.holdout.h5)

# ---- Comparing what was written ----

# The leaves of OLD's JSON must be in NEW's; times and paths of the two programs' own folders are left out.
cat >leaves.py <<'END'
import json, sys
def leaves(value, path=""):
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, f"{path}.{key}")
    elif isinstance(value, list):
        yield path + ".length", len(value)
        for i, inner in enumerate(value):
            yield from leaves(inner, f"{path}[{i}]")
    else:
        yield path, value
def read(name):
    with open(name) as f:
        return dict(leaves(json.loads(f.read())))
old, new = read(sys.argv[1]), read(sys.argv[2])
bad = [k for k, v in old.items() if "seconds" not in k and not (k in new and new[k] == v)]
for key in bad[:3]:
    print(f"{key}: {old[key]} is now {new.get(key, 'missing')}", file=sys.stderr)
print(f"{len(old)} values")
sys.exit(bool(bad) or not old)
END

same_json() { # same_json NAME FILE: old/FILE and new/FILE
    local count
    if count=$(python3 leaves.py "old/$2" "new/$2" 2>why.txt); then
        row "$1" "$count" "$count" same
    else
        row "$1" "old/$2" "new/$2" "DIFFERENT: $(head -n 1 why.txt)"
    fi
}
same_files() { # same_files NAME FILE...
    local name=$1 file sum=()
    shift
    for file; do
        [ -s "old/$file" ] && cmp -s "old/$file" "new/$file" || { row "$name" "old/$file" "new/$file" "DIFFERENT"; return; }
    done
    row "$name" "$# file(s)" "$# file(s)" same
}
# Byte by byte; or every data set that OLD wrote is in NEW's file with the same content. Attributes name programs and versions.
same_hdf5() { # same_hdf5 NAME FILE
    cmp -s "old/$2" "new/$2" && { row "$1" "$(stat -c %s "old/$2") bytes" "$(stat -c %s "new/$2") bytes" same; return; }
    datasets() { h5dump -n "$1" | awk '$1 == "dataset" { print $2 }' | sort; }
    local missing
    missing=$(comm -23 <(datasets "old/$2") <(datasets "new/$2") | head -n 2 | xargs)
    [ -s "old/$2" ] && [ -z "$missing" ] && h5diff --exclude-attribute / "old/$2" "new/$2" >why.txt 2>&1 &&
        { row "$1" "$(stat -c %s "old/$2") bytes" "$(stat -c %s "new/$2") bytes" "same in content"; return; }
    row "$1" "$(stat -c %s "old/$2") bytes" "$(stat -c %s "new/$2") bytes" "DIFFERENT: ${missing:+no $missing }$(head -n 1 why.txt)"
}
both() { # both FILE ARGUMENT...: standard output in old/FILE and new/FILE; @/ in an argument is the program's own folder, old/ or new/
    local file=$1 side program status=0
    shift
    for side in old new; do
        program=$OLD
        [ "$side" = old ] || program=$NEW
        "$program" "${@//@\//$side/}" <text.txt >"$side/$file" 2>"$side/$file.log" ||
            { echo "$side: $(tail -n 1 "$side/$file.log")" >&2; status=1; }
    done
    return $status
}

# ---- Runs ----

last_hash() { grep -o '"weights_hash":"[0-9a-f]*"' "$1/metrics.jsonl" 2>/dev/null | tail -n 1 | cut -d'"' -f4; }
numbers() { grep -oE '"(step|epoch|loss|lr|grad_norm|tokens|masked|eval_loss|eval_accuracy)":[^,}]*' "$1/metrics.jsonl"; }
verdict() { # verdict OLD_RUN NEW_RUN
    if [ "$(last_hash "$1")" != "$(last_hash "$2")" ]; then
        echo DIFFERENT
    elif [ "$(numbers "$1")" != "$(numbers "$2")" ]; then
        echo "DIFFERENT in the log: $(diff <(numbers "$1") <(numbers "$2") | sed -n '2,4s/^[<>] //p' | xargs)"
    else
        echo same
    fi
}
pretrain() { # pretrain PROGRAM RUN RANKS [--set ...]
    local program=$1 run=$2 ranks=$3
    shift 3
    rm -f "$run.log"
    "$launch" "$ranks" "$program" pretrain c.json --set "run.dir=$run" "$@" >"$run.log" 2>&1
}
config() { # config NAME RANKS [--set ...]
    local name=$1 file=${1//[^a-z0-9]/-}
    shift
    wanted "$name" || return 0
    if ! pretrain "$OLD" "old/$file" "$@"; then
        if grep -qE '^kmask: (train.precision|parallel.gemm): found|serial build' "old/$file.log"; then
            row "$name" - - "skipped: $(grep -m 1 -oE '(train.precision|parallel.gemm): found.*|serial build.*' "old/$file.log" | cut -c1-60)"
        else
            row "$name" "$(tail -n 1 "old/$file.log" | cut -c1-32)" - "DIFFERENT: OLD failed"
        fi
    elif ! pretrain "$NEW" "new/$file" "$@"; then
        row "$name" "$(last_hash "old/$file")" - "DIFFERENT: NEW failed: $(grep -m 1 '^kmask:' "new/$file.log")"
    else
        row "$name" "$(last_hash "old/$file")" "$(last_hash "new/$file")" "$(verdict "old/$file" "new/$file")"
    fi
}

# ---- Tokenizers and corpora ----

line what OLD NEW ""
line --- --- --- ---
both tok.txt tokenizer train --type wordpiece --vocab-size 700 --out @/tok text.txt || give_up "no tokenizer" old/tok.txt.log
both bpe.txt tokenizer train --type bpe --vocab-size 700 --out @/bpe lines.txt || give_up "no tokenizer" old/bpe.txt.log
both wordpiece.txt corpus build --tokenizer old/tok --holdout 0.1 --out @/wordpiece.h5 text.txt || give_up "no corpus" old/wordpiece.txt.log
both bpe.txt corpus build --tokenizer old/bpe --holdout 0.1 --spans find --out @/bpe.h5 lines.txt || give_up "no corpus" old/bpe.txt.log
if wanted "tokenizers and corpora"; then
    tokenizer_files() { (cd "$1" && find tok bpe -type f | sort); }
    mapfile -t files < <(tokenizer_files old)
    same_files "tokenizer train, both types" "${files[@]}"
    for type in tok bpe; do
        both "$type.ids" tokenizer encode --tokenizer "old/$type" --special
        same_files "tokenizer encode, $type" "$type.ids"
    done
    for file in wordpiece.h5 wordpiece.holdout.h5 bpe.h5 bpe.holdout.h5; do
        same_hdf5 "corpus build, $file" "$file"
    done
    for policy in fully_explored random; do
        for unit in subword word span; do
            both masks.json corpus show old/wordpiece.h5 --row 3 --length 48 --mask "policy=$policy,splits=4,unit=$unit" --seed 5 --epoch 2 --json
            same_json "corpus show, $policy, $unit" masks.json
        done
    done
fi

# ---- Configs ----

epochs=(--set mask.over=epochs --set data.train=old/wordpiece.holdout.h5 --set data.eval=old/wordpiece.h5 --set train.sequences=24) # several epochs in eight steps
bf16=(--set train.precision=bf16)
config "bert, subword, 1 rank" 1
config "bert, subword, 2 threads" 1 --set parallel.threads=2
config "bert, word, 2 ranks" 2 --set mask.unit=word
config "bert, span, 3 ranks" 3 --set mask.unit=span
config "bert, recompute, 2 ranks x 2 threads" 2 --set train.recompute=true --set parallel.threads=2
config "bert, word, over epochs" 1 --set mask.unit=word "${epochs[@]}"
config "bert, partition, over epochs, 2 ranks" 2 --set mask.ratio=partition "${epochs[@]}"
config "bert, random, subword" 1 --set mask.policy=random
config "bert, random, span, 2 ranks" 2 --set mask.policy=random --set mask.unit=span
config "bert, random, word, over epochs" 1 --set mask.policy=random --set mask.unit=word "${epochs[@]}"
config "bert, loss_norm masks, 2 ranks" 2 --set train.loss_norm=masks --set optimizer.clip=0
config "bert, loss_norm masks, clipped" 1 --set train.loss_norm=masks --set optimizer.clip=2
config "bert, 80/10/10, cosine" 1 --set mask.replace_mask=0.8 --set mask.replace_random=0.1 --set schedule.name=cosine
config "bert, constant, no dropout, decay" 1 --set schedule.name=constant --set model.hidden_dropout_prob=0 \
    --set model.attention_probs_dropout_prob=0 --set optimizer.weight_decay=0.2
config "bert, inverse_sqrt, gelu_new" 1 --set schedule.name=inverse_sqrt --set model.hidden_act=gelu_new
config "bert, documents, 1 split" 1 --set data.packing=documents --set mask.splits=1
config "bert, stream, saves and evaluations" 2 --set data.packing=stream --set eval.every=2 --set checkpoint.every=1
config "roberta, subword, 1 rank" 1 "${roberta[@]}"
config "roberta, word, 3 ranks" 3 "${roberta[@]}" --set mask.unit=word
config "roberta, span, 2 threads, recompute" 1 "${roberta[@]}" --set mask.unit=span --set parallel.threads=2 --set train.recompute=true
config "roberta, word, over epochs, 2 ranks" 2 "${roberta[@]}" --set mask.unit=word "${epochs[@]}" --set data.train=old/bpe.holdout.h5 --set data.eval=old/bpe.h5
config "roberta, random, 80/10/10" 1 "${roberta[@]}" --set mask.policy=random --set mask.replace_mask=0.8 --set mask.replace_random=0.1
config "bert, bf16" 1 "${bf16[@]}"
config "bert, bf16, span, 2 ranks x 2 threads" 2 "${bf16[@]}" --set mask.unit=span --set parallel.threads=2
config "roberta, bf16, word, recompute" 1 "${bf16[@]}" "${roberta[@]}" --set mask.unit=word --set train.recompute=true
config "bert, oneDNN in fp32" 1 --set parallel.gemm=onednn

# ---- Models as files: made by OLD, opened by both ----

pretrain "$OLD" old/made 1 --set train.steps=6 || give_up "OLD trains no model" old/made.log
pretrain "$OLD" old/made-roberta 1 --set train.steps=6 "${roberta[@]}" || give_up "OLD trains no model" old/made-roberta.log
checkpoint=old/made/checkpoints/step-00000006.h5
roberta_checkpoint=old/made-roberta/checkpoints/step-00000006.h5
both export.txt export "$checkpoint" --out @/exported || give_up "no export" old/export.txt.log
both import.txt import old/exported --out @/imported.h5 || give_up "no import" old/import.txt.log
init() { # init NAME MODEL [--set ...]: model.init takes all other model keys from the file
    sed 's/"model": {.*/"model": {"init": "MODEL"},/; /intermediate_size/d' c.json >c.init
    mv c.json c.kept && sed "s|MODEL|$2|" c.init >c.json
    config "$1" 2 "${@:3}"
    mv c.kept c.json
}
init "model.init: a checkpoint of OLD's" "$checkpoint"
init "model.init: roberta, span" "$roberta_checkpoint" --set data.train=old/bpe.h5 --set data.eval=old/bpe.holdout.h5 --set mask.unit=span
init "model.init: a model file of OLD's" old/imported.h5
init "model.init: a folder of OLD's" old/exported
if wanted "export and import"; then
    mapfile -t files < <(cd old && find exported -type f | sort)
    same_files "export" "${files[@]}"
    same_hdf5 "import" imported.h5
fi

# ---- Other verbs ----

if wanted "eval, fill, probe, variance, inspect"; then
    both eval.json eval "$checkpoint" --corpus old/wordpiece.holdout.h5 --json
    same_json "eval, bert" eval.json
    both eval.json eval "$roberta_checkpoint" --corpus old/bpe.holdout.h5 --ratio 0.3 --length 32 --threads 2 --seed 4 --json
    same_json "eval, roberta, other options" eval.json
    both fill.txt fill "$checkpoint" "the [MASK] of Paris was in <mask>."
    same_files "fill" fill.txt
    echo '{"input_ids": [[2, 9, 4, 30, 3], [2, 11, 60, 4, 3, 0, 0]], "attention_mask": [[1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 0, 0]],
           "token_type_ids": [[0, 0, 0, 1, 1], [0, 0, 0, 0, 0, 0, 0]], "labels": [[-100, -100, 9, 77, -100], [-100, 5, -100, 21, -100, -100, -100]]}' >ids.json
    both probe.txt probe "$checkpoint" --input ids.json --out @/probe.h5
    same_hdf5 "probe, bert, every array" probe.h5
    echo '{"input_ids": [[0, 9, 4, 30, 2], [0, 11, 2]], "labels": [[-100, 9, -100, 77, -100], [-100, 5, -100]]}' >ids.json
    both probe.txt probe "$roberta_checkpoint" --input ids.json --out @/probe.h5
    same_hdf5 "probe, roberta, every array" probe.h5
    if both probe.txt probe "$roberta_checkpoint" --input ids.json --precision bf16 --out @/probe.h5 2>/dev/null; then
        same_hdf5 "probe, bf16, every array" probe.h5
    else
        row "probe, bf16, every array" - - "skipped: $(tail -n 1 old/probe.txt.log | cut -c1-60)"
    fi
    few=(--set variance.rows=3,5,6 --set train.sequences=2 --set variance.draws=6)
    both variance.json variance c.json --set run.dir=@/variance "${few[@]}" --set variance.splits=2,4 \
        --set variance.units=subword,word,span --set 'variance.params=["*.query.weight","*.LayerNorm.*"]' --json
    same_json "variance" variance.json
    both variance.json variance c.json --set run.dir=@/variance "${few[@]}" --set variance.params=projections:16 --set variance.model="$checkpoint" \
        --set parallel.threads=2 --set variance.dropout=true --json
    same_json "variance, projections, of a model" variance.json
    for file in old/wordpiece.h5 "$checkpoint" old/imported.h5; do
        both inspect.json inspect "$file" --json
        same_json "inspect, ${file##*/}" inspect.json
    done
fi

# ---- Runs that OLD began and NEW finishes ----

# NEW goes on with a copy of OLD's run old/NAME on other ranks; old/NAME-whole is the same run of OLD's, never interrupted.
goes_on() { # goes_on NAME RANKS [--set ...]
    local name=$1 ranks=$2
    shift 2
    rm -rf new/again && cp -r "old/$name" new/again
    if ! pretrain "$NEW" new/again "$ranks" "$@"; then
        row "goes on: $name" "$(last_hash "old/$name-whole")" - "DIFFERENT: NEW failed: $(grep -m 1 '^kmask:' new/again.log)"
    elif ! grep -q "resumed from" new/again.log; then
        row "goes on: $name" "$(last_hash "old/$name-whole")" - "DIFFERENT: NEW did not resume it"
    else
        row "goes on: $name" "$(last_hash "old/$name-whole")" "$(last_hash new/again)" "$(verdict "old/$name-whole" new/again)"
    fi
}
# broken_off NAME SIGNAL [--set ...]: OLD's run gets the signal in the middle.
broken_off() {
    local name=$1 signal=$2 process tries=0
    shift 2
    "$OLD" pretrain c.json --set "run.dir=old/$name" "$@" >"old/$name.log" 2>&1 &
    process=$!
    until grep -qs '"step":20,' "old/$name/metrics.jsonl" || [ $tries -gt 6000 ]; do
        sleep 0.01
        tries=$((tries + 1))
    done
    kill "-$signal" "$process" 2>/dev/null
    wait "$process" 2>/dev/null
}
if wanted "goes on"; then
    long=(--set train.steps=400 --set checkpoint.every=10 --set eval.every=150)
    pretrain "$OLD" old/stopped-whole 1 "${long[@]}" || give_up "OLD's long run" old/stopped-whole.log
    cp -r old/stopped-whole old/killed-whole
    broken_off stopped USR1 "${long[@]}"
    goes_on stopped 2 "${long[@]}"
    broken_off killed KILL "${long[@]}"
    goes_on killed 3 "${long[@]}" --set parallel.threads=2
    few=(--set data.train=old/bpe.h5 --set data.eval=old/bpe.holdout.h5 --set model.type=roberta --set mask.unit=span)
    pretrain "$OLD" old/before-step-1-whole 1 "${few[@]}" || give_up "OLD's run" old/before-step-1-whole.log
    pretrain "$OLD" old/before-step-1 1 "${few[@]}" --set run.max_hours=1e-9
    goes_on before-step-1 2 "${few[@]}"
    more=(--set schedule.name=constant --set eval.every=4)
    pretrain "$OLD" old/more-steps-whole 1 "${more[@]}" --set train.steps=16 || give_up "OLD's run" old/more-steps-whole.log
    pretrain "$OLD" old/more-steps 2 "${more[@]}" || give_up "OLD's run" old/more-steps.log
    goes_on more-steps 1 "${more[@]}" --set train.steps=16
fi

echo
echo "$compared same, $different different, $skipped skipped"
[ "$different" = 0 ] && [ "$compared" -gt 0 ]

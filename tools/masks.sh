#!/usr/bin/env bash
# What policies mask, on real text: Figures 3 and 4 of Ye et al. 2021 by one command.
#   tools/masks.sh [--kmask kmask] [--vocab DIR] [--policies random,fully_explored,salient] [--supervised POLICY.h5] [--meta POLICY.h5]
#       [--set section.key=value]... [--out DIR] FILE...
# FILE: CoNLL-U treebanks (.conllu, .conllu.gz), or JSONL with "text" and "tags" (.jsonl, .jsonl.gz; tools/tag_text.py makes it of plain
# text). Without --vocab a WordPiece vocabulary of 8,000 is learned from them. Names, dates and numbers are found in the text. All rows are
# looked at (--set masks.share=0.01: one in a hundred). Policies of `kmask policy train` need the vocabulary that they were trained with. DIR (default masks) gets corpus.h5, masks.json, masks.h5, report.html and, where
# chromium is there, masks.png. Needs python3.
set -eu
kmask=kmask vocab='' policies=random,fully_explored,salient out=masks
set=() files=() learned=()
while [ $# -gt 0 ]; do
    case $1 in
        --kmask) kmask=$2; shift ;;
        --vocab) vocab=$2; shift ;;
        --policies) policies=$2; shift ;;
        --supervised | --meta) learned+=("${1#--}" "$2"); shift ;;
        --set) set+=(--set "$2"); shift ;;
        --out) out=$2; shift ;;
        -*) echo "masks.sh: unknown option $1 (see its first lines)" >&2; exit 2 ;;
        *) files+=("$1") ;;
    esac
    shift
done
[ ${#files[@]} -gt 0 ] || { echo "masks.sh: name treebanks or tagged JSONL (see its first lines)" >&2; exit 2; }
tools=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$out"
records=()
for file in "${files[@]}"; do
    case $file in
        *.conllu | *.conllu.gz)
            name=$out/$(basename "${file%.gz}" .conllu).jsonl
            python3 "$tools/conllu_tags.py" "$file" >"$name"
            records+=("$name") ;;
        *) records+=("$file") ;;
    esac
done
if [ -z "$vocab" ]; then
    vocab=$out/tokenizer
    python3 - "${records[@]}" >"$out/text.txt" <<'END'
import gzip, json, sys
for path in sys.argv[1:]:
    for line in (gzip.open if path.endswith(".gz") else open)(path, "rt", encoding="utf-8"):
        print(json.loads(line)["text"], end="\n\n")
END
    "$kmask" tokenizer train --type wordpiece --vocab-size 8000 --out "$vocab" "$out/text.txt"
fi
"$kmask" corpus build --tokenizer "$vocab" --spans find --out "$out/corpus.h5" "${records[@]}"
cat >"$out/config.json" <<END
{"data": {"train": "$out/corpus.h5", "length": 128},
 "masks": {"policies": ["${policies//,/\", \"}"], "share": 1}}
END
configs=("$out/config.json")
for ((i = 0; i < ${#learned[@]}; i += 2)); do # a config names one policy
    configs+=("$out/${learned[i]}.json")
    cat >"$out/${learned[i]}.json" <<END
{"data": {"train": "$out/corpus.h5", "length": 128}, "mask": {"policy": "${learned[i]}", "model": "${learned[i + 1]}"}, "masks": {"share": 1}}
END
done
"$kmask" masks "${configs[@]}" --out "$out" "${set[@]}"
"$kmask" report "$out" --out "$out/report.html"
if command -v chromium >/dev/null; then
    chromium --headless --no-sandbox --disable-gpu --hide-scrollbars --window-size=1100,1120 --virtual-time-budget=3000 \
        --screenshot="$out/masks.png" "file://$(realpath "$out/report.html")" >/dev/null 2>&1 || echo "no picture: chromium failed" >&2
fi

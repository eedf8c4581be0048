#!/usr/bin/env bash
# bench_input.sh [--tokenizer DIR] [--repeat 5] [TEXT...]: how fast text becomes tokens: `kmask corpus build` (text
# to HDF5 file), from plain text and from the same text compressed by what is installed, and `kmask tokenizer encode` (standard input to ids as
# text), medians of --repeat runs in turns.
# TEXT is plain text; without any, this project's licence and headers again and again, about 20 MB. Without
# --tokenizer, up to 8,000 pieces are learned from the text first. Both commands compute on one core, so a core's
# rate is tokens a second of CPU time (user and system); wall time is what a machine shared with others made of it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
project=$PWD
cd "$OLDPWD"

fail() { echo "bench_input.sh: $*" >&2; exit "${status:-1}"; }
tokenizer=
repeat=5
while [[ ${1:-} == --* ]]; do
    case $1 in
        --tokenizer | --repeat) [ $# -ge 2 ] || status=2 fail "$1 needs a value" ;;&
        --tokenizer) tokenizer=$(realpath "$2") ;;
        --repeat) repeat=$2 ;;
        *) status=2 fail "no option $1; there are --tokenizer and --repeat" ;;
    esac
    shift 2
done
[[ $repeat =~ ^[1-9][0-9]*$ ]] || status=2 fail "--repeat $repeat: expected a number from 1"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 KMASK_PROGRESS=none

# ---- The program
options=()
if [ ! -e "$project/build/release/CMakeCache.txt" ]; then
    options=(-DKMASK_TESTS=OFF)
    command -v ninja >/dev/null && options+=(-G Ninja)
fi
(cd "$project" && cmake --preset release ${options[@]+"${options[@]}"} &&
    cmake --build build/release --target kmask -j "$(nproc)") >"$work/log" 2>&1 ||
    { tail -n 30 "$work/log" >&2; fail "the build failed; its last words are above"; }
kmask=$project/build/release/kmask

# ---- The text
if [ $# -gt 0 ]; then
    cat -- "$@" >"$work/text"
else
    for part in "$project/LICENSE" "$project"/include/kmask/*.h; do
        cat "$part"
        echo
    done >"$work/once"
    once=$(stat -c %s "$work/once")
    for ((bytes = 0; bytes < 20000000; bytes += once)); do cat "$work/once"; done >"$work/text"
fi
if [ -z "$tokenizer" ]; then
    tokenizer=$work/tokenizer
    "$kmask" tokenizer train --type wordpiece --vocab-size 8000 --out "$tokenizer" "$work/text" >"$work/log" 2>&1 ||
        fail "$(tail -n 1 "$work/log")"
fi

# ---- The runs: "CPU seconds, wall seconds" a line in $work/<name>.times
run() { # run NAME command...
    local name=$1 TIMEFORMAT='%R %U %S'
    shift
    { time "$@" >"$work/$name.out" 2>"$work/log"; } 2>"$work/took" || fail "$name: $(tail -n 1 "$work/log")"
    awk '{ print $2 + $3, $1 }' "$work/took" >>"$work/$name.times"
}
build() { # [SUFFIX of the text]
    rm -f "$work/corpus.h5"
    "$kmask" corpus build --tokenizer "$tokenizer" --out "$work/corpus.h5" --json "$work/text${1:-}"
}
packed=()
for packer in gzip zstd xz bzip2 lz4; do
    if command -v "$packer" >/dev/null; then
        "$packer" -c <"$work/text" >"$work/text.$packer"
        packed+=("$packer")
    fi
done
encode() { "$kmask" tokenizer encode --tokenizer "$tokenizer" <"$work/text"; }
for ((i = 0; i < repeat; i++)); do
    run build build
    for packer in "${packed[@]}"; do run "build.$packer" build ".$packer"; done
    run encode encode
done

# ---- The table
bytes=$(stat -c %s "$work/text")
echo "$bytes bytes of text, $(wc -l <"$tokenizer/vocab.txt") pieces; medians of $repeat"
printf '%-24s %12s %8s %8s %18s %12s\n' command tokens 'CPU s' 'wall s' 'tokens/s a core' 'MB/s a core'
row() { # row LABEL NAME TOKENS
    local cpu wall
    cpu=$(middle 1 "$2")
    wall=$(middle 2 "$2")
    awk -v label="$1" -v tokens="$3" -v bytes="$bytes" -v cpu="$cpu" -v wall="$wall" 'BEGIN {
        printf "%-24s %12d %8.2f %8.2f %18d %12.1f\n", label, tokens, cpu, wall, tokens / cpu, bytes / cpu / 1e6 }'
}
middle() { # middle FIELD NAME
    cut -d' ' -f"$1" "$work/$2.times" | sort -g |
        awk '{ v[NR] = $1 } END { print (v[int((NR + 1) / 2)] + v[int(NR / 2) + 1]) / 2 }'
}
row 'kmask corpus build' build "$(sed -nE 's/.*"tokens":[[:space:]]*([0-9]+).*/\1/p' "$work/build.out" | head -n 1)"
for packer in "${packed[@]}"; do
    row "corpus build, $packer" "build.$packer" "$(sed -nE 's/.*"tokens":[[:space:]]*([0-9]+).*/\1/p' "$work/build.$packer.out" | head -n 1)"
done
row 'kmask tokenizer encode' encode "$(wc -w <"$work/encode.out")"

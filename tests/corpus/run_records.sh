#!/usr/bin/env bash
# A record of JSONL takes a small multiple of its own size in memory, however many values are in it, and one with too many is a sentence.
. "$SOURCE/tests/common.sh"
make_text >text.txt
"$KMASK" tokenizer train --type wordpiece --vocab-size 600 --out tok text.txt >/dev/null 2>log.txt || fail "$(cat log.txt)"
words() { tr '\n' ' ' <text.txt | tr -d '"\\\t'; }
zeros() { yes 0, | tr -d '\n' | head -c "$1"; }
few() { # COMMAND...: with 800 MB of address space; a program with MPI and OpenBLAS has half of that from the start
    (ulimit -v 800000; exec "$@")
}
build() { few "$KMASK" corpus build --tokenizer tok --out corpus.h5 "$@"; }
few "$KMASK" corpus build --tokenizer tok --out corpus.h5 text.txt >log.txt 2>&1 || { echo "skipped: not even a small corpus in 800 MB"; exit 77; }

# 30 MB of numbers that nobody wants: forty times as much in memory, if they were kept.
{ printf '{"text": "'; words; printf '"}\n{"text": "a word", "input_ids": ['; zeros 30000000; printf '0]}\n{"text": "the end of it"}\n'; } >dense.jsonl
expect 0 "1 records are left out; the first: dense.jsonl:2: the record: 15000004 values" build dense.jsonl
grep -q 'cut it in several' err.txt || fail "no way out: $(tail -n 1 err.txt)"
[ "$("$KMASK" inspect corpus.h5 | sed -nE 's/^documents +([0-9]+).*/\1/p')" = 2 ] || fail "$("$KMASK" inspect corpus.h5 | head -n 12)"
# Lists within lists, and texts, are values too.
{ printf '{"text": "a word", "tags": ['; yes '[],' | tr -d '\n' | head -c 24000000; printf '[]]}\n'; } >lists.jsonl
expect 1 "none of 1 records can be used; the first: lists.jsonl:1: the record: 16000005 values" build lists.jsonl
# A long text is one value.
{ printf '{"text": "'; for _ in $(seq 36); do words; done; printf '"}\n'; } >long.jsonl
[ "$(wc -c <long.jsonl)" -gt 24000000 ] || fail "long.jsonl has $(wc -c <long.jsonl) bytes"
expect 0 "" build long.jsonl
# Tags of a few thousand words are read.
{ printf '{"text": "'; words; printf '", "tags": ['; seq 0 2 100000 | awk '{ printf "%s[%d,%d,\"X\"]", s, $1, $1 + 1; s = "," }'; printf ']}\n'; } >tags.jsonl
expect 0 "" build tags.jsonl
finish

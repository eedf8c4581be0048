#!/usr/bin/env bash
# kmask generate: the same bytes on any number of ranks, answers in the order of the sources, text and JSON, and what is refused.
. "$SOURCE/tests/common.sh"
model=$SOURCE/tests/run/golden/bart
export KMASK_PROGRESS=none

# 100 sources of 2 to 24 tokens: several groups, so that each rank has some.
awk 'BEGIN { for (i = 0; i < 100; i++) { line = ""; for (k = 0; k < (i * 37) % 23; k++) line = line sprintf("%c", 97 + (i * 7 + k * k) % 26); print line } }' >sources.txt
generate() { "$KMASK" generate "$model" --in "$@" 2>>log.txt; }

generate sources.txt --json >one.jsonl || fail "generate: $(tail -n 1 log.txt)"
[ "$(wc -l <one.jsonl)" -eq 100 ] || fail "100 sources have $(wc -l <one.jsonl) answers"
for ranks in 2 3; do
    "$LAUNCH" $ranks "$KMASK" generate "$model" --in sources.txt --json >many.jsonl 2>>log.txt || fail "$ranks ranks: $(tail -n 1 log.txt)"
    cmp one.jsonl many.jsonl || fail "$ranks ranks answer otherwise than one"
done
for i in 1 50 77; do # a source alone has the answer that it has among others, so the order is right
    sed -n "${i}p" sources.txt | generate - --json | grep -oE '"output_ids":[^]]*' >alone.txt
    sed -n "${i}p" one.jsonl | grep -oE '"output_ids":[^]]*' | cmp -s - alone.txt || fail "source $i alone has another answer"
done

# Text and JSON are the same sources; a text is what the ids say; an empty line is <s></s>.
sed 's/.*/{"source": "&"}/' sources.txt | generate - --json | cmp -s - one.jsonl || fail "JSONL has other answers than text"
generate sources.txt | cmp -s - <(sed -E 's/^\{"output":"(.*)","output_ids".*/\1/' one.jsonl) || fail "text is not the JSON's output"
[ "$(echo | generate - --json)" = "$(echo '{"input_ids": [0, 2]}' | generate - --json)" ] || fail "an empty line is not <s></s>"
[ "$(echo '{"input_ids": [0, 9, 2, 1, 1]}' | generate - --beam 1)" = "$(echo f | generate - --beam 1)" ] || fail "pad tokens change an answer"
[ -z "$(generate - </dev/null)" ] || fail "no source has an answer"

# A source that is too long is named by its line, and can be cut.
{ echo ab; printf 'a%.0s' {1..23}; echo; } >long.txt
expect 1 "long.txt, line 2: the source has 25 tokens, and the model has positions for 24" "$KMASK" generate "$model" --in long.txt
[ -s out.txt ] && fail "answers were printed before the refusal"
expect 1 "line 2" "$LAUNCH" 2 "$KMASK" generate "$model" --in long.txt
[ "$(generate long.txt --truncate | wc -l)" -eq 2 ] || fail "--truncate does not cut"

refused() { # JSON WORDS
    printf '{"source": "a"}\n\n%s\n' "$1" >bad.jsonl
    expect 1 "bad.jsonl, line 3: $2" "$KMASK" generate "$model" --in bad.jsonl
}
refused '{"input_ids": []}' "input_ids is empty"
refused '{"input_ids": [1, 1]}' "input_ids has nothing but pad tokens"
refused '{"input_ids": [5, 53]}' "input_ids has something else in it; expected a list of ids from 0 to 52"
refused '{"input_ids": [5, 1.5]}' "input_ids has something else in it"
refused '{"input_ids": "a"}' "input_ids is no list"
refused '{"source": 1}' 'found neither "source" nor "input_ids"'
refused '{"source": "a"' "line 1, column 15: not valid JSON"
expect 1 "nowhere.txt" "$KMASK" generate "$model" --in nowhere.txt
expect 2 "maximum length is 25; expected 2 to 24" "$KMASK" generate "$model" --in long.txt --max-length 25
expect 2 "minimum length is 21; expected 0 to 20" "$KMASK" generate "$model" --in long.txt --min-length 21
expect 2 "beams is 27" "$KMASK" generate "$model" --in long.txt --beam 27
expect 2 "--in" "$KMASK" generate "$model"
expect 2 "cannot generate: it has no decoder" "$KMASK" generate "$SOURCE/tests/modelfile/golden/import/bert" --in long.txt
[ -e /dev/full ] && { "$KMASK" generate "$model" --in sources.txt >/dev/full 2>>log.txt && fail "a full disk is not noticed"; }
finish

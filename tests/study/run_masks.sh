#!/usr/bin/env bash
# kmask masks: the same numbers on any ranks, files, a table, a page, several configs, and sentences for what is wrong.
. "$SOURCE/tests/common.sh"
make_text >text.txt
"$KMASK" tokenizer train --type wordpiece --vocab-size 600 --out tok text.txt >/dev/null 2>log.txt || fail "tokenizer"
# A record a line; its first word is a noun, and its second a verb where there is one.
awk 'NF > 3 {
    gsub(/[\\"]/, ""); a = length($1); b = length($2); $1 = $1
    printf "{\"text\": \"%s\", \"tags\": [[0, %d, \"NOUN\"], [%d, %d, \"VERB\"]]}\n", $0, a, a + 1, a + 1 + b
}' text.txt | head -n 3000 >tagged.jsonl
"$KMASK" corpus build --tokenizer tok --spans find --out corpus.h5 tagged.jsonl >/dev/null 2>log.txt || fail "corpus: $(tail -n 3 log.txt)"
cat >c.json <<END
{"run": {"dir": "run", "seed": 3}, "data": {"train": "corpus.h5", "length": 48},
 "masks": {"policies": ["random", "fully_explored", "salient", "denoise"], "share": 0.5, "draws": 3}}
END
masks() { "$LAUNCH" "$1" "$KMASK" masks c.json --set "run.dir=$2" --json "${@:3}" >"$2.json" 2>log.txt; }
masks 1 one || fail "one rank: $(tail -n 3 log.txt)"
for ranks in 2 3 5; do
    masks "$ranks" "on-$ranks" || fail "$ranks ranks: $(tail -n 3 log.txt)"
    cmp -s one.json "on-$ranks.json" || fail "other numbers on $ranks ranks"
    cmp -s one/masks/masks.h5 "on-$ranks/masks/masks.h5" || fail "another file on $ranks ranks"
done
[ "$(grep -c '"tag_intervals"' one.json)" -eq 4 ] || fail "not four policies"
masks 1 seed --set run.seed=4 && cmp -s one.json seed.json && fail "another seed gives the same numbers"
"$KMASK" inspect one/masks/masks.h5 >out.txt 2>&1 || fail "masks.h5: $(cat out.txt)"

# As a table, and on a page.
"$KMASK" masks c.json >table.txt 2>log.txt || fail "table: $(tail -n 3 log.txt)"
grep -qE "^denoise .* over 3 visits" table.txt && grep -qE "^random .* exact" table.txt || fail "the policies: $(cat table.txt)"
grep -qE "^NOUN +[0-9.]+ +[0-9.]+ +[0-9.]+\.\.[0-9.]+" table.txt || fail "no shares of tags: $(cat table.txt)"
expect 0 "page.html: 1 folder" "$KMASK" report run --out page.html
grep -q '"tag_intervals"' page.html || fail "the page has no shares"

# Two configs with the policy are told apart; without run.dir nothing is written.
mkdir empty && cd empty || exit 1
for ratio in 0.15 0.3; do
    echo "{\"data\": {\"train\": \"../corpus.h5\", \"length\": 48}, \"mask\": {\"ratio\": $ratio, \"policy\": \"random\"}}" >"../r$ratio.json"
done
expect 0 "nothing is saved" "$KMASK" masks ../r0.15.json ../r0.3.json
grep -q 'random (../r0.15.json)' out.txt && grep -q 'random (../r0.3.json)' out.txt || fail "configs are not told apart"
rm -f out.txt err.txt
[ -z "$(ls)" ] || fail "files were written: $(ls)"
cd .. || exit 1

"$KMASK" corpus build --tokenizer tok --out plain.h5 text.txt >/dev/null 2>&1
expect 0 "saved in" "$KMASK" masks c.json --set data.train=plain.h5 --set masks.policies=random
grep -q "without tags" out.txt || fail "a corpus without tags"
expect 2 "holds no names" "$KMASK" masks c.json --set data.train=plain.h5
expect 2 "holds no names" "$LAUNCH" 2 "$KMASK" masks c.json --set data.train=plain.h5
expect 2 "masks.policies" "$KMASK" masks c.json --set masks.policies=randum
expect 2 "masks.share" "$KMASK" masks c.json --set masks.share=0
expect 2 "disjoint masks" "$KMASK" masks c.json --set mask.ratio=0.6 --set mask.policy=random --set mask.splits=2
expect 2 "data.train: missing" "$KMASK" masks c.json --set data.train=null
expect 2 "at least one config" "$KMASK" masks
expect 1 "absent.h5" "$KMASK" masks c.json --set data.train=absent.h5
finish

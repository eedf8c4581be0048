#!/usr/bin/env bash
# corpus build and show as a user meets them: the same bytes for any number of ranks, sentences for what is wrong.
set -u
rm -rf "$WORK"
mkdir -p "$WORK/text/more" "$WORK/tok"
cd "$WORK" || exit 1
bad=0
fail() { echo "FAILED: $1"; bad=1; }
says() { grep -qF -- "$2" "$1" || { fail "$1 does not say: $2"; sed 's/^/    /' "$1"; }; }
# refused STATUS SENTENCE ARGUMENTS...: exit status and message, and nothing left behind
refused() {
    local expected=$1 sentence=$2 status
    shift 2
    "$KMASK" "$@" >out.txt 2>err.txt </dev/null
    status=$?
    [ $status = "$expected" ] || fail "status $status instead of $expected: kmask $*"
    says err.txt "$sentence"
    # Containers without /sys make hwloc talk too.
    [ "$(grep -vc "^\[hwloc" err.txt)" -le 2 ] || fail "more than a sentence: kmask $*"
    [ -z "$(ls -d ./*.tmp* 2>/dev/null)" ] || fail "left behind by kmask $*: $(ls -d ./*.tmp*)"
}

# ---- A vocabulary and text ----
{
    printf '%s\n' '[PAD]' '[UNK]' '[CLS]' '[SEP]' '[MASK]' . ,
    for c in {a..z}; do printf '%s\n##%s\n' "$c" "$c"; done
    printf '%s\n' the rank mask gradient is of '##s' | sort -u | grep -v '^##s$'
} >tok/vocab.txt
for i in $(seq 1 400); do
    printf 'The mask of rank %d is the mask.\nGradient abc%s, of ranks.\n' "$i" "$(echo "$i" | tr 0-9 a-j)"
    [ $((i % 7)) = 0 ] || echo
done >text/a.txt
for i in $(seq 1 300); do
    echo "{\"id\": $i, \"text\": \"The rank is\\nthe mask $(echo "$i" | tr 0-9 k-t).\"}"
done >text/more/b.jsonl
gzip -c text/a.txt >text/more/c.txt.gz
touch text/empty.txt
echo hidden >text/.hidden

# ---- The same bytes for 1, 2, 3 and 5 ranks ----
for ranks in 1 2 3 5; do
    "$LAUNCH" $ranks "$KMASK" corpus build --tokenizer tok --out c$ranks.h5 --holdout 0.1 text >b$ranks.txt \
        2>e$ranks.txt || { fail "build on $ranks ranks"; cat e$ranks.txt; }
    cmp c1.h5 c$ranks.h5 || fail "$ranks ranks build another corpus"
    cmp c1.holdout.h5 c$ranks.holdout.h5 || fail "$ranks ranks hold out others"
    diff b1.txt b$ranks.txt || fail "$ranks ranks report something else"
done
says b1.txt "documents"
says b1.txt "row 2: [CLS]"
[ -z "$(ls -d ./*.tmp* 2>/dev/null)" ] || fail "left behind: $(ls -d ./*.tmp*)"

# ---- show ----
"$KMASK" corpus show c1.h5 >show.txt || fail "show"
says show.txt "rows of length 128"
"$KMASK" corpus show c1.h5 --row 1 --length 40 --mask policy=fully_explored,splits=4,unit=word --json >row.json ||
    fail "show --row --json"
python3 - <<'PYTHON' || fail "the row's JSON"
import json
row = json.load(open("row.json"))
assert row["row"] == 1 and len(row["input_ids"]) == len(row["word_starts"]) <= 40
assert row["input_ids"][0] == 2 and row["input_ids"][-1] == 3 and row["word_starts"][0] == 1
masks = row["masks"]
assert len(masks) == 4 and all(masks)
flat = [p for mask in masks for p in mask]
assert len(flat) == len(set(flat)), "disjoint"
assert all(0 < p < len(row["input_ids"]) - 1 for p in flat)
PYTHON
"$KMASK" corpus show c1.h5 --row 1 --length 40 --mask splits=4,unit=word >table.txt || fail "show --mask"
says table.txt "K = 4 fully_explored masks of tau"
"$KMASK" corpus show c1.h5 --length 40 --packing stream --mask policy=random,splits=2 >texts.txt ||
    fail "show stream"
says texts.txt "mask 1: [CLS]"
a=$("$KMASK" corpus show c1.h5 --row 0 --mask splits=2 --json)
b=$("$KMASK" corpus show c1.h5 --row 0 --mask splits=2 --json --epoch 1)
[ "$a" != "$b" ] || fail "epochs have the same masks"

"$KMASK" corpus show c1.h5 --length 40 --mask policy=denoise,splits=2 >noise.txt || fail "show denoise"
says noise.txt "source 1: [CLS]"
says noise.txt "target 1: [CLS]"
"$KMASK" corpus show c1.h5 --length 40 --rows 20 --mask policy=random,splits=2,ratio=0.3,target=masked --json >rows.jsonl ||
    fail "show --rows --json"
python3 - <<'PYTHON' || fail "sources and targets"
import json
rows = [json.loads(line) for line in open("rows.jsonl")]
assert [row["row"] for row in rows] == list(range(20))
mask = 4  # of the tokenizer above: [PAD] [UNK] [CLS] [SEP] [MASK]
for row in rows:
    for hidden, source, target in zip(row["masks"], row["sources"], row["targets"]):
        ids = row["input_ids"]
        assert target == [2] + [ids[p] for p in hidden] + [3]
        shown = []
        for p, i in enumerate(ids):
            if p not in hidden:
                shown.append(i)
            elif p - 1 not in hidden:
                shown.append(mask)
        assert source == shown, (source, shown)
PYTHON

# ---- Names, dates and numbers: given, and found ----
for i in $(seq 1 60); do
    echo "{\"text\": \"the rank of Abc is $i. It is masked in March 1999.\", \"entities\": [[12, 15, \"ORG\"], [99, 3]]}"
done >given.jsonl
for ranks in 1 3; do
    "$LAUNCH" $ranks "$KMASK" corpus build --tokenizer tok --out g$ranks.h5 given.jsonl >g$ranks.txt 2>&1 || fail "given"
    "$LAUNCH" $ranks "$KMASK" corpus build --tokenizer tok --spans find --out f$ranks.h5 given.jsonl text >f$ranks.txt 2>&1 ||
        fail "find"
done
cmp g1.h5 g3.h5 && cmp f1.h5 f3.h5 || fail "spans depend on ranks"
says g1.txt "60  names, dates and numbers"
says g1.txt "60  given entities left out"
"$KMASK" corpus show g1.h5 --row 0 --length 20 --json >spans.json || fail "show spans"
python3 - <<'PYTHON' || fail "spans of a row"
import json
row = json.load(open("spans.json"))
assert row["spans"][0] == [4, 7, "entity"], row["spans"]  # [CLS] the rank of a ##b ##c
PYTHON
"$KMASK" corpus show g1.h5 --row 0 --length 20 >spans.txt || fail "show spans"
says spans.txt "spans: abc (entity)"
"$KMASK" corpus build --tokenizer tok --sentences line --spans none --out n.h5 given.jsonl >n.txt 2>&1 || fail "none"
says n.txt "60  sentences (lines)"
grep -q "names, dates" n.txt && fail "--spans none has spans"

# ---- Tags: numbered alike whichever rank met them first ----
for i in $(seq 1 60); do
    echo "{\"text\": \"the rank of abc $i\", \"tags\": [[0, 3, \"DET\"], [12, 15, \"T$((i * 37 % 61))\"], [99, 3, \"X\"]]}"
done >tagged.jsonl
for ranks in 1 3; do
    "$LAUNCH" $ranks "$KMASK" corpus build --tokenizer tok --holdout 0.2 --out t$ranks.h5 tagged.jsonl given.jsonl \
        >t$ranks.txt 2>&1 || fail "tags"
done
cmp t1.h5 t3.h5 && cmp t1.holdout.h5 t3.holdout.h5 || fail "tags depend on ranks"
says t1.txt "60  given tags left out"
"$KMASK" corpus show t1.h5 --row 0 --length 20 --mask policy=random,splits=1 >tags.txt || fail "show tags"
grep -Eq "^ +1  the +DET +[.#]" tags.txt || fail "a table without tags"
"$KMASK" corpus show t1.h5 --row 0 --length 20 --json | grep -A3 '"tags"' | grep -q '"DET"' || fail "JSON without tags"
"$KMASK" inspect t1.h5 --json | grep -q '"DET"' || fail "inspect without tags"

# ---- Held-out text stays held out ----
"$KMASK" corpus build --tokenizer tok --out held.h5 --holdout 0.1 text >out.txt 2>&1 || fail "held.h5"
cp held.h5 kept.h5
refused 1 'held.holdout.h5: a held-out corpus' corpus build --tokenizer tok --out held.h5 text
cmp held.h5 kept.h5 || fail "a refused build changed the corpus"
[ -e held.holdout.h5 ] || fail "a refused build removed the held-out corpus"
"$KMASK" corpus build --tokenizer tok --out held.h5 --force text >out.txt 2>err.txt || fail "--force: $(cat err.txt)"
[ ! -e held.holdout.h5 ] || fail "a stale held-out corpus is left"
says err.txt "held.holdout.h5 is removed"

# ---- What is wrong is a sentence, and nothing is left behind ----
refused 1 'missing.txt' corpus build --tokenizer tok --out x.h5 missing.txt
refused 1 'no/tok' corpus build --tokenizer no/tok --out x.h5 text
refused 1 'there is no folder' corpus build --tokenizer tok --out no/such/x.h5 text
refused 1 'no field "body"' corpus build --tokenizer tok --out x.h5 --field body text/more/b.jsonl
refused 2 'needs --out' corpus build --tokenizer tok text
refused 2 '--document' corpus build --tokenizer tok --out x.h5 --document pages text
refused 2 '--spans' corpus build --tokenizer tok --out x.h5 --spans all text
refused 2 'no text to read' corpus build --tokenizer tok --out x.h5
refused 2 'expected a share' corpus build --tokenizer tok --out x.h5 --holdout 1 text
refused 2 'corpus' corpus mend
refused 1 'missing.h5' corpus show missing.h5
refused 1 'vocab.txt' corpus show tok/vocab.txt
refused 2 'does not exist' corpus show c1.h5 --row 100000
refused 2 'an encoder-decoder predicts with its decoder' corpus show c1.h5 --mask policy=denoise,target=tokens
refused 2 'holds no names, dates and numbers' corpus show c1.h5 --mask policy=salient
refused 2 'mask.splits' corpus show c1.h5 --mask split=3
refused 2 'subword' corpus show c1.h5 --mask unit=letter
[ ! -e x.h5 ] || fail "x.h5 was written"
head -c 5000 c1.h5 >cut.h5
refused 1 'cut.h5' corpus show cut.h5

# ---- A full disk (here: a limit on file sizes) harms nothing that was there ----
for i in $(seq 1 250); do cat text/a.txt; echo; done >big.txt
cp c1.h5 kept.h5
(
    ulimit -f 5000 # KiB; MPI's own files need 4096
    trap '' XFSZ
    "$KMASK" corpus build --tokenizer tok --out kept.h5 big.txt >out.txt 2>err.txt
) && fail "a full disk went unnoticed"
says err.txt "File too large"
cmp c1.h5 kept.h5 || fail "a full disk harmed the older corpus"
[ -z "$(ls -d ./*.tmp* 2>/dev/null)" ] || fail "left behind: $(ls -d ./*.tmp*)"

exit $bad

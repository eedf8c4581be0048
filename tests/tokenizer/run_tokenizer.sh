#!/usr/bin/env bash
# kmask tokenizer as a user meets it: train, encode, decode, and sentences for what is wrong.
set -u
rm -rf "$WORK"
mkdir -p "$WORK"
cd "$WORK" || exit 1
bad=0
fail() { echo "FAILED: $1"; bad=1; }
says() { grep -qF -- "$2" "$1" || { fail "$1 does not say: $2"; sed 's/^/    /' "$1"; }; }
# refused STATUS SENTENCE ARGUMENTS...
refused() {
    local expected=$1 sentence=$2 status
    shift 2
    "$KMASK" tokenizer "$@" >out.txt 2>err.txt </dev/null
    status=$?
    [ $status = "$expected" ] || fail "status $status instead of $expected: kmask tokenizer $*"
    says err.txt "$sentence"
}

for i in $(seq 1 300); do
    echo "The ship sailed, and the whale (number $i) was seen by the sailors; they were sailing home."
done >text.txt
train=(train --type wordpiece --vocab-size 200)

# ---- Train: the same pieces from a file, two files or a pipe ----
"$KMASK" tokenizer "${train[@]}" --out tok text.txt >out.txt 2>err.txt || fail "train: $(cat err.txt)"
says out.txt "tok: "
for name in vocab.txt tokenizer_config.json special_tokens_map.json; do
    [ -s "tok/$name" ] || fail "no tok/$name"
done
head -n 100 text.txt >a.txt
tail -n +101 text.txt >b.txt
"$KMASK" tokenizer "${train[@]}" --out tok2 a.txt b.txt >out.txt 2>err.txt || fail "two files: $(cat err.txt)"
"$KMASK" tokenizer "${train[@]}" --out tok3 - <text.txt >out.txt 2>err.txt || fail "pipe: $(cat err.txt)"
cmp tok/vocab.txt tok2/vocab.txt || fail "another vocabulary from two files"
cmp tok/vocab.txt tok3/vocab.txt || fail "another vocabulary from a pipe"
"$KMASK" tokenizer "${train[@]}" --cased --out cased text.txt >out.txt 2>err.txt || fail "cased: $(cat err.txt)"
grep -q '"do_lower_case":.*false' cased/tokenizer_config.json || fail "not saved as cased"

# ---- A tokenizer is not lost by accident ----
"$KMASK" tokenizer "${train[@]}" --out tok text.txt >out.txt 2>err.txt || fail "again: $(cat err.txt)"
before=$(md5sum <tok/vocab.txt)
refused 1 "holds another tokenizer" train --type wordpiece --vocab-size 100 --out tok text.txt
[ "$before" = "$(md5sum <tok/vocab.txt)" ] || fail "the vocabulary was changed"
"$KMASK" tokenizer train --type wordpiece --vocab-size 100 --force --out tok2 text.txt >out.txt 2>err.txt ||
    fail "--force: $(cat err.txt)"
[ "$(wc -l <tok2/vocab.txt)" = 100 ] || fail "not 100 pieces"

# ---- Encode and decode ----
printf 'The whale\n\nsailing [MASK] home' >in.txt
"$KMASK" tokenizer encode --tokenizer tok --special <in.txt >ids.txt 2>err.txt || fail "encode: $(cat err.txt)"
[ "$(wc -l <ids.txt)" = 3 ] || fail "not a line of ids a line: $(cat ids.txt)"
sed -n 3p ids.txt | grep -qw 4 || fail "[MASK] is not 4: $(sed -n 3p ids.txt)"
"$KMASK" tokenizer decode --tokenizer tok <ids.txt >back.txt 2>err.txt || fail "decode: $(cat err.txt)"
printf 'the whale\n\nsailing [MASK] home\n' | cmp - back.txt || fail "decoded: $(cat back.txt)"
"$KMASK" tokenizer decode --tokenizer tok --skip-special <ids.txt | sed -n 3p | grep -qx 'sailing home' ||
    fail "--skip-special keeps [MASK]"
"$KMASK" tokenizer encode --tokenizer tok <in.txt | sed -n 3p | grep -qw 4 && fail "[MASK] without --special is 4"
printf 'a\xff\xfeb\n' | "$KMASK" tokenizer encode --tokenizer tok >out.txt 2>err.txt || fail "invalid UTF-8"
says err.txt "2 invalid UTF-8"

# ---- Byte-level BPE ----
"$KMASK" tokenizer train --type bpe --vocab-size 400 --out bpe text.txt >out.txt 2>err.txt || fail "bpe: $(cat err.txt)"
for name in vocab.json merges.txt tokenizer.json tokenizer_config.json special_tokens_map.json; do
    [ -s "bpe/$name" ] || fail "no bpe/$name"
done
cat a.txt b.txt | "$KMASK" tokenizer train --type bpe --vocab-size 400 --out bpe2 - >out.txt 2>err.txt || fail "bpe from a pipe"
cmp bpe/merges.txt bpe2/merges.txt || fail "other merges from a pipe"
printf 'The whale\n\n sailing <mask> h\303\251\000me\r' >in.txt
"$KMASK" tokenizer encode --tokenizer bpe --special <in.txt >ids.txt 2>err.txt || fail "encode: $(cat err.txt)"
sed -n 3p ids.txt | grep -qw 4 || fail "<mask> is not 4: $(sed -n 3p ids.txt)"
"$KMASK" tokenizer decode --tokenizer bpe <ids.txt >back.txt 2>err.txt || fail "decode: $(cat err.txt)"
printf 'The whale\n\n sailing<mask> h\303\251\000me\r\n' | cmp - back.txt || fail "decoded: $(cat -v back.txt)"
mkdir -p alone
cp bpe/tokenizer.json alone/
"$KMASK" tokenizer encode --tokenizer alone --special <in.txt | cmp - ids.txt || fail "tokenizer.json has other ids"
mkdir -p bare
cp bpe/vocab.json bpe/merges.txt bare/
echo '{"model_type": "roberta"}' >bare/config.json
"$KMASK" tokenizer encode --tokenizer bare --special <in.txt 2>err.txt | cmp - ids.txt || fail "bare files have other ids"
says err.txt "model_type roberta"
refused 1 "holds another tokenizer" train --type wordpiece --vocab-size 100 --out bpe text.txt
"$KMASK" tokenizer train --type wordpiece --vocab-size 100 --force --out bpe2 text.txt >out.txt 2>err.txt || fail "--force"
[ -e bpe2/vocab.json ] && fail "the BPE vocabulary is still there"
"$KMASK" corpus build --tokenizer bpe --document line --out bpe.h5 text.txt >out.txt 2>err.txt || fail "corpus: $(cat err.txt)"
"$KMASK" inspect bpe.h5 >out.txt 2>err.txt || fail "inspect: $(cat err.txt)"
says out.txt "bpe, "
cat >config.json <<'END'
{"run": {"dir": "run"}, "model": {"type": "roberta", "preset": "tiny"}, "data": {"train": "bpe.h5", "length": 32},
 "mask": {"unit": "word"}, "train": {"steps": 2, "sequences": 2}, "optimizer": {"lr": 1e-3}}
END
"$KMASK" pretrain config.json >out.txt 2>err.txt || fail "pretrain: $(cat err.txt)"
for blank in '[MASK]' '<mask>'; do
    "$KMASK" fill run/checkpoints/step-00000002.h5 "The $blank sailed" --json >"fill$blank.txt" 2>err.txt ||
        fail "fill: $(cat err.txt)"
done
cmp 'fill[MASK].txt' 'fill<mask>.txt' || fail "[MASK] and <mask> are not the same"

# ---- Any text that a corpus is built of: the same pieces ----
gzip -c text.txt >text.txt.gz
iconv -f utf-8 -t utf-16 text.txt >text.utf16
"$KMASK" tokenizer "${train[@]}" --out plain text.txt >/dev/null 2>&1 || fail "plain text"
for form in "text.txt.gz" "text.utf16" "-"; do
    rm -rf other
    "$KMASK" tokenizer "${train[@]}" --out other "$form" <text.txt >/dev/null 2>err.txt || fail "$form: $(cat err.txt)"
    cmp plain/tokenizer.json other/tokenizer.json || fail "$form gives other pieces"
done
printf '\x89PNG\r\n\x1a\n' >picture.txt

# ---- Sentences ----
refused 2 "expected train, encode, decode or export" trian
refused 2 "--type wordpiece" train --vocab-size 100 --out x text.txt
refused 2 "--vocab-size" train --type wordpiece --out x text.txt
refused 2 "--vocab-size" train --type wordpiece --vocab-size 3 --out x text.txt
refused 2 "--out" train --type wordpiece --vocab-size 100 text.txt
refused 2 "a text file" train --type wordpiece --vocab-size 100 --out x
refused 2 "261 pieces" train --type bpe --vocab-size 100 --out x text.txt
refused 2 "--cased is for" train --type bpe --vocab-size 300 --cased --out x text.txt
refused 1 "missing.txt" "${train[@]}" --out x text.txt missing.txt
refused 1 "a file" "${train[@]}" --out text.txt text.txt
refused 1 "found a PNG image" "${train[@]}" --out x picture.txt
: >empty.txt
refused 1 "no words" "${train[@]}" --out x empty.txt
refused 2 "--tokenizer DIR" encode
refused 2 "standard input" encode --tokenizer tok in.txt
refused 1 "nowhere" encode --tokenizer nowhere
echo "5 abc" | "$KMASK" tokenizer decode --tokenizer tok >out.txt 2>err.txt && fail "abc is an id"
says err.txt "line 1: found abc"
echo "5 200000" | "$KMASK" tokenizer decode --tokenizer tok >out.txt 2>err.txt && fail "200000 is an id"
[ -e x ] && fail "a refused command left a folder"
"$KMASK" tokenizer --help | grep -q "Example:" || fail "no example in the help"
exit $bad

#!/usr/bin/env bash
# Control characters from texts, pieces, names and keys are escaped wherever a terminal may show them; data for programs stays what it is.
source "$SOURCE/tests/common.sh"
esc=$'\e' bell=$'\a' csi=$'\xc2\x9b' turned=$'\xe2\x80\xae'
clean() { # FILE WHAT
    LC_ALL=C grep -q $'[\x01-\x08\x0b-\x1f\x7f]' "$1" && fail "$2: a control character: $(LC_ALL=C cat -v "$1" | head -n 3)"
    grep -qF -e "$csi" -e "$turned" "$1" && fail "$2: a control character of Unicode"
}
says() { grep -qF -- "$2" "$1" || fail "no '$2' in $1: $(head -n 5 "$1")"; }

# Names and keys in messages.
bad="x${esc}]0;title${bell}y${csi}31m${turned}z"
"$KMASK" inspect "$bad" >out.txt 2>err.txt
clean err.txt "a name"
says err.txt 'x\x1b]0;title\x07y\u009b31m\u202ez: cannot open'
"$KMASK" pretrain c.json --set "$bad=1" >out.txt 2>err.txt
clean err.txt "a key"
printf '{"run": {"dir\\u001b[2J": 1}}' >c.json
"$KMASK" pretrain c.json >out.txt 2>err.txt
clean err.txt "a key of a file"
says err.txt 'dir\x1b[2J'
"$KMASK" pretrain "$(printf 'a\x9bb')" >out.txt 2>err.txt
says err.txt 'a\x9bb'

# Text and pieces in what is printed for people.
mkdir tok
printf '%s\n' '[PAD]' '[UNK]' '[CLS]' '[SEP]' '[MASK]' the cat "${turned}dog" sat . >tok/vocab.txt
printf 'the cat sat .\nthe %sdog sat .\n' "$turned" >text.txt
"$KMASK" corpus build --tokenizer tok --out corpus.h5 text.txt >out.txt 2>err.txt || fail "no corpus: $(cat err.txt)"
mkdir "$bad" && mv corpus.h5 "$bad/c.h5"
for verb in "corpus show" inspect; do
    "$KMASK" $verb "$bad/c.h5" >out.txt 2>err.txt || fail "$verb: $(cat err.txt)"
    clean out.txt "$verb"
    clean err.txt "$verb"
done
says out.txt 'x\x1b]0;title'
"$KMASK" corpus show "$bad/c.h5" >out.txt
says out.txt the

# Data stays what it is, but on a terminal.
printf 'the \x1b[31m cat\n' >line.txt
"$KMASK" tokenizer train --type bpe --vocab-size 300 --out bpe line.txt text.txt >out.txt 2>err.txt || fail "bpe: $(cat err.txt)"
"$KMASK" tokenizer encode --tokenizer bpe <line.txt 2>err.txt | "$KMASK" tokenizer decode --tokenizer bpe >out.txt 2>>err.txt
cmp -s line.txt out.txt || fail "a pipe: $(LC_ALL=C cat -v out.txt)"
if command -v script >/dev/null; then
    "$KMASK" tokenizer encode --tokenizer bpe <line.txt >ids.txt 2>/dev/null
    script -qec "'$KMASK' tokenizer decode --tokenizer bpe <ids.txt" /dev/null </dev/null >typed.txt 2>&1
    says typed.txt '\x1b[31m'
    tr -d '\r' <typed.txt >seen.txt && clean seen.txt "a terminal"
fi
finish

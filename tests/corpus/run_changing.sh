#!/usr/bin/env bash
# Text that another program writes to while a corpus is built of it: what was read and is there no more is an error that names the file, on
# any number of ranks; what was only touched, or added at the end, is none. A pipe that is read last holds the build until the file has
# been read and changed.
. "$SOURCE/tests/common.sh"
make_text >kept.txt
"$KMASK" tokenizer train --type wordpiece --vocab-size 600 --out tok kept.txt >/dev/null 2>log.txt || fail "$(cat log.txt)"
gzip -c kept.txt >kept.txt.gz
tar -cf kept.tar kept.txt
awk '{ print toupper($0) }' kept.txt >other.txt # of the same length
[ "$(wc -c <other.txt)" = "$(wc -c <kept.txt)" ] || fail "other.txt has another length"
mkfifo pipe

# while_read WANT "WORDS" FILE COMMAND...: the command runs once FILE has been read; then the build ends with WANT.
ranks=1
while_read() {
    local want=$1 words=$2 file=$3 got
    shift 3
    rm -f corpus.h5
    { cat kept.txt; "$@"; } >pipe & # 800 KB: a pipe holds 64
    local writer=$!
    "$LAUNCH" "$ranks" "$KMASK" corpus build --tokenizer tok --out corpus.h5 "$file" pipe >out.txt 2>err.txt
    got=$?
    wait "$writer"
    [ "$got" -eq "$want" ] || fail "$ranks ranks, $*: status $got instead of $want ($(tail -n 2 err.txt))"
    [ -z "$words" ] || grep -qF -- "$words" err.txt || fail "$ranks ranks, $*: no '$words' ($(tail -n 2 err.txt))"
    [ "$want" = 0 ] || [ ! -e corpus.h5 ] || fail "$ranks ranks, $*: a corpus was written"
}
overwrite() { dd if="$1" of="$2" conv=notrunc bs=1M 2>/dev/null; }
overwrite_late() { # in the last byte alone, and with its times set back
    local when
    when=$(stat -c @%.9Y text.txt)
    printf x | dd of=text.txt conv=notrunc bs=1 seek=$(($(wc -c <text.txt) - 1)) 2>/dev/null
    touch -d "$when" text.txt
}

for ranks in 1 2; do
    cp kept.txt text.txt
    while_read 1 "text.txt: was written to while it was read" text.txt overwrite other.txt text.txt
    cp kept.txt text.txt
    while_read 1 "text.txt: was written to while it was read" text.txt overwrite_late
    cp kept.txt text.txt
    while_read 1 "text.txt: was written to while it was read" text.txt truncate -s 1000 text.txt
    cp kept.txt text.txt
    while_read 0 "" text.txt touch text.txt
    mv corpus.h5 "touched-$ranks.h5"
done
ranks=1
cp kept.txt text.txt
while_read 1 "text.txt: was written to while it was read" text.txt cp other.txt text.txt
cp kept.txt text.txt
cp other.txt new.txt
while_read 1 "text.txt: was written to while it was read" text.txt mv new.txt text.txt
cp kept.txt.gz text.gz
while_read 1 "text.gz: was written to while it was read" text.gz overwrite other.txt text.gz
cp kept.tar text.tar
while_read 1 "text.tar: was written to while it was read" text.tar overwrite other.txt text.tar

# What was read is still there.
cp kept.txt text.txt
while_read 0 "" text.txt chmod 600 text.txt
cmp -s corpus.h5 touched-1.h5 && cmp -s corpus.h5 touched-2.h5 || fail "the corpus of touched text is another"
while_read 0 "" text.txt cp other.txt text.tar
cmp -s corpus.h5 touched-1.h5 || fail "the corpus depends on another file"
append() { cat other.txt >>text.txt; }
while_read 0 "" text.txt append
cmp -s corpus.h5 touched-1.h5 || fail "the corpus has what was added while it was built"
while_read 0 "" text.txt rm text.txt
cp kept.tar text.tar
while_read 0 "" text.tar chmod 600 text.tar

# A vocabulary is learned by the same rules.
cp kept.txt text.txt
{ cat kept.txt; overwrite other.txt text.txt; } >pipe &
expect 1 "text.txt: was written to while it was read" "$KMASK" tokenizer train --type wordpiece --vocab-size 600 --out tok2 text.txt pipe
wait
[ ! -e tok2 ] || fail "a vocabulary of text that has changed was written"
finish

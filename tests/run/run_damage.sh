#!/usr/bin/env bash
# Damaged and foreign files at every place where one is read, and a disk that fills up: one sentence, the right status,
# nothing hangs, nothing is left behind, and what can be made again is made again with the same bits.
. "$SOURCE/tests/common.sh"
make_corpus
make_config c.json run
sed -i 's/"eval": "corpus.holdout.h5", //; s/"steps": 20/"steps": 10/' c.json
timeout 60 "$KMASK" pretrain c.json >log.txt 2>&1 || fail "the run: $(tail -n 3 log.txt)"
checkpoint=run/checkpoints/step-00000010.h5
mkfifo pipe
mkdir folder

# refused STATUS WORDS command...: as expect, in time, in one sentence of ours, and without a file left behind.
refused() {
    local status=$1 words=$2
    shift 2
    expect "$status" "$words" timeout 60 "$@"
    [ "$(grep '^kmask: ' err.txt | grep -vc '^kmask: warning')" -eq 1 ] || fail "not one sentence: $* ($(cat err.txt))"
    [ -z "$(find . -name '*.tmp*')" ] || fail "left behind by $*: $(find . -name '*.tmp*')"
}

byte() { od -An -tx1 -j "$2" -N 1 "$1" | tr -d ' '; }
flip() { # FILE OFFSET
    printf "\\x$(printf %02x $((0x$(byte "$1" "$2") ^ 0x41)))" | dd of="$1" bs=1 seek="$2" conv=notrunc 2>/dev/null
}

# damages FILE: damaged files d.<what> made from FILE.
damages() {
    local size at
    size=$(stat -c %s "$1")
    rm -f d.*
    for at in 0 1 8 4080 4096 4097 $((size / 2)) $((size - 1)); do head -c "$at" "$1" >"d.cut$at"; done
    for at in 0 8 16 24 2000 4095 4096 5000 $((size / 2)) $((size - 1)); do
        cp "$1" "d.flip$at"
        flip "d.flip$at" "$at"
    done
    { cat "$1"; echo; } >d.longer
    tail -c +4097 "$1" >d.hdf5
    gzip -c "$1" >d.gzip
    cp text.txt d.text
}

# ---- A corpus, a checkpoint, a model to start from ----
damages corpus.h5
for file in d.* pipe folder nowhere /dev/zero "$checkpoint"; do
    refused 1 "$file" "$KMASK" corpus show "$file"
done
for file in d.cut4097 d.flip8 pipe; do
    refused 1 "$file" "$KMASK" pretrain c.json --set run.dir=new --set "data.train=$file"
done
refused 1 d.flip5000 "$LAUNCH" 3 "$KMASK" pretrain c.json --set run.dir=new --set data.eval=d.flip5000
[ -e new ] && fail "a run folder was made for a run that could not start: $(ls new)"
damages "$checkpoint"
for file in d.* pipe folder nowhere /dev/zero; do
    refused 1 "$file" "$KMASK" inspect "$file"
done
sed -E 's/"model": .*/"model": {"init": "nowhere"},/; /"intermediate_size"/d' c.json >init.json
for file in d.flip5000 d.hdf5 pipe corpus.h5; do
    refused 1 "$file" "$KMASK" pretrain init.json --set run.dir=new --set "model.init=$file"
done
refused 1 d.flip24 "$LAUNCH" 3 "$KMASK" pretrain init.json --set run.dir=new --set model.init=d.flip24
refused 1 d.flip24 "$KMASK" fill d.flip24 "a [MASK]"
rm -rf new

# ---- A config, a tokenizer ----
head -c 100000 /dev/zero | tr '\0' '[' >deep.json
head -c 2000000 /dev/zero | tr '\0' ' ' >huge.json
{ head -c 20 c.json; printf '\0'; tail -c +21 c.json; } >nul.json
head -c 100000 corpus.h5 >binary.h5 # as a whole it may be larger than a config can be
for file in deep.json:deeper huge.json:larger nul.json:NUL "pipe:named pipe" folder:folder binary.h5:NUL /dev/zero:device; do
    refused 2 "${file#*:}" "$KMASK" pretrain "${file%:*}"
done
for at in 0 200; do
    head -c "$at" c.json >cut.json
    refused 2 cut.json "$KMASK" pretrain cut.json
done
refused 2 deeper "$LAUNCH" 3 "$KMASK" pretrain deep.json
refused 2 "key=value" "$LAUNCH" 3 "$KMASK" pretrain c.json --set run.dir
bad_tokenizer() { # WORDS; the folder bad/ is made again, without the tokenizer.json, which would count in place of vocab.txt
    refused 1 "$1" "$KMASK" corpus build --tokenizer bad --out new.h5 text.txt
    [ -e new.h5 ] && fail "a corpus of a bad tokenizer"
    rm -rf bad
    cp -r plain bad
}
cp -r tok plain
rm plain/tokenizer.json
cp -r plain bad
: >bad/vocab.txt && bad_tokenizer "no pieces"
cp corpus.h5 bad/vocab.txt && bad_tokenizer "NUL"
cp text.txt bad/vocab.txt && bad_tokenizer "vocab.txt"
rm bad/vocab.txt && mkfifo bad/vocab.txt && bad_tokenizer "named pipe"
cp deep.json bad/tokenizer_config.json && bad_tokenizer "deeper"
rm bad/tokenizer_config.json && mkfifo bad/tokenizer_config.json && bad_tokenizer "named pipe"
refused 1 "neither a file nor a folder" "$KMASK" tokenizer train --type wordpiece --vocab-size 100 --out new /dev/zero

# ---- What lies in the run folder: resumed with the same bits, or refused ----
again() { # WHAT [STEPS]; goes on in damaged/ to step 12
    timeout 60 "$KMASK" pretrain c.json --set run.dir=damaged --set "train.steps=${2:-12}" >log.txt 2>&1 ||
        fail "$1: $(tail -n 3 log.txt)"
    [ "$(last_hash damaged)" = "$(last_hash "to-${2:-12}")" ] || fail "$1: another hash"
    fresh
}
fresh() { rm -rf damaged && cp -r run damaged; }
fresh
cp -r run to-10
cp -r run to-12
timeout 60 "$KMASK" pretrain c.json --set run.dir=to-12 --set train.steps=12 >log.txt 2>&1 || fail "going on"
rows=damaged/rows-full_sentences-subword-40-4.idx
for at in 50 $(($(stat -c %s "$rows") - 1)); do truncate -s "$at" "$rows" && again "rows cut at $at"; done
for at in 10 200; do flip "$rows" "$at" && again "rows flipped at $at"; done
rm "$rows" && mkfifo "$rows" && again "rows: a pipe"
rm damaged/metrics.jsonl && again "no metrics"
truncate -s 700 damaged/metrics.jsonl && again "metrics cut"
head -c 3000 corpus.h5 >damaged/metrics.jsonl && again "metrics of another kind"
cat deep.json >>damaged/metrics.jsonl && again "deep metrics"
rm damaged/metrics.jsonl && mkfifo damaged/metrics.jsonl
refused 1 "metrics.jsonl" "$KMASK" pretrain c.json --set run.dir=damaged --set train.steps=12
fresh
head -c 5000 "$checkpoint" >damaged/checkpoints/step-00000010.h5 && again "the last checkpoint cut" 10
rm damaged/checkpoints/step-00000010.h5 && mkfifo damaged/checkpoints/step-00000010.h5 &&
    again "a checkpoint that is a pipe" 10

# ---- Names ----
for name in "with space" "quo'te\"s" "ümläut %s" "./dots//here/"; do
    timeout 60 "$KMASK" pretrain c.json --set "run.dir=$name" --set train.steps=4 >log.txt 2>&1 ||
        fail "run.dir $name: $(tail -n 1 log.txt)"
    [ -s "$name/checkpoints/step-00000004.h5" ] || fail "run.dir $name has no checkpoint"
done

# ---- More memory than there is ----
refused 1 "no memory" "$KMASK" pretrain c.json --set run.dir=big --set model.hidden_size=65536 \
    --set model.num_hidden_layers=24
rm -rf big

# ---- A disk that fills up, where a user may mount one ----
disk() { # SIZE command...: runs it beside a disk at small/, whose files are then kept in kept/
    local size=$1
    shift
    rm -rf kept && mkdir -p kept small
    timeout 60 unshare -rm bash -c 'mount -t tmpfs -o size='"$size"' small small || exit 99
        "$@"; status=$?; cp -r small/. kept; exit $status' bash "$@"
}
if disk 1m true 2>err.txt; then
    for size in 4k 100k 300k; do
        expect 1 "No space left" disk $size "$KMASK" corpus build --tokenizer tok --out small/c.h5 text.txt
        [ -z "$(ls kept)" ] || fail "a full disk leaves $(ls kept)"
    done
    expect 1 "No space left" disk 8k "$KMASK" tokenizer train --type wordpiece --vocab-size 2000 --out small/t text.txt
    [ -z "$(ls kept/t)" ] || fail "a full disk leaves $(ls kept/t)"
    expect 1 "No space left" disk 20k "$KMASK" pretrain c.json --set run.dir=small/run
    # Room for what checkpoint.keep asks for is proven before the first step.
    expect 1 "No space left" disk 1500k "$LAUNCH" 2 "$KMASK" pretrain c.json --set run.dir=small/run
    grep -q "no room for 3 checkpoint(s)" err.txt || fail "what does not fit is not said: $(cat err.txt)"
    [ -z "$(find kept -name '*.h5*' -o -name '*.tmp*')" ] || fail "a full disk leaves $(find kept -type f)"
else
    echo "no disk can be mounted here: that it fills up is not tested"
fi
finish

#!/usr/bin/env bash
# kmask inspect: what it says of corpora, checkpoints and models is what was written, and damage is a sentence.
source "$SOURCE/tests/common.sh"
make_corpus
make_config config.json run
"$LAUNCH" 2 "$KMASK" pretrain config.json --set checkpoint.snapshots='[3]' >log.txt 2>&1 || { tail -n 3 log.txt; fail "no run"; finish; }
checkpoint=run/checkpoints/step-00000020.h5
model=$(find run -name '*00000003.h5')

inspect() { # arguments: says well, into out.txt; JSON without its blanks
    "$KMASK" inspect "$@" >raw.txt 2>err.txt || fail "inspect $*: $(cat err.txt)"
    case $* in *--json) tr -d ' \t\n' <raw.txt >out.txt ;; *) cp raw.txt out.txt ;; esac
}
says() { grep -qF -- "$1" out.txt || fail "no '$1' in what inspect says"; }

inspect corpus.h5 --json
says '"kind":"corpus"'
says '"type":"wordpiece"'
tokens=$(grep -o '"tokens":[0-9]*' out.txt | cut -d: -f2)
"$KMASK" corpus show corpus.h5 >out.txt 2>err.txt || fail "corpus show: $(cat err.txt)"
says " $tokens tokens"

inspect "$checkpoint" --json
says '"kind":"checkpoint"'
says '"step":20'
says "\"weights_hash\":\"$(last_hash run)\""
says '{"name":"bert.embeddings.word_embeddings.weight","shape":[600,48],"type":"float32"}'
says '"name":"/optimizer/m/cls.predictions.bias"'
says '"num_hidden_layers":2'
inspect "$model" --json
says '"kind":"model"'
says '"step":3'
says '"arrays":[]'
inspect "$checkpoint"
says "$checkpoint: checkpoint, intact"
says "$(last_hash run)"

# A checkpoint of three networks.
networks=$SOURCE/tests/run/golden/version2.h5
inspect "$networks" --json
says '"kind":"checkpoint"'
says '"format_version":2'
says '"parameters":983'
says '{"name":"frozen","weights_hash":"'
says '{"name":"policy","weights_hash":"'
says '"name":"/policy/embed.weight"'
inspect "$networks"
says "policy         4,107 parameters, weights_hash "
says "optimizer      10,180 values"

# Damage, in all its forms.
cp "$checkpoint" bad.h5
size=$(stat -c %s bad.h5)
printf 'x' | dd of=bad.h5 bs=1 seek=$((size / 2)) conv=notrunc status=none
expect 1 "bad.h5: damaged" "$KMASK" inspect bad.h5 --json
[ ! -s out.txt ] || fail "damage is not the only answer"
head -c $((size - 1)) "$checkpoint" >bad.h5
expect 1 "cut short: $((size - 1)) of $size bytes" "$KMASK" inspect bad.h5
tail -c +4097 "$checkpoint" >bad.h5
expect 1 "an HDF5 file, but not kmask's" "$KMASK" inspect bad.h5
expect 1 "not a kmask file" "$KMASK" inspect config.json
expect 1 "absent.h5: cannot open" "$KMASK" inspect absent.h5
expect 2 "needs one file" "$KMASK" inspect
expect 2 "--jsno" "$KMASK" inspect "$model" --jsno
finish

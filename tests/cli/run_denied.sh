#!/usr/bin/env bash
# What may not be read is called that, and never taken for something that is not there: folders that may not be entered or listed, and
# files, for every verb that reads them.
. "$SOURCE/tests/common.sh"
as_user() { # root may read everything
    if [ "$(id -u)" -eq 0 ]; then HOME=$PWD setpriv --reuid=65534 --regid=65534 --clear-groups -- "$@"; else "$@"; fi
}
# Where MPI keeps its session and shared memory, the user may write.
chmod 777 . ${TMPDIR:+"$TMPDIR"} ${OMPI_MCA_btl_vader_backing_directory:+"$OMPI_MCA_btl_vader_backing_directory"}
cp "$KMASK" ./kmask && as_user ./kmask --version >/dev/null 2>&1 || { echo "skipped: no unprivileged user can start kmask here"; exit 77; }
make_corpus
make_config c.json run
sed -i 's/"warmup": 4/"warmup": 0/' c.json
"$KMASK" pretrain c.json --set train.steps=2 --set checkpoint.every=2 >log.txt 2>&1 || fail "$(tail -n 2 log.txt)"
cp run/checkpoints/step-*.h5 model.h5
"$KMASK" export model.h5 --out folder >/dev/null 2>log.txt || fail "$(tail -n 2 log.txt)"
mkdir text bare && cp text.txt text/ && cp tok/vocab.txt bare/ # a vocabulary that no tokenizer.json stands beside
chmod -R a+rwX .

denied() { # WHAT MODE COMMAND...: the path with that mode makes the command say so
    local what=$1 mode=$2 before
    shift 2
    before=$(stat -c %a "$what")
    chmod "$mode" "$what"
    as_user "$@" >out.txt 2>err.txt && fail "$what with mode $mode: status 0: $*"
    grep -q "^kmask: .*$what.*Permission denied" err.txt || fail "$what with mode $mode, $*: $(tail -n 2 err.txt)"
    chmod "$before" "$what"
}
for mode in 000 600; do
    denied tok "$mode" ./kmask corpus build --tokenizer tok --out new.h5 text.txt
    denied tok "$mode" ./kmask tokenizer encode --tokenizer tok
    denied folder "$mode" ./kmask import folder --out new.h5
    denied run "$mode" ./kmask report run --out page.html
    denied run "$mode" ./kmask pretrain c.json --set train.steps=2
    denied run/checkpoints "$mode" ./kmask pretrain c.json --set train.steps=3
    denied text "$mode" ./kmask corpus build --tokenizer tok --out new.h5 text
    denied text "$mode" ./kmask pretrain c.json --set run.dir=text/new/run
    denied text "$mode" ./kmask plan c.json --set run.dir=text/new/run --gflops 10
    denied text "$mode" ./kmask tokenizer train --type wordpiece --vocab-size 600 --out text/tok text.txt
done
denied bare/vocab.txt 000 ./kmask tokenizer encode --tokenizer bare
denied tok/tokenizer.json 000 ./kmask tokenizer encode --tokenizer tok
denied folder/config.json 000 ./kmask import folder --out new.h5
denied folder/model.safetensors 000 ./kmask import folder --out new.h5
denied c.json 000 ./kmask plan c.json
denied corpus.h5 000 ./kmask corpus show corpus.h5
denied model.h5 000 ./kmask fill model.h5 'a [MASK].'
denied run/metrics.jsonl 000 ./kmask report run --out page.html
[ ! -e new.h5 ] && [ ! -e page.html ] || fail "something was written: $(ls)"
finish

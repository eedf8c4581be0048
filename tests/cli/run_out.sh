#!/usr/bin/env bash
# The file of --out, for every verb that has one: nothing but a regular file is replaced, and that file keeps its mode; links are not
# followed, and files beside it that look like temporary ones are somebody's own.
source "$SOURCE/tests/common.sh"
golden=$SOURCE/tests/modelfile/golden/import/bert
printf 'the cat sat on the mat .\n\nthe dog saw the cat .\n' >text.txt
printf '%s\n' '[PAD]' '[UNK]' '[CLS]' '[SEP]' '[MASK]' the cat sat on mat dog saw . >vocab.txt
mkdir tok run && mv vocab.txt tok
echo '{"step":1,"loss":1,"seconds":1}' >run/metrics.jsonl
"$KMASK" import "$golden" --out model.h5 >/dev/null 2>log.txt || fail "no model: $(cat log.txt)"
echo '{"input_ids": [[2, 5, 3]]}' >ids.json

write() { # VERB OUT
    case $1 in
        report) "$KMASK" report run --out "$2" ;;
        import) "$KMASK" import "$golden" --out "$2" ;;
        probe) "$KMASK" probe model.h5 --input ids.json --out "$2" ;;
        corpus) "$KMASK" corpus build --tokenizer tok --out "$2" text.txt ;;
        manual) "$KMASK" manual kmask --out "$2" ;;
        export) "$KMASK" export model.h5 --out "$2" ;;
    esac
}
for verb in report import probe corpus manual; do
    rm -rf place && mkdir place && cd place || exit 1
    ln -s ../ids.json ../tok ../model.h5 ../run ../text.txt .
    echo kept >target && ln -s target link && ln -s /dev/null null && ln -s nowhere dangling && mkfifo pipe && mkdir folder
    for out in link null dangling pipe folder; do
        expect 1 "$out: is there and no file but a" timeout 20 bash -c "$(declare -f write); KMASK='$KMASK' golden='$golden'; write $verb $out"
    done
    [ "$(cat target)" = kept ] && [ "$(readlink link) $(readlink null) $(readlink dangling)" = "target /dev/null nowhere" ] && [ -p pipe ] ||
        fail "$verb replaced what is no file: $(ls -l)"
    expect 1 "absent/x: there is no folder absent" write $verb absent/x
    # A file keeps its mode; what lies beside it stays.
    echo old >x && chmod 640 x
    echo mine >x.tmp && ln -s target x.new
    write $verb x >out.txt 2>err.txt || fail "$verb: $(cat err.txt)"
    [ "$(head -c 3 x)" != old ] && [ "$(stat -c %a x)" = 640 ] || fail "$verb: $(ls -l x)"
    [ "$(cat x.tmp target)" = "$(printf 'mine\nkept')" ] || fail "$verb touched a file beside it"
    [ -z "$(ls -d x.*.tmp* 2>/dev/null)" ] || fail "$verb leaves $(ls -d x.*.tmp*)"
    cd ..
done

# A folder: one that looks like a temporary folder of ours is somebody's own.
mkdir out.tmp && echo mine >out.tmp/model.safetensors && echo mine >out.tmp/config.json
write export out >out.txt 2>err.txt || fail "export: $(cat err.txt)"
[ -s out/model.safetensors ] && [ "$(cat out.tmp/*)" = "$(printf 'mine\nmine')" ] || fail "export touched out.tmp"
[ -z "$(ls -d out.*.tmp 2>/dev/null)" ] || fail "export leaves $(ls -d out.*.tmp)"
echo kept >target && rm out/config.json && ln -s ../target out/config.json
expect 1 "out/config.json: is there and no file but a symbolic link" "$KMASK" export model.h5 --out out --force
[ "$(cat target)" = kept ] && [ -L out/config.json ] || fail "export --force replaced a link"
finish

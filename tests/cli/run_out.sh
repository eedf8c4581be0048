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
# A classifier for predict, and a policy to probe.
printf 'text\tlabel\nthe cat sat .\ta\nthe dog saw .\tb\non the mat .\ta\ndog .\tb\n' >task.tsv
echo '{"run": {"dir": "tuned"}, "task": {"train": "task.tsv", "dev": "task.tsv", "length": 8}, "finetune": {"init": "model.h5", "steps": 1, "batch": 2}}' >tune.json
"$KMASK" finetune tune.json >/dev/null 2>log.txt && cp tuned/model.h5 classes.h5 || fail "no classifier: $(tail -n 2 log.txt)"
for i in 1 2 3 4 5 6 7 8; do echo '{"context": "the cat sat on the mat .", "source": "the", "target": "cat"}'; done >triples.jsonl
echo '{"run": {"dir": "policy"}, "policy": {"examples": "triples.jsonl", "init": "tok", "width": 4, "hidden": 4, "epochs": 1, "batch": 4}}' >p.json
"$KMASK" policy train p.json >/dev/null 2>log.txt && cp policy/policy.h5 net.h5 || fail "no policy: $(tail -n 2 log.txt)"
echo '{"input_ids": [[2, 5, 3]], "attention_mask": [[1, 1, 1]], "start": [1], "end": [1]}' >net.json

write() { # VERB OUT
    case $1 in
        report) "$KMASK" report run --out "$2" ;;
        import) "$KMASK" import "$golden" --out "$2" ;;
        predict) "$KMASK" predict classes.h5 --in task.tsv --out "$2" ;;
        policy) "$KMASK" policy probe --net net.h5 --kind supervised --input net.json --out "$2" ;;
        probe) "$KMASK" probe model.h5 --input ids.json --out "$2" ;;
        corpus) "$KMASK" corpus build --tokenizer tok --out "$2" text.txt ;;
        manual) "$KMASK" manual kmask --out "$2" ;;
        export) "$KMASK" export model.h5 --out "$2" ;;
    esac
}
for verb in report import probe corpus manual predict policy; do
    rm -rf place && mkdir place && cd place || exit 1
    ln -s ../{ids.json,tok,model.h5,run,text.txt,classes.h5,task.tsv,net.h5,net.json} .
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

# Files in a folder that --out names: refused before the work, and what looks like a temporary file is somebody's own.
echo '{"run": {"dir": "measured"}, "data": {"train": "corpus.h5", "length": 8}, "masks": {"policies": ["random"]}}' >masks.json
echo '{"run": {"dir": "measured"}, "model": {"preset": "tiny"}, "data": {"train": "corpus.h5", "length": 8}, "train": {"sequences": 1},
 "variance": {"rows": [0], "splits": [2], "draws": 2}}' >variance.json
write corpus corpus.h5 >/dev/null 2>log.txt || fail "no corpus: $(cat log.txt)"
for verb in masks variance; do
    for name in $verb.json $verb.h5; do
        for kind in link pipe folder device; do
            rm -rf into && mkdir into && echo kept >target
            case $kind in
                link) ln -s ../target "into/$name" ;;
                pipe) mkfifo "into/$name" ;;
                folder) mkdir "into/$name" ;;
                device) ln -s /dev/null "into/$name" ;;
            esac
            expect 1 "into/$name: is there and no file but a" timeout 20 "$KMASK" "$verb" "$verb.json" --out into
            [ ! -f "into/$name" ] || [ -L "into/$name" ] || fail "$verb replaced a $kind"
            [ "$(cat target)" = kept ] || fail "$verb wrote through a link"
        done
    done
    rm -rf into && mkdir into
    echo mine >"into/$verb.json.tmp" && echo mine >"into/$verb.h5.tmp" && echo old >"into/$verb.json" && chmod 640 "into/$verb.json"
    "$KMASK" "$verb" "$verb.json" --out into >out.txt 2>err.txt || fail "$verb: $(tail -n 2 err.txt)"
    [ "$(cat into/*.tmp)" = "$(printf 'mine\nmine')" ] || fail "$verb touched a file beside its own: $(ls into)"
    [ -z "$(ls -d into/*.*.*.tmp 2>/dev/null)" ] || fail "$verb leaves $(ls -d into/*.*.*.tmp)"
    [ "$(stat -c %a "into/$verb.json")" = 640 ] && ! grep -q old "into/$verb.json" || fail "$verb: $(ls -l into)"
done

# A vocabulary's folder, before anything is learned: the text is a pipe to which nobody writes.
mkfifo endless
for kind in link pipe folder; do
    rm -rf into && mkdir into && echo kept >target
    case $kind in
        link) ln -s ../target into/vocab.txt ;;
        pipe) mkfifo into/tokenizer.json ;;
        folder) mkdir into/special_tokens_map.json ;;
    esac
    expect 1 ": is there and no file but a" timeout 20 "$KMASK" tokenizer train --type wordpiece --vocab-size 20 --out into --force endless
    [ "$(cat target)" = kept ] && [ "$(ls into | wc -l)" -eq 1 ] || fail "tokenizer train changed a $kind: $(ls -l into)"
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

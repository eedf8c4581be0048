#!/usr/bin/env bash
# kmask probe on a trained model: what it writes, what it says, and what it refuses.
. "$SOURCE/tests/common.sh"
make_corpus
make_config c.json run
"$KMASK" pretrain c.json --set train.steps=5 >log.txt 2>&1 || fail "pretrain: $(tail -n 3 log.txt)"
model=run/checkpoints/step-00000005.h5
works() { "$KMASK" probe "$model" --input ids.json --out out.h5 "$@" >out.txt 2>err.txt || fail "probe: $(cat err.txt)"; }

echo '{"input_ids": [[2, 9, 4, 30, 3], [2, 11, 3]], "labels": [[-100, 9, -100, 77, -100], [-100, 5, -100]]}' >ids.json
works --json
grep -qE '"labelled":[[:space:]]*3' out.txt || fail "three labels: $(cat out.txt)"
grep -qE '"loss":[[:space:]]*[0-9]' out.txt || fail "no loss: $(cat out.txt)"
cp out.h5 first.h5
works
cmp -s out.h5 first.h5 || fail "the same input gives another file"
expect 1 "found a probe, expected a model" "$KMASK" fill out.h5 "a [MASK]"

loss_of() { sed -nE 's/^loss[^0-9]*([0-9.e+-]+).*/\1/p' out.txt; }
# Products over other shapes may round otherwise: 1e-5 relative is the same loss.
near() { awk -v a="$1" -v b="$2" 'BEGIN { d = a - b; exit !(a > 0 && b > 0 && (d < 0 ? -d : d) <= 1e-5 * b) }'; }

# Who is where in the batch does not matter, and hidden padding changes nothing but the shape; pads that are seen do.
echo '{"input_ids": [[2, 11, 3, 0, 0, 0]], "attention_mask": [[1, 1, 1, 0, 0, 0]], "labels": [[-100, 5, -100, -100, -100, -100]]}' >ids.json
works
padded=$(loss_of)
echo '{"input_ids": [[2, 11, 3]], "labels": [[-100, 5, -100]]}' >ids.json
works
near "$padded" "$(loss_of)" || fail "padding: loss $padded, without: $(loss_of)"
echo '{"input_ids": [[2, 11, 3, 0, 0, 0]], "labels": [[-100, 5, -100, -100, -100, -100]]}' >ids.json
works
near "$padded" "$(loss_of)" && fail "pads that are seen change nothing: loss $padded and $(loss_of)"

echo '{"input_ids": [[2, 11, 3]]}' >ids.json
works
grep -q '^loss' out.txt && fail "a loss without labels"

expect 1 "found 600, expected an id" sh -c "echo '{\"input_ids\": [[2, 600]]}' >ids.json; \"$KMASK\" probe $model --input ids.json --out bad.h5"
expect 1 "nowhere.json" "$KMASK" probe "$model" --input nowhere.json --out bad.h5
expect 1 "corpus" "$KMASK" probe corpus.h5 --input ids.json --out bad.h5
echo '{"input_ids": [[2, 11, 3]]}' >ids.json
expect 1 "nowhere/bad.h5" "$KMASK" probe "$model" --input ids.json --out nowhere/bad.h5
expect 2 "--out" "$KMASK" probe "$model" --input ids.json
expect 2 "the model, which would be overwritten" "$KMASK" probe "$model" --input ids.json --out "$model"
expect 2 "the input, which would be overwritten" "$KMASK" probe "$model" --input ids.json --out ids.json
ls bad.h5* >/dev/null 2>&1 && fail "something half-written was left: $(ls bad.h5*)"
"$KMASK" inspect "$model" >/dev/null || fail "the model was harmed"
finish

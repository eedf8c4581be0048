#!/usr/bin/env bash
# kmask fill with an encoder-decoder: it answers as generate does, and the answer of a model of hidden pieces is put in; and the same
# model goes through the verbs that open models.
. "$SOURCE/tests/common.sh"
make_corpus
cat >c.json <<EOF
{"run": {"dir": "full", "seed": 3},
 "model": {"type": "bart", "d_model": 32, "encoder_layers": 1, "decoder_layers": 2, "encoder_attention_heads": 4,
           "decoder_attention_heads": 2, "encoder_ffn_dim": 40, "decoder_ffn_dim": 24, "max_position_embeddings": 64,
           "activation_function": "relu", "scale_embedding": true, "init_std": 0.1},
 "data": {"train": "corpus.h5", "eval": "corpus.holdout.h5", "length": 40}, "mask": {"policy": "random", "splits": 2},
 "train": {"steps": 6, "sequences": 6, "micro_batch": 3}, "optimizer": {"lr": 2e-3}}
EOF
train() { "$KMASK" pretrain c.json --set "run.dir=$1" "${@:2}" >log.txt 2>&1 || fail "pretrain $1: $(tail -n 3 log.txt)"; }
train full
train pieces --set mask.target=masked
full=full/checkpoints/step-00000006.h5 pieces=pieces/checkpoints/step-00000006.h5
text="the cat sat on the [MASK] ."
field() { tr -d '\n\t' <out.txt | sed -nE "s/.*\"$1\": *(\[[^]]*\]|\"[^\"]*\"|[-0-9.e]+).*/\1/p" | tr -d ' '; }
fill() { "$KMASK" fill "$1" "$2" --json >out.txt 2>err.txt || fail "fill $1: $(cat err.txt)"; }

# ---- The answer is generate's ----
fill $full "$text"
ids=$(field output_ids) score=$(field score)
[ -n "$ids" ] && [ "$(field text)" = "$(field answer)" ] || fail "a model of whole texts: $(cat out.txt)"
tokens=$(("$(echo "$text" | "$KMASK" tokenizer encode --tokenizer tok --special | wc -w)" + 2 + 1 + 16))
echo "$text" | "$KMASK" generate $full --in - --beam 4 --min-length 0 --max-length "$tokens" --json >out.txt 2>err.txt ||
    fail "generate: $(cat err.txt)"
[ "$(field output_ids)" = "$ids" ] || fail "fill answers $ids, generate $(field output_ids) ($tokens)"
[ "$(field score)" = "$score" ] || fail "another score than generate's"
"$KMASK" fill $full "the <mask> sat" >out.txt 2>err.txt || fail "<mask> is not understood: $(cat err.txt)"

# ---- Pieces are put in where that is possible ----
fill $pieces "$text"
case "$(field text)" in
    '"thecatsatonthe'*'."') ;;
    *) fail "the answer is not put in: $(cat out.txt)" ;;
esac
fill $pieces "the [MASK] sat on [MASK] ."
[ -z "$(field text)" ] && [ -n "$(field output_ids)" ] || fail "two blanks of a model of pieces: $(cat out.txt)"
expect 2 "has no blank" "$KMASK" fill $full "the cat sat"
expect 2 "Shorten it" "$KMASK" fill $full "$(printf 'cat %.0s' $(seq 70)) [MASK]"

# ---- Exported and imported it is the same model ----
hash_of() { "$KMASK" inspect "$1" --json | tr -d ' \t\n' | grep -o '"weights_hash":"[0-9a-f]*"'; }
"$KMASK" export $full --out folder >/dev/null 2>err.txt || fail "export: $(cat err.txt)"
"$KMASK" import folder --out back.h5 >/dev/null 2>err.txt || fail "import: $(cat err.txt)"
[ "$(hash_of back.h5)" = "$(hash_of $full)" ] || fail "an import of the export has other weights"
fill folder "$text"
[ "$(field output_ids)" = "$ids" ] || fail "the folder answers otherwise"

# ---- Configs ----
expect 2 "model.hidden_size: given, but model.type is bart" "$KMASK" pretrain c.json --set run.dir=x --set model.hidden_size=8
cat >d.json <<EOF
{"run": {"dir": "more", "seed": 3}, "model": {"init": "folder", "dropout": 0},
 "data": {"train": "corpus.h5", "length": 40}, "mask": {"policy": "random", "splits": 2},
 "train": {"steps": 2, "sequences": 6, "micro_batch": 3}, "optimizer": {"lr": 2e-3}}
EOF
"$KMASK" pretrain d.json >log.txt 2>&1 || fail "model.init of a folder: $(tail -n 3 log.txt)"
expect 2 "is of type bart, which has no such key" "$KMASK" pretrain d.json --set run.dir=y --set model.hidden_dropout_prob=0
grep -q '"dropout": 0,' more/config.json && grep -q '"attention_dropout": 0.1' more/config.json || fail "dropout beside model.init"
grep -q hidden_size more/config.json && fail "the config of a bart has keys of bert"
"$KMASK" plan c.json --set run.dir=z >/dev/null 2>err.txt || fail "plan: $(cat err.txt)"
finish

#!/usr/bin/env bash
# kmask import and export against files that transformers wrote (tools/golden_import.py): every form of a model imports to
# the same weights, predicts what transformers does, and comes back bit for bit; what does not fit is one sentence.
source "$SOURCE/tests/common.sh"
golden=$SOURCE/tests/modelfile/golden/import

import() { # NAME: golden/NAME -> NAME.h5, its account without blanks in NAME.json
    "$KMASK" import "${2:-$golden/$1}" --out "$1.h5" --json >raw.txt 2>err.txt || fail "import $1: $(cat err.txt)"
    tr -d ' \t\n' <raw.txt >"$1.json"
}
says() { grep -qF -- "$2" "$1.json" || fail "no '$2' in the account of $1"; }
hash_of() { "$KMASK" inspect "$1" --json | tr -d ' \t\n' | grep -o '"weights_hash":"[0-9a-f]*"'; }

# ---- All forms of a model are that model ----
for name in bert-whole bert bert-f16 bert-old bert-bare roberta roberta-sharded bart bart-old bart-bare; do
    import $name
    grep -qF "$(hash_of $name.h5)" $name.json || fail "$name: inspect has another hash than import"
    [ "$(hash_of "$golden/$name")" = "$(hash_of $name.h5)" ] || fail "$name: the folder has another hash than the file"
done
for name in bert-whole bert-f16 bert-old; do
    [ "$(hash_of $name.h5)" = "$(hash_of bert.h5)" ] || fail "$name: other weights than bert"
done
[ "$(hash_of roberta-sharded.h5)" = "$(hash_of roberta.h5)" ] || fail "shards: other weights than one file"
for name in bart-old bart-bare; do
    [ "$(hash_of $name.h5)" = "$(hash_of bart.h5)" ] || fail "$name: other weights than bart"
done
says bart '"ignored":[],"fresh":[]'
says bart-bare '"ignored":[],"fresh":[]'
says bart-old '"from":"lm_head.weight","dtype":"F16","shape":[18,10],"why":"acopyoftiedweights"'
says bart-old '"from":"model.decoder.embed_tokens.weight","dtype":"F16","shape":[18,10],"why":"acopyoftiedweights"'
says bart-old '"from":"model.encoder.version","dtype":"F32","shape":[1],"why":"abuffer,whichholdsnoweights"'
says bert '"ignored":[],"fresh":[]'
says bert-whole '"name":"cls.seq_relationship.weight","from":"cls.seq_relationship.weight"'
says bert-whole '"name":"bert.pooler.dense.bias"'
says bert-old '"from":"module.bert.embeddings.LayerNorm.gamma","dtype":"BF16"'
says bert-old '"why":"abuffer,whichholdsnoweights"'
says bert-old '"from":"module.cls.predictions.decoder.bias","dtype":"BF16","shape":[18],"why":"acopyoftiedweights"'
says bert-bare '"fresh":["cls.predictions.transform.dense.weight","cls.predictions.transform.dense.bias","cls.predictions.transform.LayerNorm.weight","cls.predictions.transform.LayerNorm.bias","cls.predictions.bias"]'
"$KMASK" import "$golden/bert-bare" --out again.h5 --json >/dev/null
[ "$(hash_of again.h5)" = "$(hash_of bert-bare.h5)" ] || fail "a fresh head is not a function of the seed"
"$KMASK" import "$golden/bert-bare" --out again.h5 --seed 2 --json >/dev/null
[ "$(hash_of again.h5)" != "$(hash_of bert-bare.h5)" ] || fail "two seeds give the same fresh head"
"$KMASK" import "$golden/bert-bare" --out again.h5 >out.txt || fail "import for people"
grep -q "fresh: the folder has no MLM head: 5 tensors" out.txt || fail "a fresh head is not said plainly"

# ---- They predict what transformers does ----
check_fill() { # MODEL EXPECTED
    "$KMASK" fill "$1" "the cat sat on [MASK] mats [MASK]" --top 11 --json | tr -d ' \t\n' |
        grep -oE '"token":"[^"]*","id":[0-9]*,"text":"[^"]*","p":[-0-9.e]*' | sed -E 's/"token":"([^"]*)".*"p":(.*)/\1 \2/' >found.txt
    paste -d' ' found.txt "$2" | awk '{ d = $2 / $4 - 1; if ($1 != $3 || d > 1e-4 || d < -1e-4) bad = 1 }
        END { exit bad || NR != 22 }' || fail "$1 predicts otherwise than transformers: $(paste found.txt "$2" | head -n 3)"
}
for name in bert-whole bert bert-f16 bert-old; do check_fill $name.h5 "$golden/bert.fill"; done
for name in roberta roberta-sharded; do check_fill $name.h5 "$golden/roberta.fill"; done
check_fill "$golden/bert-f16" "$golden/bert.fill"

# ---- And back ----
same() { cmp -s "$1/model.safetensors" "$2/model.safetensors" || fail "$1 is not $2 bit for bit"; }
back() { # NAME OPTIONS...
    "$KMASK" export "$1.h5" --out "out-$1" "${@:2}" >out.txt 2>err.txt || fail "export $1: $(cat err.txt)"
    [ ! -e "out-$1.tmp" ] || fail "export $1 leaves its working folder"
}
back bert; same out-bert "$golden/bert"
back bert-f16 --dtype f16; same out-bert-f16 "$golden/bert-f16"
back roberta --dtype bf16; same out-roberta "$golden/roberta"
back roberta-sharded --dtype bf16; same out-roberta-sharded "$golden/roberta"
back bart --dtype bf16; same out-bart "$golden/bart"
back bart-old --dtype bf16
back bart-bare --dtype bf16; same out-bart-bare "$golden/bart"
grep -q '"extra_pos_embeddings"' out-bart-old/config.json || fail "an old key of config.json is lost"
grep -q '"encoder_layerdrop":[[:space:]]*0\.0' out-bart/config.json || fail "0.0 came back as another type of number"
grep -q '"BartForConditionalGeneration"' out-bart-bare/config.json || fail "a bare model is exported under another class"
back bert-whole --extras; same out-bert-whole "$golden/bert-whole"
grep -q '"BertForPreTraining"' out-bert-whole/config.json || fail "--extras has another architecture than the import had"
tr -d ' \t\n' <out-bert-whole/config.json | grep -qF '"a_key_that_changes_nothing":{"kept":[1,2.5,null]}' ||
    fail "a key that changes nothing is lost"

# A fine-tuned model does not name the tensors that its import had kept beside the model, and is exported.
printf 'text\tlabel\na b\tx\nb c\ty\na c\tx\nc c\ty\n' >few.tsv
cat >tuned.json <<'EOF'
{"run": {"dir": "tuned"}, "task": {"train": "few.tsv", "dev": "few.tsv", "length": 8},
 "finetune": {"init": "bert-whole.h5", "steps": 1, "batch": 4, "lr": 1e-3}}
EOF
"$KMASK" finetune tuned.json >out.txt 2>err.txt || fail "a fine-tuning: $(cat err.txt)"
"$KMASK" export tuned/model.h5 --out out-tuned >out.txt 2>err.txt || fail "an export after fine-tuning: $(cat err.txt)"
back bert-bare
grep -q '"BertForMaskedLM"' out-bert-bare/config.json || fail "no architecture in config.json"
grep -q "bert.pooler.dense.bias" out.txt || fail "what is left out is not said"
for name in bert bert-f16 bert-whole bert-bare roberta bart bart-old; do
    import "$name-back" "out-$name"
    [ "$(hash_of "$name-back.h5")" = "$(hash_of "$name.h5")" ] || fail "$name: an import of its export has other weights"
done
says bert-bare-back '"fresh":[]'
cmp -s out-bert/vocab.txt "$golden/bert/vocab.txt" || fail "another vocabulary"

# ---- Folders that hold something ----
mkdir empty && "$KMASK" export bert.h5 --out empty/ >/dev/null 2>&1 || fail "an empty folder is refused"
same empty "$golden/bert"
echo mine >empty/README.md && cp empty/model.safetensors before.safetensors && echo '#version: 0.2' >empty/merges.txt
expect 1 "the folder holds" "$KMASK" export roberta.h5 --out empty
cmp -s empty/model.safetensors before.safetensors || fail "a refused export changed the folder"
"$KMASK" export roberta.h5 --out empty --force --dtype bf16 >/dev/null 2>err.txt || fail "--force: $(cat err.txt)"
same empty "$golden/roberta"
[ "$(cat empty/README.md)" = mine ] || fail "--force took a file that is not its own"
[ ! -e empty/merges.txt ] || fail "another tokenizer's file stays beside the new one"
expect 1 "a file of that name" "$KMASK" export bert.h5 --out bert.h5
expect 1 "no-such-file" "$KMASK" export no-such-file --out x
[ ! -e x ] && [ ! -e x.tmp ] || fail "a failed export leaves a folder"
expect 2 "--dtype" "$KMASK" export bert.h5 --out x --dtype f64
expect 2 "--out" "$KMASK" import "$golden/bert"

# ---- A config.json that does not name the architecture: the tensors' names do ----
for form in bert roberta bart; do
    rm -rf untold && cp -r "$golden/$form" untold && sed -i -E '/"architectures"/,/\]/d; /"model_type"/d' untold/config.json
    grep -qE '"(model_type|architectures)"' untold/config.json && fail "$form: config.json still names the architecture"
    "$KMASK" import untold --out untold.h5 --json >account.json 2>err.txt || fail "$form without model_type: $(cat err.txt)"
    grep -qE "has no model_type: its tensors are named [a-z]+\.\.\.\., so it is read as a model of type $form" err.txt || fail "it is not said: $(cat err.txt)"
    grep -qE "\"model_type\":[[:space:]]*\"$form\"" account.json || fail "$form: another type"
done

# ---- Folders whose weights are not there, or are another program's ----
instead() { # WORDS FILE [CONTENT]: in place of model.safetensors
    rm -rf bad && cp -r "$golden/bert" bad && rm bad/model.safetensors && printf '%s\n' "${3:-x}" >"bad/$2"
    expect 1 "$1" "$KMASK" import bad --out bad.h5
    expect 1 "$1" "$KMASK" fill bad "the [MASK]"
    [ "$(wc -l <err.txt)" -eq 1 ] && [ ! -e bad.h5 ] || fail "$2: $(cat err.txt)"
}
pointer=$(printf 'version https://git-lfs.github.com/spec/v1\noid sha256:%064d\nsize 438955754' 0)
instead "a Git LFS pointer in place of the weights. Fetch them with \`git lfs pull\`" model.safetensors "$pointer"
instead "weights of TensorFlow" tf_model.h5
instead "weights of TensorFlow" bert_model.ckpt.index
instead "weights of Flax" flax_model.msgpack
instead "an adapter, which is no whole model" adapter_model.safetensors
instead "Merge it into its model with peft" adapter_config.json "{}"
instead "tools/convert_pytorch_bin.py" pytorch_model.bin

# ---- What does not fit ----
spoil() { # WORDS SED-EXPRESSION [FORM]: of config.json
    rm -rf bad && cp -r "$golden/${3:-bert}" bad && sed -i -E "$2" bad/config.json
    cmp -s bad/config.json "$golden/${3:-bert}/config.json" && fail "the change $2 does nothing"
    expect 1 "$1" "$KMASK" import bad --out bad.h5
    [ ! -e bad.h5 ] || fail "a refused import leaves a file"
}
spoil 'model_type is "gpt2"' 's/"model_type": "bert"/"model_type": "gpt2"/'
spoil 'model_type is 7' 's/"model_type": "bert"/"model_type": 7/'
spoil 'its tensors are named bert.' 's/"model_type": "bert"/"model_type": "roberta"/'
spoil 'the key model_type stands twice' 's/"is_decoder"/"model_type": "bert", "is_decoder"/'
spoil 'position_embedding_type is "relative_key"' 's/"is_decoder"/"position_embedding_type": "relative_key", "is_decoder"/'
spoil 'tie_word_embeddings is false' 's/("tie_word_embeddings": )true/\1false/'
spoil 'is_decoder is true' 's/("is_decoder": )false/\1true/'
spoil 'hidden_act is "relu"' 's/gelu_new/relu/'
spoil 'embedding_size is 128' 's/"is_decoder"/"embedding_size": 128, "is_decoder"/'
spoil 'pruned_heads' 's/"is_decoder"/"pruned_heads": {"0": [1]}, "is_decoder"/'
spoil 'quantization_config' 's/"is_decoder"/"quantization_config": {}, "is_decoder"/'
spoil 'expected (18, 10) by config.json' 's/("max_position_embeddings": )16/\118/'
spoil 'model.num_attention_heads' 's/("num_attention_heads": )5/\13/'
spoil 'bert.encoder.layer.1' 's/("num_hidden_layers": )1/\12/'
spoil 'hidden_size is "10"' 's/("hidden_size": )10/\1"10"/'
spoil 'found 10.5' 's/("hidden_size": )10/\110.5/'
spoil 'line 1' 's/^\{/{{/'
spoil 'layer_norm_eps' 's/("layer_norm_eps": )[-0-9.e]+/\1-1/'
spoil 'is_encoder_decoder is false' 's/("is_encoder_decoder": )true/\1false/' bart
spoil 'tie_word_embeddings is false' 's/("tie_word_embeddings": )true/\1false/' bart
spoil 'normalize_before is true' 's/("normalize_before": )false/\1true/' bart-old
spoil 'activation_function is "tanh", expected gelu (exact), gelu_new (by tanh), relu' 's/relu/tanh/' bart
spoil 'scale_embedding is 3, expected true or false' 's/("scale_embedding": )true/\13/' bart
spoil 'forced_eos_token_id is 18' 's/("forced_eos_token_id": )3/\118/' bart
spoil 'forced_eos_token_id is [3], expected a number' 's/("forced_eos_token_id": )3/\1[3]/' bart
spoil 'decoder_start_token_id' 's/("decoder_start_token_id": )3/\1-1/' bart
spoil 'model.d_model: found 10, expected a multiple of the 3 model.decoder_attention_heads' 's/("decoder_attention_heads": )2/\13/' bart
spoil 'model.decoder.layers.1' 's/("decoder_layers": )2/\11/' bart
spoil 'decoder.layers.2' 's/("decoder_layers": )2/\13/' bart
spoil 'no tensor is named [...]shared.weight: not a model of type bart' 's/"model_type": "bert"/"model_type": "bart", "is_encoder_decoder": true, "d_model": 10, "encoder_attention_heads": 5, "decoder_attention_heads": 5/'
spoil 'no tensor is named [...]embeddings.word_embeddings.weight' 's/"model_type": "bart"/"model_type": "bert", "hidden_size": 10, "num_attention_heads": 5/; s/("is_encoder_decoder": )true/\1false/' bart
spoil 'eos_token_id is [], expected an id or a list of ids' 's/("eos_token_id": )3/\1[]/' bart
spoil 'eos_token_id is [3,null], expected an id or a list of ids' 's/("eos_token_id": )3/\1[3, null]/' bart
spoil 'eos_token_id is "3", expected an id or a list of ids' 's/("eos_token_id": )3/\1"3"/' bart
spoil 'model.eos_token_id is 18; expected an id below vocab_size (18)' 's/("eos_token_id": )3/\1[3, 18]/' bart
spoil 'model.eos_token_id has 9 ids; expected at most 8' 's/("eos_token_id": )3/\1[3, 4, 5, 6, 7, 8, 9, 10, 11]/' bart

# ---- How a model generates: generation_config.json wins, and comes back ----
generating() { rm -rf bad && cp -r "$golden/bart" bad && echo "$1" >bad/generation_config.json; }
refused() { generating "$1" && expect 1 "bad/generation_config.json: $2" "$KMASK" import bad --out bad.h5; }
refused '[]' 'not a JSON object'
refused '{"eos_token_id": 3' 'line 2'
refused '{"eos_token_id": 3, "eos_token_id": 4}' 'the key eos_token_id stands twice'
refused '{"eos_token_id": [3, "4"]}' 'eos_token_id is [3,"4"], expected an id or a list of ids'
refused '{"forced_bos_token_id": "<s>"}' 'forced_bos_token_id is "<s>", expected a number'
model_of() { "$KMASK" inspect "$1" --json | tr -d ' \t\n\\'; }
generating '{"eos_token_id": [3, 7], "forced_bos_token_id": 2, "decoder_start_token_id": 4, "min_length": 5, "length_penalty": 2.0}'
"$KMASK" import bad --out generating.h5 >out.txt 2>err.txt || fail "generation_config.json: $(cat err.txt)"
grep -q "decoder_start_token_id is 4, and 3 in config.json, which counts" err.txt || fail "two starts are not said: $(cat err.txt)"
for key in '"eos_token_id":[3,7]' '"forced_bos_token_id":2' '"forced_eos_token_id":-1' '"decoder_start_token_id":3'; do
    model_of generating.h5 | grep -qF "$key" || fail "no $key in the model: $(model_of generating.h5 | head -c 2000)"
done
back generating
tr -d ' \t\n' <out-generating/generation_config.json >found.txt
for key in '"eos_token_id":[3,7]' '"forced_bos_token_id":2' '"forced_eos_token_id":null' '"decoder_start_token_id":3' '"min_length":5' \
    '"length_penalty":2.0' '"bos_token_id":2' '"pad_token_id":0'; do
    grep -qF "$key" found.txt || fail "no $key in the exported generation_config.json: $(cat found.txt)"
done
[ "$(tr -d ' \t\n' <out-bart/generation_config.json)" = '{"forced_bos_token_id":null,"forced_eos_token_id":3,"eos_token_id":3,"decoder_start_token_id":3,"bos_token_id":2,"pad_token_id":0}' ] ||
    fail "generation_config.json of a folder that had none: $(cat out-bart/generation_config.json)"
[ ! -e out-bert/generation_config.json ] || fail "an encoder is exported with a generation_config.json"
import generating-back out-generating
[ "$(model_of generating-back.h5 | grep -o '"eos_token_id":[^]]*')" = '"eos_token_id":[3,7' ] || fail "the ends are lost on the way"

for alias in gelu_pytorch_tanh gelu_fast gelu_python_tanh; do
    rm -rf bad && cp -r "$golden/bert" bad && sed -i "s/gelu_new/$alias/" bad/config.json
    "$KMASK" import bad --out alias.h5 >/dev/null 2>err.txt || fail "$alias: $(cat err.txt)"
    check_fill alias.h5 "$golden/bert.fill"
    rm -rf bad && "$KMASK" export alias.h5 --out bad >/dev/null && grep -q "\"$alias\"" bad/config.json || fail "$alias is lost"
done

swap() { # WORDS FROM TO: in the header, of the same length
    rm -rf bad && cp -r "$golden/bert" bad && LC_ALL=C sed -i "s/$2/$3/" bad/model.safetensors
    cmp -s bad/model.safetensors "$golden/bert/model.safetensors" && fail "the change of $2 does nothing"
    expect 1 "$1" "$KMASK" import bad --out bad.h5
}
swap 'has no place in the model of config.json' encoder.layer.0.output.dense.bias encoder.layer.1.output.dense.bias
swap 'half a head' cls.predictions.bias xls.predictions.bias
swap 'not a model of type' word_embeddings.weight ward_embeddings.weight
swap 'its shape is (10, 7), expected (7, 10)' '\[7,10\]' '[10,7]'
# The last byte of the decoder's weights, which are a copy of the word embeddings.
rm -rf bad && cp -r "$golden/bert-old" bad && file=bad/model.safetensors
end=$(grep -aoE 'cls.predictions.decoder.weight":[^]]*\],"data_offsets":\[[0-9]+,[0-9]+' $file | grep -oE '[0-9]+$')
printf '\1' | dd of=$file bs=1 seek=$((8 + $(od -An -t u8 -N 8 $file) + end - 1)) conv=notrunc 2>/dev/null
expect 1 "tensor module.cls.predictions.decoder.weight differs from module.bert.embeddings.word_embeddings.weight" \
    "$KMASK" import bad --out bad.h5

rm -rf bad && cp -r "$golden/bert" bad && rm bad/config.json
expect 1 "config.json" "$KMASK" import bad --out bad.h5
cp "$golden/bert/config.json" bad && rm bad/vocab.txt
expect 1 "--tokenizer DIR" "$KMASK" import bad --out bad.h5
"$KMASK" import bad --tokenizer "$golden/bert" --out good.h5 >/dev/null || fail "--tokenizer"
[ "$(hash_of good.h5)" = "$(hash_of bert.h5)" ] || fail "another folder's tokenizer changes the weights"
cp "$golden/bert/vocab.txt" bad && printf 'a1\na2\na3\n' >>bad/vocab.txt
expect 1 "vocab_size is 18, but the tokenizer in bad has 19 pieces" "$KMASK" import bad --out bad.h5
rm bad/model.safetensors && touch bad/pytorch_model.bin
expect 1 "tools/convert_pytorch_bin.py" "$KMASK" import bad --out bad.h5
rm bad/pytorch_model.bin
expect 1 "found a folder without model.safetensors" "$KMASK" import bad --out bad.h5
expect 1 "not a folder" "$KMASK" import bert.h5 --out bad.h5
rm -rf bad && cp -r "$golden/roberta-sharded" bad && rm bad/model-00002-of-00002.safetensors
expect 1 "model-00002-of-00002.safetensors: cannot open" "$KMASK" import bad --out bad.h5

# ---- model.init takes a folder ----
rm -rf bad && cp -r "$golden/bert-bare" bad
for i in $(seq 40); do echo "the cat sat on the mats . a dog ran far . the dog sat"; echo; done >text.txt
"$KMASK" corpus build --tokenizer bad --out corpus.h5 text.txt >/dev/null 2>log.txt || fail "corpus: $(cat log.txt)"
cat >config.json <<EOF
{"run": {"dir": "run", "seed": 1}, "model": {"init": "bad"}, "data": {"train": "corpus.h5", "length": 12},
 "train": {"steps": 2, "sequences": 4, "micro_batch": 2}, "optimizer": {"lr": 1e-3}, "mask": {"splits": 2}}
EOF
"$LAUNCH" 2 "$KMASK" pretrain config.json >log.txt 2>&1 || fail "pretrain from a folder: $(tail -n 3 log.txt)"
"$LAUNCH" 1 "$KMASK" pretrain config.json --set run.dir=run2 --set model.init=bert-bare.h5 >log.txt 2>&1 ||
    fail "pretrain from the import: $(tail -n 3 log.txt)"
[ "$(last_hash run)" = "$(last_hash run2)" ] || fail "a folder and its import train to other weights"
"$LAUNCH" 2 "$KMASK" pretrain config.json --set train.steps=3 >log.txt 2>&1 || fail "resuming: $(tail -n 3 log.txt)"
"$KMASK" export run/checkpoints/step-00000003.h5 --out trained >/dev/null 2>err.txt || fail "export of a checkpoint: $(cat err.txt)"
[ "$(hash_of trained)" = "$(hash_of run/checkpoints/step-00000003.h5)" ] || fail "an exported checkpoint has other weights"
"$KMASK" eval trained --corpus corpus.h5 --length 12 --json >out.txt 2>err.txt || fail "eval of a folder: $(cat err.txt)"
"$KMASK" eval run/checkpoints/step-00000003.h5 --corpus corpus.h5 --json >out2.txt 2>err.txt || fail "eval: $(cat err.txt)"
cmp -s out.txt out2.txt || fail "a folder evaluates otherwise than the checkpoint it came from"
finish

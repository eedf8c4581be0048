# labelled.sh: sourced after tests/common.sh: labelled texts (train.tsv, dev.tsv, test.tsv), a small pre-trained model, and c.json, which
# fine-tunes it.

# Texts with words of two kinds: the class is which kind there is more of. A pair's number is how many words both have.
make_data() { # FILE ROWS SEED
    awk -v rows="$2" -v seed="$3" 'BEGIN {
        state = seed; print "text\tother\tlabel\tnumber"
        for (i = 0; i < rows; i++) {
            n = 4 + draw(6); up = 0; text = ""; other = ""
            for (j = 0; j < n; j++) { kind = draw(2); up += kind; text = text (j ? " " : "") (kind ? "red" : "blue") draw(5) }
            for (j = 0; j < 3; j++) other = other (j ? " " : "") "red" draw(5)
            print text "\t" other "\t" (2 * up > n ? "many" : "few") "\t" up / n
        } }
        function draw(k) { state = (state * 1103515245 + 12345) % 2147483648; return int(state / 65536) % k }' >"$1"
}
make_data train.tsv 96 1
make_data dev.tsv 40 2
make_data test.tsv 40 3
"$KMASK" tokenizer train --type wordpiece --vocab-size 120 --out tok train.tsv 2>log.txt >/dev/null || fail "no tokenizer"
"$KMASK" corpus build --tokenizer tok --out corpus.h5 train.tsv 2>>log.txt >/dev/null || fail "no corpus"
cat >pretrain.json <<'EOF'
{"run": {"dir": "pre"}, "model": {"type": "bert", "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
 "intermediate_size": 64, "max_position_embeddings": 64, "initializer_range": 0.1},
 "data": {"train": "corpus.h5", "length": 24}, "train": {"steps": 4, "sequences": 4}, "optimizer": {"lr": 1e-3},
 "checkpoint": {"every": 4}}
EOF
"$KMASK" pretrain pretrain.json >/dev/null 2>log.txt || { cat log.txt; fail "no model to begin with"; }
cat >c.json <<'EOF'
{"run": {"dir": "one"},
 "task": {"train": "train.tsv", "dev": "dev.tsv", "test": "test.tsv", "metrics": ["f1_macro", "accuracy"], "length": 32},
 "finetune": {"init": "pre/checkpoints/step-00000004.h5", "epochs": 3, "batch": [8, 12], "lr": [1e-3, 3e-3], "seeds": [1, 2],
              "micro_batch": 2}}
EOF

tune() { # DIR RANKS [--set ...]
    local dir=$1 ranks=$2
    shift 2
    "$LAUNCH" "$ranks" "$KMASK" finetune c.json --set "run.dir=$dir" "$@" >table.txt 2>log.txt || { tail -n 3 log.txt; fail "finetune of $dir"; }
}

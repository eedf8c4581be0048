#!/usr/bin/env bash
# A meta-learned policy where the best one is known: of the seven words of a context one is the answer of the task (tools/known_policy.awk). The
# policy hides it at least five times as often as another word, and what is minimized has fallen. tools/known_policy.sh is the long form.
. "$SOURCE/tests/common.sh"
awk -v seed=1 -v examples=480 -v out=. -f "$SOURCE/tools/known_policy.awk"
"$KMASK" tokenizer train --type wordpiece --vocab-size 400 --out tok text.txt question.txt >/dev/null 2>log.txt || fail "tokenizer: $(cat log.txt)"
"$KMASK" corpus build --tokenizer tok --out corpus.h5 text.txt >/dev/null 2>log.txt || fail "corpus: $(cat log.txt)"
cat >base.json <<'EOF'
{"run": {"dir": "base", "seed": 1},
 "model": {"type": "bart", "d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2,
           "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "max_position_embeddings": 32, "init_std": 0.05, "dropout": 0},
 "data": {"train": "corpus.h5", "length": 16, "packing": "documents"}, "mask": {"policy": "random", "ratio": 0.15, "splits": 1, "target": "full"},
 "train": {"steps": 500, "sequences": 32}, "optimizer": {"lr": 3e-3}, "schedule": {"warmup": 5}, "checkpoint": {"every": 1000}, "log": {"every": 500}}
EOF
"$KMASK" pretrain base.json >/dev/null 2>log.txt || fail "pretrain: $(cat log.txt)"
cat >meta.json <<'EOF'
{"run": {"dir": "meta", "seed": 1},
 "policy": {"kind": "meta", "examples": "triples.jsonl", "init": "base/checkpoints/step-00000500.h5", "hidden": 32, "kernel": 1, "length": 12,
            "batch": 64, "micro_batch": 32, "epochs": 40, "objective": "loss", "alpha0": 0.5, "alpha1": 3e-3, "alpha2": 2, "beta": 0.15,
            "temperature": 0.2, "clip": 0.03, "embedding_std": 2, "keep_pretrained": false},
 "checkpoint": {"every": 1000}}
EOF
"$KMASK" policy train meta.json >/dev/null 2>log.txt || fail "policy train: $(cat log.txt)"

# How often values and other words are hidden, and the losses, over the first and the last ten epochs; there is one value to six other words.
grep most_masked meta/metrics.jsonl | awk -F'"most_masked":' '{
    split($1, a, "\"loss\":"); loss = a[2] + 0
    split($1, a, "\"masked_share\":"); masked = a[2] + 0
    values = 0; n = split($2, pieces, "\\],?\\[")
    for (i = 1; i <= n; i++) if (pieces[i] ~ /"v[0-9]"/) { split(pieces[i], a, ","); values += a[2] }
    half = NR <= 10 ? 0 : NR > 30 ? 1 : 2
    v[half] += values * masked; w[half] += (1 - values) * masked / 6; l[half] += loss }
    END { printf "answers %.3f others %.3f loss %.4f, then answers %.3f others %.3f loss %.4f\n", .7 * v[0], .7 * w[0], l[0] / 10, .7 * v[1], .7 * w[1], l[1] / 10
          exit !(v[1] >= 5 * w[1] && v[1] > 0 && l[1] < l[0]) }' >found.txt || fail "another policy than the best: $(cat found.txt)"
cat found.txt
finish
